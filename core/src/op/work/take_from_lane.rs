//! Taking work from lanes: find a partition that has some, take entries, decide on each. Executions
//! that no worker fitted before are offered, too.
//!
//! Sixteen claimers of one lane must not compete for its first entry: entries are taken out, not
//! looked at. An entry that is not kept returns to its place with the commit that decides so.

use crate::entropy::Entropy;
use crate::error::{Applied, EngineError, Rejection, RejectionKind};
use crate::execution::{Decide, Execution, waits_for_capabilities};
use crate::id::LaneId;
use crate::lane::Lanes;
use crate::op::command::Committed;
use crate::op::context::OperationContext;
use crate::op::loaded::{Loaded, other_reply};
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::{HOLD, Patience, TAKE_WITHIN};
use crate::op::resource::ReadLanes;
use crate::store::bounds::{MAX_PAGE_BYTES, MAX_TAKE, MAX_UNITS};
use crate::store::{
    Reply, ReplyBody, Request, Scan, ScanOrder, ScanPosition, Scanned, Take, Taken,
};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::blocked_pages::{BlockedPage, PageHad};
use super::fetched::{FetchedEntries, Page};
use super::ready_queues::{Place, ReadyQueues};

/// Decides what to do with each entry that was taken.
pub trait Taker {
    /// The command for one entry.
    type Command: Decide;

    /// The command for this record; `None` if no more is wanted.
    fn command(&mut self, record: &Loaded) -> Option<Self::Command>;

    /// Whether the worker has all capabilities that an execution requires.
    fn fits(&self, execution: &Execution) -> bool;

    /// Whether the entry is kept; others have returned to their place.
    fn keeps(outcome: &<Self::Command as Decide>::Outcome) -> bool;

    /// Why the execution may not start now, if a limit or a missing capability holds it back.
    fn held_by(outcome: &<Self::Command as Decide>::Outcome) -> Option<&Rejection>;

    /// Notes that no entry so far was kept.
    fn kept_none(&mut self) {}
}

/// Takes up to a number of entries and carries a command to each.
#[derive(Clone, Debug)]
pub struct TakeFromLane<T: Taker> {
    queues: ReadyQueues,
    taker: T,
    count: usize,
    entropy: Entropy,
    patience: Patience,
    context: OperationContext,
    doing: Doing<T::Command>,
    /// Whether it has looked over all partitions.
    looked: bool,
    unreadable: usize,
    failed: Vec<EngineError>,
    held: Vec<HeldBack>,
}

#[derive(Clone, Debug, Default)]
enum Doing<C: Decide> {
    #[default]
    Nothing,
    /// Looks over all partitions.
    Looking,
    /// Reads which lanes start work.
    Lanes(Box<ReadLanes>),
    Taking(Place),
    /// Reads a page of executions that no worker fitted.
    Reading(BlockedPage),
    Deciding(FetchedEntries<C>),
    /// Decides on executions that no worker fitted; other workers may decide on them, too.
    DecidingBlocked(FetchedEntries<C>, ReadPage),
}

/// A page of executions that no worker fitted, after it was read.
#[derive(Clone, Copy, Debug)]
struct ReadPage {
    page: BlockedPage,
    /// Where the next page begins.
    rest: Option<ScanPosition>,
    /// Whether it had as many for this program as it asked for, or more.
    is_enough: bool,
}

/// The entries that were taken.
#[derive(Clone, Debug)]
pub struct TakenFromLane<T: Taker> {
    /// The entries that are kept; none if there is no work.
    pub kept: Vec<Committed<<T::Command as Decide>::Outcome>>,
    /// The queues, for the next operation.
    pub queues: ReadyQueues,
    /// Entries whose record could not be read.
    pub unreadable: usize,
    /// Entries that were taken and could not be decided on; others are offered them once the hold
    /// is over.
    pub failed: Vec<EngineError>,
    /// The executions that were set aside, since they may not start now.
    pub held: Vec<HeldBack>,
}

/// An execution that was set aside instead of being started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// Its lane.
    pub lane: LaneId,
    /// Why it may not start now: a capability, a budget or a quota.
    pub why: RejectionKind,
}

const OP: &str = "take_from_lane";

