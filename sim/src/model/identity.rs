//! The identity by which a command is recognised, and the trace that it leaves in the record
//! (`docs/architecture.md`, Identity), implemented independently of the rules.

use ff_core::error::EngineError;
use ff_core::execution::Fence;
use ff_core::execution::{
    Admitted, AnyCommand, AnyOutcome, Cancel, CancelledBy, Claimed, CreateOutcome, Execution,
    FenceParts, Offered, OperatorOutcome, Phase, ReclaimGranted, Release, ReleaseOutcome,
    SuspendOutcome, SuspendedHow,
};
use ff_core::id::{ExecutionId, GrantId, LeaseId, Nonce, RequestId, SuspensionId, WaitpointId};
use ff_core::time::TimestampMs;

/// The kinds of calls that give a lease back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReleaseKind {
    /// `complete`.
    Complete,
    /// `fail`.
    Fail,
    /// `delay_execution`.
    Delay,
    /// `move_to_waiting_children`.
    WaitForChildren,
    /// `cancel` by the holder.
    Cancel,
}

/// The kinds of calls of operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OperatorKind {
    /// `cancel`.
    Cancel,
    /// `revoke_lease`.
    Revoke,
    /// `replay`.
    Replay,
    /// `change_priority`.
    Priority,
    /// `resume`.
    Resume,
}

/// The identity by which a command is recognised.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CommandIdentity {
    /// The fence of a holder and the command's kind.
    Fence(Fence, ReleaseKind),
    /// The lease that a claim creates.
    Lease(LeaseId),
    /// The grant that is requested.
    Grant(GrantId),
    /// The execution and its creator's nonce.
    Creator(ExecutionId, Nonce),
    /// An operator's request, and the generation of the execution that it was about.
    Request(ExecutionId, RequestId, OperatorKind, u32),
    /// The suspension that a holder begins.
    Suspension(SuspensionId),
    /// The waitpoint that a holder opens.
    Waitpoint(WaitpointId),
}

/// The trace of a command in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// How a lease was given back.
    Released(ReleaseOutcome),
    /// The fence of the lease that was given.
    Leased(Fence),
    /// A grant was issued.
    Granted(GrantId),
    /// It was created.
    Created,
    /// The outcome of an operator's call.
    Operated(OperatorOutcome),
    /// The latest time until which the lease was given back.
    Suspended(Option<TimestampMs>),
    /// The lease was kept, for so many signals.
    Satisfied(usize),
    /// When a waitpoint was opened.
    Opened(TimestampMs),
}

/// The identity of a command, if it has one apart from the record itself. `generation`: how often
/// the execution was created.
pub fn identity_of(command: &AnyCommand, generation: u32) -> Option<CommandIdentity> {
    let held = |fence: &FenceParts, kind| {
        fence.complete().map(|fence| CommandIdentity::Fence(fence, kind))
    };
    let request = |id: ExecutionId, request: &RequestId, kind| {
        Some(CommandIdentity::Request(id, request.clone(), kind, generation))
    };
    match command {
        AnyCommand::Create(c) => Some(CommandIdentity::Creator(c.execution_id, c.creator)),
        AnyCommand::IssueClaimGrant(c) => Some(CommandIdentity::Grant(c.grant_id)),
        AnyCommand::IssueReclaimGrant(c) => Some(CommandIdentity::Grant(c.0.grant_id)),
        AnyCommand::Admit(c) => Some(CommandIdentity::Grant(c.0.grant_id)),
        AnyCommand::Claim(c) => Some(CommandIdentity::Lease(c.0.lease_id)),
        AnyCommand::ClaimResumed(c) => Some(CommandIdentity::Lease(c.0.lease_id)),
        AnyCommand::Reclaim(c) => Some(CommandIdentity::Lease(c.0.lease_id)),
        AnyCommand::Offer(c) => Some(CommandIdentity::Lease(c.claim.lease_id)),
        AnyCommand::Complete(c) => held(&c.fence, ReleaseKind::Complete),
        AnyCommand::Fail(c) => held(&c.fence, ReleaseKind::Fail),
        AnyCommand::DelayExecution(c) => held(&c.fence, ReleaseKind::Delay),
        AnyCommand::MoveToWaitingChildren(c) => held(&c.fence, ReleaseKind::WaitForChildren),
        AnyCommand::Cancel(c) => match &c.by {
            CancelledBy::Holder(fence) => held(fence, ReleaseKind::Cancel),
            CancelledBy::Operator(call) => {
                request(c.execution_id, &call.request_id, OperatorKind::Cancel)
            }
        },
        AnyCommand::RevokeLease(c) => {
            request(c.execution_id, &c.call.request_id, OperatorKind::Revoke)
        }
        AnyCommand::ChangePriority(c) => {
            request(c.execution_id, &c.call.request_id, OperatorKind::Priority)
        }
        AnyCommand::Replay(c) => request(c.execution_id, &c.call.request_id, OperatorKind::Replay),
        AnyCommand::Resume(c) => request(c.execution_id, &c.call.request_id, OperatorKind::Resume),
        AnyCommand::Suspend(c) => Some(CommandIdentity::Suspension(c.suspension_id)),
        AnyCommand::CreatePendingWaitpoint(c) => Some(CommandIdentity::Waitpoint(c.waitpoint_id)),
        // Signals have their own records, and frames a position in a stream.
        AnyCommand::DeliverSignal(_)
        | AnyCommand::AppendFrame(_)
        | AnyCommand::ForgetSignals(_)
        | AnyCommand::Renew(_)
        | AnyCommand::UpdateProgress(_)
        | AnyCommand::Block(_)
        | AnyCommand::Unblock(_)
        | AnyCommand::OnDue(_) => None,
    }
}

