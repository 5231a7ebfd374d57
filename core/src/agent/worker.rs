//! The worker agent: when to claim, to renew, and to give up.

use crate::capability::Capabilities;
use crate::entropy::Entropy;
use crate::execution::Claimed;
use crate::id::{LaneId, Namespace, WorkerId, WorkerInstanceId};
use crate::kinds::Kinds;
use crate::op::{Loaded, OperationContext, Patience, ReadyQueues};
use crate::partition::PartitionConfig;
use crate::store::Wake;
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::claim_work::{ClaimWork, Claimant, ClaimedWork};
use super::claimer::{Claimer, Served};
use super::leases::{Leases, Renewal};

/// The settings of a worker process.
#[derive(Clone, Debug)]
pub struct WorkerProfile {
    /// The tenant whose executions it sees.
    pub namespace: Namespace,
    /// The lanes (queues) that it claims from, in turn.
    pub lanes: Vec<LaneId>,
    /// The kinds that it serves.
    pub kinds: Kinds,
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

impl WorkerProfile {
    /// The lanes, kinds and capabilities of the worker.
    pub fn served(&self) -> Served {
        Served {
            namespace: self.namespace.clone(),
            lanes: self.lanes.clone(),
            kinds: self.kinds.clone(),
            capabilities: self.capabilities.clone(),
        }
    }

    /// The worker, with its free slots.
    pub fn claimant(&self, count: usize) -> Claimant {
        Claimant {
            worker: self.worker.clone(),
            instance: self.instance.clone(),
            lease_ttl: self.lease_ttl,
            count,
        }
    }
}

/// One worker process: the queues that it knows, and its leases.
#[derive(Clone, Debug)]
pub struct WorkerAgent {
    profile: WorkerProfile,
    entropy: Entropy,
    /// Where it looks next.
    claimer: Claimer,
    /// The leases that it holds.
    pub leases: Leases,
}

impl WorkerAgent {
    /// A worker that holds nothing yet.
    pub fn new(profile: WorkerProfile, mut entropy: Entropy) -> Self {
        let (context, partitions) = (profile.context.clone(), profile.partitions);
        let (look_every, entropy_of_claims) = (DurationMs::from_secs(1), entropy.fork());
        let claimer =
            Claimer::new(profile.served(), partitions, context, look_every, entropy_of_claims);
        Self { profile, entropy, claimer, leases: Leases::default() }
    }

    /// Serves only these kinds from now on.
    pub fn serve(&mut self, kinds: Kinds) {
        self.profile.kinds = kinds.clone();
        self.claimer.serve(kinds);
    }

    /// Its settings.
    pub const fn profile(&self) -> &WorkerProfile {
        &self.profile
    }

    /// Claims up to `count` executions, the caller's free slots. The caller makes one claim at a
    /// time, so that a worker never races itself; the result goes to [`WorkerAgent::claimed`].
    pub fn claim(&mut self, count: usize) -> ClaimWork {
        self.claimer.claim(vec![self.profile.claimant(count)], false)
    }

    /// Notes the result of a claim: its leases are renewed from now on.
    pub fn claimed(&mut self, work: &mut [ClaimedWork], queues: Option<ReadyQueues>) {
        self.claimer.claimed(queues);
        work.iter_mut().for_each(|work| self.track_work(work));
    }

    /// Notes work that was claimed for this worker: its lease is renewed from now on.
    pub fn track_work(&mut self, work: &mut ClaimedWork) {
        let record = work.record.take();
        self.leases.track(&work.claimed, record, work.first_sent, work.at);
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

    /// Notes a wake-up of a lane, or of the executions that no worker fitted; `None` means that
    /// wake-ups may have been missed.
    pub fn wake(&mut self, wake: Option<&Wake>) {
        self.claimer.wake(wake);
    }

    /// The renewals that are due.
    pub fn renewals(&mut self, now: HostTime) -> Vec<Renewal> {
        self.leases.renewals(now, &self.profile.context, &mut self.entropy)
    }

    /// Patience for one more operation of this worker.
    pub fn patience(&mut self) -> Patience {
        Patience::new(self.profile.context.clone(), self.entropy.fork())
    }

    /// Randomness for ids that this worker chooses.
    pub const fn entropy(&mut self) -> &mut Entropy {
        &mut self.entropy
    }
}
