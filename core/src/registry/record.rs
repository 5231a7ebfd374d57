//! The record of a registered worker.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::capability::Capabilities;
use crate::error::Rejection;
use crate::id::{LaneId, Namespace, Nonce, WorkerId, WorkerInstanceId};
use crate::kinds::Kinds;
use crate::partition::PartitionConfig;
use crate::resource::{Resource, ResourceId, ResourceKind};
use crate::time::{DurationMs, TimestampMs};

/// The maximum number of lanes of a registered worker, and of kinds: 1,024 each.
pub const MAX_SERVED: usize = 1_024;

/// The maximum size of the text about the build of a worker, in bytes.
pub const MAX_VERSION_BYTES: usize = 128;

/// The shortest time for which a registration is good after a heartbeat: 10 s.
pub const LEAST_TTL: DurationMs = DurationMs::from_secs(10);

/// The number of heartbeats in the time for which a registration is good.
pub const HEARTBEATS_PER_TTL: u64 = 3;

/// The time for which the record of a worker stays that an operator has marked as dead: 24 h. A
/// process that hangs for longer registers anew.
pub const DEAD_FOR: DurationMs = DurationMs::from_secs(24 * 60 * 60);

/// Returns the time for which the registration of a worker with leases of this ttl is good after
/// each heartbeat: twice the ttl of its leases, and at least [`LEAST_TTL`].
pub fn registration_ttl(lease_ttl: DurationMs) -> DurationMs {
    DurationMs::new(lease_ttl.get().saturating_mul(2)).max(LEAST_TTL)
}

/// The state of a registered worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// It claims executions.
    Live,
    /// It claims nothing more, and finishes the executions that it has.
    Draining,
    /// An operator has marked it as dead, or its registration has expired.
    Dead,
}

impl WorkerState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Live, Self::Draining, Self::Dead];

    /// Returns the name of the state.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Draining => "draining",
            Self::Dead => "dead",
        }
    }
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The error of a text that is not the name of a worker's state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown state of a worker {0:?}: expected live, draining or dead")]
pub struct UnknownWorkerState(String);

impl FromStr for WorkerState {
    type Err = UnknownWorkerState;

    fn from_str(text: &str) -> Result<Self, UnknownWorkerState> {
        let named = Self::ALL.into_iter().find(|state| state.as_str() == text);
        named.ok_or_else(|| UnknownWorkerState(text.to_owned()))
    }
}

/// The description that a process gives of its worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// The namespace whose executions it claims.
    pub namespace: Namespace,
    /// The worker, which several processes can share.
    pub worker: WorkerId,
    /// The process. Two live processes never share it.
    pub instance: WorkerInstanceId,
    /// The lanes that it claims from, at most [`MAX_SERVED`].
    pub lanes: Vec<LaneId>,
    /// The kinds that it serves, at most [`MAX_SERVED`] if they are limited.
    pub kinds: Kinds,
    /// Its capabilities.
    pub capabilities: Capabilities,
    /// Its build, as the process describes it; at most [`MAX_VERSION_BYTES`] bytes.
    pub version: String,
    /// How many executions it holds at most at a time.
    pub slots: u32,
}

impl WorkerInfo {
    /// Returns the name of the worker's record.
    pub fn key(&self, config: &PartitionConfig) -> ResourceId {
        Worker::key(&self.namespace, &self.instance, config)
    }

    /// Checks the sizes of the lists.
    pub(super) fn check(&self) -> Result<(), Rejection> {
        let kinds = match &self.kinds {
            Kinds::All => 0,
            Kinds::Only(kinds) => kinds.len(),
        };
        for (field, count) in [("lanes", self.lanes.len()), ("kinds", kinds)] {
            if count > MAX_SERVED {
                let problem = format!("are {count}: a worker can serve at most {MAX_SERVED}");
                return Err(Rejection::InvalidInput { field, problem });
            }
        }
        let bytes = self.version.len();
        if bytes > MAX_VERSION_BYTES {
            let problem = format!("has {bytes} bytes; at most {MAX_VERSION_BYTES} are allowed");
            return Err(Rejection::InvalidInput { field: "version", problem });
        }
        Ok(())
    }
}

/// A registered worker. \[INV-REGISTRY-1\]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// The description of the process.
    pub info: WorkerInfo,
    /// The number that the process drew when it started. It distinguishes two processes with the
    /// same instance id.
    pub nonce: Nonce,
    /// How long the registration is good after a heartbeat.
    pub ttl: DurationMs,
    /// How many executions it held at its latest heartbeat.
    pub active: u32,
    /// When the process registered.
    pub registered_at: TimestampMs,
    /// Its latest heartbeat.
    pub last_seen: TimestampMs,
    /// When the registration ends without a further heartbeat.
    pub expires_at: TimestampMs,
    /// The state, unless the registration has expired.
    pub state: WorkerState,
}

impl Resource for Worker {
    const KIND: ResourceKind = ResourceKind::Workers;

    fn listed(&self) -> Option<(&Namespace, TimestampMs)> {
        Some((&self.info.namespace, self.registered_at))
    }

    fn expires_at(&self) -> Option<TimestampMs> {
        Some(self.expires_at)
    }
}

impl Worker {
    /// Names the record of an instance.
    pub fn key(
        namespace: &Namespace,
        instance: &WorkerInstanceId,
        config: &PartitionConfig,
    ) -> ResourceId {
        let names = [namespace.as_str(), instance.as_str()];
        ResourceId::of_names(ResourceKind::Workers, &names, config)
    }

    /// Returns the state at a time: a worker whose registration has expired is dead.
    pub fn state_at(&self, now: TimestampMs) -> WorkerState {
        if now < self.expires_at { self.state } else { WorkerState::Dead }
    }

    /// Returns whether the process holds its instance id at this time. \[INV-REGISTRY-1\]
    pub fn holds(&self, now: TimestampMs) -> bool {
        self.state_at(now) != WorkerState::Dead
    }
}
