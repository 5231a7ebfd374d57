//! The worker agent: when to claim, renew, sweep and give up.

use crate::capability::Capabilities;
use crate::entropy::Entropy;
use crate::execution::Claimed;
use crate::id::{LaneId, Namespace, WorkerId, WorkerInstanceId};
use crate::op::{Patience, Rotation, RouteSweep};
use crate::partition::{Partition, PartitionConfig};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::claim_work::{ClaimWork, ClaimedWork, OfferTo};
use super::leases::{Leases, Renewal};

/// Who a worker process is and what it does.
#[derive(Clone, Debug)]
pub struct WorkerProfile {
    /// Whose executions it sees.
    pub namespace: Namespace,
    /// The queues that it draws from, in turn.
    pub lanes: Vec<LaneId>,
    /// The worker.
    pub worker: WorkerId,
    /// The process.
    pub instance: WorkerInstanceId,
    /// What it can do.
    pub capabilities: Capabilities,
    /// How long its leases are good unless they are renewed.
    pub lease_ttl: DurationMs,
    /// How long one of its operations tries.
    pub patience: DurationMs,
    /// The store's partitions.
    pub partitions: PartitionConfig,
}

/// One worker process: its rotation over lanes and partitions, and its leases.
#[derive(Debug)]
pub struct WorkerAgent {
    profile: WorkerProfile,
    entropy: Entropy,
    rotation: Option<Rotation>,
    /// The leases that it holds.
    pub leases: Leases,
    next_sweep: TimestampMs,
}

/// The time between two looks at executions that no worker fitted: a second, with jitter.
const SWEEP_MS: u64 = 1_000;

impl WorkerAgent {
    /// A worker that holds nothing yet.
    pub fn new(profile: WorkerProfile, entropy: Entropy) -> Self {
        let (rotation, leases, next_sweep) = (None, Leases::default(), TimestampMs::ZERO);
        Self { profile, entropy, rotation, leases, next_sweep }
    }

    /// Who it is and what it does.
    pub const fn profile(&self) -> &WorkerProfile {
        &self.profile
    }

    /// Draws up to `count` executions; the caller's free slots. One draw at a time makes a worker
    /// never race itself; what came of it goes to [`WorkerAgent::claimed`].
    pub fn claim(&mut self, count: usize) -> ClaimWork {
        let profile = &self.profile;
        let rotation = self.rotation.take().unwrap_or_else(|| {
            let (namespace, lanes) = (profile.namespace.clone(), profile.lanes.clone());
            Rotation::new(namespace, lanes, profile.partitions)
        });
        let ask = OfferTo {
            worker: profile.worker.clone(),
            instance: profile.instance.clone(),
            capabilities: profile.capabilities.clone(),
            lease_ttl: profile.lease_ttl,
            entropy: self.entropy.fork(),
        };
        ClaimWork::new(rotation, ask, count, profile.patience, self.entropy.fork())
    }

    /// Takes what was drawn into care.
    pub fn claimed(&mut self, work: &[ClaimedWork], rotation: Option<Rotation>) {
        if rotation.is_some() {
            self.rotation = rotation;
        }
        for work in work {
            self.leases.track(&work.claimed, work.first_sent, work.at);
        }
    }

    /// Takes a lease into care that was claimed under a grant from elsewhere.
    pub fn track(&mut self, claimed: &Claimed, first_sent: TimestampMs, at: TimestampMs) {
        self.leases.track(claimed, first_sent, at);
    }

    /// Notes a hint that a partition has work in a lane.
    pub fn hint(&mut self, lane: &LaneId, partition: Partition) {
        let profile = &self.profile;
        let rotation = self.rotation.get_or_insert_with(|| {
            let (namespace, lanes) = (profile.namespace.clone(), profile.lanes.clone());
            Rotation::new(namespace, lanes, profile.partitions)
        });
        rotation.hint(lane, partition);
    }

    /// The renewals that are due.
    pub fn renewals(&mut self, now: HostTime) -> Vec<Renewal> {
        self.leases.renewals(now, &mut self.entropy)
    }

    /// The look at executions that no worker fitted, when it is due: at once at first.
    pub fn sweep(&mut self, now: HostTime) -> Option<RouteSweep> {
        if now.local < self.next_sweep {
            return None;
        }
        let jittered = SWEEP_MS * 3 / 4 + self.entropy.below(SWEEP_MS / 2);
        self.next_sweep = now.local.plus(DurationMs::new(jittered));
        Some(RouteSweep::new(
            self.profile.namespace.clone(),
            self.profile.capabilities.clone(),
            self.profile.partitions,
            self.profile.patience,
            self.entropy.fork(),
        ))
    }

    /// Patience for one more operation of this worker.
    pub fn patience(&mut self) -> Patience {
        Patience::new(self.profile.patience, self.entropy.fork())
    }

    /// Randomness for ids that this worker chooses.
    pub const fn entropy(&mut self) -> &mut Entropy {
        &mut self.entropy
    }

    /// When to ask for renewals, lost leases or a sweep again, by the host's clock.
    pub fn next_wakeup(&self) -> TimestampMs {
        self.leases.next_wakeup().map_or(self.next_sweep, |at| at.min(self.next_sweep))
    }
}
