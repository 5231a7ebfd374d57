//! The store's clock steps, forwards or back, as when a replica with another clock takes over.
//!
//! A lease that was marked expired stays expired, and a step forwards costs at most a reclaim.
//! After a step back, what is due waits until the clock is there again; so steps back are of at
//! most a minute and a half together, which leaves time for the end of a run.

use crate::determinism::random::{Draws, between, happens, one_of};
use crate::plan::settings::Settings;

use crate::plan::FaultKind;

/// One step.
#[derive(Clone, Copy, Debug)]
pub struct ClockStep {
    /// Its number.
    pub number: u64,
    /// When.
    pub at: u64,
    /// By how many milliseconds.
    pub by_ms: i64,
}

/// Further than any lease of a run and the minute within which an expiry is believed.
const FAR_BACK_MS: u64 = 75_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// The steps of a seed by number.
pub fn plan(seed: u64, settings: &Settings) -> Vec<ClockStep> {
    let kind = FaultKind::StoreClockStep;
    let step = |number| {
        let mut draws = Draws::new(seed, kind as u64, number);
        let at = between(&mut draws, 0, settings.busy_ms);
        // Only the first step goes far back or far ahead.
        let far = number == 0 && happens(&mut draws, 250);
        let by_ms = if happens(&mut draws, 500) {
            let ahead =
                if far { &[20_000, 600_000, DAY_MS + 60_000] } else { &[300, 1_500, 5_000] };
            let ahead = one_of(&mut draws, ahead);
            between(&mut draws, 1, ahead) as i64
        } else {
            let back = if far { FAR_BACK_MS } else { one_of(&mut draws, &[300, 1_500, 3_000]) };
            -(between(&mut draws, back / 2, back) as i64)
        };
        ClockStep { number, at, by_ms }
    };
    (0..settings.on(kind).unwrap_or(0)).map(step).collect()
}
