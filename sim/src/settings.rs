//! What a seed decides before anything happens: sizes, times, and which faults are on.

use ff_core::op::Terms;
use ff_core::partition::PartitionConfig;
use ff_core::store::codec::Codec;
use ff_core::time::DurationMs;

use crate::fault::FaultKind;
use crate::plan::{Overrides, Plan};
use crate::streams::{Draws, Source, WEIGHTS, between, happens, one_of, stream};

/// The configuration of a run. Each seed switches a subset of the faults on, with very different
/// weights.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The store's partitions.
    pub partitions: PartitionConfig,
    /// How many worker processes there are.
    pub workers: usize,
    /// How long leases are good unless they are renewed.
    pub lease_ttl: DurationMs,
    /// How long an operation tries.
    pub patience: DurationMs,
    /// How many executions the client wishes for.
    pub executions: u64,
    /// How long the client is at work, in milliseconds.
    pub busy_ms: u64,
    /// The slowest way to the store or back, in milliseconds.
    pub latency_ms: u64,
    /// How long a process waits for a reply, in milliseconds.
    pub timeout_ms: u64,
    /// Whether wake-ups travel; without them workers only poll.
    pub wakes: bool,
    /// How often each fault happens: in a thousand calls, or how many, as the kind has it.
    weights: [u64; FaultKind::ALL.len()],
}

impl Settings {
    /// The configuration of a plan.
    pub fn of(plan: &Plan) -> Self {
        let mut settings = Self::of_seed(plan.seed);
        let Overrides { workers, busy_ms, executions, weights } = &plan.overrides;
        settings.workers = workers.unwrap_or(settings.workers).max(1);
        settings.busy_ms = busy_ms.unwrap_or(settings.busy_ms);
        settings.executions = executions.unwrap_or(settings.executions).max(1);
        for (kind, weight) in weights {
            settings.weights[*kind as usize] = *weight;
        }
        settings
    }

    fn of_seed(seed: u64) -> Self {
        let mut entropy = stream(seed, "configuration", 0);
        let entropy = &mut entropy;
        let partitions = PartitionConfig {
            num_flow_partitions: between(entropy, 1, 4) as u16,
            num_budget_partitions: 1,
            num_quota_partitions: 1,
        };
        Self {
            partitions,
            workers: between(entropy, 2, 4) as usize,
            lease_ttl: DurationMs::new(one_of(entropy, &[500, 800, 1_500, 3_000])),
            patience: DurationMs::new(one_of(entropy, &[900, 2_000, 4_000])),
            executions: between(entropy, 12, 24),
            busy_ms: between(entropy, 8_000, 16_000),
            latency_ms: one_of(entropy, &[2, 5, 20, 60]),
            timeout_ms: one_of(entropy, &[150, 300, 700]),
            wakes: happens(entropy, 750),
            weights: weights(seed),
        }
    }
}

impl Settings {
    /// The terms of one more program's operations.
    pub fn terms(&self) -> Terms {
        Terms::new(self.patience, Codec::default())
    }

    /// How often a fault happens, if it is switched on.
    pub fn on(&self, kind: FaultKind) -> Option<u64> {
        let weight = self.weights[kind as usize];
        (weight > 0).then_some(weight)
    }
}

/// How often each fault happens. Each draws for itself, so that a new kind leaves the others as
/// they were.
fn weights(seed: u64) -> [u64; FaultKind::ALL.len()] {
    let mut weights = [0; FaultKind::ALL.len()];
    for kind in FaultKind::ALL {
        let mut draws = Draws::new(seed, WEIGHTS, *kind as u64);
        let often = if concerns_store(*kind) { 250 } else { 500 };
        if happens(&mut draws, often) {
            weights[*kind as usize] = weight(*kind, &mut draws);
        }
    }
    weights
}

/// Whether a fault is one of the store's, of which there are many and each concerns everybody.
const fn concerns_store(kind: FaultKind) -> bool {
    use FaultKind as F;
    matches!(
        kind,
        F::StoreClockStep
            | F::Failover
            | F::LibraryMissing
            | F::ReadOnly
            | F::OutOfMemory
            | F::Busy
            | F::Loading
            | F::ErrorInside
            | F::SlowStore
    )
}

/// How often a fault happens that is switched on.
fn weight(kind: FaultKind, source: &mut impl Source) -> u64 {
    match kind {
        FaultKind::RequestLost | FaultKind::ReplyLost | FaultKind::LateExecution => {
            one_of(source, &[10, 40, 150])
        }
        FaultKind::Crash => between(source, 1, 5),
        FaultKind::ClockOffset => 80,
        FaultKind::ErrorInside => one_of(source, &[5, 20, 80]),
        FaultKind::StoreClockStep
        | FaultKind::Failover
        | FaultKind::LibraryMissing
        | FaultKind::ReadOnly
        | FaultKind::OutOfMemory
        | FaultKind::Busy
        | FaultKind::Loading
        | FaultKind::SlowStore => between(source, 1, 3),
    }
}
