//! A client's clock step: its idea of the store's time jumps, until it hears from the store again.

use crate::determinism::random::{Source, between, one_of};

/// How far it jumps, in milliseconds.
pub fn by_ms(source: &mut impl Source) -> i64 {
    let longest = one_of(source, &[200, 2_000, 20_000, 2_000_000]);
    between(source, 0, 2 * longest) as i64 - longest as i64
}
