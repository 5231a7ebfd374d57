//! A client's clock offset: a process takes a wrong wall clock for the store's.
//!
//! It does so from its start until the first reply, and again whenever it forgets what it heard. A
//! wrong clock must cost a refusal and a second try, nothing else.

use crate::determinism::random::{Source, between, one_of, start_key};
use crate::plan::settings::Settings;

use super::chances::Chances;
use crate::plan::FaultKind;

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// How far a wall clock is off, in milliseconds.
pub fn draw(source: &mut impl Source) -> i64 {
    let near = between(source, 0, 1_800) as i64 - 900;
    one_of(source, &[near, near, near, 5 * near, 3 * HOUR_MS, -3 * HOUR_MS])
}

/// How far the wall clock of a process is off at its start, in milliseconds.
pub fn at_start(chances: &mut Chances, settings: &Settings, process: usize, start: u64) -> i64 {
    let (kind, key) = (FaultKind::ClockOffset, start_key(process, start));
    match settings.on(kind).map(|_| draw(&mut chances.draws(kind, key))) {
        Some(skew) if chances.inject(kind, key) => skew,
        _ => 0,
    }
}
