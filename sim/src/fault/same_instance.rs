//! Restart with the same instance id: a process comes back under the name that it had before, and
//! knows nothing of what it did under it.

use crate::determinism::random::{happens, start_key};
use crate::plan::settings::Settings;

use super::chances::Chances;
use crate::plan::FaultKind;

/// Whether a process comes back under the same name.
pub fn at_start(chances: &mut Chances, settings: &Settings, process: usize, start: u64) -> bool {
    let (kind, key) = (FaultKind::SameInstance, start_key(process, start));
    let weight = settings.on(kind);
    weight.is_some_and(|weight| happens(&mut chances.draws(kind, key), weight))
        && chances.inject(kind, key)
}
