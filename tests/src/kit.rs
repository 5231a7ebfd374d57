//! Helpers of the scenarios: commands in their wire form, and assertions on results.

use std::fmt::Debug;
use std::time::Duration;

use ff_sdk::core::error::{EngineError, Rejection, RejectionKind};
use ff_sdk::core::execution::{
    AnyOutcome, AppendFrame, Claimed, Command, Complete, Event, EventKind, ExecutionSnapshot,
    FenceParts, Frame, Granted, Renew, Suspend, WireClaim, WireGrantRequest,
};
use ff_sdk::core::id::{AttemptId, ExecutionId, GrantId, LeaseEpoch, LeaseId, SuspensionId};
use ff_sdk::core::state::PublicState;
use ff_sdk::core::time::DurationMs;
use ff_sdk::{
    ClaimForWorkerResponse, ClaimedTask, Client, Condition, FlowFabricAdminClient,
    FlowFabricWorker, IssuedWaitpoint, ReclaimGrant, RotateWaitpointSecretRequest, Rotation,
    SdkError, Signal, SignalOutcome, Submission, SuspensionReason, WorkerGrant,
};

use crate::fixture::{Fixture, lane};

/// Milliseconds.
pub const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Seconds.
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A submission of the kind `work`.
pub fn work() -> Submission {
    Submission::new("work")
}

/// Submits, and returns the execution's id.
pub async fn submit(client: &Client, submission: Submission) -> ExecutionId {
    client.submit(submission).await.expect("the submission is accepted").id()
}

/// A client, a worker, and an execution of the kind `work` that waits for it.
pub async fn submitted(fixture: &Fixture) -> (Client, FlowFabricWorker, ExecutionId) {
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let id = submit(&client, work()).await;
    (client, worker, id)
}

/// Claims an execution, which must exist.
pub async fn claim(worker: &FlowFabricWorker) -> ClaimedTask {
    worker.claim_next().await.expect("the store answers").expect("there is work")
}

/// Whether a claim finds no work.
pub async fn is_idle(worker: &FlowFabricWorker) -> bool {
    worker.claim_next().await.expect("the store answers").is_none()
}

/// The snapshot of an execution, which must exist.
pub async fn describe(client: &Client, id: &ExecutionId) -> ExecutionSnapshot {
    client.describe(id).await.expect("the store answers").expect("the execution exists")
}

/// The public state of an execution.
pub async fn state(client: &Client, id: &ExecutionId) -> PublicState {
    describe(client, id).await.state.public_state
}

/// The epoch of the lease of an execution that has this number, from 1.
pub async fn nth_epoch(client: &Client, id: &ExecutionId, number: u64) -> LeaseEpoch {
    LeaseEpoch(describe(client, id).await.created_at.get() + number)
}

/// The kinds of all events of an execution.
pub async fn events(client: &Client, id: &ExecutionId) -> Vec<EventKind> {
    let history = client.history(id).await.expect("the execution exists");
    history.events.iter().map(|entry| entry.event.kind()).collect()
}

/// The number of ended lives of an execution, by its journal.
pub async fn endings(client: &Client, id: &ExecutionId) -> usize {
    let history = client.history(id).await.expect("the execution exists");
    history.events.iter().filter(|entry| matches!(entry.event, Event::Ended { .. })).count()
}

/// The kind of the rejection of a call, which must be rejected.
#[track_caller]
pub fn kind<T: Debug>(result: Result<T, SdkError>) -> RejectionKind {
    kind_of(&result.expect_err("the call is refused"))
}

/// The kind of the rejection in an error.
#[track_caller]
pub fn kind_of(error: &SdkError) -> RejectionKind {
    error.rejection_kind().unwrap_or_else(|| panic!("not a rejection: {error}"))
}

/// The rejection of a call, which must be a `State` or a `Conflict`.
#[track_caller]
pub fn rejection<T: Debug>(result: Result<T, SdkError>) -> Rejection {
    let error = result.expect_err("the call is refused");
    let rejection = error.engine().and_then(EngineError::rejection);
    rejection.unwrap_or_else(|| panic!("not a rejection: {error}")).clone()
}

/// Asks for a grant for a worker.
pub async fn ask(
    admin: &FlowFabricAdminClient,
    worker: &FlowFabricWorker,
    grant_ttl_ms: u64,
) -> Result<Option<WorkerGrant>, SdkError> {
    let request = worker.config().claim_request(lane(), grant_ttl_ms);
    Ok(admin.claim_for_worker(request).await?.map(ClaimForWorkerResponse::into_grant))
}

/// Asks for a reclaim grant for a worker.
pub async fn ask_to_reclaim(
    admin: &FlowFabricAdminClient,
    worker: &FlowFabricWorker,
    id: &ExecutionId,
) -> Result<ReclaimGrant, SdkError> {
    let request = worker.config().reclaim_request(lane(), 1_000);
    let response = admin.issue_reclaim_grant(&id.to_string(), request).await?;
    Ok(response.into_grant().map_err(EngineError::from)?)
}

