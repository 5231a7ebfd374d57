//! Calls that change an execution from outside.

use axum::Json;
use axum::http::StatusCode;
use ff_io_http::{IssueReclaimGrantRequest, IssueReclaimGrantResponse};
use ff_sdk::command::{ReclaimGranted, WireGrantRequest};
use ff_sdk::{
    AnyOutcome, Command, GrantId, Priority, Replayed, Resumed, Revoked, Signal, SignalOutcome,
    WaitpointId, WaitpointToken,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::call_id::CallId;
use crate::access::{Access, Operate, Submit, Work};
use crate::answer::{Answer, Refusal, other_outcome};
use crate::body::Body;
use crate::bytes::given;
use crate::params::{Id, InNamespace, Operator};

/// Why an execution is cancelled.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cancel {
    /// A text for people; truncated to 4,096 bytes.
    #[serde(default)]
    reason: Option<String>,
}

/// Cancels an execution.
#[utoipa::path(post, path = "/v1/executions/{id}/cancel", tag = "operations",
    params(("id" = String, Path, description = "The execution."), InNamespace, Operator),
    request_body = Cancel, responses((status = 204, description = "It is cancelled.")))]
pub(crate) async fn cancel(
    access: Access<Operate>,
    Id(execution_id): Id,
    CallId(call): CallId,
    Body(cancel): Body<Cancel>,
) -> Answer<StatusCode> {
    let reason = cancel.reason.unwrap_or_else(|| "cancelled by an operator".to_owned());
    let request_id = call.to_string();
    access.client.execute(Command::Cancel { execution_id, request_id, reason }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The suspension that was ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct Resumption {
    suspension_id: String,
}

/// Resumes a suspended execution although its condition is not satisfied.
#[utoipa::path(post, path = "/v1/executions/{id}/resume", tag = "operations",
    params(("id" = String, Path, description = "The execution."), InNamespace, Operator),
    responses((status = 200, body = Resumption)))]
pub(crate) async fn resume(
    access: Access<Operate>,
    Id(execution_id): Id,
    CallId(call): CallId,
) -> Answer<Json<Resumption>> {
    let command = Command::Resume { execution_id, request_id: call.to_string() };
    match access.client.execute(command).await? {
        AnyOutcome::Resume(Resumed { suspension_id }) => {
            Ok(Json(Resumption { suspension_id: suspension_id.to_string() }))
        }
        _ => Err(other_outcome()),
    }
}

/// The life that begins.
#[derive(Serialize, ToSchema)]
pub(crate) struct Life {
    /// Its number; the first life has 0.
    life: u32,
}

/// Begins a new life of an execution that has ended.
#[utoipa::path(post, path = "/v1/executions/{id}/replay", tag = "operations",
    params(("id" = String, Path, description = "The execution."), InNamespace, Operator),
    responses((status = 200, body = Life)))]
pub(crate) async fn replay(
    access: Access<Operate>,
    Id(execution_id): Id,
    CallId(call): CallId,
) -> Answer<Json<Life>> {
    let command = Command::Replay { execution_id, request_id: call.to_string() };
    match access.client.execute(command).await? {
        AnyOutcome::Replay(Replayed { life }) => Ok(Json(Life { life })),
        _ => Err(other_outcome()),
    }
}

/// The lease that was revoked.
#[derive(Serialize, ToSchema)]
pub(crate) struct RevokedLease {
    /// Its fencing epoch.
    lease_epoch: u64,
}

/// Ends the lease of an execution, so that another worker can take it over.
#[utoipa::path(post, path = "/v1/executions/{id}/revoke-lease", tag = "operations",
    params(("id" = String, Path, description = "The execution."), InNamespace, Operator),
    responses((status = 200, body = RevokedLease)))]
pub(crate) async fn revoke_lease(
    access: Access<Operate>,
    Id(execution_id): Id,
    CallId(call): CallId,
) -> Answer<Json<RevokedLease>> {
    let command = Command::RevokeLease { execution_id, request_id: call.to_string() };
    match access.client.execute(command).await? {
        AnyOutcome::RevokeLease(Revoked { lease_epoch }) => {
            Ok(Json(RevokedLease { lease_epoch: lease_epoch.0 }))
        }
        _ => Err(other_outcome()),
    }
}

/// The priority of an execution.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfPriority {
    /// Higher is served first: 0 to 9000.
    #[schema(minimum = 0, maximum = 9000)]
    priority: u16,
}

/// Changes the priority of an execution that has not ended.
#[utoipa::path(put, path = "/v1/executions/{id}/priority", tag = "operations",
    params(("id" = String, Path, description = "The execution."), InNamespace, Operator),
    request_body = OfPriority, responses((status = 200, body = OfPriority)))]
