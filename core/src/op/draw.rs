//! Drawing work from lanes: find a partition that has some, take entries, decide on each.
//!
//! Sixteen claimers on one lane must not fight over one head: entries are taken, not looked at.
//! What is taken and not kept goes back to its place with the same commit that decides so. A
//! program that is older than some records looks first, and takes only what it can read.

use std::collections::{BTreeMap, VecDeque};

use crate::entropy::Entropy;
use crate::error::{Applied, Bug, EngineError};
use crate::execution::Decide;
use crate::id::{LaneId, Namespace};
use crate::partition::{Partition, PartitionConfig};
use crate::planted::planted;
use crate::score::Score;
use crate::store::bounds::{MAX_TAKE, MAX_UNITS};
use crate::store::{
    IndexName, Poll, Reply, ReplyBody, Request, Scan, ScanEntry, ScanPosition, Scanned, Take,
    TakeUntil, Taken,
};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::handed::{Handed, Page};
use super::operation::{Event, Operation, Step};
use super::retry::Patience;
use super::terms::Terms;
use super::transact::Committed;
use super::unit::Loaded;

/// How long a taker has before others are offered what it took.
pub const HOLD: DurationMs = DurationMs::from_secs(5);
/// Takes in a row from one partition before others have their turn.
const MAX_IN_A_ROW: u32 = 8;
/// Places found empty since the last look that make a new one worth it.
const MAX_EMPTY: usize = 8;
/// Time at one partition before others have their turn.
const MAX_AT_ONE: DurationMs = DurationMs::from_secs(1);

/// What is asked of each entry that was taken.
pub trait Ask {
    /// The command for one entry.
    type Command: Decide;

    /// The command for this record.
    fn ask(&mut self, record: &Loaded) -> Self::Command;

    /// Whether the entry is kept; what is not has gone back to its place.
    fn keeps(outcome: &<Self::Command as Decide>::Outcome) -> bool;
}

/// Where a drawer looks next: the partitions that had work when it looked, lane by lane in turn.
///
/// It goes on in one partition until it is empty, at most 8 times in a row or one second, and looks
/// again over all of them when none is left and at least every second, so that no partition and no
/// lane starves.
#[derive(Clone, Debug)]
pub struct Rotation {
    namespace: Namespace,
    lanes: Vec<LaneId>,
    config: PartitionConfig,
    /// Places that probably have work, the next one first.
    ready: VecDeque<Place>,
    in_a_row: u32,
    /// When the turn of the first place began, by the host's clock.
    since: Option<TimestampMs>,
    /// When it looked over all partitions, by the host's clock.
    looked: Option<TimestampMs>,
    /// The lane that has the first turn after the next look: where each task takes longer than the
    /// time between two looks, no other has one.
    first_lane: usize,
    /// Places that were found empty since the last look.
    empty: usize,
    /// Places that begin with records which this program is too old for, and how far.
    passed: BTreeMap<Place, ScanPosition>,
}

/// A lane, by its number in the rotation, and a partition.
type Place = (usize, u16);

impl Rotation {
    /// A rotation over the lanes of a namespace.
    pub const fn new(namespace: Namespace, lanes: Vec<LaneId>, config: PartitionConfig) -> Self {
        Self {
            namespace,
            lanes,
            config,
            ready: VecDeque::new(),
            in_a_row: 0,
            since: None,
            looked: None,
            first_lane: 0,
            empty: 0,
            passed: BTreeMap::new(),
        }
    }

    /// Notes a hint that a partition has work, to be looked at first.
    pub fn hint(&mut self, lane: &LaneId, partition: Partition) {
        if let Some(number) = self.lanes.iter().position(|known| known == lane) {
            let place = (number, partition.index);
            if !self.ready.contains(&place) {
                self.ready.push_front(place);
                (self.in_a_row, self.since) = (0, None);
            }
        }
    }

    fn index(&self, lane: usize) -> IndexName {
        IndexName::Eligible { namespace: self.namespace.clone(), lane: self.lanes[lane].clone() }
    }

    /// Whether it is time to look over all partitions.
    fn is_stale(&self, now: HostTime) -> bool {
        if planted!(WakeUpReliedUpon) && self.looked.is_some() {
            return false;
        }
        let old = |looked: TimestampMs| now.local.since(looked) >= MAX_AT_ONE;
        self.ready.is_empty() || self.looked.is_none_or(old)
    }

