//! The commands of the cases: each with the arguments that matter, and ids that are the same each
//! time, so that a fresh process can repeat what another one began.

use std::sync::Arc;

use ff_core::agent::WorkerProfile;
use ff_core::capability::Capabilities;
use ff_core::condition::{
    Condition, ResumePolicy, SuspensionReason, SuspensionTimeout, TimeoutBehaviour,
};
use ff_core::execution::{
    AnyCommand, AppendFrame, BindWaitpoint, Cancel, CancelledBy, Claim, Complete, Create,
    CreatePendingWaitpoint, DEFAULT_PAYLOAD_LIMIT, DelayExecution, DeliverSignal, Fail, FenceParts,
    FoundSignal, Frame, Heard, IssueClaimGrant, Offer, OperatorCall, Start, Suspend,
    content_digest,
};
use ff_core::id::{
    AttemptId, ExecutionId, ExecutionKind, FailureCategory, FrameType, GrantId, LaneId, LeaseId,
    Namespace, Nonce, RequestId, SignalId, SignalName, SuspensionId, WaitpointId, WaitpointKey,
    WorkerId, WorkerInstanceId,
};
use ff_core::partition::PartitionConfig;
use ff_core::policy::{Backoff, ExecutionPolicy, Priority};
use ff_core::store::Member;
use ff_core::tags::Tags;
use ff_core::time::{DurationMs, TimestampMs};
use ff_core::token::{KnownKeyring, WaitpointToken};

use super::fixture::Bench;

/// How long leases are good.
pub const LEASE: DurationMs = DurationMs::from_secs(3);
/// How long grants are good.
pub const GRANT: DurationMs = DurationMs::from_secs(2);
/// How long a retry waits.
pub const BACKOFF: DurationMs = DurationMs::from_secs(1);

/// How long a suspension lasts at most.
pub const SUSPENSION: DurationMs = DurationMs::from_secs(4);
/// How long a waitpoint waits for its suspension.
pub const EXPIRY: DurationMs = DurationMs::from_secs(2);
/// How long an execution is kept that is over.
pub const RETENTION: DurationMs = DurationMs::from_secs(60);

/// The store's partitions.
pub const PARTITIONS: PartitionConfig =
    PartitionConfig { num_flow_partitions: 2, num_budget_partitions: 1, num_quota_partitions: 1 };

/// An execution: those with a number below 10 share a partition.
pub const fn id(number: u8) -> ExecutionId {
    let partition = if number < 10 { 0 } else { 1 };
    ExecutionId::from_parts(partition, Member::from_u128(number as u128 + 1))
}

/// The one execution of most cases.
pub const ONE: ExecutionId = id(0);

const fn numbered(room: u128, number: u64) -> Member {
    Member::from_u128(room << 96 | number as u128)
}

/// The one tenant.
pub fn namespace() -> Namespace {
    Namespace::try_new("crash-points").expect("a valid namespace")
}

/// The one lane.
pub fn lane() -> LaneId {
    LaneId::try_new("lane").expect("a valid lane")
}

fn worker(number: u64) -> WorkerId {
    WorkerId::try_new(format!("worker-{number}")).expect("a valid id")
}

fn instance(number: u64) -> WorkerInstanceId {
    WorkerInstanceId::try_new(format!("process-{number}")).expect("a valid id")
}

/// What a worker can do that can do everything.
pub fn capable() -> Capabilities {
    Capabilities::try_new(["gpu"]).expect("valid tokens")
}

/// A worker process.
pub fn profile(number: u64) -> WorkerProfile {
    WorkerProfile {
        namespace: namespace(),
        lanes: vec![lane()],
        worker: worker(number),
        instance: instance(number),
        capabilities: capable(),
        slots: 4,
        lease_ttl: LEASE,
        context: Bench::terms(),
        partitions: PARTITIONS,
    }
}

/// An execution that may be retried, reclaimed and replayed once each.
pub fn create(execution_id: ExecutionId) -> Create {
    let mut policy = ExecutionPolicy::default();
    policy.retry.max_retries = 1;
    policy.retry.backoff = Backoff::Fixed { delay_ms: BACKOFF };
    policy.max_reclaim_count = 4;
    policy.max_replay_count = 1;
    Create {
        execution_id,
        namespace: namespace(),
        lane: lane(),
        kind: ExecutionKind::try_new("work").expect("a valid kind"),
        payload: Some(Arc::from(*b"payload")),
        payload_limit: DEFAULT_PAYLOAD_LIMIT,
        priority: Priority::default(),
        policy,
        requires: Capabilities::default(),
        tags: Tags::default(),
        start: Start::Now,
        deadline: None,
        position: 0,
        creator: Nonce(1),
        content: None,
    }
}

