//! Where a program looks for work next.

use std::collections::VecDeque;

use crate::id::{LaneId, Namespace};
use crate::partition::{Partition, PartitionConfig};
use crate::planted::planted;
use crate::store::IndexName;
use crate::time::{DurationMs, HostTime, TimestampMs};

/// Takes in a row from one partition before others have their turn.
const MAX_IN_A_ROW: u32 = 8;
/// Places found empty since the last look over all partitions after which a new look costs less.
const MAX_EMPTY: usize = 8;
/// Time at one partition before others have their turn.
const MAX_AT_ONE: DurationMs = DurationMs::from_secs(1);

/// Where a program looks for work next: the partitions that had work when it last looked, lane by
/// lane in turn.
///
/// It stays at one partition until that is empty, at most 8 times in a row or for one second. It
/// looks over all partitions when none is left, and at least every second, so that no partition and
/// no lane starves.
#[derive(Clone, Debug)]
pub struct LaneRotation {
    namespace: Namespace,
    lanes: Vec<LaneId>,
    config: PartitionConfig,
    /// Places that probably have work, the next one first.
    ready: VecDeque<Place>,
    in_a_row: u32,
    /// When the turn of the first place began, by the host's clock.
    since: Option<TimestampMs>,
    /// When it last looked over all partitions, by the host's clock.
    looked: Option<TimestampMs>,
    /// The lane that has the first turn after the next look. Without it, other lanes would never
    /// have a turn where each task takes longer than the time between two looks.
    first_lane: usize,
    /// Places that were found empty since the last look.
    empty: usize,
}

/// A lane in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The lane, by its number in the rotation.
    pub(super) lane: usize,
    /// The partition.
    pub(super) partition: u16,
}

impl LaneRotation {
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
        }
    }

    /// Notes a hint that a partition has work; it is looked at first.
    pub fn hint(&mut self, lane: &LaneId, partition: Partition) {
        if let Some(lane) = self.lanes.iter().position(|known| known == lane) {
            let place = Place { lane, partition: partition.index };
            if !self.ready.contains(&place) {
                self.ready.push_front(place);
                (self.in_a_row, self.since) = (0, None);
            }
        }
    }

    /// How many lanes there are.
    pub(super) const fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// All partitions.
    pub(super) fn partitions(&self) -> Vec<Partition> {
        self.config.flow_partitions().collect()
    }

    /// The index of a lane.
    pub(super) fn index(&self, lane: usize) -> IndexName {
        IndexName::Eligible { namespace: self.namespace.clone(), lane: self.lanes[lane].clone() }
    }

    /// Whether this is the first take of a place's turn.
    pub(super) const fn begins_turn(&self) -> bool {
        self.in_a_row == 1
    }

    /// Whether it is time to look over all partitions.
    pub(super) fn is_stale(&self, now: HostTime) -> bool {
        if planted!(WakeUpReliedUpon) && self.looked.is_some() {
            return false;
        }
        let old = |looked: TimestampMs| now.local.since(looked) >= MAX_AT_ONE;
        self.ready.is_empty() || self.looked.is_none_or(old)
    }

    /// Notes the partitions that have work, by lane: one place of each lane in turn.
    pub(super) fn found(&mut self, by_lane: &[Vec<u16>], now: HostTime) {
        self.looked = Some(now.local);
        self.empty = 0;
        self.ready.clear();
        let most = by_lane.iter().map(Vec::len).max().unwrap_or(0);
        for step in 0..most {
            let lanes = (self.first_lane..by_lane.len()).chain(0..self.first_lane);
            self.ready.extend(lanes.filter_map(|lane| {
                let partition = *by_lane[lane].get(step)?;
                Some(Place { lane, partition })
            }));
        }
        self.first_lane = (self.first_lane + 1) % by_lane.len().max(1);
        (self.in_a_row, self.since) = (0, None);
    }

    /// The next place to take from.
    pub(super) fn current(&mut self, now: HostTime) -> Option<Place> {
        let since = *self.since.get_or_insert(now.local);
        if self.in_a_row >= MAX_IN_A_ROW || now.local.since(since) >= MAX_AT_ONE {
            self.ready.rotate_left(usize::from(!self.ready.is_empty()));
            (self.in_a_row, self.since) = (0, Some(now.local));
        }
        self.in_a_row += 1;
        self.ready.front().copied()
    }

    /// Notes that a place was empty although it was believed to have work: other programs have been
    /// there, and probably at many of the other places. After some of these a look costs less than
    /// finding each place empty.
    pub(super) fn found_empty(&mut self) {
        self.empty += 1;
        if self.empty >= MAX_EMPTY && self.ready.len() >= MAX_EMPTY {
            self.looked = None;
        }
    }

    /// Notes that a place has no work left.
    pub(super) fn exhausted(&mut self, place: Place) {
        self.ready.retain(|ready| *ready != place);
        (self.in_a_row, self.since) = (0, None);
    }
}
