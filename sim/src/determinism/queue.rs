//! The events to come, in the order of time, and within an instant in the order of scheduling.

use std::collections::BTreeMap;

/// The events to come.
#[derive(Debug)]
pub struct Queue<E> {
    /// Each event in a box, because a map moves its values.
    events: BTreeMap<(u64, u64), Box<E>>,
    scheduled: u64,
}

impl<E> Queue<E> {
    /// Creates an empty queue.
    pub const fn new() -> Self {
        Self { events: BTreeMap::new(), scheduled: 0 }
    }

    /// Schedules an event.
    pub fn push(&mut self, at: u64, event: E) {
        self.scheduled += 1;
        self.events.insert((at, self.scheduled), Box::new(event));
    }

    /// Removes the next event and returns it with its time.
    pub fn pop(&mut self) -> Option<(u64, E)> {
        self.events.pop_first().map(|((at, _), event)| (at, *event))
    }

    /// The time of the next event.
    pub fn next_at(&self) -> Option<u64> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }

    /// Removes the events for which this is false.
    pub fn retain(&mut self, stays: impl Fn(&E) -> bool) {
        self.events.retain(|_, event| stays(event));
    }
}