/// Rotates the secret of waitpoint tokens.
pub async fn rotate(
    admin: &FlowFabricAdminClient,
    kid: &str,
    secret: &str,
    grace_ms: u64,
) -> Result<Rotation, SdkError> {
    let request = RotateWaitpointSecretRequest::new(kid, secret, grace_ms);
    Ok(admin.rotate_waitpoint_secret(request).await?.outcome)
}

/// The fence of a task.
pub fn fence_of(task: &ClaimedTask) -> FenceParts {
    FenceParts {
        lease_id: Some(task.lease_id()),
        lease_epoch: Some(task.lease_epoch()),
        attempt_id: Some(task.attempt_id()),
    }
}

/// The fence of a claim.
pub fn fence_of_claimed(claimed: &Claimed) -> FenceParts {
    claimed.fence().into()
}

/// `renew`.
pub const fn renew(execution_id: ExecutionId, fence: FenceParts, lease_ttl_ms: u64) -> Command {
    let lease_ttl = DurationMs::new(lease_ttl_ms);
    Command::Renew(Renew { execution_id, fence, lease_ttl })
}

/// `complete` without a result.
pub const fn complete(execution_id: ExecutionId, fence: FenceParts) -> Command {
    Command::Complete(Complete { execution_id, fence, result: None })
}

/// `fail`.
pub fn fail(execution_id: ExecutionId, fence: FenceParts, category: &str) -> Command {
    let (reason, category) = ("it broke".to_owned(), category.to_owned());
    Command::Fail { execution_id, fence, reason, category, permanent: false, retry_after_ms: None }
}

/// A request for a grant with a new key and a ttl of ten seconds.
pub fn grant_request(
    fixture: &Fixture,
    execution_id: ExecutionId,
    worker: &str,
) -> WireGrantRequest {
    WireGrantRequest {
        execution_id,
        grant_key: GrantId::random(&mut fixture.entropy()).to_string(),
        worker_id: worker.to_owned(),
        worker_instance_id: None,
        lane: None,
        worker_capabilities: Vec::new(),
        capability_hash: None,
        route_snapshot_json: None,
        admission_summary: None,
        grant_ttl_ms: 10_000,
    }
}

/// A claim with the grant of a request, with new ids, by the worker's first instance.
pub fn claim_of(fixture: &Fixture, request: &WireGrantRequest) -> WireClaim {
    let mut entropy = fixture.entropy();
    WireClaim {
        execution_id: request.execution_id,
        grant_key: request.grant_key.clone(),
        worker_id: request.worker_id.clone(),
        worker_instance_id: format!("{}-1", request.worker_id),
        lane: None,
        lease_id: LeaseId::random(&mut entropy),
        attempt_id: AttemptId::random(&mut entropy),
        lease_ttl_ms: 30_000,
    }
}

/// Sends a signal to a waitpoint, with its name as the payload.
pub async fn send(
    client: &Client,
    id: &ExecutionId,
    waitpoint: &IssuedWaitpoint,
    name: &str,
) -> Result<SignalOutcome, SdkError> {
    let signal = Signal::new(name, waitpoint.token.clone())?.payload(name);
    client.deliver_signal(id, &waitpoint.id, signal).await
}

/// Sends a signal from a source.
pub async fn send_from(
    client: &Client,
    id: &ExecutionId,
    waitpoint: &IssuedWaitpoint,
    name: &str,
    source: &str,
) -> Result<SignalOutcome, SdkError> {
    let signal = Signal::new(name, waitpoint.token.clone())?.source(source)?;
    client.deliver_signal(id, &waitpoint.id, signal).await
}

/// `append_frame` of a log line.
pub fn append_frame(
    execution_id: ExecutionId,
    fence: FenceParts,
    sequence: u64,
    text: &str,
) -> Command {
    let frame = Frame {
        sequence,
        frame_type: "log".parse().expect("a valid type"),
        payload: text.as_bytes().into(),
        metadata: Default::default(),
    };
    Command::AppendFrame(AppendFrame { execution_id, fence, frame, rings: true })
}

/// `suspend` without waitpoints.
pub fn suspend_command(
    fixture: &Fixture,
    execution_id: ExecutionId,
    fence: FenceParts,
    condition: Condition,
) -> Command {
    Command::Suspend(Suspend {
        execution_id,
        fence,
        suspension_id: SuspensionId::random(&mut fixture.entropy()),
        reason: SuspensionReason::default(),
        waitpoints: Vec::new(),
        condition,
        timeout: None,
        policy: Default::default(),
    })
}

/// Requests a claim or resume grant, which must be issued.
pub async fn grant(client: &Client, request: &WireGrantRequest) -> Granted {
    match client.execute(Command::IssueClaimGrant(request.clone())).await {
        Ok(AnyOutcome::IssueClaimGrant(granted)) => granted,
        other => panic!("not a grant: {other:?}"),
    }
}

/// The claim in an outcome.
#[track_caller]
pub fn claimed(outcome: Result<AnyOutcome, SdkError>) -> Claimed {
    match outcome {
        Ok(
            AnyOutcome::Claim(claimed)
            | AnyOutcome::ClaimResumed(claimed)
            | AnyOutcome::Reclaim(claimed),
        ) => claimed,
        other => panic!("not a claim: {other:?}"),
    }
}
