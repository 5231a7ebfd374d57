//! Commands in their JSON form, as callers send them.
//!
//! A command whose fields need no further check is the command of its rule. The others hold texts
//! as they were sent; [`Command::parse`] checks them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::capability::Capabilities;
use crate::entropy::Entropy;
use crate::error::Rejection;
use crate::id::{
    AttemptId, ExecutionId, ExecutionKind, FailureCategory, GrantId, LaneId, LeaseId, Namespace,
    Nonce, RequestId, WorkerId, WorkerInstanceId,
};
use crate::limits::Limits;
use crate::null::or_default;
use crate::policy::{ExecutionPolicy, Priority};
use crate::tags::Tags;
use crate::time::{DurationMs, TimestampMs};

use super::any_command::AnyCommand;
use super::command::{TakeNew, TakeOver, TakeResumed};
use super::record::GrantAudit;
use super::rule::{
    AppendFrame, Block, Cancel, CancelledBy, ChangePriority, Claim, Complete, Create,
    CreatePendingWaitpoint, DEFAULT_PAYLOAD_LIMIT, DelayExecution, DeliverSignal, Fail, FenceParts,
    IssueClaimGrant, IssueReclaimGrant, MoveToWaitingChildren, OperatorCall, ReleaseGrant, Renew,
    Replay, Resume, RetryAdvice, RevokeLease, Start, Suspend, Unblock, UpdateProgress,
    content_digest,
};

/// A request for a claim or reclaim grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireGrantRequest {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Chosen by the caller; the same for each repeat.
    pub grant_key: String,
    /// The worker that may use the grant.
    pub worker_id: String,
    /// The process that sends the request, for audit.
    #[serde(default)]
    pub worker_instance_id: Option<String>,
    /// The lane in which the caller expects the execution; another one is refused.
    #[serde(default)]
    pub lane: Option<String>,
    /// A hash over the worker's capabilities, for audit; at most 128 bytes.
    #[serde(default)]
    pub capability_hash: Option<String>,
    /// How the routing decision was made, for audit: JSON of at most 4 KiB.
    #[serde(default)]
    pub route_snapshot_json: Option<String>,
    /// Why the worker was admitted, for audit; at most 1 KiB.
    #[serde(default)]
    pub admission_summary: Option<String>,
    /// The worker's capabilities.
    #[serde(default, deserialize_with = "or_default")]
    pub worker_capabilities: Vec<String>,
    /// 1 to 60,000 milliseconds.
    pub grant_ttl_ms: u64,
}

/// A claim under a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireClaim {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The key of the grant.
    pub grant_key: String,
    /// The worker that the grant was issued to.
    pub worker_id: String,
    /// The process that claims.
    pub worker_instance_id: String,
    /// The lane in which the caller expects the execution; another one is refused.
    #[serde(default)]
    pub lane: Option<String>,
    /// Chosen by the caller; the same for each repeat.
    pub lease_id: LeaseId,
    /// Chosen by the caller; the same for each repeat.
    pub attempt_id: AttemptId,
    /// 1 to 86,400,000 milliseconds.
    pub lease_ttl_ms: u64,
}

/// A submission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireCreate {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The tenant.
    pub namespace: String,
    /// The lane (queue).
    pub lane: String,
    /// The kind of work, which selects the handler.
    pub kind: String,
    /// The payload that the handler gets.
    #[serde(default)]
    pub payload: Option<Vec<u8>>,
    /// Clamped to 0..=9000.
    #[serde(default)]
    pub priority: Option<i64>,
    /// How it is run.
    #[serde(default)]
    pub policy: Option<ExecutionPolicy>,
    /// The capabilities that a worker must have.
    #[serde(default, deserialize_with = "or_default")]
    pub requires: Vec<String>,
    /// Labels.
    #[serde(default, deserialize_with = "or_default")]
    pub tags: BTreeMap<String, String>,
    /// The budgets and quotas that it counts towards.
    #[serde(default, deserialize_with = "or_default")]
    pub limits: Limits,
    /// When it may start.
    #[serde(default)]
    pub start: Option<Start>,
    /// When it expires.
    #[serde(default)]
    pub deadline: Option<TimestampMs>,
    /// Whether the id is derived from an idempotency key, so that other content is refused.
    #[serde(default, deserialize_with = "or_default")]
    pub idempotent: bool,
}

