//! One round of the timekeeper: find due timers, apply them, and report the next due time.

use std::collections::VecDeque;

use crate::entropy::Entropy;
use crate::error::{Applied, EngineError};
use crate::execution::{DueKind, OnDue};
use crate::op::context::OperationContext;
use crate::op::loaded::{Loaded, other_reply};
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::{HOLD, Patience, TAKE_WITHIN};
use crate::partition::{Partition, PartitionConfig};
use crate::score::Score;
use crate::store::bounds::{MAX_PAGE_BYTES, MAX_UNITS};
use crate::store::{
    Firsts, IndexName, Poll, PollOf, Reply, ReplyBody, Request, Take, TakeUntil, Taken,
};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::clear_signals::ClearSignals;
use super::fetched::{FetchedEntries, Page};
use super::restore_timers::{RestoreTimers, SteppedBack};
use super::store_clocks::StoreClocks;

/// Takes everything that is due in all partitions and applies it.
#[derive(Clone, Debug)]
pub struct ApplyDue {
    config: PartitionConfig,
    entropy: Entropy,
    patience: Patience,
    context: OperationContext,
    /// Partitions that have due entries.
    ready: VecDeque<Partition>,
    clocks: Option<StoreClocks>,
    doing: Doing,
    report: DueReport,
}

#[derive(Clone, Debug, Default)]
enum Doing {
    #[default]
    Nothing,
    Polling,
    Taking(Partition),
    Applying(FetchedEntries<OnDue>),
    Clearing(Box<ClearSignals>),
    Restoring(Box<RestoreTimers>),
}

/// The result of a round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DueReport {
    /// The steps that were applied, in the order in which the partitions were visited.
    pub applied: Vec<DueKind>,
    /// Entries whose record could not be read.
    pub unreadable: usize,
    /// Entries that could not be decided on; they are found again when their hold is over.
    pub failed: usize,
    /// The earliest time, by the host's own clock, at which something known is due. It is counted
    /// from the replies that showed it, so that a wrong estimate of the store's clock costs
    /// nothing.
    pub next_due: Option<TimestampMs>,
    /// The clocks of the store, for the next round, if this one has compared them.
    pub clocks: Option<StoreClocks>,
}

const OP: &str = "apply_due";

impl ApplyDue {
    /// A round over all partitions by itself, which compares no clocks.
    pub fn new(config: PartitionConfig, context: OperationContext, mut entropy: Entropy) -> Self {
        let patience = Patience::new(context.clone(), entropy.fork());
        let (ready, doing, report) = (VecDeque::new(), Doing::Nothing, DueReport::default());
        Self { config, entropy, patience, context, ready, clocks: None, doing, report }
    }

    /// The same round, which compares the store's clocks with what earlier rounds have read.
    #[must_use]
    pub fn comparing(self, clocks: StoreClocks) -> Self {
        Self { clocks: Some(clocks), ..self }
    }

    fn poll(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        self.patience.begin(now);
        self.doing = Doing::Polling;
        let partitions = self.config.flow_partitions().collect();
        Step::Send(Request::Poll(Poll { of: PollOf::Index(IndexName::Due), partitions }))
    }

    fn next(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        if let Err(error) = self.context.check_store() {
            return Step::fail(error);
        }
        let next = self.ready.front().copied();
        if next.is_some() && self.patience.left(now) == DurationMs::ZERO {
            // More is due than one round may do.
            self.knows_of(DurationMs::ZERO, now);
            return self.end();
        }
        let Some(partition) = next else { return self.restore(now) };
        self.doing = Doing::Taking(partition);
        Step::Send(Request::Take(Take {
            partition,
            from: vec![IndexName::Due],
            count: MAX_UNITS as u32,
            bytes: MAX_PAGE_BYTES,
            until: TakeUntil::Now,
            hold: HOLD,
            ring_rest: false,
        }))
    }

    /// Corrects the timers of the partitions whose clock has stepped back, if it is time to.
    fn restore(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        let begins = |partition: &mut SteppedBack| partition.begins(now);
        let clocks = self.clocks.as_mut();
        let begun: VecDeque<_> = clocks
            .map(|clocks| clocks.stepped_back.extract_if(.., begins).collect())
            .unwrap_or_default();
        if begun.is_empty() {
            return self.end();
        }
        let context = self.context.within(self.patience.left(now));
        let restore = RestoreTimers::new(begun, context, self.entropy.fork());
        self.doing = Doing::Restoring(Box::new(restore));
        self.resume(Event::Start, now)
    }

    fn end(&mut self) -> Step<<Self as Operation>::Output> {
        self.report.clocks = self.clocks.take();
        Step::Done(Ok(std::mem::take(&mut self.report)))
    }

    fn knows_of(&mut self, left: DurationMs, now: HostTime) {
        let due = now.local.plus(left);
        let earliest = self.report.next_due.map_or(due, |known| known.min(due));
        self.report.next_due = Some(earliest);
    }

