//! A store that has been restarted and still reads its data: it refuses everything until then.
//!
//! It has lost nothing but its connections.

use ff_core::store::Failure;

use crate::plan::settings::Settings;

use super::episode::{Episode, plan as episodes};
use crate::plan::FaultKind;

/// The episodes of a seed.
pub fn plan(seed: u64, settings: &Settings) -> impl Iterator<Item = Episode> {
    episodes(seed, settings, FaultKind::Loading, &[200, 1_000, 5_000])
}

/// What it says to every request.
pub fn refusal() -> Failure {
    Failure::Refused("LOADING Valkey is loading the dataset in memory".to_owned())
}