/// The life that an operator's call is meant for whose operation has seen this record first.
pub const fn life_of(command: &AnyCommand, seen: &Execution) -> Option<u32> {
    match command {
        AnyCommand::Cancel(Cancel { by: CancelledBy::Operator(_), .. })
        | AnyCommand::RevokeLease(_)
        | AnyCommand::ChangePriority(_)
        | AnyCommand::Replay(_)
        | AnyCommand::Resume(_) => Some(seen.counts.replays),
        _ => None,
    }
}

/// The trace in a record of the command of this identity.
pub fn remembered_of(identity: &CommandIdentity, record: &Execution) -> Option<Remembered> {
    match identity {
        CommandIdentity::Fence(fence, kind) => {
            let Release { fence: by, outcome } = record.last_release.as_ref()?;
            (by == fence && release_kind(outcome) == *kind)
                .then_some(Remembered::Released(*outcome))
        }
        CommandIdentity::Lease(id) => match &record.phase {
            Phase::Active(active) if active.lease.id == *id => {
                record.last_fence.map(Remembered::Leased)
            }
            _ => None,
        },
        CommandIdentity::Grant(id) => {
            let out = record.grant().is_some_and(|grant| grant.id == *id);
            let consumed =
                matches!(&record.phase, Phase::Active(active) if active.lease.grant.id == *id);
            (out || consumed).then_some(Remembered::Granted(*id))
        }
        CommandIdentity::Creator(_, nonce) => {
            (record.creator == *nonce).then_some(Remembered::Created)
        }
        CommandIdentity::Request(_, id, kind, _) => {
            let fits = |(by, outcome): &&(RequestId, OperatorOutcome)| {
                by == id && operator_kind(outcome) == *kind
            };
            let found = record.requests.iter().rev().find(fits);
            found.map(|(_, outcome)| Remembered::Operated(*outcome))
        }
        CommandIdentity::Suspension(id) => {
            let latest = record.waiting.as_ref()?.latest.as_ref()?;
            (latest.id == *id).then_some(match &latest.outcome {
                SuspendedHow::Suspended(until) => Remembered::Suspended(*until),
                SuspendedHow::AlreadySatisfied(signals) => Remembered::Satisfied(signals.len()),
            })
        }
        CommandIdentity::Waitpoint(id) => {
            let (waitpoint, _) = record.waiting.as_ref()?.waitpoint(*id)?;
            Some(Remembered::Opened(waitpoint.created_at))
        }
    }
}

