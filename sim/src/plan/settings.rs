//! The settings that a seed decides before the run: sizes, times, and the weights of faults.

use ff_core::op::{OperationContext, RetryBudget, RetryLimits};
use ff_core::partition::PartitionConfig;
use ff_core::store::bounds::{MAX_FRAMES, MAX_JOURNAL_BYTES};
use ff_core::store::codec::Codec;
use ff_core::store::{StreamAppend, StreamName};
use ff_core::time::DurationMs;

use super::{FaultKind, FaultWeights, Overrides, Plan, Trigger};
use crate::determinism::random::{
    BUDGETS, Draws, LANES, LIMITS, REACTIONS, REGISTRY, REPLY_BYTES, RETRIES, STREAM_CAPS,
    STUBBORN, WAIT_RATES, WEIGHTS, between, happens, one_of, stream,
};

/// How long a stubborn client tries: an execution may end and be removed in that time.
const STUBBORN_PATIENCE: DurationMs = DurationMs::from_secs(120);

/// The choices of [`Settings::reply_bytes`].
const REPLY_BYTES_OF_SEEDS: [u32; 16] = {
    let mut choices = [u32::MAX; 16];
    (choices[0], choices[1]) = (1, 1_000);
    choices
};

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
    /// How many executions a worker process holds at most.
    pub slots: u64,
    /// How long leases are good unless they are renewed.
    pub lease_ttl: DurationMs,
    /// How long an operation tries.
    pub patience: DurationMs,
    /// How long an operation of the client tries: sometimes longer than the least retention.
    pub client_patience: DurationMs,
    /// How many executions the client submits.
    pub executions: u64,
    /// How long the client submits and operates, in milliseconds.
    pub busy_ms: u64,
    /// The slowest way to the store or back, in milliseconds.
    pub latency_ms: u64,
    /// How long a process waits for a reply, in milliseconds.
    pub timeout_ms: u64,
    /// The bytes of records after which the store ends a page, and which it returns of a conflict,
    /// if they are fewer than the requests allow. In one seed of eight a page has one record or a
    /// few.
    pub reply_bytes: u32,
    /// How many retries the calls of the client have together, and those of the operator; in one
    /// seed of eight next to none.
    pub retries: RetryLimits,
    /// Whether wake-ups travel; without them workers only poll.
    pub wakes: bool,
    /// In a thousand events of executions, how many make a process call immediately.
    pub reaction_rate: u64,
    /// How often jobs wait, signals are sent and output is written.
    pub wait_rates: WaitRates,
    /// The caps of streams, in some runs so small that streams fill.
    pub stream_caps: SmallCaps,
    /// How often each fault happens.
    pub weights: FaultWeights,
}

/// How often jobs wait, signals are sent and output is written. Each seed switches some of it on.
#[derive(Clone, Copy, Debug, Default)]
pub struct WaitRates {
    /// In a thousand jobs, how many open waitpoints or suspend.
    pub suspends: u64,
    /// In a thousand jobs, how many write output.
    pub frames: u64,
    /// The most signals that the holder of a waitpoint's token sends.
    pub signals: u64,
    /// In a thousand signals, how many are wrong in some way.
    pub wrong: u64,
    /// In a thousand rounds of the operator, how many rotate secrets.
    pub rotates: u64,
    /// In a thousand rounds of the operator, how many set the state of a lane.
    pub lanes: u64,
    /// In a thousand rounds of the operator, how many charge or change budgets.
    pub budgets: u64,
    /// In a thousand rounds of the operator, how many change the registry of workers. Without any,
    /// workers do not register.
    pub registry: u64,
    /// In a thousand submissions, how many name budgets or quotas; and in a thousand rounds of the
    /// operator, how many set quotas.
    pub limits: u64,
}

impl WaitRates {
    const NONE: Self = Self {
        suspends: 0,
        frames: 0,
        signals: 0,
        wrong: 0,
        rotates: 0,
        lanes: 0,
        budgets: 0,
        registry: 0,
        limits: 0,
    };

    fn of(seed: u64) -> Self {
        let draws = &mut Draws::new(seed, WAIT_RATES, 0);
        Self {
            suspends: one_of(draws, &[0, 0, 150, 400, 700]),
            frames: one_of(draws, &[0, 0, 200, 600]),
            signals: one_of(draws, &[1, 3, 3, 6]),
            wrong: one_of(draws, &[0, 100, 300]),
            rotates: one_of(draws, &[0, 40, 120, 300]),
            lanes: one_of(&mut Draws::new(seed, LANES, 0), &[0, 0, 100, 300]),
            budgets: one_of(&mut Draws::new(seed, BUDGETS, 0), &[0, 0, 100, 300]),
            registry: one_of(&mut Draws::new(seed, REGISTRY, 0), &[0, 0, 0, 100, 300]),
            limits: one_of(&mut Draws::new(seed, LIMITS, 0), &[0, 0, 0, 0, 0, 200, 500, 900]),
        }
    }

    /// The same, except that `waits` of a thousand jobs open waitpoints, suspend, or write output.
    const fn scaled(self, waits: Option<u64>) -> Self {
        match waits {
            Some(0) => Self { signals: self.signals, wrong: self.wrong, ..Self::NONE },
            Some(waits) => Self { suspends: waits, frames: waits, ..self },
            None => self,
        }
    }
}

/// Caps that are smaller than those of streams.
#[derive(Clone, Copy, Debug)]
pub struct SmallCaps {
    /// The most bytes of a journal; more if a single entry is larger.
    pub journal_bytes: usize,
    /// The most frames of an attempt's output.
    pub frames: usize,
}

impl Default for SmallCaps {
    fn default() -> Self {
        Self { journal_bytes: MAX_JOURNAL_BYTES, frames: MAX_FRAMES }
    }
}

