//! Claiming work for a worker: grant and claim in one commit, payload included.

use crate::capability::Capabilities;
use crate::entropy::Entropy;
use crate::error::{EngineError, Rejection};
use crate::execution::{Claim, Claimed, Execution, Offer, Offered, Renew, Renewed};
use crate::id::{AttemptId, GrantId, LeaseId, WorkerId, WorkerInstanceId};
use crate::op::{
    Batch, CarryCommand, Committed, Event, HeldBack, Loaded, Operation, OperationContext, Patience,
    Query, ReadyQueues, Step, TakeFromLane, TakenFromLane, Taker,
};
use crate::store::{Bytes, Fetched, Read, ValueKey, Values};
use crate::time::{DurationMs, HostTime, TimestampMs};

/// A worker that takes executions, and how many.
#[derive(Clone, Debug)]
pub struct Claimant {
    /// The worker.
    pub worker: WorkerId,
    /// Its process.
    pub instance: WorkerInstanceId,
    /// How long its leases are good unless they are renewed.
    pub lease_ttl: DurationMs,
    /// How many executions it takes at most.
    pub count: usize,
}

/// Offers the entries that were taken to workers with the same capabilities, one worker after the
/// other.
#[derive(Clone, Debug)]
pub struct OfferTo {
    claimants: Vec<Claimant>,
    /// How many more executions each of them takes.
    left: Vec<usize>,
    capabilities: Capabilities,
    /// Draws the ids of grants, leases and attempts.
    entropy: Entropy,
    /// The leases that were offered, each with the number of its claimant.
    offered: Vec<(LeaseId, usize)>,
}

impl OfferTo {
    /// Offers to these workers.
    pub fn new(claimants: Vec<Claimant>, capabilities: Capabilities, entropy: Entropy) -> Self {
        let left = claimants.iter().map(|claimant| claimant.count).collect();
        Self { claimants, left, capabilities, entropy, offered: Vec::new() }
    }

    fn count(&self) -> usize {
        self.left.iter().sum()
    }

    /// The number of the worker that a lease was offered to.
    fn claimant_of(&self, lease: LeaseId) -> usize {
        let offered = self.offered.iter().rev().find(|(offered, _)| *offered == lease);
        offered.map_or(0, |(_, number)| *number)
    }
}

impl Taker for OfferTo {
    type Command = Offer;

    fn command(&mut self, record: &Loaded) -> Option<Offer> {
        let number = self.left.iter().position(|left| *left > 0)?;
        let claimant = &self.claimants[number];
        self.left[number] -= 1;
        let lease_id = LeaseId::random(&mut self.entropy);
        self.offered.push((lease_id, number));
        Some(Offer {
            claim: Claim {
                execution_id: record.execution.id,
                grant_id: GrantId::random(&mut self.entropy),
                worker: claimant.worker.clone(),
                instance: claimant.instance.clone(),
                lane: None,
                lease_id,
                attempt_id: AttemptId::random(&mut self.entropy),
                lease_ttl: claimant.lease_ttl,
            },
            capabilities: self.capabilities.clone(),
        })
    }

    fn fits(&self, execution: &Execution) -> bool {
        execution.requires.satisfied_by(&self.capabilities)
    }

    fn keeps(outcome: &Offered) -> bool {
        matches!(outcome, Offered::Claimed(_))
    }

    fn held_by(outcome: &Offered) -> Option<&Rejection> {
        match outcome {
            Offered::BlockedByRoute(why) | Offered::HeldByLimit(why) => Some(why),
            _ => None,
        }
    }

    fn kept_none(&mut self) {
        self.left = self.claimants.iter().map(|claimant| claimant.count).collect();
    }
}

/// An execution that a worker holds and may start.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimedWork {
    /// The number of the worker that it was claimed for.
    pub claimant: usize,
    /// The claim.
    pub claimed: Claimed,
    /// The payload that the submitter passed.
    pub payload: Option<Bytes>,
    /// The record after the claim, until the agent takes it.
    pub record: Option<Loaded>,
    /// When the claim or the renewal that confirmed it was first sent, by the host's clock.
    pub first_sent: TimestampMs,
    /// The store's clock when it answered.
    pub at: TimestampMs,
}

/// Takes executions from lanes and claims them. A claim that was recognised as a repeat may have
/// lost much of its lease: it is renewed before work starts.
#[derive(Clone, Debug)]
pub struct ClaimWork {
    context: OperationContext,
    entropy: Entropy,
    doing: Doing,
    /// The claims, each with whether it was recognised as a repeat.
    work: Vec<(ClaimedWork, bool)>,
    /// The claims whose payload has to be read, by their number.
    missing: Vec<usize>,
    queues: Option<ReadyQueues>,
    held: Vec<HeldBack>,
}

#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // One for each operation.
enum Doing {
    Taking(TakeFromLane<OfferTo>),
    Fetching(Query<(Values, TimestampMs)>),
    Confirming(Batch<Renew>),
}

/// The result of a claim.
#[derive(Clone, Debug, Default)]
pub struct DrawnWork {
    /// The executions that may be started.
    pub work: Vec<ClaimedWork>,
    /// The queues, for the next claim.
    pub queues: Option<ReadyQueues>,
    /// The executions that were set aside, since they may not start now.
    pub held: Vec<HeldBack>,
}

type Output = Result<DrawnWork, EngineError>;

