//! The first timers of partitions.

use std::collections::{BTreeMap, BTreeSet};

use crate::op::FirstTimer;
use crate::partition::Partition;
use crate::time::TimestampMs;

/// The first timer of each partition, as far as it is known, and when to take it.
#[derive(Clone, Debug)]
pub(super) struct Timers {
    by_partition: BTreeMap<Partition, (FirstTimer, TimestampMs)>,
    by_time: BTreeSet<(TimestampMs, Partition)>,
}

impl Timers {
    /// No timer is known.
    pub(super) const fn new() -> Self {
        Self { by_partition: BTreeMap::new(), by_time: BTreeSet::new() }
    }

    /// The first timer of a partition.
    pub(super) fn first(&self, partition: Partition) -> Option<FirstTimer> {
        self.by_partition.get(&partition).map(|(first, _)| *first)
    }

    /// Sets the first timer of a partition, and when to take it.
    pub(super) fn set(&mut self, partition: Partition, timer: Option<(FirstTimer, TimestampMs)>) {
        let before = match timer {
            Some(timer) => self.by_partition.insert(partition, timer),
            None => self.by_partition.remove(&partition),
        };
        if let Some((_, at)) = before {
            self.by_time.remove(&(at, partition));
        }
        if let Some((_, at)) = timer {
            self.by_time.insert((at, partition));
        }
    }

    /// When the first of all timers is to be taken.
    pub(super) fn next(&self) -> Option<TimestampMs> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Removes the timers that are to be taken by now, and returns their partitions.
    pub(super) fn remove_due(&mut self, now: TimestampMs) -> Vec<Partition> {
        let mut due = Vec::new();
        while let Some((_, partition)) = self.by_time.first().filter(|(at, _)| *at <= now) {
            let partition = *partition;
            due.push(partition);
            self.set(partition, None);
        }
        due
    }
}
