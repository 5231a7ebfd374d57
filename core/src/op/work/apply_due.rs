//! One round of the timekeeper: find due timers, apply them, and report the next due time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::entropy::Entropy;
use crate::error::{Applied, EngineError};
use crate::execution::{DueKind, OnDue, index_entries};
use crate::op::context::OperationContext;
use crate::op::loaded::{Loaded, other_reply};
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::{HOLD, Patience, TAKE_WITHIN};
use crate::partition::{Partition, PartitionConfig};
use crate::score::Score;
use crate::store::bounds::{MAX_PAGE_BYTES, MAX_UNITS};
use crate::store::{
    Firsts, IndexName, Poll, PollOf, Polled, Reply, ReplyBody, Request, Take, TakeUntil, Taken,
    Topic,
};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::clear_signals::ClearSignals;
use super::fetched::{FetchedEntries, Page};
use super::restore_timers::{RestoreTimers, SteppedBack};
use super::store_clocks::StoreClocks;

/// Takes the due timers of some partitions, or of all of them, and applies them.
#[derive(Clone, Debug)]
pub struct ApplyDue {
    config: PartitionConfig,
    entropy: Entropy,
    patience: Patience,
    context: OperationContext,
    /// The index that it takes from: `Due`, or `Retention`.
    index: IndexName,
    /// Whether it goes on with `Retention`.
    then_retention: bool,
    /// Whether it polls all partitions first.
    looks: bool,
    /// The time after the first take after which it leaves due timers to the next round.
    lasts: DurationMs,
    /// When it began to take. However long the poll was, a round takes at least once.
    takes_since: Option<TimestampMs>,
    /// Partitions that have due entries.
    ready: VecDeque<Partition>,
    /// Partitions from which a take has failed.
    failing: BTreeSet<Partition>,
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
    /// With how late each entry was when it was taken; `None` for one without a due time.
    Applying(FetchedEntries<OnDue>, Partition, Vec<Option<DurationMs>>),
    Clearing(Box<ClearSignals>, Partition),
    Restoring(Box<RestoreTimers>),
}

/// The result of a round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DueReport {
    /// The steps that were applied, in the order in which the partitions were visited.
    pub applied: Vec<DueKind>,
    /// How long after their due times the timers were taken, one for each execution of which a step
    /// was applied. The ends of retention are not urgent and are not counted.
    pub late: Vec<DurationMs>,
    /// Entries whose record could not be read.
    pub unreadable: usize,
    /// Entries that could not be decided on; they are found again when their hold is over.
    pub failed: usize,
    /// The first timer of each partition that the round has read; `None` if it has none.
    pub firsts: BTreeMap<Partition, Option<FirstTimer>>,
    /// The same for the executions whose retention ends.
    pub retention: BTreeMap<Partition, Option<FirstTimer>>,
    /// The partitions from which the round took entries.
    pub took: BTreeSet<Partition>,
    /// How many programs run a timekeeper, if the round has looked over all partitions.
    pub programs: Option<u64>,
    /// The clocks of the store, for the next round, if this one has compared them.
    pub clocks: Option<StoreClocks>,
}

/// The first timer of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirstTimer {
    /// When it is due, by the host's own clock. It is counted from the reply that showed it, so
    /// that a wrong estimate of the store's clock costs nothing.
    pub due: TimestampMs,
    /// Its score in `due`.
    pub score: Score,
}

impl DueReport {
    /// The earliest time, by the host's own clock, at which something known is due.
    pub fn next_due(&self) -> Option<TimestampMs> {
        self.firsts.values().flatten().map(|first| first.due).min()
    }
}

const OP: &str = "apply_due";

impl ApplyDue {
    /// A round over all partitions by itself, which compares no clocks: first timers, then the ends
    /// of retention.
    pub fn new(config: PartitionConfig, context: OperationContext, mut entropy: Entropy) -> Self {
        let patience = Patience::new(context.clone(), entropy.fork());
        let (ready, doing, report) = (VecDeque::new(), Doing::Nothing, DueReport::default());
        let (looks, lasts, clocks) = (true, DurationMs::new(u64::MAX), None);
        Self {
            config,
            entropy,
            patience,
            context,
            index: IndexName::Due,
            then_retention: true,
            looks,
            lasts,
            takes_since: None,
            ready,
            failing: BTreeSet::new(),
            clocks,
            doing,
            report,
        }
    }

    /// The same round for timers alone.
    #[must_use]
    pub fn timers(self) -> Self {
        Self { then_retention: false, ..self }
    }

    /// The same round for the ends of retention alone.
    #[must_use]
    pub fn retention(self) -> Self {
        Self { index: IndexName::Retention, then_retention: false, ..self }
    }

