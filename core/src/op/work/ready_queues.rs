//! Where a program takes work from next.

use std::collections::{BTreeMap, BTreeSet};

use crate::execution::Execution;
use crate::id::{ExecutionKind, LaneId, Namespace};
use crate::kinds::Kinds;
use crate::lane::Lanes;
use crate::partition::{Partition, PartitionConfig};
use crate::planted::planted;
use crate::resource::ResourceKind;
use crate::score::Score;
use crate::store::bounds::{MAX_PAGE, MAX_TAKE_INDEXES};
use crate::store::{
    FirstOf, Firsts, IndexName, Poll, PollOf, Polled, ScanPosition, TakeUntil, Topic, Wake,
};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::blocked_pages::{BlockedPage, BlockedPages, PageHad};

/// Queues found empty since the last look over all partitions after which a new look costs less.
const MAX_EMPTY: usize = 8;
/// The time after which a program looks over all partitions again.
const LOOK_EVERY: DurationMs = DurationMs::from_secs(1);

/// The queues that probably have work, each with its first score: those that had work when the
/// program last looked over all partitions, and those that wake-ups have named since.
///
/// The lanes take turns. Within a lane, the partition with the lowest first score is next: the
/// highest priority, then the oldest execution. A program looks over all partitions when nothing is
/// left, and at least every second, so that no partition starves.
#[derive(Clone, Debug)]
pub struct ReadyQueues {
    namespace: Namespace,
    lanes: Vec<LaneId>,
    kinds: Kinds,
    config: PartitionConfig,
    /// The queues of each lane.
    known: Vec<QueuesOfLane>,
    /// The lane that has the next turn.
    turn: usize,
    /// When it last looked over all partitions, by the host's clock.
    looked: Option<TimestampMs>,
    /// How many queues of each partition the next look skips.
    skip: u32,
    /// Queues that were found empty since the last look.
    empty: usize,
    /// How many programs serve each lane, as far as it knows, by the number of the lane.
    programs: BTreeMap<usize, u64>,
    /// The lane whose programs the next look counts.
    counted: usize,
    /// Whether it does not look again only because it knows of no work.
    rests: bool,
    /// The lanes whose work does not start, as far as it knows, by the number of the lane.
    held: BTreeSet<usize>,
    /// Whether a wake-up said that lanes have changed.
    lanes_changed: bool,
    /// Executions that no worker fitted.
    blocked: BlockedPages,
    /// Whether it takes from a lane next, since it took one of those last.
    lane_is_next: bool,
}

/// The queues of one lane that probably have work.
#[derive(Clone, Debug, Default)]
struct QueuesOfLane {
    by_score: BTreeSet<(Score, u16, ExecutionKind)>,
    by_name: BTreeMap<(u16, ExecutionKind), Queue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Queue {
    /// Its first score.
    score: Score,
    /// Whether the program has taken nothing from it since a wake-up or a look named it.
    is_new: bool,
}

/// Where to take from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    lane: usize,
    pub(super) partition: Partition,
    /// The queues of a lane in this partition.
    pub(super) queues: Vec<IndexName>,
    /// The last score to take, so that better entries of other partitions are not overtaken.
    pub(super) until: TakeUntil,
    /// Whether the take wakes others when entries are left.
    pub(super) ring_rest: bool,
}

impl QueuesOfLane {
    fn set(&mut self, partition: u16, kind: ExecutionKind, queue: Option<Queue>) {
        let name = (partition, kind);
        let before = match queue {
            Some(queue) => self.by_name.insert(name.clone(), queue),
            None => self.by_name.remove(&name),
        };
        let (partition, kind) = name;
        if let Some(before) = before {
            self.by_score.remove(&(before.score, partition, kind.clone()));
        }
        if let Some(queue) = queue {
            self.by_score.insert((queue.score, partition, kind));
        }
    }
}

impl ReadyQueues {
    /// Creates the queues of some lanes and kinds of a namespace, none of them with known work.
    pub fn new(
        namespace: Namespace,
        lanes: Vec<LaneId>,
        kinds: Kinds,
        config: PartitionConfig,
    ) -> Self {
        let known = vec![QueuesOfLane::default(); lanes.len()];
        let (turn, looked, skip, empty, rests) = (0, None, 0, 0, false);
        let (programs, counted) = (BTreeMap::new(), 0);
        Self {
            namespace,
            lanes,
            kinds,
            config,
            known,
            turn,
            looked,
            skip,
            empty,
            programs,
            counted,
            rests,
            held: BTreeSet::new(),
            lanes_changed: false,
            blocked: BlockedPages::default(),
            lane_is_next: false,
        }
    }

    /// Sets whether the next claim may find nothing without a look over all partitions: after a
    /// wake-up, if another worker has taken that work.
    pub(crate) const fn set_rests(&mut self, rests: bool) {
        self.rests = rests;
    }

