//! What goes wrong in a simulation, and how much of it a seed draws.

use std::collections::BTreeSet;

use ff_core::entropy::Entropy;

use crate::determinism::random::{between, happens, one_of, stream};
use crate::plan::{FaultKind, FaultWeights};

/// What may go wrong in a simulation. Each seed draws from it what does, and how often: some seeds
/// have much of little, others a little of all.
///
/// ```
/// use ff_sim::{FaultKind, Faults};
///
/// let network_only = Faults::all().without(FaultKind::Crash).without(FaultKind::Pause);
/// assert!(network_only.has(FaultKind::ReplyLost));
/// assert_eq!(Faults::only([FaultKind::Crash]), Faults::none().with(FaultKind::Crash));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(BTreeSet<FaultKind>);

impl Faults {
    /// Everything.
    pub fn all() -> Self {
        Self::only(FaultKind::of_simulations())
    }

    /// Nothing: calls take their time and arrive in any order, and no more than that.
    pub fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// These, and no others.
    pub fn only(faults: impl IntoIterator<Item = FaultKind>) -> Self {
        Self(faults.into_iter().collect())
    }

    /// The same, and this one.
    #[must_use]
    pub fn with(mut self, fault: FaultKind) -> Self {
        self.0.insert(fault);
        self
    }

    /// The same but for this one.
    #[must_use]
    pub fn without(mut self, fault: FaultKind) -> Self {
        self.0.remove(&fault);
        self
    }

    /// Whether this one is among them.
    pub fn has(&self, fault: FaultKind) -> bool {
        self.0.contains(&fault)
    }
}

impl Default for Faults {
    /// [`Faults::all`].
    fn default() -> Self {
        Self::all()
    }
}

/// The network of a seed, and how often each fault happens: in a thousand calls or wake-ups, or how
/// many there are in the whole run.
#[derive(Clone, Debug)]
pub struct Weights {
    pub latency_ms: u64,
    pub timeout_ms: u64,
    /// For how long faults happen, in milliseconds.
    pub until_ms: u64,
    /// Crashes in a thousand calls.
    pub crash_at_call: u64,
    faults: FaultWeights,
}

impl Weights {
    /// The weights that a seed draws.
    pub fn draw(seed: u64, faults: &Faults) -> Self {
        let mut sizes = stream(seed, "simulation: sizes", 0);
        let mut weights = FaultWeights::NONE;
        // Each fault draws from its own stream, so that switching one off leaves the others as they
        // were.
        let draw = |kind: FaultKind, choices: &[u64]| {
            let number = kind.in_simulations().map_or(0, |(number, _)| number);
            let drawn = one_of(&mut stream(seed, "simulation: weights", number), choices);
            if faults.has(kind) { drawn } else { 0 }
        };
        for kind in FaultKind::of_simulations() {
            let (_, choices) = kind.in_simulations().unwrap_or_default();
            weights.set(kind, draw(kind, choices));
        }
        Self {
            latency_ms: one_of(&mut sizes, &[2, 5, 20, 60]),
            timeout_ms: one_of(&mut sizes, &[200, 500, 2_000]),
            until_ms: between(&mut sizes, 20_000, 90_000),
            crash_at_call: draw(FaultKind::Crash, &[0, 0, 2, 5, 20]),
            faults: weights,
        }
    }

    /// How often a fault happens; zero where it is switched off.
    pub fn of(&self, kind: FaultKind) -> u64 {
        self.faults.on(kind).unwrap_or(0)
    }
}

/// How far a process's wall clock is off at its start, in milliseconds.
pub fn clock_offset(entropy: &mut Entropy) -> i64 {
    const HOUR_MS: i64 = 60 * 60 * 1_000;
    let near = between(entropy, 0, 1_800) as i64 - 900;
    one_of(entropy, &[near, near, 5 * near, 3 * HOUR_MS, -3 * HOUR_MS])
}

/// By how many millionths a process's clock is too fast.
pub fn clock_drift(entropy: &mut Entropy) -> i64 {
    let most = if happens(entropy, 500) { 50 } else { 500 };
    between(entropy, 0, 2 * most) as i64 - most as i64
}

/// What becomes of a call; times in milliseconds from its sending.
#[derive(Clone, Copy, Debug)]
pub struct Journey {
    /// When it is carried out, if it is.
    pub arrives: Option<u64>,
    /// When a copy of it arrived before.
    pub copy_arrives: Option<u64>,
    /// When the reply comes after the call was carried out, if it does.
    pub reply_after: Option<u64>,
    /// When the sender gives up unless there is a reply, and whether it knows that nothing left.
    pub fails: Option<(u64, bool)>,
    /// What is wrong, if anything is.
    pub fault: Option<FaultKind>,
}

/// What becomes of a call by these weights.
pub fn journey(entropy: &mut Entropy, weights: &Weights) -> Journey {
    let (latency, timeout) = (weights.latency_ms, weights.timeout_ms);
    let there = between(entropy, 1, latency);
    let back = between(entropy, 1, latency);
    let good = Journey {
        arrives: Some(there),
        copy_arrives: None,
        reply_after: Some(back),
        fails: None,
        fault: None,
    };
    let failed = |arrives, fails, fault| Journey {
        arrives,
        reply_after: None,
        fails: Some(fails),
        fault: Some(fault),
        ..good
    };
    if happens(entropy, weights.of(FaultKind::RequestLost)) {
        let known = happens(entropy, 500);
        return failed(None, (if known { 1 } else { timeout }, known), FaultKind::RequestLost);
    }
    if happens(entropy, weights.of(FaultKind::ReplyLost)) {
        return failed(Some(there), (timeout, false), FaultKind::ReplyLost);
    }
    if happens(entropy, weights.of(FaultKind::LateExecution)) {
        let late = timeout + between(entropy, 1, 8 * timeout);
        return failed(Some(late), (timeout, false), FaultKind::LateExecution);
    }
    if happens(entropy, weights.of(FaultKind::Resend)) {
        let arrives = there + between(entropy, 1, 3 * latency);
        let copy_arrives = Some(there);
        let fault = Some(FaultKind::Resend);
        return Journey { arrives: Some(arrives), copy_arrives, fault, ..good };
    }
    if happens(entropy, weights.of(FaultKind::Delay)) {
        let (more, on_the_way_back) = (between(entropy, 1, timeout / 2), happens(entropy, 500));
        let (arrives, back) =
            if on_the_way_back { (there, back + more) } else { (there + more, back) };
        let fault = Some(FaultKind::Delay);
        return Journey { arrives: Some(arrives), reply_after: Some(back), fault, ..good };
    }
    good
}