    /// Notes what a look over all partitions has found, by lane: one place of each lane in turn.
    fn found(&mut self, by_lane: &[Vec<u16>], now: HostTime) {
        self.looked = Some(now.local);
        self.empty = 0;
        self.ready.clear();
        let most = by_lane.iter().map(Vec::len).max().unwrap_or(0);
        for step in 0..most {
            let lanes = (self.first_lane..by_lane.len()).chain(0..self.first_lane);
            self.ready.extend(lanes.filter_map(|lane| Some((lane, *by_lane[lane].get(step)?))));
        }
        self.first_lane = (self.first_lane + 1) % by_lane.len().max(1);
        (self.in_a_row, self.since) = (0, None);
    }

    /// The next place to take from.
    fn current(&mut self, now: HostTime) -> Option<Place> {
        let since = *self.since.get_or_insert(now.local);
        if self.in_a_row >= MAX_IN_A_ROW || now.local.since(since) >= MAX_AT_ONE {
            self.ready.rotate_left(usize::from(!self.ready.is_empty()));
            (self.in_a_row, self.since) = (0, Some(now.local));
        }
        self.in_a_row += 1;
        self.ready.front().copied()
    }

    /// A place had nothing though it was believed to: others have been there, and probably at many
    /// of the other places. After some of them a look costs less than finding each one empty.
    fn doubt(&mut self) {
        self.empty += 1;
        if self.empty >= MAX_EMPTY && self.ready.len() >= MAX_EMPTY {
            self.looked = None;
        }
    }

    /// A place has nothing left.
    fn exhausted(&mut self, place: Place) {
        self.ready.retain(|ready| *ready != place);
        self.passed.remove(&place);
        (self.in_a_row, self.since) = (0, None);
    }
}

/// Draws up to a number of entries and carries a command to each.
#[derive(Clone, Debug)]
pub struct Draw<A: Ask> {
    rotation: Rotation,
    ask: A,
    count: usize,
    entropy: Entropy,
    patience: Patience,
    terms: Terms,
    doing: Doing<A::Command>,
    looked: bool,
    unreadable: usize,
    failed: Vec<EngineError>,
}

#[derive(Clone, Debug, Default)]
enum Doing<C: Decide> {
    #[default]
    Nothing,
    /// Looks over all partitions; what it has found in the lanes so far.
    Looking(Vec<Vec<u16>>),
    Taking(Place),
    Scanning(Place),
    Deciding(Handed<C>),
}

/// What was drawn.
#[derive(Clone, Debug)]
pub struct Drawn<A: Ask> {
    /// The entries that are kept; none when there is no work.
    pub kept: Vec<Committed<<A::Command as Decide>::Outcome>>,
    /// The rotation, for the next draw.
    pub rotation: Rotation,
    /// Entries whose record could not be read.
    pub unreadable: usize,
    /// Entries that were taken and could not be decided on; others are offered them once the hold
    /// is over.
    pub failed: Vec<EngineError>,
}

const OP: &str = "draw";

impl<A: Ask> Draw<A> {
    /// Draws at most `count` entries on these terms.
    pub fn new(
        rotation: Rotation,
        ask: A,
        count: usize,
        terms: Terms,
        mut entropy: Entropy,
    ) -> Self {
        Self {
            rotation,
            ask,
            count: count.clamp(1, MAX_TAKE.min(MAX_UNITS)),
            patience: Patience::new(terms.clone(), entropy.fork()),
            entropy,
            terms,
            doing: Doing::Nothing,
            looked: false,
            unreadable: 0,
            failed: Vec::new(),
        }
    }

    /// Takes from the next place that may have work, looks for one, or ends.
    fn next(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        if !self.looked && self.rotation.is_stale(now) {
            return self.look(Vec::new(), now);
        }
        let Some(place) = self.rotation.current(now) else {
            return self.end(Vec::new());
        };
        if self.terms.codec().is_outdated() {
            return self.scan(place);
        }
        self.doing = Doing::Taking(place);
        Step::Send(Request::Take(Take {
            partition: Partition::flow(place.1),
            index: self.rotation.index(place.0),
            count: self.count as u32,
            until: TakeUntil::End,
            hold: HOLD,
            // Once for each turn wakes those who sleep; this worker goes on by itself.
            ring_rest: self.rotation.in_a_row == 1,
        }))
    }

    /// Looks at entries where they are, behind those that cannot be read.
    fn scan(&mut self, place: Place) -> Step<<Self as Operation>::Output> {
        self.doing = Doing::Scanning(place);
        Step::Send(Request::Scan(Scan {
            partition: Partition::flow(place.1),
            index: self.rotation.index(place.0),
            after: self.rotation.passed.get(&place).copied(),
            limit: MAX_UNITS as u32,
        }))
    }

