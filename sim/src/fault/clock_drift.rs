//! A client's clock drift: the local clock of a process runs too fast or too slow.
//!
//! A worker judges its leases on this clock, with a margin of a tenth of what is left, at most
//! 250 ms. So the margin covers a clock that is slow by a tenth for leases of up to 2.5 s, and by
//! 250 ms in the whole lease for longer ones: 0.8 % for 30 s, 0.07 % for six minutes. Real clocks
//! are within 0.05 % while they are disciplined. What is simulated stays within four
//! fifths of what the margin covers; within that \[INV-HEALTH-1\] holds.

use crate::determinism::random::{between, start_key};
use crate::plan::settings::Settings;

use super::chances::Chances;
use crate::plan::FaultKind;

/// By how many parts in a million the clock of a process runs too fast.
pub fn at_start(chances: &mut Chances, settings: &Settings, process: usize, start: u64) -> i64 {
    let (kind, key) = (FaultKind::ClockDrift, start_key(process, start));
    let Some(share) = settings.on(kind) else { return 0 };
    let bound = most(settings.lease_ttl.get()) * share.min(100) / 100;
    let drift = between(&mut chances.draws(kind, key), 0, 2 * bound) as i64 - bound as i64;
    if drift != 0 && chances.inject(kind, key) { drift } else { 0 }
}

/// How far a clock may drift whose process holds leases of that length, in parts in a million.
fn most(lease_ttl_ms: u64) -> u64 {
    let covered = (250 * 1_000_000 / lease_ttl_ms.max(1)).min(100_000);
    covered * 4 / 5
}
