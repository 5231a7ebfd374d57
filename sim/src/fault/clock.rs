//! Faults of the clocks of processes.

use crate::determinism::random::{Source, between, one_of, start_key};
use crate::plan::FaultKind;

use super::chances::Chances;

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// How far a wall clock is off, in milliseconds.
pub fn offset_ms(source: &mut impl Source) -> i64 {
    let near = between(source, 0, 1_800) as i64 - 900;
    one_of(source, &[near, near, near, 5 * near, 3 * HOUR_MS, -3 * HOUR_MS])
}

/// How far the estimate of the store's time jumps, in milliseconds.
pub fn step_ms(source: &mut impl Source) -> i64 {
    let longest = one_of(source, &[200, 2_000, 20_000, 2_000_000]);
    between(source, 0, 2 * longest) as i64 - longest as i64
}

/// How long the estimate of the store's time stands still, in milliseconds.
pub fn freeze_ms(source: &mut impl Source) -> u64 {
    let longest = one_of(source, &[300, 3_000, 10_000]);
    between(source, 1, longest)
}

/// How far the wall clock of a process is off at its start, in milliseconds.
pub fn offset_at_start(chances: &mut Chances, process: usize, start: u64) -> i64 {
    let key = start_key(process, start);
    let offset = chances.strike(FaultKind::ClockOffset, key, |draws, _| Some(offset_ms(draws)));
    offset.unwrap_or(0)
}

/// By how many parts in a million the local clock of a process runs too fast. `lease_ttl_ms`: how
/// long its leases are.
///
/// A worker judges its leases on this clock, with a margin of a tenth of the time that is left, at
/// most 250 ms. The margin covers a clock that is slow by a tenth for leases of up to 2.5 s, and by
/// 250 ms in the whole lease for longer ones: 0.8 % for 30 s, 0.07 % for six minutes. Real clocks
/// are within 0.05 % while they are disciplined. The drift stays within four fifths of the margin's
/// limit; within that limit \[INV-HEALTH-1\] holds.
pub fn drift_at_start(chances: &mut Chances, lease_ttl_ms: u64, process: usize, start: u64) -> i64 {
    let covered = (250 * 1_000_000 / lease_ttl_ms.max(1)).min(100_000);
    let key = start_key(process, start);
    let drift = chances.strike(FaultKind::ClockDrift, key, |draws, percent| {
        let bound = covered * 4 / 5 * percent.min(100) / 100;
        let drift = between(draws, 0, 2 * bound) as i64 - bound as i64;
        (drift != 0).then_some(drift)
    });
    drift.unwrap_or(0)
}
