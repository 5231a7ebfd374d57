//! One round of the timekeeper: find what is due, apply it, tell when the next thing is.

use std::collections::VecDeque;

use crate::entropy::Entropy;
use crate::error::{Applied, Bug, EngineError};
use crate::execution::{DueKind, OnDue};
use crate::partition::{Partition, PartitionConfig};
use crate::score::Score;
use crate::store::bounds::MAX_UNITS;
use crate::store::{Failure, IndexName, Poll, Reply, ReplyBody, Request, Take, TakeUntil, Taken};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::draw::HOLD;
use super::handed::Handed;
use super::operation::{Operation, Step};
use super::retry::Patience;
use super::unit::Loaded;

/// Takes whatever is due in all partitions and applies it.
#[derive(Debug)]
pub struct Tick {
    config: PartitionConfig,
    entropy: Entropy,
    patience: Patience,
    allowed: DurationMs,
    /// Partitions that have due entries.
    ready: VecDeque<Partition>,
    doing: Doing,
    report: TickReport,
}

#[derive(Debug)]
enum Doing {
    Nothing,
    Polling,
    Taking(Partition),
    Applying(Handed<OnDue>),
}

/// What a round did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TickReport {
    /// What was applied, in the order of the partitions that were visited.
    pub applied: Vec<DueKind>,
    /// Entries whose record could not be read.
    pub unreadable: usize,
    /// Entries that could not be decided on; they are found again when their hold is over.
    pub failed: usize,
    /// The earliest time, by the store's clock, at which something known is due.
    pub next_due: Option<TimestampMs>,
}

const OP: &str = "tick";

impl Tick {
    /// A round over all partitions, within `allowed`.
    pub fn new(config: PartitionConfig, allowed: DurationMs, mut entropy: Entropy) -> Self {
        let patience = Patience::new(allowed, entropy.fork());
        let (ready, doing, report) = (VecDeque::new(), Doing::Nothing, TickReport::default());
        Self { config, entropy, patience, allowed, ready, doing, report }
    }

    fn next(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        match self.ready.front().copied() {
            Some(partition) if self.patience.left(now) > DurationMs::ZERO => {
                self.doing = Doing::Taking(partition);
                Step::Send(Request::Take(Take {
                    partition,
                    index: IndexName::Due,
                    count: MAX_UNITS as u32,
                    until: TakeUntil::Now,
                    hold: HOLD,
                }))
            }
            Some(_) => {
                // More is due than one round may do.
                self.knows_of(now.store);
                Step::Done(Ok(std::mem::take(&mut self.report)))
            }
            None => Step::Done(Ok(std::mem::take(&mut self.report))),
        }
    }

    fn knows_of(&mut self, due: TimestampMs) {
        let earliest = self.report.next_due.map_or(due, |known| known.min(due));
        self.report.next_due = Some(earliest);
    }

    /// Notes what is due, from a random partition on, and when the rest will be.
    fn polled(&mut self, scores: &[Result<Option<Score>, String>], at: TimestampMs) {
        let count = scores.len();
        let offset = self.entropy.below(count as u64) as usize;
        for step in 0..count {
            let index = (offset + step) % count;
            match scores[index] {
                Ok(Some(due)) if due.instant() <= at => {
                    self.ready.push_back(Partition::flow(index as u16));
                }
                Ok(Some(due)) => self.knows_of(due.instant()),
                Ok(None) | Err(_) => {}
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
        if taken.rest.is_none() {
            self.ready.pop_front();
        }
        let patience = (self.allowed, &mut self.entropy);
        let on_due = |loaded: &Loaded| Some(OnDue { execution_id: loaded.execution.id });
        let mut handed =
            Handed::new((partition, &IndexName::Due), &taken.entries, at, patience, on_due);
        self.report.unreadable += std::mem::take(&mut handed.unreadable).len();
        let step = handed.start(now);
        self.doing = Doing::Applying(handed);
        self.applied(step, now)
    }

    fn applied(
        &mut self,
        step: Step<<Handed<OnDue> as Operation>::Output>,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        match step {
            Step::Send(request) => Step::Send(request),
            Step::Wait(wait) => Step::Wait(wait),
            Step::Done(results) => {
                for result in results {
                    match result {
                        Ok(committed) => self.report.applied.extend(committed.outcome.applied),
                        // Somebody else removed it, which settles what was due.
                        Err(EngineError::NotFound { .. }) => {}
                        Err(_) => self.report.failed += 1,
                    }
                }
                self.next(now)
            }
        }
    }
}

impl Operation for Tick {
    type Output = Result<TickReport, EngineError>;

    fn start(&mut self, now: HostTime) -> Step<Self::Output> {
        self.patience.begin(now);
        self.doing = Doing::Polling;
        let partitions = self.config.flow_partitions().collect();
        Step::Send(Request::Poll(Poll { index: IndexName::Due, partitions }))
    }

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<Self::Output> {
        match (std::mem::replace(&mut self.doing, Doing::Nothing), reply.body) {
            (Doing::Polling, ReplyBody::Poll(scores)) => {
                self.polled(&scores, reply.at);
                self.next(now)
            }
            (Doing::Taking(partition), ReplyBody::Take(taken)) => {
                self.taken(&taken, partition, reply.at, now)
            }
            (Doing::Applying(mut handed), body) => {
                let step = handed.on_reply(Reply { at: reply.at, body }, now);
                self.doing = Doing::Applying(handed);
                self.applied(step, now)
            }
            _ => Step::Done(Err(Bug::unexpected_reply(OP))),
        }
    }

    fn on_failure(&mut self, failure: &Failure, now: HostTime) -> Step<Self::Output> {
        match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::Applying(mut handed) => {
                let step = handed.on_failure(failure, now);
                self.doing = Doing::Applying(handed);
                return self.applied(step, now);
            }
            Doing::Taking(_) => {
                // Its entries come back after the hold, others may be due meanwhile.
                self.ready.pop_front();
            }
            Doing::Polling | Doing::Nothing => {}
        }
        match self.patience.after_failure(OP, failure, Applied::No, now) {
            Ok(wait) => Step::Wait(wait),
            Err(error) => Step::Done(Err(error)),
        }
    }

    fn on_wake(&mut self, now: HostTime) -> Step<Self::Output> {
        match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::Applying(mut handed) => {
                let step = handed.on_wake(now);
                self.doing = Doing::Applying(handed);
                self.applied(step, now)
            }
            _ if self.ready.is_empty() => self.start(now),
            _ => self.next(now),
        }
    }
}
