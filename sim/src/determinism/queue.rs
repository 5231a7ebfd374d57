//! What will happen when: events in the order of time, and of their scheduling within an instant.

use std::collections::BTreeMap;

/// The events to come.
#[derive(Debug)]
pub struct Queue<E> {
    /// Each in a box: a map moves its values about.
    events: BTreeMap<(u64, u64), Box<E>>,
    scheduled: u64,
}

impl<E> Queue<E> {
    /// No events.
    pub const fn new() -> Self {
        Self { events: BTreeMap::new(), scheduled: 0 }
    }

    /// Schedules an event.
    pub fn push(&mut self, at: u64, event: E) {
        self.scheduled += 1;
        self.events.insert((at, self.scheduled), Box::new(event));
    }

    /// The next event and its time.
    pub fn pop(&mut self) -> Option<(u64, E)> {
        self.events.pop_first().map(|((at, _), event)| (at, *event))
    }
}