/// The same under an idempotency key.
pub fn create_keyed() -> Create {
    let mut create = create(ONE);
    create.content = Some(content_digest(&create));
    create
}

/// A request for a grant.
pub fn grant(number: u64) -> IssueClaimGrant {
    IssueClaimGrant {
        execution_id: ONE,
        grant_id: GrantId::from_uuid(numbered(3, number)),
        worker: worker(0),
        capabilities: capable(),
        ttl: GRANT,
        audit: None,
    }
}

/// A claim whose grant has the same number.
pub fn claim(number: u64) -> Claim {
    Claim {
        execution_id: ONE,
        grant_id: GrantId::from_uuid(numbered(3, number)),
        worker: worker(0),
        instance: instance(0),
        lease_id: LeaseId::from_uuid(numbered(1, number)),
        attempt_id: AttemptId::from_uuid(numbered(2, number)),
        lease_ttl: LEASE,
    }
}

/// An offer of an execution to a worker that can do everything.
pub fn offer(execution_id: ExecutionId, number: u64) -> Offer {
    Offer { claim: Claim { execution_id, ..claim(number) }, capabilities: capable() }
}

/// The end of an attempt.
pub fn complete(execution_id: ExecutionId, fence: FenceParts) -> Complete {
    Complete { execution_id, fence, result: Some(Arc::from(*b"result")) }
}

/// A failure.
pub fn fail(fence: FenceParts, permanent: bool) -> Fail {
    Fail {
        execution_id: ONE,
        fence,
        reason: "it broke".to_owned(),
        category: FailureCategory::try_new("broken").expect("a valid category"),
        permanent,
    }
}

/// A delay by the holder.
pub fn delay(fence: FenceParts, until: TimestampMs) -> DelayExecution {
    DelayExecution { execution_id: ONE, fence, until, keeps_resumption: false }
}

/// An operator's call.
pub fn call(number: u64) -> OperatorCall {
    OperatorCall::new(RequestId::try_new(format!("request-{number}")).expect("a valid id"))
}

/// A cancellation by an operator.
pub fn cancel(execution_id: ExecutionId, number: u64) -> AnyCommand {
    let by = CancelledBy::Operator(call(number));
    Cancel { execution_id, by, reason: "not wanted".to_owned() }.into()
}

fn waitpoint_id(number: u64) -> WaitpointId {
    WaitpointId::from_uuid(numbered(4, number))
}

fn waitpoint_key(number: u64) -> WaitpointKey {
    WaitpointKey::try_new(format!("waitpoint-{number}")).expect("a valid key")
}

/// A waitpoint of the holder.
pub fn waitpoint(number: u64, bench: &Bench) -> CreatePendingWaitpoint {
    CreatePendingWaitpoint {
        execution_id: ONE,
        fence: bench.fence(ONE),
        waitpoint_id: waitpoint_id(number),
        key: waitpoint_key(number),
        expires_in: Some(EXPIRY),
        keyring: KnownKeyring::default(),
    }
}

/// A suspension for one signal at the first waitpoint.
pub fn suspend(bench: &Bench) -> Suspend {
    Suspend {
        execution_id: ONE,
        fence: bench.fence(ONE),
        suspension_id: SuspensionId::from_uuid(numbered(5, 1)),
        reason: SuspensionReason::Signal,
        waitpoints: vec![BindWaitpoint::Open { id: waitpoint_id(1) }],
        condition: Condition::any_signal(waitpoint_key(1)),
        timeout: Some(SuspensionTimeout::after(SUSPENSION, TimeoutBehaviour::AutoResume)),
        policy: ResumePolicy::default(),
        keyring: KnownKeyring::default(),
        heard: Heard::default(),
    }
}

/// A signal to the first waitpoint.
pub fn signal(number: u64, bench: &Bench) -> DeliverSignal {
    let token = bench.issued.first().map(|issued| issued.token.clone());
    DeliverSignal {
        execution_id: ONE,
        waitpoint_id: waitpoint_id(1),
        token: token.unwrap_or_else(|| WaitpointToken::new("")),
        signal_id: SignalId::from_uuid(numbered(6, number)),
        name: SignalName::try_new("go").expect("a valid name"),
        source: None,
        payload: Some(Arc::from(*b"signal")),
        creator: Nonce(number),
        keyring: KnownKeyring::default(),
        found: FoundSignal::Unread,
    }
}

/// A frame of the holder.
pub fn frame(sequence: u64, bench: &Bench) -> AppendFrame {
    let frame = Frame {
        sequence,
        frame_type: FrameType::try_new("log").expect("a valid type"),
        payload: Arc::from(*b"frame"),
        metadata: Default::default(),
    };
    AppendFrame { execution_id: ONE, fence: bench.fence(ONE), frame, rings: true }
}
