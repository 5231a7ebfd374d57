//! Reordering between connections.
//!
//! What a process sends on one connection arrives in order. A call that takes another one may
//! overtake those before it, or be overtaken.

use crate::determinism::random::{Source, happens};

/// Whether a call takes another connection.
pub fn draw(source: &mut impl Source, per_mille: u64) -> bool {
    happens(source, per_mille)
}