/// Any command of `docs/spec.md`, 4, in its JSON form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Command {
    /// Submits a new execution.
    Create(Box<WireCreate>),
    /// Admits a worker to an eligible execution.
    IssueClaimGrant(WireGrantRequest),
    /// Starts a new attempt.
    Claim(WireClaim),
    /// Goes on with the interrupted attempt.
    ClaimResumed(WireClaim),
    /// Admits a worker to an execution whose lease was lost.
    IssueReclaimGrant(WireGrantRequest),
    /// Takes over from an owner that lost its lease.
    Reclaim(WireClaim),
    /// Gives a grant back that will not be used.
    ReleaseGrant {
        /// The execution.
        execution_id: ExecutionId,
        /// The key of the grant.
        grant_key: String,
        /// The worker that the grant was issued to.
        worker_id: String,
    },
    /// Extends a lease.
    Renew(Renew),
    /// Ends an execution with success.
    Complete(Complete),
    /// Reports a failed attempt.
    Fail {
        /// The execution.
        execution_id: ExecutionId,
        /// The fence of the caller's lease.
        #[serde(flatten)]
        fence: FenceParts,
        /// A text for people.
        reason: String,
        /// The category that the retry policy decides by.
        category: String,
        /// Whether the failure is permanent, so that a retry cannot help.
        #[serde(default, deserialize_with = "or_default")]
        permanent: bool,
        /// If the policy allows a retry, it starts after this time instead of the policy's
        /// backoff. Not together with `permanent`.
        #[serde(default)]
        retry_after_ms: Option<DurationMs>,
    },
    /// Gives the work back until a time.
    DelayExecution(DelayExecution),
    /// Gives the work back until its children are done.
    MoveToWaitingChildren(MoveToWaitingChildren),
    /// Reports progress.
    UpdateProgress(UpdateProgress),
    /// Cancels by the holder.
    CancelByHolder {
        /// The execution.
        execution_id: ExecutionId,
        /// The fence of the caller's lease.
        #[serde(flatten)]
        fence: FenceParts,
        /// A text for people.
        reason: String,
    },
    /// Gives the work back until it is resumed.
    Suspend(Suspend),
    /// Opens a waitpoint while the work goes on.
    CreatePendingWaitpoint(CreatePendingWaitpoint),
    /// Sends a signal to a waitpoint. Parsing draws its creator's nonce.
    DeliverSignal(DeliverSignal),
    /// Appends to the output of the attempt.
    AppendFrame(AppendFrame),
    /// Ends a suspension, by an operator.
    Resume {
        /// The execution.
        execution_id: ExecutionId,
        /// Identifies the call, so that a repeat is recognised.
        request_id: String,
    },
    /// Cancels, by an operator.
    Cancel {
        /// The execution.
        execution_id: ExecutionId,
        /// Identifies the call, so that a repeat is recognised.
        request_id: String,
        /// A text for people.
        reason: String,
    },
    /// Ends a lease, by an operator.
    RevokeLease {
        /// The execution.
        execution_id: ExecutionId,
        /// Identifies the call, so that a repeat is recognised.
        request_id: String,
    },
    /// Changes the priority, by an operator.
    ChangePriority {
        /// The execution.
        execution_id: ExecutionId,
        /// Identifies the call, so that a repeat is recognised.
        request_id: String,
        /// Clamped to 0..=9000.
        priority: i64,
    },
    /// Starts a new life, by an operator.
    Replay {
        /// The execution.
        execution_id: ExecutionId,
        /// Identifies the call, so that a repeat is recognised.
        request_id: String,
    },
    /// Adds a reason that holds it back.
    Block(Block),
    /// Removes a reason that holds it back.
    Unblock(Unblock),
}

impl Command {
    /// Checks the command. `entropy` draws the creator's nonce of a submission or a signal.
    ///
    /// # Errors
    ///
    /// `InvalidId`, `InvalidCapabilities`, `InvalidTagKey`; `InvalidInput` for a permanent failure
    /// with a time for its retry. A grant key that is not a uuid is
    /// `InvalidClaimGrant` for a claim and `InvalidInput` for a request.
    pub fn parse(self, entropy: &mut Entropy) -> Result<AnyCommand, Rejection> {
        Ok(match self {
            Self::Create(create) => create.parse(entropy)?.into(),
            Self::IssueClaimGrant(request) => request.parse()?.into(),
            Self::IssueReclaimGrant(request) => IssueReclaimGrant(request.parse()?).into(),
            Self::Claim(claim) => TakeNew(claim.parse()?).into(),
            Self::ClaimResumed(claim) => TakeResumed(claim.parse()?).into(),
            Self::Reclaim(claim) => TakeOver(claim.parse()?).into(),
            Self::ReleaseGrant { execution_id, grant_key, worker_id } => {
                let grant_id = parse_grant_key(&grant_key)?;
                ReleaseGrant { execution_id, grant_id, worker: WorkerId::try_new(worker_id)? }
                    .into()
            }
            Self::Renew(renew) => renew.into(),
            Self::Complete(complete) => complete.into(),
            Self::Fail { execution_id, fence, reason, category, permanent, retry_after_ms } => {
                let category = FailureCategory::try_new(category)?;
                let retry = retry_advice(permanent, retry_after_ms)?;
                Fail { execution_id, fence, reason, category, retry }.into()
            }
            Self::DelayExecution(delay) => delay.into(),
            Self::MoveToWaitingChildren(wait) => wait.into(),
            Self::UpdateProgress(progress) => progress.into(),
            Self::CancelByHolder { execution_id, fence, reason } => {
                Cancel { execution_id, by: CancelledBy::Holder(fence), reason }.into()
            }
            Self::Suspend(suspend) => suspend.into(),
            Self::CreatePendingWaitpoint(open) => open.into(),
            Self::DeliverSignal(signal) => {
                DeliverSignal { creator: Nonce(entropy.next_u64()), ..signal }.into()
            }
            Self::AppendFrame(append) => append.into(),
            Self::Resume { execution_id, request_id } => {
                let call = operator_call(request_id)?;
                Resume { execution_id, call, suspension: None }.into()
            }
            Self::Cancel { execution_id, request_id, reason } => {
                let by = CancelledBy::Operator(operator_call(request_id)?);
                Cancel { execution_id, by, reason }.into()
            }
            Self::RevokeLease { execution_id, request_id } => {
                RevokeLease { execution_id, call: operator_call(request_id)? }.into()
            }
            Self::ChangePriority { execution_id, request_id, priority } => {
                let (call, priority) = (operator_call(request_id)?, Priority::clamped(priority));
                ChangePriority { execution_id, call, priority }.into()
            }
            Self::Replay { execution_id, request_id } => {
                Replay { execution_id, call: operator_call(request_id)? }.into()
            }
            Self::Block(block) => block.into(),
            Self::Unblock(unblock) => unblock.into(),
        })
    }
}

