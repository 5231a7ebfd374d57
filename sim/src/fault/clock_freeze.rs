//! A client's clock freeze: its idea of the store's time stands still, whatever it hears.
//!
//! Its local clock goes on: a worker never believes in a lease for longer because of it.

use crate::determinism::random::{Source, between, one_of};

/// How long it stands still, in milliseconds.
pub fn lasts_ms(source: &mut impl Source) -> u64 {
    let longest = one_of(source, &[300, 3_000, 10_000]);
    between(source, 1, longest)
}
