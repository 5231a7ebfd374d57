//! Faults of processes: crashes, pauses, partitions, and how processes restart.

use crate::determinism::random::{Source, between, happens, one_of, start_key};
use crate::plan::FaultKind;
use crate::plan::settings::Settings;

use super::chances::Chances;

/// How long a process stays down after a crash, in milliseconds.
pub fn down_ms(source: &mut impl Source) -> u64 {
    let longest = if happens(source, 300) { 100 } else { 4_000 };
    between(source, 1, longest)
}

/// Whether a process crashes at a step of that key, and how long it stays down.
pub fn crash_at_step(chances: &mut Chances, kind: FaultKind, key: u64) -> Option<u64> {
    chances.strike(kind, key, |draws, weight| happens(draws, weight).then(|| down_ms(draws)))
}

/// Whether a process crashes among that many actions, after how many of them, and how long it
/// stays down.
pub fn crash_between(chances: &mut Chances, key: u64, actions: usize) -> Option<(usize, u64)> {
    chances.strike(FaultKind::CrashBetweenSteps, key, |draws, weight| {
        let down_ms = happens(draws, weight).then(|| down_ms(draws))?;
        Some((draws.below(actions as u64 + 1) as usize, down_ms))
    })
}

/// How long a process stands still, in milliseconds.
pub fn pause_ms(settings: &Settings, source: &mut impl Source) -> u64 {
    let ttl = settings.lease_ttl.get().min(4_000);
    between(source, ttl / 4, 3 * ttl)
}

/// How long a partition lasts, in milliseconds: often longer than a lease.
pub fn partition_ms(settings: &Settings, source: &mut impl Source) -> u64 {
    let ttl = settings.lease_ttl.get().min(4_000);
    let longest = one_of(source, &[settings.timeout_ms, ttl, 3 * ttl]);
    between(source, 1, longest.max(1))
}

/// Whether a request that was on its way when connections broke is carried out all the same.
pub fn survives_dropped_connection(chances: &mut Chances, key: u64) -> bool {
    happens(&mut chances.draws(FaultKind::ConnectionsDropped, key), 500)
}

/// Whether a process comes back under the same instance id.
pub fn keeps_instance(chances: &mut Chances, process: usize, start: u64) -> bool {
    chances.strikes(FaultKind::SameInstance, start_key(process, start))
}

/// Whether a process stays down after the last fault. The first worker, which serves every lane and
/// has all capabilities, the first timekeeper, the client and the reader are needed.
pub fn stays_down(chances: &mut Chances, settings: &Settings, process: usize) -> bool {
    let needed = process == 0
        || process == settings.workers
        || process >= settings.workers + settings.timekeepers;
    !needed && chances.strikes(FaultKind::StaysDown, process as u64)
}
