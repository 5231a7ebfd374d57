//! The small worlds.

use ff_core::agent::WorkerProfile;
use ff_core::execution::Create;
use ff_core::id::ExecutionId;
use ff_core::op::OperationContext;
use ff_core::partition::PartitionConfig;
use ff_core::policy::{Backoff, ExecutionPolicy};
use ff_core::store::Member;
use ff_core::store::codec::Codec;
use ff_core::time::DurationMs;

use crate::exhaustive::inputs::{self, instance};

/// A small world: two workers, a timekeeper, and the number of each kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SmallWorld {
    /// Its name.
    pub name: &'static str,
    /// Executions that wait at the beginning.
    pub executions: u8,
    /// Attempts that fail, of all executions; each execution may be retried so often.
    pub failures: u8,
    /// How often each execution may be reclaimed.
    pub reclaims: u32,
    /// Renewals, of all leases; afterwards workers stop renewing.
    pub renewals: u8,
    /// Requests that are lost, or carried out after their caller got an error.
    pub lost_requests: u8,
    /// Replies that are lost after the store has served the request.
    pub lost_replies: u8,
    /// Crashes of a worker, which restarts immediately as another process.
    pub crashes: u8,
    /// Lost requests, lost replies and crashes in total.
    pub faults: u8,
    /// How often time passes while requests are in flight.
    pub slow: u8,
    /// Calls of an operator, each a cancellation, a revocation, or in worlds with suspensions a
    /// resumption of the first execution.
    pub calls: u8,
    /// Suspensions, of all executions. The first handler may open the waitpoint before.
    pub suspensions: u8,
    /// Signals to the first execution.
    pub signals: u8,
}

const CALM: SmallWorld = SmallWorld {
    name: "one-calm",
    executions: 1,
    failures: 1,
    reclaims: 1,
    renewals: 1,
    lost_requests: 0,
    lost_replies: 0,
    crashes: 0,
    faults: 0,
    slow: 1,
    calls: 0,
    suspensions: 0,
    signals: 0,
};

const WAITING: SmallWorld = SmallWorld {
    name: "one-waiting",
    failures: 0,
    reclaims: 0,
    renewals: 0,
    suspensions: 2,
    signals: 2,
    ..CALM
};

const ONE_FAULTY: SmallWorld = SmallWorld {
    name: "one-faulty",
    lost_requests: 1,
    lost_replies: 1,
    crashes: 1,
    faults: 1,
    ..CALM
};

/// The worlds. The last three take hours; the golden file has the counts of the others.
pub const WORLDS: &[SmallWorld] = &[
    CALM,
    SmallWorld { name: "one-operated", failures: 0, calls: 1, ..CALM },
    SmallWorld {
        name: "one-lossy",
        failures: 0,
        renewals: 0,
        lost_requests: 1,
        lost_replies: 1,
        faults: 2,
        ..CALM
    },
    SmallWorld { name: "two-calm", executions: 2, renewals: 0, ..CALM },
    WAITING,
    SmallWorld { name: "one-waiting-operated", suspensions: 1, signals: 1, calls: 1, ..WAITING },
    SmallWorld {
        name: "one-waiting-lossy",
        suspensions: 1,
        signals: 1,
        lost_requests: 1,
        lost_replies: 1,
        faults: 1,
        ..WAITING
    },
    ONE_FAULTY,
    SmallWorld { name: "two-faulty", executions: 2, renewals: 0, ..ONE_FAULTY },
    SmallWorld {
        name: "one-waiting-faulty",
        reclaims: 1,
        suspensions: 1,
        signals: 1,
        lost_requests: 1,
        lost_replies: 1,
        crashes: 1,
        faults: 1,
        ..WAITING
    },
];

/// The time of leases: whole seconds, as all times here, so that few instants differ.
pub const LEASE: DurationMs = DurationMs::from_secs(3);

/// The timeout of suspensions.
pub const WAITS_FOR: DurationMs = DurationMs::from_secs(2);

/// The key of the waitpoint that a handler opens before its suspension.
pub const OPENED: &str = "opened";

/// The key of a waitpoint that is opened by a suspension.
pub const MADE: &str = "made";

/// The one partition configuration.
pub const PARTITIONS: PartitionConfig =
    PartitionConfig { num_flow_partitions: 1, num_budget_partitions: 1, num_quota_partitions: 1 };

/// The context of operations that never give up: an hour is longer than any run of these worlds.
pub fn context() -> OperationContext {
    OperationContext::new(DurationMs::from_secs(3_600), Codec::default())
}

/// An execution id.
pub const fn id(number: u8) -> ExecutionId {
    ExecutionId::from_parts(0, Member::from_u128(number as u128 + 1))
}

/// A worker process, started for the `start`th time.
pub fn profile(worker: usize, start: u32) -> WorkerProfile {
    let instance = instance(format_args!("{worker}.{start}"));
    inputs::profile(inputs::worker(worker), instance, LEASE, context(), PARTITIONS)
}

impl SmallWorld {
    /// Whether a fault may still happen of a kind of which so many remain.
    pub(super) const fn may(&self, of_kind: u8) -> bool {
        of_kind > 0 && self.faults > 0
    }

    /// The submission of an execution.
    pub fn submission(&self, number: u8) -> Create {
        let mut policy = ExecutionPolicy::default();
        policy.retry.max_retries = u32::from(self.failures);
        policy.retry.backoff = Backoff::Fixed { delay_ms: DurationMs::ZERO };
        policy.max_reclaim_count = self.reclaims;
        let position = u16::from(number);
        Create { position, ..inputs::submission(id(number), &[number], policy) }
    }
}
