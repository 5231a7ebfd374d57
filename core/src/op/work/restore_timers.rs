//! Correcting timers after the store's clock has stepped back: entries of `due` that lie further in
//! the future than their records say (`docs/spec.md`, 3).

use std::collections::VecDeque;

use crate::entropy::Entropy;
use crate::error::{Applied, EngineError};
use crate::execution::{Active, OnDue, Phase, index_entries};
use crate::op::context::OperationContext;
use crate::op::loaded::{Loaded, other_reply};
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::partition::Partition;
use crate::score::Score;
use crate::store::bounds::{MAX_PAGE_BYTES, MAX_UNITS};
use crate::store::{
    IndexName, Member, Reply, ReplyBody, Request, Scan, ScanOrder, ScanPosition, Scanned,
};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::fetched::{FetchedEntries, Page};

/// A partition whose clock has stepped back, or may have, and from where on its timers are still
/// unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SteppedBack {
    pub(super) partition: Partition,
    after: ScanPosition,
    /// How many entries to look through, if not all. Pages have as many as fit into a reply.
    entries: Option<usize>,
    /// When to begin, by the host's own clock.
    begin: TimestampMs,
    /// Where the timers that may be wrong begin.
    from: ScanPosition,
    /// Whether this is the second look.
    again: bool,
}

/// The timekeepers of a fleet notice a step together. Each begins at a random time up to this much
/// later, so that most find the timers corrected. It is less than the minute by which a lease may
/// outlast its ttl.
const SPREAD_MS: u64 = 20_000;

/// The time between the two looks through the timers of a partition whose clock has stepped back. A
/// failover may lose what the first one corrected; its clock shows no step then. With the spread it
/// is less than a minute too.
const AGAIN: DurationMs = DurationMs::from_secs(30);

impl SteppedBack {
    /// A partition whose clock now shows `at`.
    pub(super) fn new(
        partition: Partition,
        at: TimestampMs,
        entries: Option<usize>,
        now: HostTime,
        entropy: &mut Entropy,
    ) -> Self {
        // An earlier entry is found in time, since its timer lasts a minute too long at most.
        let score = Score::at(at.plus(Active::CLOCK_STEP));
        let from = ScanPosition { score, member: Member::nil() };
        let begin = now.local.plus(DurationMs::new(entropy.below(SPREAD_MS)));
        Self { partition, after: from, entries, begin, from, again: false }
    }

    /// The second look, after the first one has seen everything.
    fn once_more(self, now: HostTime) -> Option<Self> {
        let wanted = self.entries.is_none() && !self.again;
        let begin = now.local.plus(AGAIN);
        wanted.then_some(Self { after: self.from, begin, again: true, ..self })
    }

    pub(super) fn begins(&self, now: HostTime) -> bool {
        self.begin <= now.local
    }
}

/// Looks through the entries of `due` in partitions whose clock has stepped back. It applies
/// `on_due` to each lease that outlasts its ttl by more than a minute, and to each entry that a
/// `Take` held when the clock stepped.
#[derive(Clone, Debug)]
pub(super) struct RestoreTimers {
    left: VecDeque<SteppedBack>,
    later: Vec<SteppedBack>,
    entropy: Entropy,
    patience: Patience,
    context: OperationContext,
    correcting: Option<(FetchedEntries<OnDue>, Option<ScanPosition>)>,
}

const OP: &str = "restore_timers";

impl RestoreTimers {
    pub(super) fn new(
        left: VecDeque<SteppedBack>,
        context: OperationContext,
        mut entropy: Entropy,
    ) -> Self {
        let patience = Patience::new(context.clone(), entropy.fork());
        Self { left, later: Vec::new(), entropy, patience, context, correcting: None }
    }

