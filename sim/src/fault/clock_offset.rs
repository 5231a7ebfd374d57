//! A client's clock offset: a process takes a wrong wall clock for the store's.
//!
//! It does so from its start until the first reply, and again whenever it forgets what it heard. A
//! wrong clock must cost a refusal and a second try, nothing else.

use ff_core::entropy::Entropy;

use crate::settings::Settings;
use crate::streams::{between, one_of, stream};

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// How far a wall clock is off, in milliseconds.
pub fn draw(entropy: &mut Entropy, on: bool) -> i64 {
    if !on {
        return 0;
    }
    let near = between(entropy, 0, 1_800) as i64 - 900;
    one_of(entropy, &[near, near, near, 5 * near, 3 * HOUR_MS, -3 * HOUR_MS])
}

/// A process that falls back on its wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Lapse {
    /// Which process.
    pub process: usize,
    /// When.
    pub at: u64,
    /// How far its wall clock is off, in milliseconds.
    pub skew: i64,
}

/// The lapses of a seed, among that many processes.
pub fn plan(seed: u64, settings: &Settings, processes: usize) -> Vec<Lapse> {
    let mut entropy = stream(seed, "clocks", 0);
    let count = if settings.clock_offset { 80 } else { 0 };
    (0..count)
        .map(|_| Lapse {
            process: entropy.below(processes as u64) as usize,
            at: between(&mut entropy, 0, settings.busy_ms),
            skew: draw(&mut entropy, true),
        })
        .collect()
}
