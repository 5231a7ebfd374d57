//! A store that is slow: what reaches it waits, and is carried out when its sender may have given
//! it up.

use crate::determinism::random::{Draws, Source, between, one_of};
use crate::plan::settings::Settings;

use super::episode::{Episode, plan as episodes};
use crate::plan::FaultKind;

/// The episodes of a seed.
pub fn plan(seed: u64, settings: &Settings) -> impl Iterator<Item = Episode> {
    episodes(seed, settings, FaultKind::SlowStore, &[500, 2_000, 6_000])
}

/// How long a call waits at the store during an episode, in milliseconds.
pub fn wait(seed: u64, number: u64, call: &mut impl Source) -> u64 {
    let kind = FaultKind::SlowStore as u64;
    let longest = one_of(&mut Draws::new(seed, kind, LENGTHS + number), &[20, 200, 800]);
    between(call, 1, longest)
}

/// How slow each episode is; their times have the numbers below.
const LENGTHS: u64 = 1 << 32;
