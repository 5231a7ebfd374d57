//! Reply lost after the write.
//!
//! A caller that waits in vain learns that the call may be applied. It has to find out by itself
//! whether it was.

use crate::determinism::random::{Source, happens};

/// Whether the reply to a call is lost.
pub fn draw(source: &mut impl Source, per_mille: u64) -> bool {
    happens(source, per_mille)
}
