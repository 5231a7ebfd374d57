//! Completions that are ready together travel in one call.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::partition::Partition;
use crate::store::bounds::MAX_UNITS;

/// The completions of one worker process. While a call of a partition is in flight, other
/// completions of that partition wait for its return and then travel together; no timer is
/// involved. `T` is what the shell keeps of a waiting completion.
#[derive(Clone, Debug)]
pub struct Completions<T> {
    /// The partitions with a call in flight, and the completions that wait for its return.
    in_flight: BTreeMap<Partition, Vec<T>>,
}

impl<T> Completions<T> {
    /// Where a completion of a partition waits. `None` if no call of the partition is in flight:
    /// the caller sends the completion alone, and calls [`Completions::returned`] afterwards.
    pub fn queue(&mut self, partition: Partition) -> Option<&mut Vec<T>> {
        match self.in_flight.entry(partition) {
            Entry::Vacant(entry) => {
                entry.insert(Vec::new());
                None
            }
            Entry::Occupied(entry) => Some(entry.into_mut()),
        }
    }

    /// Notes that the call of a partition has returned, and takes the completions of the next one.
    /// Without any the partition has no call in flight any more.
    pub fn returned(&mut self, partition: Partition) -> Vec<T> {
        let Some(waiting) = self.in_flight.get_mut(&partition) else { return Vec::new() };
        let next: Vec<T> = waiting.drain(..waiting.len().min(MAX_UNITS)).collect();
        if next.is_empty() {
            self.in_flight.remove(&partition);
        }
        next
    }
}

impl<T> Default for Completions<T> {
    fn default() -> Self {
        Self { in_flight: BTreeMap::new() }
    }
}
