//! A store that is busy with somebody else's script and refuses everything.

use ff_core::store::Failure;

use crate::plan::settings::Settings;

use super::episode::{Episode, plan as episodes};
use crate::plan::FaultKind;

/// The episodes of a seed.
pub fn plan(seed: u64, settings: &Settings) -> impl Iterator<Item = Episode> {
    episodes(seed, settings, FaultKind::Busy, &[100, 500, 2_000])
}

/// What it says to every request.
pub fn refusal() -> Failure {
    Failure::Refused("BUSY Valkey is busy running a script.".to_owned())
}
