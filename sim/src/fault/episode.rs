//! Times of a store in which it answers otherwise than at others: what they have in common.

use crate::determinism::random::{Draws, between, one_of};
use crate::plan::settings::Settings;

use crate::plan::FaultKind;

/// A time of trouble.
#[derive(Clone, Copy, Debug)]
pub struct Episode {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Its number among those of its kind.
    pub number: u64,
    /// When it begins, in milliseconds.
    pub at: u64,
    /// How long it lasts, in milliseconds.
    pub lasts_ms: u64,
}

/// The episodes of a kind, as many as its weight says.
pub fn plan(
    seed: u64,
    settings: &Settings,
    kind: FaultKind,
    lengths_ms: &[u64],
) -> impl Iterator<Item = Episode> {
    (0..settings.on(kind).unwrap_or(0)).map(move |number| {
        let mut draws = Draws::new(seed, kind as u64, number);
        let at = between(&mut draws, 0, settings.busy_ms);
        let longest = one_of(&mut draws, lengths_ms);
        Episode { kind, number, at, lasts_ms: between(&mut draws, longest / 4, longest) }
    })
}
