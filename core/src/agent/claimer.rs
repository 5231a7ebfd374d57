//! The claimer: where the workers of a process that serve the same lanes find their next work.

use crate::capability::Capabilities;
use crate::entropy::Entropy;
use crate::id::{LaneId, Namespace};
use crate::kinds::Kinds;
use crate::op::{OperationContext, ReadyQueues};
use crate::partition::PartitionConfig;
use crate::store::Wake;
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::claim_work::{ClaimWork, Claimant, OfferTo};

/// The lanes, kinds and capabilities of workers that claim together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Served {
    /// The tenant whose executions they see.
    pub namespace: Namespace,
    /// The lanes (queues) that they claim from, in turn.
    pub lanes: Vec<LaneId>,
    /// The kinds that they serve.
    pub kinds: Kinds,
    /// Their capabilities.
    pub capabilities: Capabilities,
}

impl Served {
    /// Their queues, none of them with known work.
    pub(super) fn queues(&self, partitions: PartitionConfig) -> ReadyQueues {
        let Self { namespace, lanes, kinds, .. } = self;
        ReadyQueues::new(namespace.clone(), lanes.clone(), kinds.clone(), partitions)
    }
}

/// Claims for all workers of a process that serve the same: one look over the partitions, one take
/// and one commit serve all of them.
#[derive(Clone, Debug)]
pub struct Claimer {
    served: Served,
    context: OperationContext,
    partitions: PartitionConfig,
    entropy: Entropy,
    /// Where it looks next; `None` while a claim is under way.
    queues: Option<ReadyQueues>,
    /// Wake-ups that were received while a claim was under way.
    wakes: Vec<Option<Wake>>,
    /// The longest time between two looks while there is no work.
    look_every: DurationMs,
    next_look: TimestampMs,
}

/// The longest time between two looks of a process of a fleet.
const LONGEST: DurationMs = DurationMs::from_secs(60);
/// Wake-ups that are kept while a claim is under way; a look over all partitions finds the rest.
const MAX_WAKES: usize = 64;

impl Claimer {
    /// A claimer that knows of no work yet, and looks for some at least this often.
    pub fn new(
        served: Served,
        partitions: PartitionConfig,
        context: OperationContext,
        look_every: DurationMs,
        entropy: Entropy,
    ) -> Self {
        let (queues, wakes, next_look) = (None, Vec::new(), TimestampMs::ZERO);
        Self { served, context, partitions, entropy, queues, wakes, look_every, next_look }
    }

    /// Claims executions for some workers. The caller makes one claim at a time, so that the
    /// workers never compete with each other; the queues go to [`Claimer::claimed`]. If it knows of
    /// no work, the claim looks over all partitions; after a wake-up (`is_woken`) only if the last
    /// look was more than a second ago, since another worker has taken that entry.
    pub fn claim(&mut self, claimants: Vec<Claimant>, is_woken: bool) -> ClaimWork {
        let mut queues = self.queues.take().unwrap_or_else(|| self.new_queues());
        queues.set_rests(is_woken);
        let capabilities = self.served.capabilities.clone();
        let offer = OfferTo::new(claimants, capabilities, self.entropy.fork());
        ClaimWork::new(queues, offer, self.context.clone(), self.entropy.fork())
    }

    /// Notes that a claim is over.
    pub fn claimed(&mut self, queues: Option<ReadyQueues>) {
        let mut queues = queues.unwrap_or_else(|| self.new_queues());
        for wake in self.wakes.drain(..) {
            queues.note(wake.as_ref());
        }
        self.queues = Some(queues);
    }

    /// Notes a wake-up of a lane, or of the executions that no worker fitted; `None` means that
    /// wake-ups may have been missed.
    pub fn wake(&mut self, wake: Option<&Wake>) {
        match &mut self.queues {
            Some(queues) => queues.note(wake),
            None if self.wakes.len() < MAX_WAKES => self.wakes.push(wake.cloned()),
            None => {}
        }
    }

    /// Serves only these kinds from now on.
    pub fn serve(&mut self, kinds: Kinds) {
        self.served.kinds = kinds;
        self.queues = None;
    }

    /// Whether it knows of work that is left.
    pub fn knows_work(&self, now: HostTime) -> bool {
        self.queues.as_ref().is_some_and(|queues| queues.knows_work(now))
    }

    /// When one of the workers without work has to claim again, by the host's clock.
    pub fn next_look(&mut self, now: HostTime) -> TimestampMs {
        if self.next_look == TimestampMs::ZERO {
            self.next_look = now.local.plus(self.look_every);
        }
        let blocked = self.queues.as_ref().and_then(ReadyQueues::next_blocked_at);
        blocked.map_or(self.next_look, |at| at.min(self.next_look))
    }

    /// Whether it is time for one of the workers without work to claim again. If so, the next time
    /// is later: one of them looks for all.
    pub fn begins_look(&mut self, now: HostTime) -> bool {
        let begins = now.local >= self.next_look;
        if begins {
            self.next_look = now.local.plus(self.interval());
        }
        begins || self.knows_work(now)
    }

    /// The time between two looks of this process: the more programs serve a lane, the less often
    /// each of them looks, so that a fleet of any size costs the store the same.
    fn interval(&self) -> DurationMs {
        let programs = self.queues.as_ref().map_or(1, ReadyQueues::programs);
        let shared = DurationMs::new(self.look_every.get().saturating_mul(programs));
        shared.min(LONGEST).max(self.look_every)
    }

    fn new_queues(&self) -> ReadyQueues {
        self.served.queues(self.partitions)
    }
}