    /// The same round, which only takes from these partitions.
    #[must_use]
    pub fn only(self, ready: impl IntoIterator<Item = Partition>) -> Self {
        Self { looks: false, ready: ready.into_iter().collect(), ..self }
    }

    /// The same round, which begins no further take this long after the first one.
    #[must_use]
    pub fn lasting(self, lasts: DurationMs) -> Self {
        Self { lasts, ..self }
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
        let listeners = (self.index == IndexName::Due).then_some(Topic::Due);
        let of = PollOf::Index(self.index.clone());
        Step::Send(Request::Poll(Poll { of, partitions, listeners }))
    }

    fn next(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        if let Err(error) = self.context.check_store() {
            return Step::fail(error);
        }
        if self.left(now) == DurationMs::ZERO || self.patience.left(now) == DurationMs::ZERO {
            // More is due than one round may do.
            for partition in std::mem::take(&mut self.ready) {
                self.learn(partition, FirstTimer { due: now.local, score: Score::at(now.store) });
            }
        }
        let Some(partition) = self.ready.front().copied() else { return self.restore(now) };
        let is_due = self.index == IndexName::Due;
        self.takes_since.get_or_insert(now.local);
        self.doing = Doing::Taking(partition);
        Step::Send(Request::Take(Take {
            partition,
            from: vec![self.index.clone()],
            count: MAX_UNITS as u32,
            bytes: MAX_PAGE_BYTES,
            until: TakeUntil::Now,
            hold: HOLD,
            // Other timekeepers forget what this one takes.
            ring_rest: is_due,
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
            return self.end(now);
        }
        let context = self.context.within(self.patience.left(now));
        let restore = RestoreTimers::new(begun, context, self.entropy.fork());
        self.doing = Doing::Restoring(Box::new(restore));
        self.resume(Event::Start, now)
    }

    /// The time in which it may begin further takes.
    fn left(&self, now: HostTime) -> DurationMs {
        let elapsed = self.takes_since.map_or(DurationMs::ZERO, |since| now.local.since(since));
        DurationMs::new(self.lasts.get().saturating_sub(elapsed.get()))
    }

    fn end(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        if std::mem::take(&mut self.then_retention) {
            (self.index, self.looks) = (IndexName::Retention, true);
            self.failing.clear();
            return self.poll(now);
        }
        self.report.clocks = self.clocks.take();
        Step::Done(Ok(std::mem::take(&mut self.report)))
    }

    /// Notes a timer of a partition, besides the first one that was read there.
    fn learn(&mut self, partition: Partition, timer: FirstTimer) {
        let first = self.firsts().entry(partition).or_default();
        *first = Some(first.map_or(timer, |first| first.min(timer)));
    }

    /// Notes the first timer of a partition, which is not due yet.
    fn found(&mut self, partition: Partition, first: Option<FirstTimer>) {
        self.firsts().insert(partition, first);
    }

    fn firsts(&mut self) -> &mut BTreeMap<Partition, Option<FirstTimer>> {
        match self.index {
            IndexName::Retention => &mut self.report.retention,
            _ => &mut self.report.firsts,
        }
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
            match score {
                Some(score) if score.instant() <= at => {
                    if !self.failing.contains(&partition) {
                        self.ready.push_back(partition);
                    }
                }
                score => self.found(partition, score.map(|score| timer(score, at, now))),
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
        let index = self.index.clone();
        self.ready.pop_front();
        match taken.rest.first().copied().flatten() {
            // The other partitions are next.
            Some(score) if score.instant() <= at => self.ready.push_back(partition),
            score => self.found(partition, score.map(|score| timer(score, at, now))),
        }
        if !taken.entries.is_empty() && index == IndexName::Due {
            self.report.took.insert(partition);
        }
        let entries: Vec<_> = taken.entries.iter().map(|taken| (&index, &taken.entry)).collect();
        let page = Page { partition, entries: &entries, at };
        let mut late = Vec::with_capacity(entries.len());
        let on_due = |loaded: &Loaded, score: Score| {
            // The next step of a removal is due at the beginning of time.
            let due = Some(score.instant()).filter(|due| *due > TimestampMs::ZERO);
            late.push(due.filter(|_| index == IndexName::Due).map(|due| at.since(due)));
            Some(OnDue { execution_id: loaded.execution.id })
        };
        let fetched = FetchedEntries::new(page, &self.context, &mut self.entropy, on_due);
        self.report.unreadable += fetched.unreadable;
        self.doing = Doing::Applying(fetched, partition, late);
        self.resume(Event::Start, now)
    }

    fn applied(
        &mut self,
        results: <FetchedEntries<OnDue> as Operation>::Output,
        partition: Partition,
        late: Vec<Option<DurationMs>>,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        let mut forgetful = VecDeque::new();
        for (result, late) in results.into_iter().zip(late) {
            match result {
                Ok(committed) => {
                    let late = late.filter(|_| !committed.outcome.applied.is_empty());
                    self.report.late.extend(late);
                    let (record, at) = (committed.record, committed.at);
                    let entries = record.as_ref().map(|loaded| index_entries(&loaded.execution));
                    let next = entries.and_then(|entries| match self.index {
                        IndexName::Retention => entries.retention,
                        _ => entries.due,
                    });
                    if let Some(score) = next.filter(|_| !committed.outcome.forgets) {
                        self.learn(partition, timer(score, at, now));
                    }
                    let record = record.filter(|_| committed.outcome.forgets);
                    forgetful.extend(record.map(|loaded| loaded.execution.id));
                    self.report.applied.extend(committed.outcome.applied);
                }
                // Another program removed the execution, so that nothing is due any more.
                Err(EngineError::NotFound { .. }) => {}
                Err(_) => {
                    self.report.failed += 1;
                    self.learn_hold(partition, now);
                }
            }
        }
        if forgetful.is_empty() {
            self.doing = Doing::Nothing;
            return self.next(now);
        }
        let context = self.context.within(self.patience.left(now));
        let until = now.local.plus(self.left(now));
        let clear = ClearSignals::new(forgetful, context, self.entropy.fork(), until);
        self.doing = Doing::Clearing(Box::new(clear), partition);
        self.resume(Event::Start, now)
    }

    /// Notes that entries of a partition are held, and due again after that.
    fn learn_hold(&mut self, partition: Partition, now: HostTime) {
        let (due, score) = (now.local.plus(HOLD), Score::at(now.store.plus(HOLD)));
        self.learn(partition, FirstTimer { due, score });
    }

    fn ready_again(&mut self, partition: Partition) {
        self.doing = Doing::Nothing;
        if !self.ready.contains(&partition) {
            self.ready.push_back(partition);
        }
    }

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<<Self as Operation>::Output> {
        match (std::mem::take(&mut self.doing), reply.body) {
            (Doing::Polling, ReplyBody::Poll(Polled { firsts, listeners }))
                if firsts.len() == self.config.flow_partitions().count() =>
            {
                if self.index == IndexName::Due {
                    self.report.programs = Some(listeners);
                }
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

/// The timer with this score, seen in a reply that was just received.
fn timer(score: Score, at: TimestampMs, now: HostTime) -> FirstTimer {
    FirstTimer { due: now.local.plus(score.instant().since(at)), score }
}

impl Operation for ApplyDue {
    /// `NewerFormat` once the program has met a record that it is too old to read: it takes no
    /// more, and others get what it would have taken.
    type Output = Result<DueReport, EngineError>;

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        match &self.doing {
            Doing::Applying(fetched, ..) => fetched.reply_within(now),
            Doing::Taking(_) => Some(TAKE_WITHIN),
            _ => None,
        }
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        match (&mut self.doing, event) {
            (Doing::Applying(fetched, partition, late), event) => {
                let (partition, step) = (*partition, fetched.resume(event, now));
                let late = if let Step::Done(_) = step { std::mem::take(late) } else { Vec::new() };
                step.then(|results| self.applied(results, partition, late, now))
            }
            (Doing::Clearing(clear, partition), event) => {
                let partition = *partition;
                clear.resume(event, now).then(|()| {
                    // The next step of their removal is due.
                    self.ready_again(partition);
                    self.next(now)
                })
            }
            (Doing::Restoring(restore), event) => restore.resume(event, now).then(|left| {
                self.doing = Doing::Nothing;
                self.clocks.iter_mut().for_each(|clocks| clocks.stepped_back.extend(&left));
                self.end(now)
            }),
            (_, Event::Start) if self.looks => self.poll(now),
            (_, Event::Start) => {
                self.patience.begin(now);
                self.next(now)
            }
            (_, Event::Reply(reply)) => self.on_reply(reply, now),
            (_, Event::Failure(failure)) => {
                if let Doing::Taking(partition) = std::mem::take(&mut self.doing) {
                    // Its entries return after the hold. A poll shows where others are due, and
                    // which nodes answer.
                    self.ready.clear();
                    self.looks = true;
                    self.failing.insert(partition);
                    self.learn_hold(partition, now);
                }
                Step::retry(self.patience.after_failure(OP, &failure, Applied::No, now))
            }
            (_, Event::Wake) if self.looks && self.ready.is_empty() => self.poll(now),
            (_, Event::Wake) => self.next(now),
        }
    }
}
