//! Commands in their wire form: every field as a caller sends it, fence parts optional, parsed
//! once at the edge.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::capability::Capabilities;
use crate::condition::{Condition, ResumePolicy, SuspensionReason, SuspensionTimeout};
use crate::entropy::Entropy;
use crate::error::Rejection;
use crate::id::{
    AttemptId, ExecutionId, ExecutionKind, FailureCategory, FrameType, GrantId, LaneId, LeaseEpoch,
    LeaseId, Namespace, Nonce, RequestId, SignalId, SignalName, SignalSource, SuspensionId,
    WaitpointId, WaitpointKey, WorkerId, WorkerInstanceId,
};
use crate::policy::{ExecutionPolicy, Priority};
use crate::tags::Tags;
use crate::time::{DurationMs, TimestampMs};
use crate::token::WaitpointToken;

use super::any_command::AnyCommand;
use super::command::{TakeNew, TakeOver, TakeResumed};
use super::record::{BlockKind, Frame, GrantAudit};
use super::rule::{
    AppendFrame, BindWaitpoint, Block, Cancel, CancelledBy, ChangePriority, Claim, Complete,
    Create, CreatePendingWaitpoint, DEFAULT_PAYLOAD_LIMIT, DelayExecution, DeliverSignal, Fail,
    FenceParts, IssueClaimGrant, IssueReclaimGrant, MoveToWaitingChildren, OperatorCall, Renew,
    Replay, Resume, RevokeLease, Start, Suspend, Unblock, UpdateProgress, content_digest,
};

/// The fence of a lease-bound call; whether it is complete is checked by the command's rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireFence {
    /// The lease.
    pub lease_id: Option<LeaseId>,
    /// Its fencing token.
    pub lease_epoch: Option<LeaseEpoch>,
    /// The attempt.
    pub attempt_id: Option<AttemptId>,
}

/// A request for a claim or reclaim grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireGrantRequest {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Chosen by the caller; the same for each repeat.
    pub grant_key: String,
    /// The worker that may use the grant.
    pub worker_id: String,
    /// The process that asks, for audit.
    #[serde(default)]
    pub worker_instance_id: Option<String>,
    /// What the worker can do.
    #[serde(default)]
    pub worker_capabilities: Vec<String>,
    /// 1 to 60,000 milliseconds.
    pub grant_ttl_ms: u64,
}

/// A claim under a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireClaim {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The grant's name.
    pub grant_key: String,
    /// The worker that the grant was issued to.
    pub worker_id: String,
    /// The process that claims.
    pub worker_instance_id: String,
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
    /// The queue.
    pub lane: String,
    /// Which handler it is for.
    pub kind: String,
    /// What the handler gets.
    #[serde(default)]
    pub payload: Option<Vec<u8>>,
    /// Clamped to 0..=9000.
    #[serde(default)]
    pub priority: Option<i64>,
    /// How it is run.
    #[serde(default)]
    pub policy: Option<ExecutionPolicy>,
    /// What a worker must be able to do.
    #[serde(default)]
    pub requires: Vec<String>,
    /// Labels.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// When it may start.
    #[serde(default)]
    pub start: Option<Start>,
    /// When it expires.
    #[serde(default)]
    pub deadline: Option<TimestampMs>,
    /// Whether the id stands for an idempotency key, so that other content is refused.
    #[serde(default)]
    pub idempotent: bool,
}

