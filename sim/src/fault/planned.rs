//! Faults that a seed plans for an instant, independently of the steps until then.

use crate::determinism::random::{Draws, Source, between};
use crate::plan::settings::Settings;
use crate::plan::{FaultId, FaultKind, Trigger};

use super::{clock, process};

/// A fault of a process at an instant.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// The fault; its key is its number among those of its kind.
    pub id: FaultId,
    /// The process that it affects.
    pub process: usize,
    /// When it begins, in milliseconds.
    pub at: u64,
    /// How long it lasts, in milliseconds.
    pub lasts_ms: u64,
    /// By how much a clock is off, in milliseconds.
    pub by_ms: i64,
}

/// The faults that a seed plans among that many processes.
pub fn all(seed: u64, settings: &Settings, processes: usize) -> Vec<Planned> {
    let mut planned = Vec::new();
    for kind in FaultKind::of_worlds().filter(|kind| kind.trigger() == Trigger::PlannedForProcess) {
        for key in 0..settings.weights.on(kind).unwrap_or(0) {
            let draws = &mut Draws::new(seed, kind as u64 + 1, key);
            let process = draws.below(processes as u64) as usize;
            let at = between(draws, 0, settings.busy_ms);
            let (lasts_ms, by_ms) = extent(kind, settings, draws);
            planned.push(Planned { id: FaultId { kind, key }, process, at, lasts_ms, by_ms });
        }
    }
    if settings.is_stubborn() && settings.weights.on(FaultKind::PartitionReplies).is_some() {
        planned.push(long_cut(seed, settings));
    }
    planned
}

/// A partition in which the client receives no replies for longer than the least retention.
fn long_cut(seed: u64, settings: &Settings) -> Planned {
    let (kind, key) = (FaultKind::PartitionReplies, u64::MAX);
    let mut draws = Draws::new(seed, kind as u64 + 1, key);
    Planned {
        id: FaultId { kind, key },
        process: settings.client_process(),
        at: between(&mut draws, 0, 5_000),
        lasts_ms: between(&mut draws, 65_000, 95_000),
        by_ms: 0,
    }
}

/// How long it lasts, and by how much a clock is off.
fn extent(kind: FaultKind, settings: &Settings, draws: &mut Draws<'_>) -> (u64, i64) {
    match kind {
        FaultKind::Crash => (process::down_ms(draws), 0),
        FaultKind::ClockOffset => (0, clock::offset_ms(draws)),
        FaultKind::ClockStep => (0, clock::step_ms(draws)),
        FaultKind::ClockFreeze => (clock::freeze_ms(draws), 0),
        FaultKind::Pause => (process::pause_ms(settings, draws), 0),
        FaultKind::Partition | FaultKind::PartitionRequests | FaultKind::PartitionReplies => {
            (process::partition_ms(settings, draws), 0)
        }
        _ => (0, 0),
    }
}