    /// Notes a wake-up: a queue has work, or no worker fitted an execution. A wake-up that names
    /// nothing means that others may have been missed.
    pub fn note(&mut self, wake: Option<&Wake>) {
        match wake {
            Some(Wake { topic: Topic::Routes { namespace }, partition, .. }) => {
                if *namespace == self.namespace {
                    self.blocked.blocked(*partition);
                }
            }
            Some(Wake {
                topic: Topic::Resources { kind: ResourceKind::Lanes, namespace }, ..
            }) => {
                if *namespace == self.namespace {
                    self.held.clear();
                    self.lanes_changed = true;
                }
            }
            Some(Wake { partition, first: Some(first), .. }) => self.note_first(*partition, first),
            _ => {
                self.looked = None;
                self.blocked.missed();
            }
        }
    }

    fn note_first(&mut self, partition: Partition, first: &FirstOf) {
        if let IndexName::BlockedRoute { namespace } = &first.index
            && *namespace == self.namespace
        {
            self.blocked.found(partition);
        }
        let IndexName::Eligible { namespace, lane, kind } = &first.index else { return };
        let lane = self.lanes.iter().position(|known| known == lane);
        if let Some(lane) = lane
            && *namespace == self.namespace
            && (self.kinds.serves(kind) || planted!(KindIgnored))
        {
            let queue = Queue { score: first.score, is_new: true };
            self.known[lane].set(partition.index, kind.clone(), Some(queue));
        }
    }

    /// Whether there is something to take, as far as is known.
    pub fn knows_work(&self, now: HostTime) -> bool {
        self.has_queued() || self.next_blocked_at().is_some_and(|at| at <= now.local)
    }

    fn has_queued(&self) -> bool {
        (0..self.known.len()).any(|lane| self.starts(lane))
    }

    /// Whether a lane has work that may start.
    fn starts(&self, lane: usize) -> bool {
        !self.known[lane].by_name.is_empty() && !self.held.contains(&lane)
    }

    /// The namespace whose lanes must be known before the next take; `None` if nothing is known to
    /// wait in any lane. Also returns whether a wake-up said that they have changed.
    pub(super) fn needs_lanes(&mut self, now: HostTime) -> Option<(&Namespace, bool)> {
        let waits = self.known.iter().any(|lane| !lane.by_name.is_empty());
        let is_blocked = self.next_blocked_at().is_some_and(|at| at <= now.local);
        let changed = std::mem::take(&mut self.lanes_changed);
        (waits || is_blocked).then_some((&self.namespace, changed))
    }

    /// Notes which lanes start work. \[INV-LANE-1\]
    pub(super) fn hold(&mut self, lanes: &Lanes) {
        let held = |lane: &usize| !lanes.starts(&self.lanes[*lane]) && !planted!(PausedLaneTaken);
        self.held = (0..self.lanes.len()).filter(held).collect();
    }

    /// When it reads the next page of executions that no worker fitted, by the host's clock.
    pub(crate) fn next_blocked_at(&self) -> Option<TimestampMs> {
        self.blocked.next_at()
    }

    /// The page of executions that no worker fitted to read now. After one of them it is the turn
    /// of the lanes, whose executions may have a higher priority.
    pub(super) fn next_blocked(&mut self, now: HostTime) -> Option<BlockedPage> {
        if self.lane_is_next && self.has_queued() {
            return None;
        }
        self.blocked.next(now)
    }

    /// The index of the executions that no worker fitted.
    pub(super) fn blocked_index(&self) -> IndexName {
        IndexName::BlockedRoute { namespace: self.namespace.clone() }
    }

    /// Whether it serves the lane and the kind of an execution that no worker fitted, and the lane
    /// starts work.
    pub(super) fn serves(&self, execution: &Execution) -> bool {
        let lane = self.lanes.iter().position(|lane| *lane == execution.lane);
        let starts = lane.is_some_and(|lane| !self.held.contains(&lane));
        starts && self.kinds.serves(&execution.kind)
    }

    /// Notes that a page of executions that no worker fitted could not be read.
    pub(super) fn read_again(&mut self, page: BlockedPage) {
        self.blocked.read_again(page);
    }

    /// Notes what a page of executions that no worker fitted had. `rest`: where the next page
    /// begins.
    pub(super) fn read_blocked(
        &mut self,
        page: BlockedPage,
        had: PageHad,
        rest: Option<ScanPosition>,
        now: HostTime,
    ) {
        self.lane_is_next = had != PageHad::Nothing;
        self.blocked.read(page, had, rest, now);
    }

    /// Notes that a page of executions that no worker fitted had no entry.
    pub(super) fn read_none(&mut self, page: BlockedPage) {
        if page.after.is_none() {
            self.blocked.has_none(page.partition);
        }
    }

    /// Whether it is time to look over all partitions.
    pub(super) fn is_stale(&self, now: HostTime) -> bool {
        if planted!(WakeUpReliedUpon) && self.looked.is_some() {
            return false;
        }
        let old = |looked: TimestampMs| now.local.since(looked) >= LOOK_EVERY;
        self.looked.is_none_or(old) || (!self.rests && !self.knows_work(now))
    }

