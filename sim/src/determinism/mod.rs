//! The parts of a repeatable run: seeded randomness, virtual time, an ordered queue, a fixed hash.

pub mod clock;
pub mod hash;
pub mod queue;
pub mod random;
