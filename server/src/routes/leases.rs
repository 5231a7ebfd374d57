//! Calls of a worker about an execution that it holds. The fence in the body decides.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use ff_sdk::command::{
    AppendFrame, Appended, BindWaitpoint, Complete, DelayExecution, FenceParts, Renew, Renewed,
    Suspend, SuspendOutcome, SuspensionTimeout, UpdateProgress,
};
use ff_sdk::{
    AnyOutcome, AttemptId, BudgetId, ChargeOutcome, Command, Condition, DurationMs, ExecutionId,
    FailOutcome, Frame, FrameType, IssuedWaitpoint, LeaseEpoch, LeaseId, ReportUsageResult,
    ResumePolicy, SuspensionId, SuspensionReason, TimestampMs,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::access::{Access, Work};
use crate::answer::{Answer, Refusal, other_outcome};
use crate::body::Body;
use crate::bytes::given;
use crate::params::{InNamespace, Param};

/// Declares a body with the fence of a lease: the execution, and the parts of the claim that prove
/// who holds it. The lease itself is in the path. Serde cannot flatten the fence into a body that
/// refuses unknown fields.
macro_rules! fenced {
    ($(#[$doc:meta])* struct $request:ident { $($fields:tt)* }) => {
        $(#[$doc])*
        #[derive(Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $request {
            /// The execution.
            #[schema(value_type = String)]
            execution_id: ExecutionId,
            /// The fencing epoch of the lease.
            #[schema(value_type = u64)]
            lease_epoch: LeaseEpoch,
            /// The attempt.
            #[schema(value_type = String)]
            attempt_id: AttemptId,
            $($fields)*
        }

        impl $request {
            fn fence(&self, lease: LeaseId) -> FenceParts {
                FenceParts {
                    lease_id: Some(lease),
                    lease_epoch: Some(self.lease_epoch),
                    attempt_id: Some(self.attempt_id),
                }
            }
        }
    };
}

async fn carry(access: &Access<Work>, command: Command) -> Answer<AnyOutcome> {
    Ok(access.app.gateway().carry(&access.client, command).await?)
}

fenced! {
    /// A renewal.
    struct RenewRequest {
        /// How long the lease is good from now on, in milliseconds: 1 to 86,400,000.
        #[schema(value_type = u64, minimum = 1, maximum = 86_400_000)]
        lease_ttl_ms: DurationMs,
    }
}

/// The new end of a lease.
#[derive(Serialize, ToSchema)]
pub(crate) struct Expiry {
    /// When the lease ends unless it is renewed, by the store's clock.
    #[schema(value_type = u64)]
    expires_at: TimestampMs,
}

/// Renews a lease.
#[utoipa::path(post, path = "/v1/leases/{lease_id}/renew", tag = "leases",
    params(("lease_id" = String, Path, description = "The lease."), InNamespace),
    request_body = RenewRequest, responses((status = 200, body = Expiry)))]
pub(crate) async fn renew(
    access: Access<Work>,
    Param(lease): Param<LeaseId>,
    Body(request): Body<RenewRequest>,
) -> Answer<Json<Expiry>> {
    let renew = Renew {
        execution_id: request.execution_id,
        fence: request.fence(lease),
        lease_ttl: request.lease_ttl_ms,
    };
    match carry(&access, Command::Renew(renew)).await? {
        AnyOutcome::Renew(Renewed { expires_at }) => Ok(Json(Expiry { expires_at })),
        _ => Err(other_outcome()),
    }
}

fenced! {
    /// A completion.
    struct CompleteRequest {
        /// The result: any JSON, at most 1 MiB.
        #[serde(default)]
        #[schema(value_type = Option<Value>)]
        result: Option<Box<RawValue>>,
        /// The result in base64, instead of `result`.
        #[serde(default)]
        result_base64: Option<String>,
    }
}

/// Ends an execution with success.
#[utoipa::path(post, path = "/v1/leases/{lease_id}/complete", tag = "leases",
    params(("lease_id" = String, Path, description = "The lease."), InNamespace),
    request_body = CompleteRequest, responses((status = 204, description = "It has ended.")))]
