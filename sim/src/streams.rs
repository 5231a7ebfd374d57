//! Sub-streams of a seed, keyed by concern: drawing more for one leaves the others as they were.

use ff_core::entropy::Entropy;

use crate::hash::Fnv;

/// The stream of a concern.
pub fn stream(seed: u64, concern: &str, number: u64) -> Entropy {
    let mut hash = Fnv::default();
    hash.number(seed);
    hash.bytes(concern.as_bytes());
    hash.number(number);
    Entropy::from_u64(hash.get())
}

/// A number in `low..=high`.
pub fn between(entropy: &mut Entropy, low: u64, high: u64) -> u64 {
    low + entropy.below(high - low + 1)
}

/// Whether something happens that happens that often in a thousand times.
pub fn happens(entropy: &mut Entropy, per_mille: u64) -> bool {
    entropy.below(1_000) < per_mille
}

/// One of several.
pub fn one_of<T: Copy>(entropy: &mut Entropy, choices: &[T]) -> T {
    choices[entropy.below(choices.len() as u64) as usize]
}
