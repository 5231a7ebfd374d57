//! Registering a process under its instance id.

use crate::error::Rejection;
use crate::id::Nonce;
use crate::partition::PartitionConfig;
use crate::planted::planted;
use crate::purpose::Purpose;
use crate::resource::{Change, Changed, Decided, Facts, ResourceId};
use crate::time::{DurationMs, TimestampMs, Window};

use super::change::WorkerChange;
use super::record::{Worker, WorkerInfo, WorkerState};

/// Registers a process, or replaces the description of one that is registered.
///
/// At most one process holds an instance id at a time: a second one is refused until the
/// registration of the first ends, unless it takes over. \[INV-REGISTRY-1\]
#[derive(Clone, Debug)]
pub struct Register {
    /// The description of the worker.
    pub info: WorkerInfo,
    /// The number that the process drew when it started.
    pub nonce: Nonce,
    /// How long the registration is good after each heartbeat.
    pub ttl: DurationMs,
    /// Whether it replaces another process that holds the instance id. That process is refused at
    /// its next heartbeat.
    pub take_over: bool,
    /// The partitions of the store.
    pub partitions: PartitionConfig,
}

impl Register {
    /// The registration that holds from a time on.
    fn registered(&self, before: Option<&Worker>, now: TimestampMs) -> Worker {
        let own = before.filter(|worker| worker.nonce == self.nonce);
        Worker {
            info: self.info.clone(),
            nonce: self.nonce,
            ttl: self.ttl,
            active: own.map_or(0, |worker| worker.active),
            registered_at: own.map_or(now, |worker| worker.registered_at),
            last_seen: now,
            expires_at: now.plus(self.ttl),
            state: own.map_or(WorkerState::Live, |worker| worker.state),
        }
    }
}

impl Change for Register {
    type Record = Worker;
    type Beside = Worker;
    type Outcome = ();

    const NAME: &'static str = "register_worker";

    fn target(&self) -> ResourceId {
        self.info.key(&self.partitions)
    }

    /// A store with full memory needs workers that finish its work.
    fn purpose(&self) -> Purpose {
        Purpose::Finish
    }

    fn is_contended(&self) -> bool {
        true
    }

    /// # Errors
    ///
    /// `WorkerInstanceInUse` while another process holds the instance id; `WorkerSuperseded` if an
    /// operator has marked this process as dead; `InvalidInput` for too many lanes or kinds.
    fn decide(&self, facts: &Facts<'_, Worker, Worker>, now: TimestampMs) -> Decided<Self> {
        self.info.check()?;
        let mut window = Window::ALWAYS;
        if let Some(other) = facts.record {
            let instance = || self.info.instance.clone();
            let is_own = other.nonce == self.nonce;
            if is_own && other.state == WorkerState::Dead {
                return Err(Rejection::WorkerSuperseded { instance: instance() });
            }
            let held = !is_own && other.holds(now) && !planted!(InstanceTakenFromLive);
            if held && !self.take_over {
                let until = other.expires_at;
                return Err(Rejection::WorkerInstanceInUse { instance: instance(), until });
            }
            let expired = other.state != WorkerState::Dead && !other.holds(now);
            if expired && !is_own && !self.take_over {
                // It has expired. If the clock steps back, it is live again.
                window = Window::from(other.expires_at);
            }
        }
        let changed: WorkerChange = Changed::put(self.registered(facts.record, now), ());
        Ok(changed.within(window))
    }
}
