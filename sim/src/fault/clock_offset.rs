//! A client's clock offset: a process takes a wrong wall clock for the store's.
//!
//! It does so from its start until the first reply, and again whenever it forgets what it heard. A
//! wrong clock must cost a refusal and a second try, nothing else.

use crate::settings::Settings;
use crate::streams::{Draws, Source, between, call_key, one_of};

use super::FaultKind;
use super::chances::Chances;

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// How far a wall clock is off, in milliseconds.
pub fn draw(source: &mut impl Source) -> i64 {
    let near = between(source, 0, 1_800) as i64 - 900;
    one_of(source, &[near, near, near, 5 * near, 3 * HOUR_MS, -3 * HOUR_MS])
}

/// A process that falls back on its wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Lapse {
    /// Its number.
    pub number: u64,
    /// Which process.
    pub process: usize,
    /// When.
    pub at: u64,
    /// How far its wall clock is off, in milliseconds.
    pub skew: i64,
}

/// The lapses of a seed by number, among that many processes.
pub fn plan(seed: u64, settings: &Settings, processes: usize) -> Vec<Lapse> {
    let lapse = |number| {
        let mut draws = Draws::new(seed, FaultKind::ClockOffset as u64, number);
        Lapse {
            number,
            process: draws.below(processes as u64) as usize,
            at: between(&mut draws, 0, settings.busy_ms),
            skew: draw(&mut draws),
        }
    };
    (0..settings.on(FaultKind::ClockOffset).unwrap_or(0)).map(lapse).collect()
}

/// How far the wall clock of a process is off at its start, in milliseconds.
pub fn at_start(chances: &mut Chances, settings: &Settings, process: usize, start: u64) -> i64 {
    let key = call_key(process, start, STARTS, 0);
    let kind = FaultKind::ClockOffset;
    match settings.on(kind).map(|_| draw(&mut chances.draws(kind, key))) {
        Some(skew) if chances.inject(kind, key) => skew,
        _ => 0,
    }
}

/// No process begins as many operations: the number stands for its start.
const STARTS: u64 = 0xffff_ffff;