/// Any command of `docs/spec.md`, 4, in its wire form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Command {
    /// A new execution.
    Create(Box<WireCreate>),
    /// Admit a worker to an eligible execution.
    IssueClaimGrant(WireGrantRequest),
    /// Start a new attempt.
    Claim(WireClaim),
    /// Go on with the interrupted attempt.
    ClaimResumed(WireClaim),
    /// Admit a worker to an execution whose lease was lost.
    IssueReclaimGrant(WireGrantRequest),
    /// Take over from an owner that lost its lease.
    Reclaim(WireClaim),
    /// Keep a lease.
    Renew {
        /// The execution.
        execution_id: ExecutionId,
        /// The holder's proof.
        #[serde(flatten)]
        fence: WireFence,
        /// 1 to 86,400,000 milliseconds.
        lease_ttl_ms: u64,
    },
    /// The work is done.
    Complete {
        /// The execution.
        execution_id: ExecutionId,
        /// The holder's proof.
        #[serde(flatten)]
        fence: WireFence,
        /// Stored byte for byte, at most 1 MiB.
        #[serde(default)]
        result: Option<Vec<u8>>,
    },
    /// The attempt failed.
    Fail {
        /// The execution.
        execution_id: ExecutionId,
        /// The holder's proof.
        #[serde(flatten)]
        fence: WireFence,
        /// For people.
        reason: String,
        /// By which the retry policy decides.
        category: String,
        /// Whether a retry cannot help.
        #[serde(default)]
        permanent: bool,
    },
    /// Give the work back until a time.
    DelayExecution {
        /// The execution.
        execution_id: ExecutionId,
        /// The holder's proof.
        #[serde(flatten)]
        fence: WireFence,
        /// The first instant at which the attempt may go on.
        until: TimestampMs,
        /// Whether what has resumed the attempt is for whoever takes it next too.
        #[serde(default)]
        keeps_resumption: bool,
    },
    /// Give the work back until its children are done.
    MoveToWaitingChildren {
        /// The execution.
        execution_id: ExecutionId,
        /// The holder's proof.
        #[serde(flatten)]
        fence: WireFence,
    },
    /// What the holder has done so far.
    UpdateProgress {
        /// The execution.
        execution_id: ExecutionId,
        /// The holder's proof.
        #[serde(flatten)]
        fence: WireFence,
        /// 0 to 100.
        percent: u8,
        /// For people.
        #[serde(default)]
        message: Option<String>,
    },
    /// The holder does not want the work any more.
    CancelByHolder {
        /// The execution.
        execution_id: ExecutionId,
        /// The holder's proof.
        #[serde(flatten)]
        fence: WireFence,
        /// For people.
        reason: String,
    },
    /// Give the work back until it is resumed.
    Suspend {
        /// The execution.
        execution_id: ExecutionId,
        /// The holder's proof.
        #[serde(flatten)]
        fence: WireFence,
        /// Chosen by the caller; the same for each repeat.
        suspension_id: SuspensionId,
        /// Why.
        #[serde(default)]
        reason: SuspensionReason,
        /// What the condition refers to.
        #[serde(default)]
        waitpoints: Vec<BindWaitpoint>,
        /// What resumes it.
        condition: Condition,
        /// When it has taken too long, and what happens then.
        #[serde(default)]
        timeout: Option<SuspensionTimeout>,
        /// How it goes on.
        #[serde(default)]
        policy: ResumePolicy,
    },
    /// Open a waitpoint while the work goes on.
    CreatePendingWaitpoint {
        /// The execution.
        execution_id: ExecutionId,
        /// The holder's proof.
        #[serde(flatten)]
        fence: WireFence,
        /// Chosen by the caller; the same for each repeat.
        waitpoint_id: WaitpointId,
        /// Its name.
        key: WaitpointKey,
        /// After how many milliseconds it closes unless a suspension uses it.
        #[serde(default)]
        expires_in_ms: Option<u64>,
    },
    /// Tell a waitpoint something.
    DeliverSignal {
        /// The execution.
        execution_id: ExecutionId,
        /// The waitpoint.
        waitpoint_id: WaitpointId,
        /// The proof that the caller may.
        token: WaitpointToken,
        /// Chosen by the caller; the same for each repeat.
        signal_id: SignalId,
        /// What it says.
        name: SignalName,
        /// Who sends it.
        #[serde(default)]
        source: Option<SignalSource>,
        /// At most 256 KiB.
        #[serde(default)]
        payload: Option<Vec<u8>>,
    },
    /// An operator ends a suspension.
    Resume {
        /// The execution.
        execution_id: ExecutionId,
        /// Names the call, so that its repeat is recognised.
        request_id: String,
    },
    /// Append to the output of the attempt.
    AppendFrame {
        /// The execution.
        execution_id: ExecutionId,
        /// The holder's proof.
        #[serde(flatten)]
        fence: WireFence,
        /// One more than that of the frame before, from 1.
        sequence: u64,
        /// What kind of output it is.
        frame_type: FrameType,
        /// At most 64 KiB.
        payload: Vec<u8>,
        /// At most 4 KiB.
        #[serde(default)]
        metadata: BTreeMap<String, String>,
    },
    /// An operator does not want the work any more.
    Cancel {
        /// The execution.
        execution_id: ExecutionId,
        /// Names the call, so that its repeat is recognised.
        request_id: String,
        /// For people.
        reason: String,
    },
    /// An operator takes the lease away.
    RevokeLease {
        /// The execution.
        execution_id: ExecutionId,
        /// Names the call, so that its repeat is recognised.
        request_id: String,
    },
    /// An operator serves it earlier or later.
    ChangePriority {
        /// The execution.
        execution_id: ExecutionId,
        /// Names the call, so that its repeat is recognised.
        request_id: String,
        /// Clamped to 0..=9000.
        priority: i64,
    },
    /// An operator starts a new life.
    Replay {
        /// The execution.
        execution_id: ExecutionId,
        /// Names the call, so that its repeat is recognised.
        request_id: String,
    },
    /// Hold it back for a reason.
    Block {
        /// The execution.
        execution_id: ExecutionId,
        /// The reason.
        kind: BlockKind,
        /// When a budget or a quota is expected to allow it again.
        #[serde(default)]
        recheck_at: Option<TimestampMs>,
    },
    /// Let go of one reason.
    Unblock {
        /// The execution.
        execution_id: ExecutionId,
        /// The reason.
        kind: BlockKind,
    },
}

