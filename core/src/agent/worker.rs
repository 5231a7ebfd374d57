//! The worker agent: when to claim, to renew, to unblock executions, and to give up.

use crate::capability::Capabilities;
use crate::entropy::Entropy;
use crate::execution::Claimed;
use crate::id::{LaneId, Namespace, WorkerId, WorkerInstanceId};
use crate::op::{LaneRotation, Loaded, OperationContext, Patience, RouteOffer, UnblockRoutes};
use crate::partition::{Partition, PartitionConfig};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::claim_work::{ClaimWork, ClaimedWork, OfferTo};
use super::leases::{Leases, Renewal};

/// The settings of a worker process.
#[derive(Clone, Debug)]
pub struct WorkerProfile {
    /// The tenant whose executions it sees.
    pub namespace: Namespace,
    /// The lanes (queues) that it claims from, in turn.
    pub lanes: Vec<LaneId>,
    /// The worker.
    pub worker: WorkerId,
    /// The process.
    pub instance: WorkerInstanceId,
    /// Its capabilities.
    pub capabilities: Capabilities,
    /// How many executions it may hold at a time.
    pub slots: usize,
    /// How long its leases are good unless they are renewed.
    pub lease_ttl: DurationMs,
    /// The context of its operations.
    pub context: OperationContext,
    /// The store's partitions.
    pub partitions: PartitionConfig,
}

/// One worker process: its rotation over lanes and partitions, and its leases.
#[derive(Clone, Debug)]
pub struct WorkerAgent {
    profile: WorkerProfile,
    entropy: Entropy,
    /// Where it looks next; `None` while a claim is under way.
    rotation: Option<LaneRotation>,
    /// Hints that were received while a claim was under way.
    hints: Vec<(LaneId, Partition)>,
    /// The leases that it holds.
    pub leases: Leases,
    next_unblock: TimestampMs,
    unblocking: bool,
}

/// Hints that are kept while a claim is under way; a look over all partitions finds the rest.
const MAX_HINTS: usize = 64;

/// The time between two looks for executions that no worker fitted: a second, with jitter.
const UNBLOCK_EVERY_MS: u64 = 1_000;

impl WorkerAgent {
    /// A worker that holds nothing yet.
    pub fn new(profile: WorkerProfile, entropy: Entropy) -> Self {
        let rotation = Some(LaneRotation::new(
            profile.namespace.clone(),
            profile.lanes.clone(),
            profile.partitions,
        ));
        let (hints, leases, next_unblock) = (Vec::new(), Leases::default(), TimestampMs::ZERO);
        Self { profile, entropy, rotation, hints, leases, next_unblock, unblocking: false }
    }

    /// Its settings.
    pub const fn profile(&self) -> &WorkerProfile {
        &self.profile
    }

    /// Claims up to `count` executions, the caller's free slots. The caller makes one claim at a
    /// time, so that a worker never races itself; the result goes to [`WorkerAgent::claimed`].
    pub fn claim(&mut self, count: usize) -> ClaimWork {
        let rotation = self.rotation.take().unwrap_or_else(|| self.new_rotation());
        let profile = &self.profile;
        let offer = OfferTo {
            worker: profile.worker.clone(),
            instance: profile.instance.clone(),
            capabilities: profile.capabilities.clone(),
            lease_ttl: profile.lease_ttl,
            entropy: self.entropy.fork(),
        };
        ClaimWork::new(rotation, offer, count, profile.context.clone(), self.entropy.fork())
    }

    /// Notes the result of a claim: its leases are renewed from now on.
    pub fn claimed(&mut self, work: &mut [ClaimedWork], rotation: Option<LaneRotation>) {
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

    /// Notes a lease that was claimed under a grant from elsewhere: it is renewed from now on.
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

    fn new_rotation(&self) -> LaneRotation {
        let profile = &self.profile;
        LaneRotation::new(profile.namespace.clone(), profile.lanes.clone(), profile.partitions)
    }

    /// The renewals that are due.
    pub fn renewals(&mut self, now: HostTime) -> Vec<Renewal> {
        self.leases.renewals(now, &self.profile.context, &mut self.entropy)
    }

    /// The look for executions that no worker fitted, if one is due; the first one is due
    /// immediately. It unblocks as many as there are free slots. When it is over the caller calls
    /// [`WorkerAgent::unblocked`].
    pub fn unblock_routes(&mut self, now: HostTime) -> Option<UnblockRoutes> {
        if now.local < self.next_unblock {
            return None;
        }
        let jittered = UNBLOCK_EVERY_MS * 3 / 4 + self.entropy.below(UNBLOCK_EVERY_MS / 2);
        self.next_unblock = now.local.plus(DurationMs::new(jittered));
        let free = self.profile.slots.saturating_sub(self.leases.len());
        if self.unblocking || free == 0 {
            return None;
        }
        self.unblocking = true;
        let profile = &self.profile;
        let offer = RouteOffer {
            namespace: profile.namespace.clone(),
            lanes: profile.lanes.clone(),
            capabilities: profile.capabilities.clone(),
            free_slots: free,
        };
        let (context, entropy) = (profile.context.clone(), self.entropy.fork());
        Some(UnblockRoutes::new(offer, profile.partitions, context, entropy))
    }

    /// Notes that a look for executions that no worker fitted is over.
    pub const fn unblocked(&mut self) {
        self.unblocking = false;
    }

    /// Patience for one more operation of this worker.
    pub fn patience(&mut self) -> Patience {
        Patience::new(self.profile.context.clone(), self.entropy.fork())
    }

    /// Randomness for ids that this worker chooses.
    pub const fn entropy(&mut self) -> &mut Entropy {
        &mut self.entropy
    }

    /// When to ask again for renewals, lost leases or a look for blocked executions, by the host's
    /// clock.
    pub fn next_wakeup(&self) -> TimestampMs {
        self.leases.next_wakeup().map_or(self.next_unblock, |at| at.min(self.next_unblock))
    }
}
