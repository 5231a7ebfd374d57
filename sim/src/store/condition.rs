//! The condition of the store: its clock, and the requests that it refuses.

use std::collections::BTreeMap;

use ff_core::store::{Failure, Request};
use ff_core::time::TimestampMs;

use crate::determinism::clock::store_time;
use crate::fault::store::{Episode, needs_function, refusal};
use crate::plan::FaultKind;

/// The store's reaction to a request.
#[derive(Debug)]
pub enum Reception {
    /// It serves the request.
    Welcome,
    /// It has no function for the request: the sender loads the library and sends it again, once.
    LibraryMissing,
    /// It refuses the request.
    Refused(Failure),
}

/// The present faults of the store.
#[derive(Debug, Default)]
pub struct Condition {
    /// How far its clock has been stepped, in milliseconds.
    stepped_ms: i64,
    /// The latest episode of each kind, and when it is over.
    episodes: BTreeMap<FaultKind, (Episode, u64)>,
    /// Whether the function library is missing.
    pub library_missing: bool,
}

impl Condition {
    /// The store's clock at a simulated time.
    pub fn clock(&self, now: u64) -> TimestampMs {
        store_time(now).shifted(self.stepped_ms)
    }

    /// Steps the clock.
    pub const fn step(&mut self, by_ms: i64) {
        self.stepped_ms += by_ms;
    }

    /// Begins an episode, unless one of the same kind lasts longer.
    pub fn begin(&mut self, episode: Episode, now: u64) {
        let until = now + episode.lasts_ms;
        let longer = |(_, before): &(Episode, u64)| *before >= until;
        if !self.episodes.get(&episode.kind).is_some_and(longer) {
            self.episodes.insert(episode.kind, (episode, until));
        }
    }

    /// Ends all episodes. The clock stays as it is.
    pub fn recover(&mut self) {
        self.episodes.clear();
    }

    /// The present episode of a kind.
    pub fn episode(&self, kind: FaultKind, now: u64) -> Option<Episode> {
        let (episode, until) = self.episodes.get(&kind)?;
        (now < *until).then_some(*episode)
    }

    /// The reaction to a request. `again`: its sender has loaded the function library for it.
    pub fn receive(&self, request: &Request, now: u64, again: bool) -> Reception {
        let is = |kind| self.episode(kind, now).is_some();
        let refuses = |kind| refusal(kind, request).filter(|_| is(kind));
        let any = refuses(FaultKind::Loading).or_else(|| refuses(FaultKind::Busy));
        if any.is_none() && self.library_missing && needs_function(request) {
            let not_loaded = again || is(FaultKind::ReadOnly);
            let refused = refusal(FaultKind::LibraryMissing, request).filter(|_| not_loaded);
            return refused.map_or(Reception::LibraryMissing, Reception::Refused);
        }
        any.or_else(|| refuses(FaultKind::ReadOnly))
            .or_else(|| refuses(FaultKind::OutOfMemory))
            .map_or(Reception::Welcome, Reception::Refused)
    }
}