pub(crate) async fn complete(
    access: Access<Work>,
    Param(lease): Param<LeaseId>,
    Body(request): Body<CompleteRequest>,
) -> Answer<StatusCode> {
    let fence = request.fence(lease);
    let result = given("result", request.result, request.result_base64)?.map(Into::into);
    let complete = Complete { execution_id: request.execution_id, fence, result };
    carry(&access, Command::Complete(complete)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fenced! {
    /// A failure.
    struct FailRequest {
        /// A text for people, truncated to 4,096 bytes.
        reason: String,
        /// The category that the retry policy decides by; `handler_error` if absent.
        #[serde(default)]
        category: Option<String>,
        /// Whether a retry cannot help.
        #[serde(default)]
        permanent: bool,
        /// If the policy allows a retry, it starts after so many milliseconds instead of the
        /// policy's backoff.
        #[serde(default)]
        #[schema(value_type = Option<u64>)]
        retry_after_ms: Option<DurationMs>,
    }
}

/// The effect of a failure.
#[derive(Serialize, ToSchema)]
pub(crate) struct Failed {
    /// Whether it is retried; otherwise the execution has ended.
    retried: bool,
    /// When it may start again, by the store's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    not_before: Option<TimestampMs>,
}

/// Fails an attempt. The execution is retried if its policy allows it.
#[utoipa::path(post, path = "/v1/leases/{lease_id}/fail", tag = "leases",
    params(("lease_id" = String, Path, description = "The lease."), InNamespace),
    request_body = FailRequest, responses((status = 200, body = Failed)))]
pub(crate) async fn fail(
    access: Access<Work>,
    Param(lease): Param<LeaseId>,
    Body(request): Body<FailRequest>,
) -> Answer<Json<Failed>> {
    let command = Command::Fail {
        execution_id: request.execution_id,
        fence: request.fence(lease),
        reason: request.reason,
        category: request.category.unwrap_or_else(|| "handler_error".to_owned()),
        permanent: request.permanent,
        retry_after_ms: request.retry_after_ms,
    };
    match carry(&access, command).await? {
        AnyOutcome::Fail(FailOutcome::RetryScheduled { delay_until }) => {
            Ok(Json(Failed { retried: true, not_before: Some(delay_until) }))
        }
        AnyOutcome::Fail(FailOutcome::TerminalFailed) => {
            Ok(Json(Failed { retried: false, not_before: None }))
        }
        _ => Err(other_outcome()),
    }
}

fenced! {
    /// A delay.
    struct DelayRequest {
        /// How long from now, in milliseconds. 0 gives the work back immediately.
        #[schema(maximum = 31_622_400_000u64)]
        delay_ms: u64,
        /// Whether the next claim gets the signals of this one too, as if this lease had never
        /// been.
        #[serde(default)]
        keeps_resumption: bool,
    }
}

/// Releases an execution until a time. Then a worker continues the same attempt.
#[utoipa::path(post, path = "/v1/leases/{lease_id}/delay", tag = "leases",
    params(("lease_id" = String, Path, description = "The lease."), InNamespace),
    request_body = DelayRequest, responses((status = 204, description = "It is released.")))]
pub(crate) async fn delay(
    access: Access<Work>,
    Param(lease): Param<LeaseId>,
    Body(request): Body<DelayRequest>,
) -> Answer<StatusCode> {
    let delay = DelayExecution {
        execution_id: request.execution_id,
        fence: request.fence(lease),
        until: access.client.store_now().plus(DurationMs::new(request.delay_ms)),
        keeps_resumption: request.keeps_resumption,
    };
    carry(&access, Command::DelayExecution(delay)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fenced! {
    /// A suspension.
    struct SuspendRequest {
        /// A uuid of the caller's choice, which is the same in each repeat of the call.
        #[schema(value_type = String)]
        suspension_id: SuspensionId,
        /// Why; shown as the blocking reason.
        #[serde(default)]
        #[schema(value_type = Option<Value>)]
        reason: Option<SuspensionReason>,
        /// The waitpoints that the condition refers to: `{"new": {"id": UUID, "key": NAME}}`, or
        /// `{"open": {"id": UUID}}` for one that is open.
        #[serde(default)]
        #[schema(value_type = Option<Vec<Object>>)]
        waitpoints: Option<Vec<BindWaitpoint>>,
        /// The condition that resumes it, such as `{"single": {"waitpoint": NAME}}` or
        /// `"operator_only"`.
        #[schema(value_type = Value)]
        condition: Condition,
        /// When it times out, and what happens then.
        #[serde(default)]
        #[schema(value_type = Option<Object>)]
        timeout: Option<SuspensionTimeout>,
        /// How it goes on.
        #[serde(default)]
        #[schema(value_type = Option<Object>)]
        policy: Option<ResumePolicy>,
    }
}

/// Suspends an execution until signals, a timeout or an operator resume it.
#[utoipa::path(post, path = "/v1/leases/{lease_id}/suspend", tag = "leases",
    params(("lease_id" = String, Path, description = "The lease."), InNamespace),
    request_body = SuspendRequest,
    responses((status = 200, description = "The waitpoints with their tokens.", body = Object)))]
