//! The worker agent: when to claim, renew, sweep and give up.

use crate::capability::Capabilities;
use crate::entropy::Entropy;
use crate::execution::Claimed;
use crate::id::{LaneId, Namespace, WorkerId, WorkerInstanceId};
use crate::op::{Loaded, Patience, Rotation, RouteSweep, Terms};
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
    /// How many executions it holds at once.
    pub slots: usize,
    /// How long its leases are good unless they are renewed.
    pub lease_ttl: DurationMs,
    /// On which terms its operations run.
    pub terms: Terms,
    /// The store's partitions.
    pub partitions: PartitionConfig,
}

/// One worker process: its rotation over lanes and partitions, and its leases.
#[derive(Clone, Debug)]
pub struct WorkerAgent {
    profile: WorkerProfile,
    entropy: Entropy,
    /// Where it looks next; `None` while a draw is under way.
    rotation: Option<Rotation>,
    /// Hints that came while a draw was under way.
    hints: Vec<(LaneId, Partition)>,
    /// The leases that it holds.
    pub leases: Leases,
    next_sweep: TimestampMs,
    sweeping: bool,
}

/// Hints that are kept while a draw is under way; a look over all partitions finds the rest.
const MAX_HINTS: usize = 64;

/// The time between two looks at executions that no worker fitted: a second, with jitter.
const SWEEP_MS: u64 = 1_000;

impl WorkerAgent {
    /// A worker that holds nothing yet.
    pub fn new(profile: WorkerProfile, entropy: Entropy) -> Self {
        let rotation = Some(Rotation::new(
            profile.namespace.clone(),
            profile.lanes.clone(),
            profile.partitions,
        ));
        let (hints, leases, next_sweep) = (Vec::new(), Leases::default(), TimestampMs::ZERO);
        Self { profile, entropy, rotation, hints, leases, next_sweep, sweeping: false }
    }

    /// Who it is and what it does.
    pub const fn profile(&self) -> &WorkerProfile {
        &self.profile
    }

    /// Draws up to `count` executions; the caller's free slots. One draw at a time makes a worker
    /// never race itself; what came of it goes to [`WorkerAgent::claimed`].
    pub fn claim(&mut self, count: usize) -> ClaimWork {
        let rotation = self.rotation.take().unwrap_or_else(|| self.new_rotation());
        let profile = &self.profile;
        let ask = OfferTo {
            worker: profile.worker.clone(),
            instance: profile.instance.clone(),
            capabilities: profile.capabilities.clone(),
            lease_ttl: profile.lease_ttl,
            entropy: self.entropy.fork(),
        };
        ClaimWork::new(rotation, ask, count, profile.terms.clone(), self.entropy.fork())
    }

    /// Takes what was drawn into care.
    pub fn claimed(&mut self, work: &mut [ClaimedWork], rotation: Option<Rotation>) {
        let mut rotation = rotation.unwrap_or_else(|| self.new_rotation());
        for (lane, partition) in self.hints.drain(..) {
            rotation.hint(&lane, partition);
        }
        self.rotation = Some(rotation);
        for work in work {
            let record = work.record.take();
            self.leases.track(&work.claimed, record, work.first_sent, work.at);
        }
    }

    /// Takes a lease into care that was claimed under a grant from elsewhere.
    pub fn track(
        &mut self,
        claimed: &Claimed,
        record: Option<Loaded>,
        first_sent: TimestampMs,
        at: TimestampMs,
    ) {
        self.leases.track(claimed, record, first_sent, at);
    }

    /// Notes a hint that a partition has work in a lane.
    pub fn hint(&mut self, lane: &LaneId, partition: Partition) {
        match &mut self.rotation {
            Some(rotation) => rotation.hint(lane, partition),
            None if self.hints.len() < MAX_HINTS => self.hints.push((lane.clone(), partition)),
            None => {}
        }
    }

    fn new_rotation(&self) -> Rotation {
        let profile = &self.profile;
        Rotation::new(profile.namespace.clone(), profile.lanes.clone(), profile.partitions)
    }

    /// The renewals that are due.
    pub fn renewals(&mut self, now: HostTime) -> Vec<Renewal> {
        self.leases.renewals(now, &self.profile.terms, &mut self.entropy)
    }

    /// The look at executions that no worker fitted, when it is due, at once at first: as many as
    /// there are free slots for may go on. What came of it goes to [`WorkerAgent::swept`].
    pub fn sweep(&mut self, now: HostTime) -> Option<RouteSweep> {
        if now.local < self.next_sweep {
            return None;
        }
        let jittered = SWEEP_MS * 3 / 4 + self.entropy.below(SWEEP_MS / 2);
        self.next_sweep = now.local.plus(DurationMs::new(jittered));
        let free = self.profile.slots.saturating_sub(self.leases.len());
        if self.sweeping || free == 0 {
            return None;
        }
        self.sweeping = true;
        Some(RouteSweep::new(
            (self.profile.namespace.clone(), self.profile.lanes.clone()),
            (self.profile.capabilities.clone(), free),
            self.profile.partitions,
            self.profile.terms.clone(),
            self.entropy.fork(),
        ))
    }

    /// Notes that a look at executions that no worker fitted is over.
    pub const fn swept(&mut self) {
        self.sweeping = false;
    }

    /// Patience for one more operation of this worker.
    pub fn patience(&mut self) -> Patience {
        Patience::new(self.profile.terms.clone(), self.entropy.fork())
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
