//! Requests that are held back in quiet times, so that polls of an idle store cost little.

use std::rc::Rc;

use ff_core::execution::{Execution, next_due};
use ff_core::partition::Partition;
use ff_core::store::Request;

use crate::determinism::clock::store_time;
use crate::determinism::random::{between, stream};

use super::call::{Call, Cargo};
use super::quiet::POLL_MS;
use super::scene::{Scene, SceneEvent};

/// How long a command takes at most, in milliseconds, unless its process is set up otherwise.
const COMMAND_MS: u64 = 30_000;

impl Scene {
    /// Notes that something happens.
    pub fn active(&mut self, at: u64) {
        self.quiet.end(at);
        let held: Vec<u64> = self.quiet.held.keys().copied().collect();
        for number in held {
            // As if its sender had polled all the time.
            let mut entropy = stream(self.seed, "simulation: released", number);
            let after = between(&mut entropy, 0, POLL_MS);
            self.later(at.max(self.now) + after, SceneEvent::Released(number));
        }
    }

    /// Holds a request back that its process repeats unchanged in a quiet time, until something
    /// happens or may be due. Returns the call, if it is not held back.
    pub fn hold(&mut self, slot: usize, at: u64, call: Call) -> Option<Call> {
        let Cargo::Store { request, .. } = &call.cargo else { return Some(call) };
        if !request.is_read_only() {
            self.slots[slot].wrote_at = at;
            return Some(call);
        }
        // A read may be part of a command, and every call waits for the read of the store's
        // configuration.
        let may_wait = matches!(request, Request::Poll(_))
            || (request.partition() != Partition::META
                && at >= self.slots[slot].wrote_at + COMMAND_MS);
        let is_quiet = self.quiet.is_long(at) && self.in_flight.is_empty();
        if !may_wait || !is_quiet || !self.quiet.repeats(slot, request) {
            return Some(call);
        }
        let latest = at + self.quiet.hold_ms(at);
        let until = self.next_due(at).unwrap_or(latest).min(latest);
        if until <= at + POLL_MS {
            return Some(call);
        }
        let number = self.quiet.hold(slot, call);
        self.later(until, SceneEvent::Released(number));
        None
    }

    /// Sends a request that was held back, unless it was sent before.
    pub fn released(&mut self, number: u64) {
        if let Some((slot, call)) = self.quiet.held.remove(&number) {
            self.send(slot, self.now, call);
        }
    }

    /// Forgets the calls of a process that has ended.
    pub fn forget(&mut self, slot: usize) {
        self.slots[slot].waits_for.clear();
        self.slots[slot].watched = None;
        self.slots[slot].touched.clear();
        self.quiet.held.retain(|_, (sender, _)| *sender != slot);
    }

    /// When the next timer of an execution is due, in milliseconds.
    fn next_due(&self, at: u64) -> Option<u64> {
        let due_at = |record: &Rc<Execution>| {
            next_due(record).map(|(due, _)| due.since(store_time(0)).get())
        };
        self.server.model.records.values().filter_map(due_at).filter(|due| *due > at).min()
    }
}