pub(crate) async fn suspend(
    access: Access<Work>,
    Param(lease): Param<LeaseId>,
    Body(request): Body<SuspendRequest>,
) -> Answer<Json<Value>> {
    let suspend = Suspend {
        execution_id: request.execution_id,
        fence: request.fence(lease),
        suspension_id: request.suspension_id,
        reason: request.reason.unwrap_or_default(),
        waitpoints: request.waitpoints.unwrap_or_default(),
        condition: request.condition,
        timeout: request.timeout,
        policy: request.policy.unwrap_or_default(),
    };
    match carry(&access, Command::Suspend(suspend)).await? {
        AnyOutcome::Suspend(outcome) => Ok(Json(suspended(&outcome))),
        _ => Err(other_outcome()),
    }
}

fn suspended(outcome: &SuspendOutcome) -> Value {
    let waitpoint = |issued: &IssuedWaitpoint| {
        json!({
            "waitpoint_id": issued.id,
            "key": issued.key,
            "token": issued.token.expose(),
        })
    };
    match outcome {
        SuspendOutcome::Suspended { suspension_id, waitpoints, timeout_at } => json!({
            "suspended": true,
            "suspension_id": suspension_id,
            "waitpoints": waitpoints.iter().map(waitpoint).collect::<Vec<_>>(),
            "timeout_at": timeout_at,
        }),
        SuspendOutcome::AlreadySatisfied { suspension_id, signals } => json!({
            "suspended": false,
            "suspension_id": suspension_id,
            "signals": signals,
        }),
    }
}

fenced! {
    /// Progress.
    struct ProgressRequest {
        /// 0 to 100.
        #[schema(maximum = 100)]
        percent: u8,
        /// A text for people, truncated to 1,024 bytes.
        #[serde(default)]
        message: Option<String>,
    }
}

/// Reports progress.
#[utoipa::path(post, path = "/v1/leases/{lease_id}/progress", tag = "leases",
    params(("lease_id" = String, Path, description = "The lease."), InNamespace),
    request_body = ProgressRequest, responses((status = 204, description = "It is stored.")))]
pub(crate) async fn progress(
    access: Access<Work>,
    Param(lease): Param<LeaseId>,
    Body(request): Body<ProgressRequest>,
) -> Answer<StatusCode> {
    let update = UpdateProgress {
        execution_id: request.execution_id,
        fence: request.fence(lease),
        percent: request.percent,
        message: request.message,
    };
    carry(&access, Command::UpdateProgress(update)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fenced! {
    /// A frame of output.
    struct FrameRequest {
        /// One more than that of the frame before, from 1.
        sequence: u64,
        /// The type of the frame, such as `log`.
        #[schema(value_type = String)]
        frame_type: FrameType,
        /// The output as text, at most 64 KiB.
        #[serde(default)]
        text: Option<String>,
        /// The output in base64, instead of `text`.
        #[serde(default)]
        payload_base64: Option<String>,
        /// Labels, at most 4 KiB.
        #[serde(default)]
        metadata: BTreeMap<String, String>,
    }
}

/// Appends a frame to the output of the attempt.
#[utoipa::path(post, path = "/v1/leases/{lease_id}/frames", tag = "leases",
    params(("lease_id" = String, Path, description = "The lease."), InNamespace),
    request_body = FrameRequest, responses((status = 204, description = "It is stored.")))]
