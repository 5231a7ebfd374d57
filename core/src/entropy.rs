//! Randomness from a seed of the host, so that a simulator can repeat ids, nonces and jitter.

use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use uuid::Uuid;

/// A seeded stream of random values. Each agent and operation owns one.
#[derive(Clone)]
pub struct Entropy {
    stream: Stream,
    jitter: bool,
}

/// A stream before and after its first use. Most of the streams that operations fork and move
/// around are never used.
#[derive(Clone)]
enum Stream {
    Seed([u8; 32]),
    Running(Box<ChaCha8Rng>),
}

impl Entropy {
    /// Creates the stream of a 32-byte seed. In production the seed comes from the operating
    /// system.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self { stream: Stream::Seed(seed), jitter: true }
    }

    /// Creates the stream of a number, for simulations and tests.
    pub fn from_u64(seed: u64) -> Self {
        let stream = Stream::Running(Box::new(ChaCha8Rng::seed_from_u64(seed)));
        Self { stream, jitter: true }
    }

    /// Disables jitter in this stream and in streams forked from it: [`Entropy::below`] returns
    /// zero, while ids and nonces stay random. An exhaustive search uses it, so that no two states
    /// differ only in the random numbers they will draw.
    #[must_use]
    pub fn without_jitter(self) -> Self {
        Self { jitter: false, ..self }
    }

    /// Creates a new stream, seeded from this one and independent of it afterwards.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        let mut seed = [0; 32];
        self.stream().fill_bytes(&mut seed);
        Self { jitter: self.jitter, ..Self::from_seed(seed) }
    }

    /// Draws a random number.
    pub fn next_u64(&mut self) -> u64 {
        self.stream().next_u64()
    }

    /// Draws a number in `0..bound`, or zero if `bound` is zero. The bias is below 2^-32 for bounds
    /// that fit 32 bits.
    pub fn below(&mut self, bound: u64) -> u64 {
        let drawn = self.stream().next_u64();
        if self.jitter { ((u128::from(drawn) * u128::from(bound)) >> 64) as u64 } else { 0 }
    }

    /// Draws a random uuid of version 4.
    pub fn uuid(&mut self) -> Uuid {
        let mut bytes = [0; 16];
        self.stream().fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    fn stream(&mut self) -> &mut ChaCha8Rng {
        if let Stream::Seed(seed) = self.stream {
            self.stream = Stream::Running(Box::new(ChaCha8Rng::from_seed(seed)));
        }
        match &mut self.stream {
            Stream::Running(stream) => stream,
            Stream::Seed(_) => unreachable!("the stream runs since its first use"),
        }
    }
}

impl fmt::Debug for Entropy {
    /// Hides the state of the stream, so that two values that differ only in it print the same.
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
        let mut entropy = Entropy::from_u64(1).without_jitter();
        let mut fork = entropy.fork();
        assert!((0..100).all(|_| entropy.below(1_000) == 0 && fork.below(1_000) == 0));
        assert_ne!(entropy.uuid(), fork.uuid());
    }
}