fn retry_advice(
    permanent: bool,
    retry_after: Option<DurationMs>,
) -> Result<RetryAdvice, Rejection> {
    match (permanent, retry_after) {
        (false, None) => Ok(RetryAdvice::ByPolicy),
        (false, Some(wait)) => Ok(RetryAdvice::After(wait)),
        (true, None) => Ok(RetryAdvice::Never),
        (true, Some(_)) => Err(Rejection::InvalidInput {
            field: "retry_after_ms",
            problem: "contradicts permanent: give one of them".to_owned(),
        }),
    }
}

fn operator_call(request_id: String) -> Result<OperatorCall, Rejection> {
    Ok(OperatorCall::new(RequestId::try_new(request_id)?))
}

impl WireCreate {
    fn parse(self, entropy: &mut Entropy) -> Result<Create, Rejection> {
        let mut create = Create {
            execution_id: self.execution_id,
            namespace: Namespace::try_new(self.namespace)?,
            lane: LaneId::try_new(self.lane)?,
            kind: ExecutionKind::try_new(self.kind)?,
            payload: self.payload.map(Arc::from),
            payload_limit: DEFAULT_PAYLOAD_LIMIT,
            priority: Priority::clamped(self.priority.unwrap_or_default()),
            policy: self.policy.unwrap_or_default(),
            requires: Capabilities::try_new(self.requires)?,
            tags: Tags::try_new(self.tags)?,
            limits: self.limits.checked()?,
            start: self.start.unwrap_or_default(),
            deadline: self.deadline,
            position: 0,
            creator: Nonce(entropy.next_u64()),
            content: None,
        };
        if self.idempotent {
            create.content = Some(content_digest(&create));
        }
        Ok(create)
    }
}

impl WireGrantRequest {
    fn parse(self) -> Result<IssueClaimGrant, Rejection> {
        let instance = self.worker_instance_id.map(WorkerInstanceId::try_new).transpose()?;
        Ok(IssueClaimGrant {
            execution_id: self.execution_id,
            lane: self.lane.map(LaneId::try_new).transpose()?,
            grant_id: self.grant_key.parse().map_err(|_| Rejection::InvalidInput {
                field: "grant_key",
                problem: "must be a uuid, chosen by the caller".to_owned(),
            })?,
            worker: WorkerId::try_new(self.worker_id)?,
            capabilities: Capabilities::try_new(self.worker_capabilities)?,
            ttl: DurationMs::new(self.grant_ttl_ms),
            audit: GrantAudit {
                instance,
                capability_hash: self.capability_hash,
                route_snapshot_json: self.route_snapshot_json,
                admission_summary: self.admission_summary,
            },
        })
    }
}

impl WireClaim {
    fn parse(self) -> Result<Claim, Rejection> {
        Ok(Claim {
            execution_id: self.execution_id,
            grant_id: parse_grant_key(&self.grant_key)?,
            worker: WorkerId::try_new(self.worker_id)?,
            instance: WorkerInstanceId::try_new(self.worker_instance_id)?,
            lane: self.lane.map(LaneId::try_new).transpose()?,
            lease_id: self.lease_id,
            attempt_id: self.attempt_id,
            lease_ttl: DurationMs::new(self.lease_ttl_ms),
        })
    }
}

/// The grant of a key.
///
/// # Errors
///
/// `InvalidClaimGrant` if it is not a uuid.
pub fn parse_grant_key(key: &str) -> Result<GrantId, Rejection> {
    key.parse().map_err(|_| Rejection::InvalidClaimGrant)
}