    /// Notes the partitions that have due entries, beginning with a random one, and when something
    /// is due in the others.
    fn polled(&mut self, firsts: &[Result<Firsts, String>], now: HostTime) {
        let count = firsts.len();
        let offset = self.entropy.below(count as u64) as usize;
        for step in 0..count {
            let index = (offset + step) % count;
            let Ok(firsts) = &firsts[index] else { continue };
            let (at, score) = (firsts.at, firsts.score());
            let partition = Partition::flow(index as u16);
            if let Some(clocks) = &mut self.clocks {
                clocks.note(partition, at, now, &mut self.entropy);
            }
            match score.map(Score::instant) {
                Some(due) if due <= at => self.ready.push_back(partition),
                Some(due) => self.knows_of(due.since(at), now),
                None => {}
            }
        }
    }

    fn taken(
        &mut self,
        taken: &Taken,
        partition: Partition,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        match taken.rest.first().copied().flatten().map(Score::instant) {
            Some(due) if due <= at => {}
            Some(due) => {
                self.ready.pop_front();
                self.knows_of(due.since(at), now);
            }
            None => drop(self.ready.pop_front()),
        }
        let entries: Vec<_> =
            taken.entries.iter().map(|taken| (&IndexName::Due, &taken.entry)).collect();
        let page = Page { partition, entries: &entries, at };
        let on_due = |loaded: &Loaded, _| Some(OnDue { execution_id: loaded.execution.id });
        let fetched = FetchedEntries::new(page, &self.context, &mut self.entropy, on_due);
        self.report.unreadable += fetched.unreadable;
        self.doing = Doing::Applying(fetched);
        self.resume(Event::Start, now)
    }

    fn applied(
        &mut self,
        results: <FetchedEntries<OnDue> as Operation>::Output,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        let mut forgetful = VecDeque::new();
        for result in results {
            match result {
                Ok(committed) => {
                    let record = committed.record.filter(|_| committed.outcome.forgets);
                    forgetful.extend(record.map(|loaded| loaded.execution.id));
                    self.report.applied.extend(committed.outcome.applied);
                }
                // Another program removed the execution, so that nothing is due any more.
                Err(EngineError::NotFound { .. }) => {}
                Err(_) => self.report.failed += 1,
            }
        }
        if forgetful.is_empty() {
            self.doing = Doing::Nothing;
            return self.next(now);
        }
        let context = self.context.within(self.patience.left(now));
        let clear = ClearSignals::new(forgetful, context, self.entropy.fork());
        self.doing = Doing::Clearing(Box::new(clear));
        self.resume(Event::Start, now)
    }

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<<Self as Operation>::Output> {
        match (std::mem::take(&mut self.doing), reply.body) {
            (Doing::Polling, ReplyBody::Poll(firsts))
                if firsts.len() == self.config.flow_partitions().count() =>
            {
                self.polled(&firsts, now);
                self.next(now)
            }
            (Doing::Taking(partition), ReplyBody::Take(taken)) => {
                self.taken(&taken, partition, reply.at, now)
            }
            (_, ReplyBody::OverBound(over)) => Step::fail(over),
            _ => self.resume(Event::Failure(other_reply(OP)), now),
        }
    }
}

impl Operation for ApplyDue {
    /// `NewerFormat` once the program has met a record that it is too old to read: it takes no
    /// more, and others get what it would have taken.
    type Output = Result<DueReport, EngineError>;

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        match &self.doing {
            Doing::Applying(fetched) => fetched.reply_within(now),
            Doing::Taking(_) => Some(TAKE_WITHIN),
            _ => None,
        }
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        match (&mut self.doing, event) {
            (Doing::Applying(fetched), event) => {
                fetched.resume(event, now).then(|results| self.applied(results, now))
            }
            (Doing::Clearing(clear), event) => clear.resume(event, now).then(|()| {
                self.doing = Doing::Nothing;
                self.next(now)
            }),
            (Doing::Restoring(restore), event) => restore.resume(event, now).then(|left| {
                self.doing = Doing::Nothing;
                self.clocks.iter_mut().for_each(|clocks| clocks.stepped_back.extend(&left));
                self.end()
            }),
            (_, Event::Start) => self.poll(now),
            (_, Event::Reply(reply)) => self.on_reply(reply, now),
            (_, Event::Failure(failure)) => {
                if let Doing::Taking(_) = std::mem::take(&mut self.doing) {
                    // Its entries return after the hold; others may be due meanwhile.
                    self.ready.pop_front();
                }
                Step::retry(self.patience.after_failure(OP, &failure, Applied::No, now))
            }
            (_, Event::Wake) if self.ready.is_empty() => self.poll(now),
            (_, Event::Wake) => self.next(now),
        }
    }
}