impl ClaimWork {
    /// Claims executions for some workers.
    pub fn new(
        queues: ReadyQueues,
        offer: OfferTo,
        context: OperationContext,
        mut entropy: Entropy,
    ) -> Self {
        let count = offer.count();
        let take = TakeFromLane::new(queues, offer, count, context.clone(), entropy.fork());
        let doing = Doing::Taking(take);
        let (work, missing) = (Vec::new(), Vec::new());
        Self { context, entropy, doing, work, missing, queues: None, held: Vec::new() }
    }

    fn taken(&mut self, taken: TakenFromLane<OfferTo>, now: HostTime) -> Step<Output> {
        self.queues = Some(taken.queues);
        self.held = taken.held;
        for committed in taken.kept {
            self.keep(committed);
        }
        self.fetch(now)
    }

    fn keep(&mut self, committed: Committed<Offered>) {
        let Offered::Claimed(claimed) = committed.outcome else { return };
        let payload = match committed.values.into_iter().next() {
            Some(Fetched::Value(payload)) => Some(payload),
            Some(Fetched::Deferred) => {
                self.missing.push(self.work.len());
                None
            }
            Some(Fetched::Absent) | None => None,
        };
        let (claimed, first_sent, at) = (*claimed, committed.first_sent, committed.at);
        let (record, repeat) = (committed.record, committed.repeat);
        let claimant = match &self.doing {
            Doing::Taking(take) => take.taker().claimant_of(claimed.lease_id),
            Doing::Fetching(_) | Doing::Confirming(_) => 0,
        };
        let work = ClaimedWork { claimant, claimed, payload, record, first_sent, at };
        self.work.push((work, repeat));
    }

    /// Reads the payloads that did not fit into the reply of the claim.
    fn fetch(&mut self, now: HostTime) -> Step<Output> {
        let id = |number: &usize| self.work[*number].0.claimed.execution_id;
        let Some(first) = self.missing.first().map(id) else {
            return self.confirm(now);
        };
        let values = self.missing.iter().map(|n| ValueKey::Payload(id(n).uuid())).collect();
        let read = Read { partition: first.partition(), records: Vec::new(), values };
        let query = Query::read(read, Patience::new(self.context.clone(), self.entropy.fork()));
        self.doing = Doing::Fetching(query);
        self.resume(Event::Start, now)
    }

    fn fetched(&mut self, values: Option<Vec<Fetched>>, now: HostTime) -> Step<Output> {
        let missing = std::mem::take(&mut self.missing);
        let Some(values) = values else {
            // An execution that cannot be started without its payload is reclaimed in time.
            for number in missing.into_iter().rev() {
                self.work.remove(number);
            }
            return self.confirm(now);
        };
        for (number, value) in missing.into_iter().zip(values) {
            match value {
                Fetched::Value(payload) => self.work[number].0.payload = Some(payload),
                Fetched::Deferred => self.missing.push(number),
                Fetched::Absent => {}
            }
        }
        self.fetch(now)
    }

    /// Renews the claims that were recognised as repeats.
    fn confirm(&mut self, now: HostTime) -> Step<Output> {
        let repeats = || self.work.iter().filter(|(_, repeat)| *repeat).map(|(work, _)| work);
        let Some(partition) = repeats().next().map(|work| work.claimed.execution_id.partition())
        else {
            return self.end();
        };
        let mut entropy = self.entropy.fork();
        let renewals = repeats().map(|work| {
            let claimed = &work.claimed;
            let (execution_id, lease_ttl) = (claimed.execution_id, claimed.lease_ttl);
            let command = Renew { execution_id, fence: claimed.fence().into(), lease_ttl };
            CarryCommand::new(command, Patience::new(self.context.clone(), entropy.fork()))
        });
        self.doing = Doing::Confirming(Batch::new(partition, renewals.collect()));
        self.resume(Event::Start, now)
    }

    fn confirmed(&mut self, results: Vec<Result<Committed<Renewed>, EngineError>>) -> Step<Output> {
        let mut results = results.into_iter();
        self.work.retain_mut(|(work, repeat)| {
            if !*repeat {
                return true;
            }
            // An execution whose claim cannot be confirmed is not started; it is reclaimed in time.
            let Some(Ok(renewed)) = results.next() else { return false };
            work.claimed.expires_at = renewed.outcome.expires_at;
            work.record = renewed.record;
            (work.first_sent, work.at) = (renewed.first_sent, renewed.at);
            true
        });
        self.end()
    }

    fn end(&mut self) -> Step<Output> {
        let work = std::mem::take(&mut self.work).into_iter().map(|(work, _)| work).collect();
        let (queues, held) = (self.queues.take(), std::mem::take(&mut self.held));
        Step::Done(Ok(DrawnWork { work, queues, held }))
    }
}

impl Operation for ClaimWork {
    type Output = Output;

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        match &self.doing {
            Doing::Taking(take) => take.reply_within(now),
            Doing::Fetching(query) => query.reply_within(now),
            Doing::Confirming(batch) => batch.reply_within(now),
        }
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Output> {
        match &mut self.doing {
            Doing::Taking(take) => take.resume(event, now).then_ok(|taken| self.taken(taken, now)),
            Doing::Fetching(query) => query
                .resume(event, now)
                .then(|read| self.fetched(read.ok().map(|(values, _)| values.values), now)),
            Doing::Confirming(batch) => {
                batch.resume(event, now).then(|results| self.confirmed(results))
            }
        }
    }
}