    fn scan(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        let left = self.patience.left(now) > DurationMs::ZERO && self.context.check_store().is_ok();
        let Some(SteppedBack { partition, after, .. }) = self.left.front().filter(|_| left) else {
            return self.end();
        };
        Step::Send(Request::Scan(Scan {
            partition: *partition,
            index: IndexName::Due,
            order: ScanOrder::Ascending,
            after: Some(*after),
            limit: MAX_UNITS as u32,
            bytes: MAX_PAGE_BYTES,
        }))
    }

    fn end(&mut self) -> Step<<Self as Operation>::Output> {
        let left = std::mem::take(&mut self.left).into_iter();
        Step::Done(left.chain(std::mem::take(&mut self.later)).collect())
    }

    fn scanned(
        &mut self,
        scanned: &Scanned,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        let Some(front) = self.left.front_mut() else { return self.end() };
        front.entries = front.entries.map(|left| left.saturating_sub(scanned.entries.len()));
        let SteppedBack { partition, entries, .. } = *front;
        let mut stepped = entries.is_none();
        let on_due = |loaded: &Loaded, score| {
            let execution = &loaded.execution;
            let outlasts_clock = matches!(
                &execution.phase,
                Phase::Active(active) if active.is_leased(at) && active.outlasts_clock(at)
            );
            let entries = index_entries(execution);
            let held = entries.due != Some(score);
            stepped |= outlasts_clock || held;
            // A hold that would end after another timer of the record leaves no other trace.
            let may_be_held = stepped && entries.eligible.is_some();
            let correct = outlasts_clock || held || may_be_held;
            correct.then_some(OnDue { execution_id: execution.id })
        };
        let page: Vec<_> = scanned.entries.iter().map(|entry| (&IndexName::Due, entry)).collect();
        let page = Page { partition, entries: &page, at };
        let fetched = FetchedEntries::new(page, &self.context, &mut self.entropy, on_due);
        let mut next = scanned.next;
        if let Some(front) = self.left.front_mut().filter(|_| stepped && entries.is_some()) {
            // The clock did step back: everything is looked through, from the beginning.
            front.entries = None;
            next = Some(front.from);
        }
        self.correcting = Some((fetched, next));
        self.resume(Event::Start, now)
    }

    /// Goes on after a page. Whatever failed on it is tried again in the next round.
    fn corrected(
        &mut self,
        failed: bool,
        next: Option<ScanPosition>,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        match (failed, next) {
            (true, _) => return self.end(),
            (false, None) => {
                let done = self.left.pop_front();
                self.later.extend(done.and_then(|done| done.once_more(now)));
            }
            (false, Some(next)) => match self.left.front_mut() {
                Some(SteppedBack { entries: Some(0), .. }) => drop(self.left.pop_front()),
                Some(partition) => partition.after = next,
                None => {}
            },
        }
        self.scan(now)
    }
}

impl Operation for RestoreTimers {
    /// The partitions that are left to do, now or later. It ends early when its time is over or the
    /// store does not answer.
    type Output = Vec<SteppedBack>;

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        if let Some((fetched, next)) = &mut self.correcting {
            let next = *next;
            return fetched.resume(event, now).then(|results| {
                self.correcting = None;
                let gone = |error: &EngineError| matches!(error, EngineError::NotFound { .. });
                let failed = results.iter().any(|result| result.as_ref().is_err_and(|e| !gone(e)));
                self.corrected(failed, next, now)
            });
        }
        match event {
            Event::Start => {
                self.patience.begin(now);
                self.scan(now)
            }
            Event::Wake => self.scan(now),
            Event::Reply(Reply { at, body: ReplyBody::Scan(scanned) }) => {
                self.scanned(&scanned, at, now)
            }
            Event::Reply(_) => self.resume(Event::Failure(other_reply(OP)), now),
            Event::Failure(failure) => {
                match self.patience.after_failure(OP, &failure, Applied::No, now) {
                    Ok(wait) => Step::Wait(wait),
                    Err(_) => self.end(),
                }
            }
        }
    }
}
