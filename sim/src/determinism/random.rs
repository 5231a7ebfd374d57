//! Sub-streams of a seed, keyed by concern and step: drawing more for one, or leaving one out,
//! leaves the others as they were.

use ff_core::entropy::Entropy;

use crate::determinism::hash::Fnv;

/// The stream of a concern, for callers that also draw ids.
pub fn stream(seed: u64, concern: &str, number: u64) -> Entropy {
    let mut hash = Fnv::default();
    hash.number(seed);
    hash.bytes(concern.as_bytes());
    hash.number(number);
    Entropy::from_u64(hash.get())
}

/// The key of a call, which identifies its faults: the number of the call in its operation, of the
/// operation in this start of its process, and of the start.
pub const fn call_key(process: usize, start: u64, operation: u64, call: u64) -> u64 {
    (process as u64) << 56
        | (start & 0xfff) << 44
        | (operation & 0xffff_ffff) << 12
        | (call & 0xfff)
}

/// The key of a process's start, which identifies the faults that affect it from then on.
pub const fn start_key(process: usize, start: u64) -> u64 {
    // No process begins as many operations.
    call_key(process, start, 0xffff_ffff, 0)
}

/// The concern of the faults' weights. The faults themselves have small numbers.
pub const WEIGHTS: u64 = 1 << 32;
/// The concern of how the client passes a grant on.
pub const HAND_OVER: u64 = WEIGHTS + 1;
/// The concern of how a worker uses a grant.
pub const TAKE: u64 = WEIGHTS + 2;
/// The concern of how long a grant is on its way.
pub const WAY_OF_GRANT: u64 = WEIGHTS + 16;
/// The concern of which process interferes after an event.
pub const NOTICE: u64 = WEIGHTS + 3;
/// The concern of how often processes interfere.
pub const REACTIONS: u64 = WEIGHTS + 4;

/// The concern of how often jobs wait, signals are sent and output is written.
pub const WAIT_RATES: u64 = WEIGHTS + 5;

/// The concern of how long the client keeps trying.
pub const STUBBORN: u64 = WEIGHTS + 6;

/// The concern of the caps of streams.
pub const STREAM_CAPS: u64 = WEIGHTS + 7;

/// The concern of how large the store's replies may be.
pub const REPLY_BYTES: u64 = WEIGHTS + 8;

/// The concern of how many retries a process has.
pub const RETRIES: u64 = WEIGHTS + 9;

/// The concern of how often lanes change.
pub const LANES: u64 = WEIGHTS + 10;

/// The concern of how often budgets are charged and changed.
pub const BUDGETS: u64 = WEIGHTS + 11;

/// The concern of whether workers register, and how often operators change the registry.
pub const REGISTRY: u64 = WEIGHTS + 12;
/// The concern of how often submissions name budgets and quotas.
pub const LIMITS: u64 = WEIGHTS + 13;

/// A source of random numbers.
pub trait Source {
    /// A number in `0..bound`; zero if `bound` is zero.
    fn below(&mut self, bound: u64) -> u64;
}

impl Source for Entropy {
    fn below(&mut self, bound: u64) -> u64 {
        Self::below(self, bound)
    }
}

/// Bytes from outside that decide draws, in order.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    bytes: Vec<u8>,
    used: usize,
}

impl Choices {
    /// All bytes are unused.
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, used: 0 }
    }

    fn next(&mut self) -> Option<u64> {
        let two = self.bytes.get(self.used..self.used + 2)?;
        self.used += 2;
        Some(u64::from(two[0]) << 8 | u64::from(two[1]))
    }
}

/// A stream that is cheap to begin, for a step that draws a few numbers (SplitMix64).
#[derive(Debug)]
pub struct Draws<'c> {
    state: u64,
    choices: Option<&'c mut Choices>,
}

impl Draws<'static> {
    /// The stream of a concern at a step.
    pub const fn new(seed: u64, concern: u64, key: u64) -> Self {
        Self { state: mixed(mixed(mixed(seed) ^ concern) ^ key), choices: None }
    }
}

impl<'c> Draws<'c> {
    /// The stream of a concern at a step. Unused choices decide before the seed does.
    pub const fn chosen(seed: u64, concern: u64, key: u64, choices: &'c mut Choices) -> Self {
        let state = Draws::new(seed, concern, key).state;
        Self { state, choices: Some(choices) }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let drawn = mixed(self.state);
        match self.choices.as_mut().and_then(|choices| choices.next()) {
            Some(chosen) => chosen << 48 | drawn >> 16,
            None => drawn,
        }
    }
}

impl Source for Draws<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

const fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A number in `low..=high`.
pub fn between(source: &mut impl Source, low: u64, high: u64) -> u64 {
    low + source.below(high - low + 1)
}

/// Whether an event happens that happens so often in a thousand times.
pub fn happens(source: &mut impl Source, per_mille: u64) -> bool {
    source.below(1_000) < per_mille
}

/// One of several values.
pub fn one_of<T: Copy>(source: &mut impl Source, choices: &[T]) -> T {
    choices[source.below(choices.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The draws of one step are independent of those of its neighbours.
    #[test]
    fn neighbouring_steps_draw_otherwise() {
        let mut counts = [0_u32; 10];
        for key in 0..10_000 {
            let mut draws = Draws::new(7, 1, call_key(1, 0, key, 0));
            counts[draws.below(10) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (900..1_100).contains(count)), "{counts:?}");
    }

    /// The chosen bytes decide first, and the seed decides after their end.
    #[test]
    fn choices_decide_first() {
        let mut choices = Choices::new(vec![0, 0, 255, 255]);
        let mut draws = Draws::chosen(7, 1, 2, &mut choices);
        assert_eq!([draws.below(100), draws.below(100)], [0, 99]);
        let mut unchosen = Draws::new(7, 1, 2);
        let third = (0..3).map(|_| unchosen.below(1_000_000)).last();
        assert_eq!(Some(draws.below(1_000_000)), third);
    }
}
