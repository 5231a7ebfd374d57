//! The faults of a simulation, and the weights that a seed draws for them.

use std::collections::BTreeSet;

use crate::determinism::random::{between, one_of, stream};
use crate::fault::journey::Network;
use crate::plan::{FaultKind, FaultWeights};

/// The faults that may happen in a simulation. Each seed draws how often each of them happens: some
/// seeds have many faults of few kinds, others a few of all kinds.
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
    /// All faults of users' simulations.
    pub fn all() -> Self {
        Self::only(FaultKind::of_simulations())
    }

    /// No faults: calls take their time and may overtake each other.
    pub fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// Only these faults.
    pub fn only(faults: impl IntoIterator<Item = FaultKind>) -> Self {
        Self(faults.into_iter().collect())
    }

    /// Adds a fault.
    #[must_use]
    pub fn with(mut self, fault: FaultKind) -> Self {
        self.0.insert(fault);
        self
    }

    /// Removes a fault.
    #[must_use]
    pub fn without(mut self, fault: FaultKind) -> Self {
        self.0.remove(&fault);
        self
    }

    /// Whether a fault is in the set.
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

/// The draws of a seed for a simulation: its network, and how often each fault happens.
#[derive(Clone, Debug)]
pub struct Conditions {
    pub network: Network,
    /// Until when planned faults are frequent, in milliseconds.
    pub until_ms: u64,
    /// Crashes in a thousand calls that are steps of the work.
    pub crash_at_call: u64,
    pub weights: FaultWeights,
}

impl Conditions {
    /// The conditions of a seed, without the faults that are switched off.
    pub fn draw(seed: u64, faults: &Faults) -> Self {
        let mut sizes = stream(seed, "simulation: sizes", 0);
        let mut weights = FaultWeights::NONE;
        // Each fault draws from its own stream, so that switching one off leaves the others as they
        // were.
        let draw = |kind: FaultKind, choices: &[u64]| {
            let drawn = one_of(&mut stream(seed, "simulation: weights", kind as u64), choices);
            if faults.has(kind) { drawn } else { 0 }
        };
        for kind in FaultKind::of_simulations() {
            weights.set(kind, draw(kind, kind.weights_in_simulations()));
        }
        let network = Network {
            latency_ms: one_of(&mut sizes, &[2, 5, 20, 60]),
            timeout_ms: one_of(&mut sizes, &[200, 500, 2_000]),
            resends: true,
        };
        Self {
            network,
            until_ms: between(&mut sizes, 20_000, 90_000),
            crash_at_call: draw(FaultKind::Crash, &[0, 0, 10, 30, 80]),
            weights,
        }
    }
}