pub(crate) async fn frames(
    access: Access<Work>,
    Param(lease): Param<LeaseId>,
    Body(request): Body<FrameRequest>,
) -> Answer<StatusCode> {
    let fence = request.fence(lease);
    let payload = match (request.text, request.payload_base64) {
        (Some(text), None) => text.into_bytes(),
        (None, encoded @ Some(_)) => given("payload", None, encoded)?.unwrap_or_default(),
        _ => return Err(Refusal::invalid("text: give this field or payload_base64")),
    };
    let FrameRequest { sequence, frame_type, metadata, .. } = request;
    let frame = Frame { sequence, frame_type, payload: payload.into(), metadata };
    let execution_id = request.execution_id;
    let append = AppendFrame { execution_id, fence, frame, rings: true };
    match carry(&access, Command::AppendFrame(append)).await? {
        AnyOutcome::AppendFrame(Appended { .. }) => Ok(StatusCode::NO_CONTENT),
        _ => Err(other_outcome()),
    }
}

/// A charge to a budget.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsageRequest {
    /// The budget.
    #[schema(value_type = String)]
    budget: BudgetId,
    /// The amounts by dimension.
    amounts: BTreeMap<String, u64>,
    /// Under one key a budget is charged once within 24 h.
    #[serde(default)]
    dedup_key: Option<String>,
}

/// The outcome of a charge.
#[derive(Serialize, ToSchema)]
pub(crate) struct Charged {
    /// Whether the charge was applied, now or by an earlier call with the same key.
    applied: bool,
    /// Whether an earlier call had the same key.
    repeated: bool,
    /// The limit that is exceeded: `dimension`, `current` and `limit`. A soft limit refuses
    /// nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    breach: Option<Value>,
}

impl Charged {
    fn of(result: ReportUsageResult) -> Answer<Self> {
        let (outcome, repeated) = match result {
            ReportUsageResult::Ok => (ChargeOutcome::Ok, false),
            ReportUsageResult::SoftBreach { dimension, current, limit } => {
                (ChargeOutcome::SoftBreach { dimension, current, limit }, false)
            }
            ReportUsageResult::HardBreach { dimension, current, limit } => {
                (ChargeOutcome::HardBreach { dimension, current, limit }, false)
            }
            ReportUsageResult::AlreadyApplied(outcome) => (outcome, true),
            _ => return Err(other_outcome()),
        };
        Ok(Self::new(outcome, repeated))
    }

    fn new(outcome: ChargeOutcome, repeated: bool) -> Self {
        let breach = |dimension, current, limit, soft: bool| {
            Some(json!({
                "dimension": dimension, "current": current, "limit": limit, "soft": soft,
            }))
        };
        match outcome {
            ChargeOutcome::Ok => Self { applied: true, repeated, breach: None },
            ChargeOutcome::SoftBreach { dimension, current, limit } => {
                Self { applied: true, repeated, breach: breach(dimension, current, limit, true) }
            }
            ChargeOutcome::HardBreach { dimension, current, limit } => {
                Self { applied: false, repeated, breach: breach(dimension, current, limit, false) }
            }
        }
    }
}

/// Charges a budget of the namespace.
#[utoipa::path(post, path = "/v1/leases/{lease_id}/usage", tag = "leases",
    params(("lease_id" = String, Path, description = "The lease."), InNamespace),
    request_body = UsageRequest, responses((status = 200, body = Charged)))]
pub(crate) async fn usage(
    access: Access<Work>,
    Param(_lease): Param<LeaseId>,
    Body(request): Body<UsageRequest>,
) -> Answer<Json<Charged>> {
    let amounts: Vec<(&str, u64)> =
        request.amounts.iter().map(|(dimension, amount)| (dimension.as_str(), *amount)).collect();
    let (budget, key) = (&request.budget, request.dedup_key.as_deref());
    let result = access.client.report_usage(budget, &amounts, key).await?;
    Ok(Json(Charged::of(result)?))
}