impl Command {
    /// Parses the command. `entropy` draws the creator's nonce of a submission.
    ///
    /// # Errors
    ///
    /// `InvalidId`, `InvalidCapabilities`, `InvalidTagKey`. A grant key that names no grant is
    /// `InvalidClaimGrant` for a claim and `InvalidInput` for a request.
    pub fn parse(self, entropy: &mut Entropy) -> Result<AnyCommand, Rejection> {
        Ok(match self {
            Self::Create(create) => AnyCommand::Create(create.parse(entropy)?),
            Self::IssueClaimGrant(request) => AnyCommand::IssueClaimGrant(request.parse()?),
            Self::IssueReclaimGrant(request) => {
                AnyCommand::IssueReclaimGrant(IssueReclaimGrant(request.parse()?))
            }
            Self::Claim(claim) => AnyCommand::Claim(TakeNew(claim.parse()?)),
            Self::ClaimResumed(claim) => AnyCommand::ClaimResumed(TakeResumed(claim.parse()?)),
            Self::Reclaim(claim) => AnyCommand::Reclaim(TakeOver(claim.parse()?)),
            Self::Renew { execution_id, fence, lease_ttl_ms } => {
                let lease_ttl = DurationMs::new(lease_ttl_ms);
                AnyCommand::Renew(Renew { execution_id, fence: fence.into(), lease_ttl })
            }
            Self::Complete { execution_id, fence, result } => {
                let result = result.map(Arc::from);
                AnyCommand::Complete(Complete { execution_id, fence: fence.into(), result })
            }
            Self::Fail { execution_id, fence, reason, category, permanent } => {
                let category = FailureCategory::try_new(category)?;
                let fence = fence.into();
                AnyCommand::Fail(Fail { execution_id, fence, reason, category, permanent })
            }
            Self::DelayExecution { execution_id, fence, until, keeps_resumption } => {
                let fence = fence.into();
                AnyCommand::DelayExecution(DelayExecution {
                    execution_id,
                    fence,
                    until,
                    keeps_resumption,
                })
            }
            Self::MoveToWaitingChildren { execution_id, fence } => {
                let fence = fence.into();
                AnyCommand::MoveToWaitingChildren(MoveToWaitingChildren { execution_id, fence })
            }
            Self::UpdateProgress { execution_id, fence, percent, message } => {
                let fence = fence.into();
                AnyCommand::UpdateProgress(UpdateProgress { execution_id, fence, percent, message })
            }
            Self::CancelByHolder { execution_id, fence, reason } => {
                let by = CancelledBy::Holder(fence.into());
                AnyCommand::Cancel(Cancel { execution_id, by, reason })
            }
            Self::Suspend { .. }
            | Self::CreatePendingWaitpoint { .. }
            | Self::DeliverSignal { .. }
            | Self::AppendFrame { .. } => self.parse_waiting(entropy),
            operator => operator.parse_operators()?,
        })
    }

