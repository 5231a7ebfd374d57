//! What a seed decides before anything happens: sizes, times, and which faults are on.

use ff_core::op::OperationContext;
use ff_core::partition::PartitionConfig;
use ff_core::store::codec::Codec;
use ff_core::time::DurationMs;

use crate::fault::FaultKind;
use crate::plan::{Overrides, Plan};
use crate::streams::{CUSTOMS, Draws, MEDDLING, Source, WEIGHTS, between, happens, one_of, stream};

/// The configuration of a run. Each seed switches a subset of the faults on, with very different
/// weights.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The store's partitions.
    pub partitions: PartitionConfig,
    /// How many worker processes there are.
    pub workers: usize,
    /// How many timekeepers there are.
    pub timekeepers: usize,
    /// How many executions a worker process has at most at once.
    pub slots: u64,
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
    /// In a thousand things that happen to executions, how many make somebody call at once.
    pub meddling: u64,
    /// How often jobs wait, signals are sent and output is written.
    pub customs: Customs,
    /// How often each fault happens: in a thousand calls, or how many, as the kind has it.
    weights: [u64; FaultKind::ALL.len()],
}

/// How often jobs wait, signals are sent and output is written. Each seed switches some of it on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Customs {
    /// In a thousand jobs, how many open waitpoints or suspend.
    pub suspends: u64,
    /// In a thousand jobs, how many write output.
    pub frames: u64,
    /// The most signals that a waitpoint is sent by whoever has its token.
    pub signals: u64,
    /// In a thousand signals, how many are wrong somehow.
    pub wrong: u64,
    /// In a thousand looks of an operator, in how many he rotates secrets.
    pub rotates: u64,
}

impl Customs {
    fn of(seed: u64) -> Self {
        let draws = &mut Draws::new(seed, CUSTOMS, 0);
        Self {
            suspends: one_of(draws, &[0, 0, 150, 400, 700]),
            frames: one_of(draws, &[0, 0, 200, 600]),
            signals: one_of(draws, &[1, 3, 3, 6]),
            wrong: one_of(draws, &[0, 100, 300]),
            rotates: one_of(draws, &[0, 40, 120, 300]),
        }
    }

    /// The same, where `waits` says in a thousand how many jobs open waitpoints, suspend, or write
    /// output.
    const fn scaled(self, waits: Option<u64>) -> Self {
        match waits {
            Some(0) => Self { suspends: 0, frames: 0, rotates: 0, ..self },
            Some(waits) => Self { suspends: waits, frames: waits, ..self },
            None => self,
        }
    }
}

impl Settings {
    /// The configuration of a plan.
    pub fn of(plan: &Plan) -> Self {
        let mut settings = Self::of_seed(plan.seed);
        let Overrides { workers, busy_ms, executions, waits, weights } = &plan.overrides;
        settings.workers = workers.unwrap_or(settings.workers).max(1);
        settings.busy_ms = busy_ms.unwrap_or(settings.busy_ms);
        settings.executions = executions.unwrap_or(settings.executions).max(1);
        settings.customs = settings.customs.scaled(*waits);
        for (kind, weight) in weights {
            settings.weights[*kind as usize] = *weight;
        }
        settings
    }

    fn of_seed(seed: u64) -> Self {
        let mut entropy = stream(seed, "configuration", 0);
        let entropy = &mut entropy;
        let partitions = PartitionConfig {
            num_flow_partitions: one_of(entropy, &[1, 1, 2, 2, 3, 4, 8]),
            num_budget_partitions: 1,
            num_quota_partitions: 1,
        };
        // From a handful of executions to some hundreds.
        let executions = match entropy.below(20) {
            0..3 => between(entropy, 1, 15),
            3..14 => between(entropy, 16, 50),
            14..19 => between(entropy, 40, 120),
            _ => between(entropy, 100, 400),
        };
        Self {
            partitions,
            workers: one_of(entropy, &[1, 2, 2, 3, 3, 4, 6, 8]),
            timekeepers: one_of(entropy, &[1, 1, 1, 2, 3]),
            slots: one_of(entropy, &[1, 1, 2, 3, 8]),
            lease_ttl: DurationMs::new(one_of(
                entropy,
                &[200, 500, 800, 1_500, 3_000, 10_000, 30_000],
            )),
            patience: DurationMs::new(one_of(entropy, &[400, 900, 2_000, 4_000])),
            executions,
            // At times everything happens at once, at times little.
            busy_ms: 500 + executions * one_of(entropy, &[20, 150, 400, 600, 1_000]),
            latency_ms: one_of(entropy, &[0, 1, 2, 5, 20, 60]),
            timeout_ms: one_of(entropy, &[150, 300, 700]),
            wakes: happens(entropy, 750),
            meddling: one_of(&mut Draws::new(seed, MEDDLING, 0), &[0, 60, 150, 400]),
            customs: Customs::of(seed),
            weights: weights(seed),
        }
    }
}

impl Settings {
    /// The terms of one more program's operations.
    pub fn terms(&self) -> OperationContext {
        OperationContext::new(self.patience, Codec::default())
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
    // One seed has next to no faults, another one nearly all.
    let switched_on = one_of(&mut Draws::new(seed, WEIGHTS, u64::MAX), &[40, 150, 300, 500, 800]);
    for kind in FaultKind::ALL {
        let mut draws = Draws::new(seed, WEIGHTS, *kind as u64);
        // Those of the store are many, and each concerns everybody.
        let often = if concerns_store(*kind) { switched_on / 2 } else { switched_on };
        if happens(&mut draws, often) {
            weights[*kind as usize] = weight(*kind, &mut draws);
        }
    }
    weights
}

/// Whether a fault is one of the store's.
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

/// How often a fault happens that is switched on: in a thousand calls, starts or wake-ups; for
/// those that are planned, how many there are; for drift, the share of what is allowed in percent.
fn weight(kind: FaultKind, source: &mut impl Source) -> u64 {
    match kind {
        FaultKind::RequestLost
        | FaultKind::ReplyLost
        | FaultKind::LateExecution
        | FaultKind::Delay
        | FaultKind::Resend => one_of(source, &[5, 20, 60, 150]),
        FaultKind::Reordering => one_of(source, &[20, 200, 1_000]),
        FaultKind::WakeUpLost => one_of(source, &[50, 500, 1_000]),
        FaultKind::CrashAfterSend
        | FaultKind::CrashBeforeReply
        | FaultKind::CrashBetweenSteps
        | FaultKind::PauseBeforeReply => one_of(source, &[1, 4, 15]),
        FaultKind::SameInstance | FaultKind::StaysDown => one_of(source, &[300, 1_000]),
        FaultKind::ClockDrift => one_of(source, &[1, 10, 100]),
        FaultKind::ClockOffset => one_of(source, &[3, 20, 80]),
        FaultKind::ClockStep | FaultKind::ClockFreeze => one_of(source, &[2, 8, 30]),
        FaultKind::Crash
        | FaultKind::Partition
        | FaultKind::PartitionRequests
        | FaultKind::PartitionReplies
        | FaultKind::ConnectionsDropped
        | FaultKind::Pause => between(source, 1, 6),
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
