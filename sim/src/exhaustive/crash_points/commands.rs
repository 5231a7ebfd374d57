//! The commands of the cases. Their ids are the same each time, so that a new process can repeat
//! the command of another one.

use std::sync::Arc;

use ff_core::agent::WorkerProfile;
use ff_core::capability::Capabilities;
use ff_core::condition::{
    Condition, ResumePolicy, SuspensionReason, SuspensionTimeout, TimeoutBehaviour,
};
use ff_core::execution::{
    AnyCommand, AppendFrame, BindWaitpoint, Cancel, CancelledBy, Claim, Complete, Create,
    CreatePendingWaitpoint, DelayExecution, DeliverSignal, FenceParts, Frame, GrantAudit,
    IssueClaimGrant, Offer, ReleaseGrant, Suspend, content_digest,
};
use ff_core::id::{
    AttemptId, ExecutionId, FrameType, GrantId, LeaseId, Nonce, SignalId, SignalName, SlotId,
    SuspensionId, WaitpointId, WaitpointKey,
};
use ff_core::partition::PartitionConfig;
use ff_core::policy::{Backoff, ExecutionPolicy};
use ff_core::store::Member;
use ff_core::time::{DurationMs, TimestampMs};
use ff_core::token::WaitpointToken;

use crate::exhaustive::inputs::{self, call, instance, submission, worker};

use super::fixture::Fixture;

/// The time of leases.
pub const LEASE: DurationMs = DurationMs::from_secs(3);
/// The time of grants.
pub const GRANT: DurationMs = DurationMs::from_secs(2);
/// The backoff of a retry.
pub const BACKOFF: DurationMs = DurationMs::from_secs(1);

/// The timeout of a suspension.
pub const SUSPENSION: DurationMs = DurationMs::from_secs(4);
/// The expiry of a waitpoint before its suspension.
pub const EXPIRY: DurationMs = DurationMs::from_secs(2);
/// The retention.
pub const RETENTION: DurationMs = DurationMs::from_secs(60);

/// The store's partitions.
pub const PARTITIONS: PartitionConfig =
    PartitionConfig { num_flow_partitions: 2, num_budget_partitions: 1, num_quota_partitions: 1 };

/// An execution id. Those with a number below 10 share a partition.
pub const fn id(number: u8) -> ExecutionId {
    let partition = if number < 10 { 0 } else { 1 };
    ExecutionId::from_parts(partition, Member::from_u128(number as u128 + 1))
}

/// The execution of most cases.
pub const ONE: ExecutionId = id(0);

const fn numbered(room: u128, number: u64) -> Member {
    Member::from_u128(room << 96 | number as u128)
}

/// All capabilities that an execution requires.
pub fn capable() -> Capabilities {
    Capabilities::try_new(["gpu"]).expect("valid tokens")
}

/// A worker process with all capabilities.
pub fn profile(number: u64) -> WorkerProfile {
    let (worker, instance) = (worker(number), instance(number));
    let profile = inputs::profile(worker, instance, LEASE, Fixture::context(), PARTITIONS);
    WorkerProfile { capabilities: capable(), slots: 4, ..profile }
}

/// An execution that may be retried and replayed once each, and reclaimed four times.
pub fn create(execution_id: ExecutionId) -> Create {
    let mut policy = ExecutionPolicy::default();
    policy.retry.max_retries = 1;
    policy.retry.backoff = Backoff::Fixed { delay_ms: BACKOFF };
    policy.max_reclaim_count = 4;
    policy.max_replay_count = 1;
    submission(execution_id, b"payload", policy)
}

/// The same with an idempotency key.
pub fn create_keyed() -> Create {
    let mut create = create(ONE);
    create.content = Some(content_digest(&create));
    create
}

/// A request for a grant.
pub fn grant(number: u64) -> IssueClaimGrant {
    IssueClaimGrant {
        execution_id: ONE,
        lane: None,
        grant_id: GrantId::from_uuid(numbered(3, number)),
        worker: worker(0),
        capabilities: capable(),
        ttl: GRANT,
        audit: GrantAudit::default(),
    }
}

/// A claim whose grant has the same number.
pub fn claim(number: u64) -> Claim {
    Claim {
        execution_id: ONE,
        grant_id: GrantId::from_uuid(numbered(3, number)),
        worker: worker(0),
        instance: instance(0),
        lane: None,
        lease_id: LeaseId::from_uuid(numbered(1, number)),
        attempt_id: AttemptId::from_uuid(numbered(2, number)),
        lease_ttl: LEASE,
    }
}

/// Gives the grant of this number back.
pub fn release(number: u64) -> ReleaseGrant {
    let Claim { execution_id, grant_id, worker, .. } = claim(number);
    ReleaseGrant { execution_id, grant_id, worker }
}

/// An offer of an execution to a worker with all capabilities.
pub fn offer(execution_id: ExecutionId, number: u64) -> Offer {
    Offer { claim: Claim { execution_id, ..claim(number) }, capabilities: capable() }
}

/// A slot.
pub fn slot(number: u64) -> SlotId {
    SlotId::from_uuid(numbered(7, number))
}

/// A completion.
pub fn complete(execution_id: ExecutionId, fence: FenceParts) -> Complete {
    Complete { execution_id, fence, result: Some(Arc::from(*b"result")) }
}

/// A delay by the holder.
pub fn delay(fence: FenceParts, until: TimestampMs) -> DelayExecution {
    DelayExecution { execution_id: ONE, fence, until, keeps_resumption: false }
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
pub fn waitpoint(number: u64, fixture: &Fixture) -> CreatePendingWaitpoint {
    CreatePendingWaitpoint {
        execution_id: ONE,
        fence: fixture.fence(ONE),
        waitpoint_id: waitpoint_id(number),
        key: waitpoint_key(number),
        expires_in: Some(EXPIRY),
    }
}

/// A suspension for one signal at the first waitpoint.
pub fn suspend(fixture: &Fixture) -> Suspend {
    Suspend {
        execution_id: ONE,
        fence: fixture.fence(ONE),
        suspension_id: SuspensionId::from_uuid(numbered(5, 1)),
        reason: SuspensionReason::Signal,
        waitpoints: vec![BindWaitpoint::Open { id: waitpoint_id(1) }],
        condition: Condition::any_signal(waitpoint_key(1)),
        timeout: Some(SuspensionTimeout::after(SUSPENSION, TimeoutBehaviour::AutoResume)),
        policy: ResumePolicy::default(),
    }
}

/// A signal to the first waitpoint.
pub fn signal(number: u64, fixture: &Fixture) -> DeliverSignal {
    let token = fixture.issued.first().map(|issued| issued.token.clone());
    DeliverSignal {
        execution_id: ONE,
        waitpoint_id: waitpoint_id(1),
        token: token.unwrap_or_else(|| WaitpointToken::new("")),
        signal_id: SignalId::from_uuid(numbered(6, number)),
        name: SignalName::try_new("go").expect("a valid name"),
        source: None,
        context: Default::default(),
        payload: Some(Arc::from(*b"signal")),
        creator: Nonce(number),
    }
}

/// A frame of the holder.
pub fn frame(sequence: u64, fixture: &Fixture) -> AppendFrame {
    let frame = Frame {
        sequence,
        frame_type: FrameType::try_new("log").expect("a valid type"),
        payload: Arc::from(*b"frame"),
        metadata: Default::default(),
    };
    AppendFrame { execution_id: ONE, fence: fixture.fence(ONE), frame, rings: true }
}
