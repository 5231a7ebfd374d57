//! A store that only reads: a replica that callers take for the primary, as after a failover that
//! they have not heard of.

use ff_core::store::{Failure, Request};

use crate::plan::settings::Settings;

use super::episode::{Episode, plan as episodes};
use crate::plan::FaultKind;

/// The episodes of a seed.
pub fn plan(seed: u64, settings: &Settings) -> impl Iterator<Item = Episode> {
    episodes(seed, settings, FaultKind::ReadOnly, &[200, 1_000, 4_000])
}

/// What it refuses: whatever may write.
pub fn refusal(request: &Request) -> Option<Failure> {
    let says = || Failure::Refused("READONLY You can't write against a read only replica.".into());
    (!request.is_read_only()).then(says)
}
