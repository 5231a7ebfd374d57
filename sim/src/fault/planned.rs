//! Faults that a seed has planned for an instant, whatever happens until then.

use crate::determinism::random::{Draws, Source, between};
use crate::plan::settings::Settings;
use crate::plan::{FaultId, FaultKind};

use super::{clock_freeze, clock_offset, clock_step, crash, partition, pause};

/// Something that goes wrong at an instant.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// What it is; its key is its number among those of its kind.
    pub id: FaultId,
    /// The process that it concerns.
    pub process: usize,
    /// When it begins.
    pub at: u64,
    /// How long it lasts, in milliseconds.
    pub lasts_ms: u64,
    /// By how much something is off, in milliseconds.
    pub by_ms: i64,
}

/// The faults that a seed has planned, among that many processes.
pub fn all(seed: u64, settings: &Settings, processes: usize) -> Vec<Planned> {
    let mut planned = Vec::new();
    for kind in FaultKind::ALL {
        let count = if is_planned(*kind) { settings.on(*kind) } else { None };
        for key in 0..count.unwrap_or(0) {
            let mut draws = Draws::new(seed, *kind as u64 + 1, key);
            let draws = &mut draws;
            let (process, at) =
                (draws.below(processes as u64) as usize, between(draws, 0, settings.busy_ms));
            let (lasts_ms, by_ms) = extent(*kind, settings, draws);
            let id = FaultId { kind: *kind, key };
            planned.push(Planned { id, process, at, lasts_ms, by_ms });
        }
    }
    if settings.is_stubborn() && settings.on(FaultKind::PartitionReplies).is_some() {
        planned.push(long_cut(seed, settings));
    }
    planned
}

/// The client gets no replies for longer than a record is kept at least.
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

/// Whether faults of this kind are planned here.
pub const fn is_planned(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::Crash
            | FaultKind::ClockOffset
            | FaultKind::ClockStep
            | FaultKind::ClockFreeze
            | FaultKind::Partition
            | FaultKind::PartitionRequests
            | FaultKind::PartitionReplies
            | FaultKind::ConnectionsDropped
            | FaultKind::Pause
    )
}

/// How long it lasts, and by how much something is off.
fn extent(kind: FaultKind, settings: &Settings, draws: &mut Draws<'_>) -> (u64, i64) {
    match kind {
        FaultKind::Crash => (crash::down_ms(draws), 0),
        FaultKind::ClockOffset => (0, clock_offset::draw(draws)),
        FaultKind::ClockStep => (0, clock_step::by_ms(draws)),
        FaultKind::ClockFreeze => (clock_freeze::lasts_ms(draws), 0),
        FaultKind::Pause => (pause::lasts_ms(settings, draws), 0),
        FaultKind::Partition | FaultKind::PartitionRequests | FaultKind::PartitionReplies => {
            (partition::lasts_ms(settings, draws), 0)
        }
        _ => (0, 0),
    }
}
