//! What a seed decides before anything happens: sizes, times, and which faults are on.

use ff_core::entropy::Entropy;
use ff_core::op::Terms;
use ff_core::partition::PartitionConfig;
use ff_core::store::codec::Codec;
use ff_core::time::DurationMs;

use crate::streams::{between, happens, one_of, stream};

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
    /// In a thousand calls, how many lose their request or reply.
    pub reply_lost: u64,
    /// In a thousand calls, how many are carried out after their caller has given up.
    pub late_execution: u64,
    /// How many crashes there are.
    pub crashes: u64,
    /// Whether clocks are off.
    pub clock_offset: bool,
}

impl Settings {
    /// The configuration of a seed.
    pub fn of(seed: u64) -> Self {
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
            reply_lost: weight(entropy),
            late_execution: weight(entropy),
            crashes: if happens(entropy, 500) { between(entropy, 1, 5) } else { 0 },
            clock_offset: happens(entropy, 500),
        }
    }
}

impl Settings {
    /// The terms of one more program's operations.
    pub fn terms(&self) -> Terms {
        Terms::new(self.patience, Codec::default())
    }
}

/// Off for half of the seeds.
fn weight(entropy: &mut Entropy) -> u64 {
    one_of(entropy, &[0, 0, 0, 10, 40, 150])
}
