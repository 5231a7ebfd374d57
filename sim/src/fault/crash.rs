//! A process crash and restart.
//!
//! The process forgets its operations and its leases. What it had sent still arrives. It comes
//! back later under another instance id.

use crate::settings::Settings;
use crate::streams::{Draws, Source, between};

use super::FaultKind;

/// One crash.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    /// Its number.
    pub number: u64,
    /// Which process.
    pub process: usize,
    /// When.
    pub at: u64,
    /// How long it stays away, in milliseconds.
    pub down_ms: u64,
}

/// The crashes of a seed by number, among that many processes.
pub fn plan(seed: u64, settings: &Settings, processes: usize) -> Vec<Crash> {
    let crash = |number| {
        let mut draws = Draws::new(seed, FaultKind::Crash as u64, number);
        Crash {
            number,
            process: draws.below(processes as u64) as usize,
            at: between(&mut draws, 0, settings.busy_ms),
            down_ms: between(&mut draws, 100, 4_000),
        }
    };
    (0..settings.on(FaultKind::Crash).unwrap_or(0)).map(crash).collect()
}