    /// The commands about waitpoints, signals and output.
    fn parse_waiting(self, entropy: &mut Entropy) -> AnyCommand {
        match self {
            Self::Suspend {
                execution_id,
                fence,
                suspension_id,
                reason,
                waitpoints,
                condition,
                timeout,
                policy,
            } => AnyCommand::Suspend(Suspend {
                execution_id,
                fence: fence.into(),
                suspension_id,
                reason,
                waitpoints,
                condition,
                timeout,
                policy,
            }),
            Self::CreatePendingWaitpoint {
                execution_id,
                fence,
                waitpoint_id,
                key,
                expires_in_ms,
            } => AnyCommand::CreatePendingWaitpoint(CreatePendingWaitpoint {
                execution_id,
                fence: fence.into(),
                waitpoint_id,
                key,
                expires_in: expires_in_ms.map(DurationMs::new),
            }),
            Self::DeliverSignal {
                execution_id,
                waitpoint_id,
                token,
                signal_id,
                name,
                source,
                payload,
            } => AnyCommand::DeliverSignal(DeliverSignal {
                execution_id,
                waitpoint_id,
                token,
                signal_id,
                name,
                source,
                payload: payload.map(Arc::from),
                creator: Nonce(entropy.next_u64()),
            }),
            Self::AppendFrame { execution_id, fence, sequence, frame_type, payload, metadata } => {
                let payload = Arc::from(payload);
                let frame = Frame { sequence, frame_type, payload, metadata };
                let (fence, rings) = (fence.into(), true);
                AnyCommand::AppendFrame(AppendFrame { execution_id, fence, frame, rings })
            }
            other => unreachable!("{other:?} is parsed by another branch"),
        }
    }

    /// The commands of operators and of admission.
    fn parse_operators(self) -> Result<AnyCommand, Rejection> {
        let call = |id: String| Ok::<_, Rejection>(OperatorCall::new(RequestId::try_new(id)?));
        Ok(match self {
            Self::Cancel { execution_id, request_id, reason } => {
                let by = CancelledBy::Operator(call(request_id)?);
                AnyCommand::Cancel(Cancel { execution_id, by, reason })
            }
            Self::RevokeLease { execution_id, request_id } => {
                let call = call(request_id)?;
                AnyCommand::RevokeLease(RevokeLease { execution_id, call })
            }
            Self::ChangePriority { execution_id, request_id, priority } => {
                let (call, priority) = (call(request_id)?, Priority::clamped(priority));
                AnyCommand::ChangePriority(ChangePriority { execution_id, call, priority })
            }
            Self::Resume { execution_id, request_id } => {
                let (call, suspension) = (call(request_id)?, None);
                AnyCommand::Resume(Resume { execution_id, call, suspension })
            }
            Self::Replay { execution_id, request_id } => {
                AnyCommand::Replay(Replay { execution_id, call: call(request_id)? })
            }
            Self::Block { execution_id, kind, recheck_at } => {
                AnyCommand::Block(Block { execution_id, kind, recheck_at })
            }
            Self::Unblock { execution_id, kind } => {
                AnyCommand::Unblock(Unblock { execution_id, kind, offered: None })
            }
            other => unreachable!("{other:?} is parsed by its holder's branch"),
        })
    }
}

impl From<WireFence> for FenceParts {
    fn from(fence: WireFence) -> Self {
        Self::from_parts(fence.lease_id, fence.lease_epoch, fence.attempt_id)
    }
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
            grant_id: self.grant_key.parse().map_err(|_| Rejection::InvalidInput {
                field: "grant_key",
                problem: "must be a uuid, chosen by the caller".to_owned(),
            })?,
            worker: WorkerId::try_new(self.worker_id)?,
            capabilities: Capabilities::try_new(self.worker_capabilities)?,
            ttl: DurationMs::new(self.grant_ttl_ms),
            audit: instance
                .map(|instance| GrantAudit { instance: Some(instance), ..GrantAudit::default() }),
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
            lease_id: self.lease_id,
            attempt_id: self.attempt_id,
            lease_ttl: DurationMs::new(self.lease_ttl_ms),
        })
    }
}

/// The grant that a key names.
///
/// # Errors
///
/// `InvalidClaimGrant` when it names none.
pub fn parse_grant_key(key: &str) -> Result<GrantId, Rejection> {
    key.parse().map_err(|_| Rejection::InvalidClaimGrant)
}