pub(crate) async fn priority(
    access: Access<Operate>,
    Id(execution_id): Id,
    CallId(call): CallId,
    Body(OfPriority { priority }): Body<OfPriority>,
) -> Answer<Json<OfPriority>> {
    if priority > Priority::MAX.get() {
        let most = Priority::MAX.get();
        return Err(Refusal::invalid(format!("priority: is {priority}; 0 to {most} can be")));
    }
    let (request_id, priority) = (call.to_string(), i64::from(priority));
    let command = Command::ChangePriority { execution_id, request_id, priority };
    match access.client.execute(command).await? {
        AnyOutcome::ChangePriority(priority) => Ok(Json(OfPriority { priority: priority.get() })),
        _ => Err(other_outcome()),
    }
}

/// A signal to a waitpoint.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignalRequest {
    /// The waitpoint.
    #[schema(value_type = String)]
    waitpoint_id: WaitpointId,
    /// The token of the waitpoint, which permits the signal.
    token: String,
    /// Its name.
    name: String,
    /// The sender's name for itself.
    #[serde(default)]
    source: Option<String>,
    /// The kind of the source, such as `user`.
    #[serde(default)]
    source_type: Option<String>,
    /// The category, such as `approval`.
    #[serde(default)]
    category: Option<String>,
    /// The conversation that the signal belongs to.
    #[serde(default)]
    correlation_id: Option<String>,
    /// Under one key the waitpoint accepts one signal, however often it is sent.
    #[serde(default)]
    idempotency_key: Option<String>,
    /// Any JSON for the worker, at most 256 KiB.
    #[serde(default)]
    #[schema(value_type = Option<serde_json::Value>)]
    payload: Option<Box<RawValue>>,
    /// The payload in base64, instead of `payload`.
    #[serde(default)]
    payload_base64: Option<String>,
}

impl SignalRequest {
    fn signal(self) -> Answer<Signal> {
        let mut signal = Signal::new(&self.name, WaitpointToken::new(&self.token))?;
        if let Some(source) = &self.source {
            signal = signal.source(source)?;
        }
        if let Some(source_type) = &self.source_type {
            signal = signal.source_type(source_type)?;
        }
        if let Some(category) = &self.category {
            signal = signal.category(category)?;
        }
        if let Some(id) = &self.correlation_id {
            signal = signal.correlation_id(id)?;
        }
        if let Some(key) = self.idempotency_key {
            signal = signal.idempotency_key(key);
        }
        Ok(match given("payload", self.payload, self.payload_base64)? {
            Some(payload) => signal.payload(payload),
            None => signal,
        })
    }
}

/// Sends a signal to a waitpoint.
#[utoipa::path(post, path = "/v1/executions/{id}/signal", tag = "operations",
    params(("id" = String, Path, description = "The execution."), InNamespace),
    request_body = SignalRequest,
    responses((status = 200, description = "Its effect.", body = Object)))]
pub(crate) async fn signal(
    access: Access<Submit>,
    Id(id): Id,
    Body(request): Body<SignalRequest>,
) -> Answer<Json<SignalOutcome>> {
    let waitpoint = request.waitpoint_id;
    // The token of a waitpoint is valid from any namespace, but the caller sees only its own.
    if access.caller.is_limited_to_some() && access.client.describe(&id).await?.is_none() {
        return Err(Refusal::not_found("execution"));
    }
    Ok(Json(access.client.deliver_signal(&id, &waitpoint, request.signal()?).await?))
}

/// Issues a grant for an execution whose lease expired or was revoked.
#[utoipa::path(post, path = "/v1/executions/{id}/reclaim", tag = "operations",
    params(("id" = String, Path, description = "The execution."), InNamespace, Operator),
    request_body = Object, responses((status = 200, description = "The grant.", body = Object)))]
pub(crate) async fn reclaim(
    access: Access<Work>,
    Id(execution_id): Id,
    CallId(call): CallId,
    Body(request): Body<IssueReclaimGrantRequest>,
) -> Answer<Json<IssueReclaimGrantResponse>> {
    request.check()?;
    if !access.caller.is_limited_to_some() {
        let admin = access.app.admin().with_request_id(call);
        return Ok(Json(admin.issue_reclaim_grant(&execution_id.to_string(), request).await?));
    }
    // The same for each repeat of the call.
    let grant_key = GrantId::for_request(&execution_id, &call);
    let command = Command::IssueReclaimGrant(WireGrantRequest {
        execution_id,
        grant_key: grant_key.to_string(),
        lane: Some(request.lane_id.to_string()),
        worker_id: request.worker_id.to_string(),
        worker_instance_id: Some(request.worker_instance_id.to_string()),
        capability_hash: request.capability_hash,
        route_snapshot_json: request.route_snapshot_json,
        admission_summary: request.admission_summary,
        worker_capabilities: request.worker_capabilities.iter().map(str::to_owned).collect(),
        grant_ttl_ms: request.grant_ttl_ms,
    });
    match access.client.execute(command).await? {
        AnyOutcome::IssueReclaimGrant(ReclaimGranted::Granted(granted)) => {
            Ok(Json(IssueReclaimGrantResponse::Granted(granted.reclaim_grant())))
        }
        AnyOutcome::IssueReclaimGrant(ReclaimGranted::CapExceeded { reclaims }) => {
            Ok(Json(IssueReclaimGrantResponse::ReclaimCapExceeded { reclaims }))
        }
        _ => Err(other_outcome()),
    }
}
