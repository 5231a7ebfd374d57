//! Delay: a call or its reply takes long, perhaps longer than its caller waits.

use crate::determinism::random::{Source, between, happens, one_of};

/// How much longer a call takes on its way there and back, in milliseconds.
pub fn draw(source: &mut impl Source, per_mille: u64, timeout_ms: u64) -> Option<(u64, u64)> {
    if !happens(source, per_mille) {
        return None;
    }
    let longest = one_of(source, &[timeout_ms / 4, timeout_ms, 2 * timeout_ms]);
    let delay = between(source, 0, longest);
    Some(if happens(source, 500) { (delay, 0) } else { (0, delay) })
}
