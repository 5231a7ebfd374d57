//! A process crash and restart: at an instant, or at a step.
//!
//! The process forgets its operations and its leases. What it had sent still arrives. It comes
//! back later, mostly under another instance id.
//!
//! The steps are those between which a real process can end: right after a request has left, right
//! before its reply is handled, and anywhere among the things that it is about to do next.

use crate::determinism::random::{Source, between, happens};

/// How long a process stays away, in milliseconds.
pub fn down_ms(source: &mut impl Source) -> u64 {
    let longest = if happens(source, 300) { 100 } else { 4_000 };
    between(source, 1, longest)
}

/// For how long a process ends at a step, if it does.
pub fn at_step(source: &mut impl Source, per_mille: u64) -> Option<u64> {
    happens(source, per_mille).then(|| down_ms(source))
}

/// How many of the things that a process is about to do are done when it ends, and for how long it
/// ends, if it does.
pub fn between_steps(
    source: &mut impl Source,
    per_mille: u64,
    things: usize,
) -> Option<(usize, u64)> {
    let down_ms = at_step(source, per_mille)?;
    Some((source.below(things as u64 + 1) as usize, down_ms))
}