const fn release_kind(outcome: &ReleaseOutcome) -> ReleaseKind {
    match outcome {
        ReleaseOutcome::Completed => ReleaseKind::Complete,
        ReleaseOutcome::Failed(_) => ReleaseKind::Fail,
        ReleaseOutcome::Delayed => ReleaseKind::Delay,
        ReleaseOutcome::WaitingChildren => ReleaseKind::WaitForChildren,
        ReleaseOutcome::Cancelled => ReleaseKind::Cancel,
    }
}

const fn operator_kind(outcome: &OperatorOutcome) -> OperatorKind {
    match outcome {
        OperatorOutcome::Cancelled => OperatorKind::Cancel,
        OperatorOutcome::Revoked(_) => OperatorKind::Revoke,
        OperatorOutcome::Replayed(_) => OperatorKind::Replay,
        OperatorOutcome::PriorityChanged(_) => OperatorKind::Priority,
        OperatorOutcome::Resumed(_) => OperatorKind::Resume,
    }
}

/// The effect that an outcome acknowledges to the command of this identity. `None`: there was
/// nothing to do.
pub fn effect_of(identity: &CommandIdentity, outcome: &AnyOutcome) -> Option<Remembered> {
    let leased = |claimed: &Claimed| Some(Remembered::Leased(claimed.fence()));
    let operated = |outcome| Some(Remembered::Operated(outcome));
    match outcome {
        AnyOutcome::Create(CreateOutcome::Created(_)) => Some(Remembered::Created),
        AnyOutcome::IssueClaimGrant(granted)
        | AnyOutcome::Admit(Admitted::Granted(granted) | Admitted::ReclaimGranted(granted))
        | AnyOutcome::IssueReclaimGrant(ReclaimGranted::Granted(granted)) => {
            Some(Remembered::Granted(granted.grant_id))
        }
        AnyOutcome::Claim(claimed)
        | AnyOutcome::ClaimResumed(claimed)
        | AnyOutcome::Reclaim(claimed) => leased(claimed),
        AnyOutcome::Offer(Offered::Claimed(claimed)) => leased(claimed),
        AnyOutcome::Complete(()) => Some(Remembered::Released(ReleaseOutcome::Completed)),
        AnyOutcome::Fail(outcome) => Some(Remembered::Released(ReleaseOutcome::Failed(*outcome))),
        AnyOutcome::DelayExecution(()) => Some(Remembered::Released(ReleaseOutcome::Delayed)),
        AnyOutcome::MoveToWaitingChildren(()) => {
            Some(Remembered::Released(ReleaseOutcome::WaitingChildren))
        }
        AnyOutcome::Cancel(()) => match identity {
            CommandIdentity::Fence(..) => Some(Remembered::Released(ReleaseOutcome::Cancelled)),
            _ => operated(OperatorOutcome::Cancelled),
        },
        AnyOutcome::Replay(replayed) => operated(OperatorOutcome::Replayed(replayed.life)),
        AnyOutcome::ChangePriority(priority) => {
            operated(OperatorOutcome::PriorityChanged(*priority))
        }
        AnyOutcome::Resume(resumed) => operated(OperatorOutcome::Resumed(resumed.suspension_id)),
        AnyOutcome::Suspend(SuspendOutcome::Suspended { timeout_at, .. }) => {
            Some(Remembered::Suspended(*timeout_at))
        }
        AnyOutcome::Suspend(SuspendOutcome::AlreadySatisfied { signals, .. }) => {
            Some(Remembered::Satisfied(signals.len()))
        }
        // For a name that is open already the outcome has that waitpoint, and none was opened.
        AnyOutcome::CreatePendingWaitpoint(issued) => {
            let own = *identity == CommandIdentity::Waitpoint(issued.id);
            own.then_some(Remembered::Opened(issued.created_at))
        }
        AnyOutcome::RevokeLease(revoked) => operated(OperatorOutcome::Revoked(revoked.lease_epoch)),
        _ => None,
    }
}

/// Whether an error makes certain that the command was not applied.
pub fn is_certain(error: &EngineError) -> bool {
    matches!(
        error,
        EngineError::NotFound { .. }
            | EngineError::Validation { .. }
            | EngineError::Conflict(_)
            | EngineError::State(_)
    )
}

/// Whether an error was decided on a record, certain or not.
pub fn is_decided(error: &EngineError) -> bool {
    is_certain(error) || matches!(error, EngineError::Contextual { .. })
}
