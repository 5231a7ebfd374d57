//! Quiet times, in which nothing happens: no service is called, no execution changes with an event,
//! and no process starts. Renewals of leases do not count.

use std::collections::BTreeMap;

use ff_core::store::Request;

use super::call::Call;

/// After how long the simulation counts as quiet, in milliseconds.
const QUIET_AFTER_MS: u64 = 5_000;

/// The part of a quiet time by which its end may be noticed late.
const LATE_BY: u64 = 20;

/// How far processes run when no event is scheduled, in milliseconds. A message that one of them
/// sends meanwhile reaches processes that have run further at the end of this time.
const IDLE_MS: u64 = 100;

/// The same in a quiet time, at most.
const QUIET_IDLE_MS: u64 = 10_000;

/// How long a request is held back at most, in milliseconds: less than the time limit of a call.
const HELD_MS: u64 = 10_000;

/// The time between two polls of a worker or a timekeeper, in milliseconds.
pub const POLL_MS: u64 = 1_000;

/// The latest requests with which one is compared.
const MOST_COMPARED: usize = 64;

/// The quiet times of a simulation.
#[derive(Default)]
pub struct Quiet {
    /// When something happened last, in milliseconds.
    pub since: u64,
    /// The longest quiet time, in milliseconds.
    pub longest_ms: u64,
    /// Requests that are held back, each with its sender.
    pub held: BTreeMap<u64, (usize, Call)>,
    /// The read-only requests that were answered in this quiet time, each with its sender.
    answered: Vec<(usize, Request)>,
    count: u64,
}

impl Quiet {
    /// How long nothing has happened, in milliseconds.
    pub const fn for_ms(&self, now: u64) -> u64 {
        now.saturating_sub(self.since)
    }

    /// The longest quiet time, in milliseconds, with the present one.
    pub fn scale_ms(&self, now: u64) -> u64 {
        self.longest_ms.max(self.for_ms(now))
    }

    /// Whether it has been quiet for some time.
    pub const fn is_long(&self, now: u64) -> bool {
        self.for_ms(now) >= QUIET_AFTER_MS
    }

    /// How far processes may run without an event, in milliseconds.
    pub fn ahead_ms(&self, now: u64) -> u64 {
        match self.is_long(now) {
            true => (self.for_ms(now) / LATE_BY).clamp(IDLE_MS, QUIET_IDLE_MS),
            false => IDLE_MS,
        }
    }

    /// How long a request may be held back, in milliseconds.
    pub fn hold_ms(&self, now: u64) -> u64 {
        (self.for_ms(now) / LATE_BY).clamp(POLL_MS, HELD_MS)
    }

    /// Ends the quiet time.
    pub fn end(&mut self, now: u64) {
        self.longest_ms = self.scale_ms(now);
        self.since = self.since.max(now);
        self.answered.clear();
    }

    /// Whether a process repeats a request that was answered in this quiet time.
    pub fn repeats(&self, slot: usize, request: &Request) -> bool {
        self.answered.iter().any(|(sender, before)| *sender == slot && before == request)
    }

    /// Notes that a read-only request was answered.
    pub fn answered(&mut self, slot: usize, request: &Request) {
        if !self.repeats(slot, request) {
            if self.answered.len() == MOST_COMPARED {
                self.answered.remove(0);
            }
            self.answered.push((slot, request.clone()));
        }
    }

    /// Notes that a request failed, so that it may be sent again without delay.
    pub fn failed(&mut self, slot: usize, request: &Request) {
        self.answered.retain(|(sender, before)| *sender != slot || before != request);
    }

    /// Holds a request back, under the number that is returned.
    pub fn hold(&mut self, slot: usize, call: Call) -> u64 {
        self.count += 1;
        self.held.insert(self.count, (slot, call));
        self.count
    }
}