    /// Looks over the partitions of the next lane, until all lanes were looked over.
    fn look(&mut self, found: Vec<Vec<u16>>, now: HostTime) -> Step<<Self as Operation>::Output> {
        let lane = found.len();
        if lane == self.rotation.lanes.len() {
            self.looked = true;
            self.rotation.found(&found, now);
            return self.next(now);
        }
        self.doing = Doing::Looking(found);
        let partitions = self.rotation.config.flow_partitions().collect();
        Step::Send(Request::Poll(Poll { index: self.rotation.index(lane), partitions }))
    }

    /// The partitions that have work, from a random one on.
    fn with_work(&mut self, scores: &[Result<Option<Score>, String>]) -> Vec<u16> {
        let count = scores.len();
        let offset = self.entropy.below(count as u64) as usize;
        let has_work = |index: &usize| matches!(scores[*index], Ok(Some(_)));
        let indexes = (0..count).map(|step| (offset + step) % count);
        indexes.filter(has_work).map(|index| index as u16).collect()
    }

    fn end(
        &mut self,
        kept: Vec<Committed<<A::Command as Decide>::Outcome>>,
    ) -> Step<<Self as Operation>::Output> {
        Step::Done(Ok(Drawn {
            kept,
            rotation: self.rotation.clone(),
            unreadable: self.unreadable,
            failed: std::mem::take(&mut self.failed),
        }))
    }

    fn taken(
        &mut self,
        taken: &Taken,
        place: Place,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        if taken.rest.is_none() {
            self.rotation.exhausted(place);
        }
        if taken.entries.is_empty() {
            self.rotation.doubt();
        }
        self.hand((place, true), &taken.entries, at);
        self.resume(Event::Start, now)
    }

    /// Goes on behind a page that has nothing for this program, and from the start again once one
    /// had something.
    fn scanned(
        &mut self,
        scanned: &Scanned,
        place: Place,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        let asked = self.hand((place, false), &scanned.entries, at);
        match scanned.next {
            Some(next) if asked == 0 => {
                self.rotation.passed.insert(place, next);
            }
            None if asked < self.count => self.rotation.exhausted(place),
            _ => {
                self.rotation.passed.remove(&place);
            }
        }
        self.resume(Event::Start, now)
    }

    /// Prepares the command for entries, for no more than were asked for; tells for how many.
    fn hand(
        &mut self,
        (place, taken): (Place, bool),
        entries: &[ScanEntry],
        at: TimestampMs,
    ) -> usize {
        let (partition, index) = (Partition::flow(place.1), self.rotation.index(place.0));
        let mut asked = 0;
        let ask = |loaded: &Loaded| {
            let wanted = asked < self.count;
            asked += usize::from(wanted);
            wanted.then(|| self.ask.ask(loaded))
        };
        let page = Page { partition, index: &index, entries, at, taken };
        let handed = Handed::new(page, (&self.terms, &mut self.entropy), ask);
        self.unreadable += handed.unreadable;
        self.doing = Doing::Deciding(handed);
        asked
    }

    fn decided(
        &mut self,
        results: <Handed<A::Command> as Operation>::Output,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        self.doing = Doing::Nothing;
        let mut kept = Vec::with_capacity(results.len());
        for result in results {
            match result {
                Ok(committed) if A::keeps(&committed.outcome) => kept.push(committed),
                Ok(_) => {}
                Err(error) => self.failed.push(error),
            }
        }
        if !kept.is_empty() || self.patience.left(now) == DurationMs::ZERO {
            return self.end(kept);
        }
        self.next(now)
    }

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<<Self as Operation>::Output> {
        match (std::mem::take(&mut self.doing), reply.body) {
            (Doing::Looking(mut found), ReplyBody::Poll(scores)) => {
                found.push(self.with_work(&scores));
                self.look(found, now)
            }
            (Doing::Taking(place), ReplyBody::Take(taken)) => {
                self.taken(&taken, place, reply.at, now)
            }
            (Doing::Scanning(place), ReplyBody::Scan(scanned)) => {
                self.scanned(&scanned, place, reply.at, now)
            }
            _ => Step::fail(Bug::unexpected_reply(OP)),
        }
    }
}

impl<A: Ask> Operation for Draw<A> {
    /// What was drawn.
    type Output = Result<Drawn<A>, EngineError>;

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        match (&mut self.doing, event) {
            (Doing::Deciding(handed), event) => {
                handed.resume(event, now).then(|results| self.decided(results, now))
            }
            (_, Event::Start) => {
                self.patience.begin(now);
                self.next(now)
            }
            (_, Event::Reply(reply)) => self.on_reply(reply, now),
            (_, Event::Failure(failure)) => {
                // A take whose reply was lost has hidden its entries; they come back after the
                // hold.
                self.doing = Doing::Nothing;
                Step::retry(self.patience.after_failure(OP, &failure, Applied::No, now))
            }
            (_, Event::Wake) => self.next(now),
        }
    }
}
