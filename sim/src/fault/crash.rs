//! A process crash and restart.
//!
//! The process forgets its operations and its leases. What it had sent still arrives. It comes
//! back later under another instance id.

use crate::settings::Settings;
use crate::streams::{between, stream};

/// One crash.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    /// Which process.
    pub process: usize,
    /// When.
    pub at: u64,
    /// How long it stays away, in milliseconds.
    pub down_ms: u64,
}

/// The crashes of a seed, among that many processes.
pub fn plan(seed: u64, settings: &Settings, processes: usize) -> Vec<Crash> {
    let mut entropy = stream(seed, "crashes", 0);
    (0..settings.crashes)
        .map(|_| Crash {
            process: entropy.below(processes as u64) as usize,
            at: between(&mut entropy, 200, settings.busy_ms),
            down_ms: between(&mut entropy, 100, 4_000),
        })
        .collect()
}