impl SmallCaps {
    fn of(seed: u64) -> Self {
        let draws = &mut Draws::new(seed, STREAM_CAPS, 0);
        if !happens(draws, 200) {
            return Self::default();
        }
        Self {
            journal_bytes: one_of(draws, &[0, 400, 2_000, 10_000]),
            frames: one_of(draws, &[1, 1, 2, 3]),
        }
    }

    /// The append with these caps.
    pub fn limit(self, append: &mut StreamAppend) {
        match append.stream {
            StreamName::Journal => append.caps.bytes = self.journal_bytes.max(append.entry.len()),
            StreamName::Frames { .. } => append.caps.entries = self.frames,
        }
    }
}

impl Settings {
    /// The configuration of a plan.
    pub fn of(plan: &Plan) -> Self {
        let mut settings = Self::of_seed(plan.seed);
        let Overrides { workers, timekeepers, slots, partitions, .. } = &plan.overrides;
        settings.workers = workers.unwrap_or(settings.workers).max(1);
        settings.timekeepers = timekeepers.unwrap_or(settings.timekeepers).max(1);
        settings.slots = slots.unwrap_or(settings.slots).max(1);
        let flows = &mut settings.partitions.num_flow_partitions;
        *flows = partitions.unwrap_or(*flows).max(1);
        let Overrides { busy_ms, executions, waits, reactions, weights, .. } = &plan.overrides;
        settings.busy_ms = busy_ms.unwrap_or(settings.busy_ms);
        settings.executions = executions.unwrap_or(settings.executions).max(1);
        // The client takes four actions for each execution, a millisecond apart at least.
        settings.busy_ms = settings.busy_ms.max(4 * settings.executions);
        settings.wait_rates = settings.wait_rates.scaled(*waits);
        settings.reaction_rate = reactions.unwrap_or(settings.reaction_rate);
        for (kind, weight) in weights {
            settings.weights.set(*kind, *weight);
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
        let mut settings = Self {
            partitions,
            workers: one_of(entropy, &[1, 2, 2, 3, 3, 4, 6, 8]),
            timekeepers: one_of(entropy, &[1, 1, 1, 2, 3]),
            slots: one_of(entropy, &[1, 1, 2, 3, 8]),
            lease_ttl: DurationMs::new(one_of(
                entropy,
                &[200, 500, 800, 1_500, 3_000, 10_000, 30_000],
            )),
            patience: DurationMs::new(one_of(entropy, &[400, 900, 2_000, 4_000])),
            client_patience: DurationMs::ZERO,
            executions,
            // Some runs do everything within a short time, others little.
            busy_ms: 500 + executions * one_of(entropy, &[20, 150, 400, 600, 1_000]),
            latency_ms: one_of(entropy, &[0, 1, 2, 5, 20, 60]),
            timeout_ms: one_of(entropy, &[150, 300, 700]),
            reply_bytes: one_of(&mut Draws::new(seed, REPLY_BYTES, 0), &REPLY_BYTES_OF_SEEDS),
            retries: if happens(&mut Draws::new(seed, RETRIES, 0), 125) {
                RetryLimits { per_second: 2, calls_per_retry: 10, saved: 1 }
            } else {
                RetryLimits::default()
            },
            wakes: happens(entropy, 750),
            reaction_rate: one_of(&mut Draws::new(seed, REACTIONS, 0), &[0, 60, 150, 400]),
            wait_rates: WaitRates::of(seed),
            stream_caps: SmallCaps::of(seed),
            weights: weights(seed),
        };
        if settings.wait_rates.limits > 0 {
            // Each quota takes two calls, or four with a slow network.
            settings.patience = settings.patience.max(DurationMs::from_secs(4));
        }
        settings.client_patience = settings.patience;
        if happens(&mut Draws::new(seed, STUBBORN, 0), 20) {
            settings.client_patience = STUBBORN_PATIENCE;
            // Long enough for the client's partition, and for the time after it.
            settings.busy_ms += STUBBORN_PATIENCE.get();
            let cuts = settings.weights.on(FaultKind::PartitionReplies).unwrap_or(1);
            settings.weights.set(FaultKind::PartitionReplies, cuts);
        }
        settings
    }

    /// The context of a process's operations.
    pub fn context(&self) -> OperationContext {
        OperationContext::new(self.patience, Codec::default()).with_partitions(self.partitions)
    }

    /// The context of the client's operations.
    pub fn client_context(&self) -> OperationContext {
        self.context().within(self.client_patience)
    }

    /// The budget of a process that calls as a user does.
    pub fn retry_budget(&self) -> RetryBudget {
        RetryBudget::new(self.retries)
    }

    /// The number of the client's process: the workers and the timekeepers come before it.
    pub const fn client_process(&self) -> usize {
        self.workers + self.timekeepers
    }

    /// Whether the client tries for longer than the least retention.
    pub fn is_stubborn(&self) -> bool {
        self.client_patience > self.patience
    }
}

/// How often each fault happens. Each kind draws from its own stream, so that a new kind leaves the
/// others as they were.
fn weights(seed: u64) -> FaultWeights {
    let mut weights = FaultWeights::NONE;
    // One seed has next to no faults, another one nearly all.
    let switched_on = one_of(&mut Draws::new(seed, WEIGHTS, u64::MAX), &[40, 150, 300, 500, 800]);
    for kind in FaultKind::of_worlds() {
        let mut draws = Draws::new(seed, WEIGHTS, kind as u64);
        // There are many kinds of store faults, and each affects all processes.
        let often = if kind.trigger() == Trigger::Store { switched_on / 2 } else { switched_on };
        if happens(&mut draws, often) {
            weights.set(kind, one_of(&mut draws, kind.weights()));
        }
    }
    weights
}
