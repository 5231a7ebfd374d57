//! The small worlds that are explored.

use std::sync::Arc;

use ff_core::agent::WorkerProfile;
use ff_core::capability::Capabilities;
use ff_core::execution::{Create, DEFAULT_PAYLOAD_LIMIT, Start};
use ff_core::id::{
    ExecutionId, ExecutionKind, LaneId, Namespace, Nonce, WorkerId, WorkerInstanceId,
};
use ff_core::op::OperationContext;
use ff_core::partition::PartitionConfig;
use ff_core::policy::{Backoff, ExecutionPolicy, Priority};
use ff_core::store::Member;
use ff_core::store::codec::Codec;
use ff_core::tags::Tags;
use ff_core::time::DurationMs;

/// A small world: two workers, a timekeeper, and how much of each thing may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SmallWorld {
    /// Its name.
    pub name: &'static str,
    /// How many executions wait at the beginning.
    pub executions: u8,
    /// Attempts that fail, of all executions; each execution may be retried that often.
    pub failures: u8,
    /// How often each may be reclaimed.
    pub reclaims: u32,
    /// Renewals that are sent, of all leases; after them a worker forgets to renew.
    pub renewals: u8,
    /// Requests that are lost, or carried out after their caller was told that no reply came.
    pub lost_requests: u8,
    /// Replies that are lost after the store has carried their request out.
    pub lost_replies: u8,
    /// Crashes of a worker, which begins anew as another process at once.
    pub crashes: u8,
    /// Lost requests, lost replies and crashes together.
    pub faults: u8,
    /// How often time passes while requests are on their way.
    pub slow: u8,
    /// Calls of an operator, each a cancellation or a revocation of the first execution, or its
    /// resumption where executions wait.
    pub calls: u8,
    /// Suspensions that handlers ask for, of all executions. The first handler may open the
    /// waitpoint before.
    pub suspensions: u8,
    /// Signals that are sent to the first execution by who was given its token.
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

/// The worlds. The last three are too large for a few minutes; the golden file has the others.
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
    SmallWorld {
        name: "one-faulty",
        lost_requests: 1,
        lost_replies: 1,
        crashes: 1,
        faults: 1,
        ..CALM
    },
    SmallWorld {
        name: "two-faulty",
        executions: 2,
        renewals: 0,
        lost_requests: 1,
        lost_replies: 1,
        crashes: 1,
        faults: 1,
        ..CALM
    },
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

/// How long leases are good: whole seconds, as all times here, so that few instants differ.
pub const LEASE: DurationMs = DurationMs::from_secs(3);

/// How long a suspension takes at most, before it goes on without its signal.
pub const WAITS_FOR: DurationMs = DurationMs::from_secs(2);

/// The name of the waitpoint that a handler opens before its suspension.
pub const OPENED: &str = "opened";

/// The name of the one that comes with a suspension.
pub const MADE: &str = "made";

const PARTITIONS: PartitionConfig =
    PartitionConfig { num_flow_partitions: 1, num_budget_partitions: 1, num_quota_partitions: 1 };

/// The one partition configuration.
pub const fn partitions() -> PartitionConfig {
    PARTITIONS
}

/// OperationContext of operations that never give up: an hour is longer than any run of these worlds.
pub fn terms() -> OperationContext {
    OperationContext::new(DurationMs::from_secs(3_600), Codec::default())
}

/// An execution.
pub const fn id(number: u8) -> ExecutionId {
    ExecutionId::from_parts(0, Member::from_u128(number as u128 + 1))
}

fn namespace() -> Namespace {
    Namespace::try_new("small").expect("a valid namespace")
}

fn lane() -> LaneId {
    LaneId::try_new("lane").expect("a valid lane")
}

/// A worker process, started for the `start`th time.
pub fn profile(worker: usize, start: u32) -> WorkerProfile {
    WorkerProfile {
        namespace: namespace(),
        lanes: vec![lane()],
        worker: WorkerId::try_new(format!("worker-{worker}")).expect("a valid id"),
        instance: WorkerInstanceId::try_new(format!("process-{worker}.{start}"))
            .expect("a valid id"),
        capabilities: Capabilities::default(),
        slots: 1,
        lease_ttl: LEASE,
        context: terms(),
        partitions: PARTITIONS,
    }
}

impl SmallWorld {
    /// The submission of an execution.
    pub fn submission(&self, number: u8) -> Create {
        let mut policy = ExecutionPolicy::default();
        policy.retry.max_retries = u32::from(self.failures);
        policy.retry.backoff = Backoff::Fixed { delay_ms: DurationMs::ZERO };
        policy.max_reclaim_count = self.reclaims;
        Create {
            execution_id: id(number),
            namespace: namespace(),
            lane: lane(),
            kind: ExecutionKind::try_new("work").expect("a valid kind"),
            payload: Some(Arc::from([number])),
            payload_limit: DEFAULT_PAYLOAD_LIMIT,
            priority: Priority::default(),
            policy,
            requires: Capabilities::default(),
            tags: Tags::default(),
            start: Start::Now,
            deadline: None,
            position: u16::from(number),
            creator: Nonce(1),
            content: None,
        }
    }
}
