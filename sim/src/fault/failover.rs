//! A failover that loses the last commits: a replica takes over that has not heard of them.
//!
//! From a moment on the replica hears nothing more; some time later it is the store. What was
//! acknowledged in between is gone, connections are broken, and the store has another history.

use crate::determinism::random::{Draws, between, one_of};
use crate::plan::settings::Settings;

use crate::plan::FaultKind;

/// One failover.
#[derive(Clone, Copy, Debug)]
pub struct Failover {
    /// Its number.
    pub number: u64,
    /// Until when the replica has heard of everything.
    pub heard_until: u64,
    /// When it takes over.
    pub at: u64,
}

/// The failovers of a seed by number, none of which begins before the one before is over.
pub fn plan(seed: u64, settings: &Settings) -> Vec<Failover> {
    let kind = FaultKind::Failover;
    let count = settings.on(kind).unwrap_or(0);
    let failover = |number| {
        let mut draws = Draws::new(seed, kind as u64, number);
        let each_ms = settings.busy_ms / count;
        let lag_ms = one_of(&mut draws, &[5, 50, 300, 1_500]).min(each_ms);
        let lag_ms = between(&mut draws, 0, lag_ms);
        let heard_until = number * each_ms + between(&mut draws, 0, each_ms - lag_ms);
        Failover { number, heard_until, at: heard_until + lag_ms }
    };
    (0..count).map(failover).collect()
}
