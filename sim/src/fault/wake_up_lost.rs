//! A wake-up that never comes: it is a hint, and nothing may depend on it.

use crate::determinism::random::{Source, happens};

/// Whether a wake-up is lost.
pub fn draw(source: &mut impl Source, per_mille: u64) -> bool {
    happens(source, per_mille)
}