impl<T: Taker> TakeFromLane<T> {
    /// Takes at most `count` entries.
    pub fn new(
        queues: ReadyQueues,
        taker: T,
        count: usize,
        context: OperationContext,
        mut entropy: Entropy,
    ) -> Self {
        Self {
            queues,
            taker,
            count: count.clamp(1, MAX_TAKE.min(MAX_UNITS)),
            patience: Patience::new(context.clone(), entropy.fork()),
            entropy,
            context,
            doing: Doing::Nothing,
            looked: false,
            unreadable: 0,
            failed: Vec::new(),
            held: Vec::new(),
        }
    }

    /// The taker, which decides on each entry.
    pub const fn taker(&self) -> &T {
        &self.taker
    }

    /// Takes from the next place that may have work, looks for one, or ends.
    fn next(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        if let Err(error) = self.context.check_store() {
            return Step::fail(error);
        }
        if !self.looked && self.queues.is_stale(now) {
            self.doing = Doing::Looking;
            return Step::Send(Request::Poll(self.queues.look()));
        }
        if let Some((namespace, changed)) = self.queues.needs_lanes(now) {
            if changed {
                self.context.lanes().changed(namespace);
            }
            match self.context.lanes().fresh(namespace, now.local) {
                Some(lanes) => self.queues.hold(&lanes),
                None => {
                    let patience = Patience::new(self.context.clone(), self.entropy.fork());
                    self.doing =
                        Doing::Lanes(Box::new(ReadLanes::new(namespace.clone(), patience)));
                    return self.resume(Event::Start, now);
                }
            }
        }
        if let Some(page) = self.queues.next_blocked(now) {
            let BlockedPage { partition, after, .. } = page;
            self.doing = Doing::Reading(page);
            let (index, limit) = (self.queues.blocked_index(), MAX_UNITS as u32);
            let scan = Scan {
                partition,
                index,
                order: ScanOrder::Ascending,
                after,
                limit,
                bytes: MAX_PAGE_BYTES,
            };
            return Step::Send(Request::Scan(scan));
        }
        let Some(place) = self.queues.next(now) else {
            return self.end(Vec::new());
        };
        let take = Take {
            partition: place.partition,
            from: place.queues.clone(),
            count: self.count as u32,
            bytes: MAX_PAGE_BYTES,
            until: place.until,
            hold: HOLD,
            // One ring for each queue wakes other workers; this one goes on by itself.
            ring_rest: place.ring_rest,
        };
        self.doing = Doing::Taking(place);
        Step::Send(Request::Take(take))
    }

    /// Takes from the lanes that start work.
    fn go_on(&mut self, lanes: &Lanes, now: HostTime) -> Step<<Self as Operation>::Output> {
        self.queues.hold(lanes);
        self.doing = Doing::Nothing;
        self.next(now)
    }

    fn end(
        &mut self,
        kept: Vec<Committed<<T::Command as Decide>::Outcome>>,
    ) -> Step<<Self as Operation>::Output> {
        Step::Done(Ok(TakenFromLane {
            kept,
            queues: self.queues.clone(),
            unreadable: self.unreadable,
            failed: std::mem::take(&mut self.failed),
            held: std::mem::take(&mut self.held),
        }))
    }

    fn taken(
        &mut self,
        taken: &Taken,
        place: &Place,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        self.queues.taken(place, taken.entries.len(), &taken.rest);
        let entries = taken.entries.iter();
        let entries: Vec<_> = entries
            .filter_map(|taken| Some((place.queues.get(taken.from)?, &taken.entry)))
            .collect();
        let page = Page { partition: place.partition, entries: &entries, at };
        let command = |loaded: &Loaded, _| self.taker.command(loaded);
        let fetched = FetchedEntries::new(page, &self.context, &mut self.entropy, command);
        self.unreadable += fetched.unreadable;
        self.doing = Doing::Deciding(fetched);
        self.resume(Event::Start, now)
    }