    /// The fewest programs that serve one of its lanes, as far as it knows; at least one.
    pub(crate) fn programs(&self) -> u64 {
        self.programs.values().copied().min().unwrap_or(1).max(1)
    }

    /// The request that looks over all partitions. It also counts the programs of a lane.
    pub(super) fn look(&self) -> Poll {
        let of = PollOf::Queues { namespace: self.namespace.clone(), skip: self.skip };
        let lane = self.lanes.get(self.counted).cloned();
        let listeners = lane.map(|lane| Topic::Lane { namespace: self.namespace.clone(), lane });
        Poll { of, partitions: self.config.flow_partitions().collect(), listeners }
    }

    /// Notes the reply to [`ReadyQueues::look`]; `false` if it does not answer it.
    pub(super) fn found(&mut self, polled: &Polled, now: HostTime) -> bool {
        let Polled { firsts, listeners } = polled;
        if firsts.len() != self.config.flow_partitions().count() {
            return false;
        }
        (self.looked, self.empty) = (Some(now.local), 0);
        self.programs.insert(self.counted, *listeners);
        self.counted = (self.counted + 1) % self.lanes.len().max(1);
        if self.skip == 0 {
            self.known.fill(QueuesOfLane::default());
        }
        for (partition, firsts) in self.config.flow_partitions().zip(firsts) {
            for first in firsts.iter().flat_map(|firsts| &firsts.found) {
                self.note_first(partition, first);
            }
        }
        // A list that fills its page goes on in the next look.
        let is_full = |firsts: &Result<Firsts, String>| {
            firsts.as_ref().is_ok_and(|firsts| firsts.found.len() >= MAX_PAGE)
        };
        let goes_on = firsts.iter().any(is_full);
        self.skip = if goes_on { self.skip.saturating_add(MAX_PAGE as u32) } else { 0 };
        self.blocked.looked();
        true
    }

    /// The next place to take from: in the next lane that has work, the partition with the lowest
    /// first score.
    pub(super) fn next(&mut self, now: HostTime) -> Option<Place> {
        let count = self.lanes.len();
        let mut turns = (0..count).map(|step| (self.turn + step) % count);
        let lane = turns.find(|lane| self.starts(*lane))?;
        self.turn = (lane + 1) % count;
        let known = &self.known[lane];
        let (_, partition, _) = known.by_score.first()?;
        let here = known.by_score.iter().filter(|(_, at, _)| at == partition);
        let here: Vec<_> = here.take(MAX_TAKE_INDEXES).collect();
        let other = known.by_score.iter().find(|(_, at, _)| at != partition);
        let until = other.map_or(TakeUntil::End, |(score, ..)| {
            TakeUntil::Score(overtakes_until(*score, now.store))
        });
        let is_new = |kind: &ExecutionKind| {
            known.by_name.get(&(*partition, kind.clone())).is_some_and(|queue| queue.is_new)
        };
        let ring_rest = here.iter().any(|(_, _, kind)| is_new(kind));
        let queues = here.iter().map(|(_, _, kind)| self.queue(lane, kind)).collect();
        Some(Place { lane, partition: Partition::flow(*partition), queues, until, ring_rest })
    }

    fn queue(&self, lane: usize, kind: &ExecutionKind) -> IndexName {
        let (namespace, lane) = (self.namespace.clone(), self.lanes[lane].clone());
        IndexName::Eligible { namespace, lane, kind: kind.clone() }
    }

    /// Notes what a take has left at a place.
    pub(super) fn taken(&mut self, place: &Place, took: usize, rest: &[Option<Score>]) {
        self.lane_is_next = false;
        if took == 0 {
            // Other programs have been there, and probably at many of the other places.
            self.empty += 1;
            if self.empty >= MAX_EMPTY && self.known[place.lane].by_name.len() >= MAX_EMPTY {
                self.looked = None;
            }
        }
        for (queue, rest) in place.queues.iter().zip(rest) {
            let IndexName::Eligible { kind, .. } = queue else { continue };
            let queue = rest.map(|score| Queue { score, is_new: false });
            self.known[place.lane].set(place.partition.index, kind.clone(), queue);
        }
    }
}

/// The least and the most by which entries of one partition may overtake those of others.
const OVERTAKES: (DurationMs, DurationMs) = (DurationMs::from_secs(1), DurationMs::from_secs(600));
/// The part of the age of an entry by which others may overtake it.
const PART_OF_AGE: u64 = 8;

/// The last score that may be taken although another partition has an entry of this score: entries
/// of the same priority that are at most a second younger, or an eighth of the age of that entry,
/// but never more than 10 minutes. Taking exactly the oldest entry of all partitions would cost a
/// call each.
fn overtakes_until(other: Score, now: TimestampMs) -> Score {
    let (least, most) = OVERTAKES;
    let part = other.age_in_lane(now).get() / PART_OF_AGE;
    other.later_by(DurationMs::new(part.clamp(least.get(), most.get())))
}
