//! Inputs of both searches: submissions, workers and commands.

use std::fmt::Display;
use std::sync::Arc;

use ff_core::agent::WorkerProfile;
use ff_core::capability::Capabilities;
use ff_core::execution::{
    Create, DEFAULT_PAYLOAD_LIMIT, Fail, FenceParts, OperatorCall, RetryAdvice, Start,
};
use ff_core::id::{
    ExecutionId, ExecutionKind, FailureCategory, LaneId, Namespace, Nonce, RequestId, WorkerId,
    WorkerInstanceId,
};
use ff_core::kinds::Kinds;
use ff_core::limits::Limits;
use ff_core::op::OperationContext;
use ff_core::partition::PartitionConfig;
use ff_core::policy::{ExecutionPolicy, Priority};
use ff_core::tags::Tags;
use ff_core::time::DurationMs;

/// The one tenant.
pub fn namespace() -> Namespace {
    Namespace::try_new("search").expect("a valid namespace")
}

/// The one lane.
pub fn lane() -> LaneId {
    LaneId::try_new("lane").expect("a valid lane")
}

/// A worker id.
pub fn worker(number: impl Display) -> WorkerId {
    WorkerId::try_new(format!("worker-{number}")).expect("a valid id")
}

/// The instance id of a worker process.
pub fn instance(number: impl Display) -> WorkerInstanceId {
    WorkerInstanceId::try_new(format!("process-{number}")).expect("a valid id")
}

/// A worker process without capabilities.
pub fn profile(
    worker: WorkerId,
    instance: WorkerInstanceId,
    lease_ttl: DurationMs,
    context: OperationContext,
    partitions: PartitionConfig,
) -> WorkerProfile {
    WorkerProfile {
        namespace: namespace(),
        lanes: vec![lane()],
        kinds: Kinds::All,
        worker,
        instance,
        capabilities: Capabilities::default(),
        slots: 1,
        lease_ttl,
        context,
        partitions,
    }
}

/// The submission of an execution that may start immediately.
pub fn submission(execution_id: ExecutionId, payload: &[u8], policy: ExecutionPolicy) -> Create {
    Create {
        execution_id,
        namespace: namespace(),
        lane: lane(),
        kind: ExecutionKind::try_new("work").expect("a valid kind"),
        payload: Some(Arc::from(payload)),
        payload_limit: DEFAULT_PAYLOAD_LIMIT,
        priority: Priority::default(),
        policy,
        requires: Capabilities::default(),
        tags: Tags::default(),
        limits: Limits::default(),
        start: Start::Now,
        deadline: None,
        position: 0,
        creator: Nonce(1),
        content: None,
    }
}

/// A failure.
pub fn fail(execution_id: ExecutionId, fence: FenceParts, retry: RetryAdvice) -> Fail {
    let category = FailureCategory::try_new("broken").expect("a valid category");
    Fail { execution_id, fence, reason: "it broke".to_owned(), category, retry }
}

/// An operator's call.
pub fn call(number: impl Display) -> OperatorCall {
    OperatorCall::new(RequestId::try_new(format!("request-{number}")).expect("a valid id"))
}