    /// Offers what it can of a page of executions that no worker fitted. The page only shows them:
    /// if several workers claim one, its version lets one of them succeed.
    fn read(
        &mut self,
        scanned: &Scanned,
        page: BlockedPage,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        let (index, mut offered) = (self.queues.blocked_index(), 0);
        let command = |loaded: &Loaded, _| {
            let execution = &loaded.execution;
            let fits = waits_for_capabilities(execution)
                && self.queues.serves(execution)
                && self.taker.fits(execution);
            if !fits || offered == self.count {
                return None;
            }
            offered += 1;
            self.taker.command(loaded)
        };
        let entries: Vec<_> = scanned.entries.iter().map(|entry| (&index, entry)).collect();
        let shown = Page { partition: page.partition, entries: &entries, at };
        let fetched = FetchedEntries::new(shown, &self.context, &mut self.entropy, command);
        self.unreadable += fetched.unreadable;
        if scanned.entries.is_empty() {
            self.queues.read_none(page);
        }
        let read = ReadPage { page, rest: scanned.next, is_enough: offered == self.count };
        self.doing = Doing::DecidingBlocked(fetched, read);
        self.resume(Event::Start, now)
    }

    fn decided(
        &mut self,
        results: <FetchedEntries<T::Command> as Operation>::Output,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        let read = match std::mem::take(&mut self.doing) {
            Doing::DecidingBlocked(_, read) => Some(read),
            _ => None,
        };
        let mut kept = Vec::with_capacity(results.len());
        for result in results {
            match result {
                Ok(committed) if T::keeps(&committed.outcome) => kept.push(committed),
                Ok(committed) => {
                    let why = T::held_by(&committed.outcome).map(Rejection::kind);
                    let lane = committed.record.map(|loaded| loaded.execution.lane.clone());
                    self.held.extend(why.zip(lane).map(|(why, lane)| HeldBack { lane, why }));
                }
                Err(error) if read.is_none() => self.failed.push(error),
                Err(_) => {}
            }
        }
        if let Some(ReadPage { page, rest, is_enough }) = read {
            let had = match is_enough {
                _ if kept.is_empty() => PageHad::Nothing,
                true => PageHad::Enough,
                false => PageHad::Some,
            };
            self.queues.read_blocked(page, had, rest, now);
        }
        if !kept.is_empty() || self.patience.left(now) == DurationMs::ZERO {
            return self.end(kept);
        }
        self.taker.kept_none();
        self.next(now)
    }

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<<Self as Operation>::Output> {
        match (std::mem::take(&mut self.doing), reply.body) {
            (Doing::Looking, ReplyBody::Poll(polled)) if self.queues.found(&polled, now) => {
                self.looked = true;
                self.next(now)
            }
            (Doing::Taking(place), ReplyBody::Take(taken))
                if taken.rest.len() == place.queues.len() =>
            {
                self.taken(&taken, &place, reply.at, now)
            }
            (Doing::Reading(page), ReplyBody::Scan(scanned)) => {
                self.read(&scanned, page, reply.at, now)
            }
            (_, ReplyBody::OverBound(over)) => Step::fail(over),
            _ => self.resume(Event::Failure(other_reply(OP)), now),
        }
    }
}

impl<T: Taker> Operation for TakeFromLane<T> {
    /// The entries that were taken. `NewerFormat` once the program has met a record that it is too
    /// old to read: it takes no more, and others get what it would have taken.
    type Output = Result<TakenFromLane<T>, EngineError>;

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        match &self.doing {
            Doing::Deciding(fetched) | Doing::DecidingBlocked(fetched, _) => {
                fetched.reply_within(now)
            }
            Doing::Lanes(read) => read.reply_within(now),
            Doing::Taking(_) => Some(self.patience.left(now).min(TAKE_WITHIN)),
            Doing::Nothing | Doing::Looking | Doing::Reading(_) => Some(self.patience.left(now)),
        }
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        match (&mut self.doing, event) {
            (Doing::Lanes(read), event) => {
                read.resume(event, now).then_ok(|lanes| self.go_on(&lanes, now))
            }
            (Doing::Deciding(fetched) | Doing::DecidingBlocked(fetched, _), event) => {
                fetched.resume(event, now).then(|results| self.decided(results, now))
            }
            (_, Event::Start) => {
                self.patience.begin(now);
                self.next(now)
            }
            (_, Event::Reply(reply)) => self.on_reply(reply, now),
            (_, Event::Failure(failure)) => {
                // A take whose reply was lost has hidden its entries; they return after the hold.
                if let Doing::Reading(page) = std::mem::take(&mut self.doing) {
                    self.queues.read_again(page);
                }
                Step::retry(self.patience.after_failure(OP, &failure, Applied::No, now))
            }
            (_, Event::Wake) => self.next(now),
        }
    }
}
