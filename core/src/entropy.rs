//! Randomness that a host seeds: ids, nonces and jitter are repeatable under a simulator.

use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use uuid::Uuid;

/// A seeded stream of random values. Each agent and operation owns one.
#[derive(Clone)]
pub struct Entropy {
    stream: ChaCha8Rng,
    jitter: bool,
}

impl Entropy {
    /// The stream of a 32-byte seed, which in production comes from the operating system.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self { stream: ChaCha8Rng::from_seed(seed), jitter: true }
    }

    /// The stream of a number, for simulations and tests.
    pub fn from_u64(seed: u64) -> Self {
        Self { stream: ChaCha8Rng::seed_from_u64(seed), jitter: true }
    }

    /// The same stream with each number below a bound zero, and that of each stream forked from
    /// it: what it still decides are ids and nonces. So an exhaustive search meets no two states
    /// that differ in their future only by luck.
    #[must_use]
    pub fn without_jitter(self) -> Self {
        Self { jitter: false, ..self }
    }

    /// A new stream, seeded from this one and independent of it from then on.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        let mut seed = [0; 32];
        self.stream.fill_bytes(&mut seed);
        Self { jitter: self.jitter, ..Self::from_seed(seed) }
    }

    /// The next random number.
    pub fn next_u64(&mut self) -> u64 {
        self.stream.next_u64()
    }

    /// A number in `0..bound`; zero if `bound` is zero. The bias is below 2^-32 for bounds that
    /// fit 32 bits.
    pub fn below(&mut self, bound: u64) -> u64 {
        let drawn = self.stream.next_u64();
        if self.jitter { ((u128::from(drawn) * u128::from(bound)) >> 64) as u64 } else { 0 }
    }

    /// A random uuid in the form of version 4.
    pub fn uuid(&mut self) -> Uuid {
        let mut bytes = [0; 16];
        self.stream.fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}

impl fmt::Debug for Entropy {
    /// Not what it will draw: two values that differ in nothing else read the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_stream() {
        let mut a = Entropy::from_u64(7);
        let mut b = Entropy::from_u64(7);
        assert_eq!(a.uuid(), b.uuid());
        assert_eq!(a.fork().next_u64(), b.fork().next_u64());
        assert_ne!(a.next_u64(), Entropy::from_u64(8).next_u64());
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        let mut entropy = Entropy::from_u64(1);
        assert!((0..1_000).all(|_| entropy.below(3) < 3));
        assert_eq!(entropy.below(0), 0);
    }

    #[test]
    fn without_jitter_only_ids_are_random() {
        let mut calm = Entropy::from_u64(1).without_jitter();
        let mut fork = calm.fork();
        assert!((0..100).all(|_| calm.below(1_000) == 0 && fork.below(1_000) == 0));
        assert_ne!(calm.uuid(), fork.uuid());
    }
}
