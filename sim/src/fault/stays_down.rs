//! A failure that is permanent: a process never comes back.
//!
//! It happens when the faults are over, to processes that the work can be finished without.

use crate::determinism::random::happens;
use crate::plan::settings::Settings;

use super::chances::Chances;
use crate::plan::FaultKind;

/// Whether a process that can be spared stays down. The first worker serves every lane and has all
/// capabilities; it, the first timekeeper, the client and the reader are needed.
pub fn draw(chances: &mut Chances, settings: &Settings, process: usize) -> bool {
    let spared = process != 0 && process < settings.workers + settings.timekeepers;
    let (kind, key) = (FaultKind::StaysDown, process as u64);
    let Some(weight) = settings.on(kind).filter(|_| spared && process != settings.workers) else {
        return false;
    };
    happens(&mut chances.draws(kind, key), weight) && chances.inject(kind, key)
}
