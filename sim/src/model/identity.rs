//! The identity by which a command is recognised, and the trace that it leaves in the record
//! (`docs/architecture.md`, Identity), implemented independently of the rules.

use ff_core::error::EngineError;
use ff_core::execution::{
    Admitted, AnyCommand, AnyOutcome, Claimed, CreateOutcome, Execution, Fence, Offered,
    OperatorOutcome, Phase, ReclaimGranted, Release, ReleaseOutcome, SuspendOutcome, SuspendedHow,
};
use ff_core::id::{ExecutionId, GrantId, LeaseId, Nonce, RequestId, SuspensionId, WaitpointId};
use ff_core::time::TimestampMs;

use crate::model::change::{call_of, fence_of};
use crate::report::coverage::CommandKind;

/// The identity by which a command is recognised.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CommandIdentity {
    /// The fence of a holder, and the command that gives its lease back.
    Fence(Fence, CommandKind),
    /// The lease that a claim creates.
    Lease(LeaseId),
    /// The grant that is requested.
    Grant(GrantId),
    /// The execution and its creator's nonce.
    Creator(ExecutionId, Nonce),
    /// An operator's request, and the generation of the execution that it was about.
    Request(ExecutionId, RequestId, CommandKind, u32),
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
    let kind = CommandKind::from(command);
    let held = || {
        let fence = fence_of(command)?.complete()?;
        Some(CommandIdentity::Fence(fence, kind))
    };
    let request = |id: ExecutionId| {
        let request = call_of(command)?.request_id.clone();
        Some(CommandIdentity::Request(id, request, kind, generation))
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
        AnyCommand::Complete(_)
        | AnyCommand::Fail(_)
        | AnyCommand::DelayExecution(_)
        | AnyCommand::MoveToWaitingChildren(_) => held(),
        AnyCommand::Cancel(c) => held().or_else(|| request(c.execution_id)),
        AnyCommand::RevokeLease(c) => request(c.execution_id),
        AnyCommand::ChangePriority(c) => request(c.execution_id),
        AnyCommand::Replay(c) => request(c.execution_id),
        AnyCommand::Resume(c) => request(c.execution_id),
        AnyCommand::Suspend(c) => Some(CommandIdentity::Suspension(c.suspension_id)),
        AnyCommand::CreatePendingWaitpoint(c) => Some(CommandIdentity::Waitpoint(c.waitpoint_id)),
        // Signals have their own records, and frames a position in a stream.
        AnyCommand::DeliverSignal(_)
        | AnyCommand::AppendFrame(_)
        | AnyCommand::ForgetSignals(_)
        | AnyCommand::ReleaseGrant(_)
        | AnyCommand::Renew(_)
        | AnyCommand::UpdateProgress(_)
        | AnyCommand::Block(_)
        | AnyCommand::Unblock(_)
        | AnyCommand::CheckSlot(_)
        | AnyCommand::OnDue(_) => None,
    }
}

/// The life that an operator's call is meant for whose operation has seen this record first.
pub fn life_of(command: &AnyCommand, seen: &Execution) -> Option<u32> {
    call_of(command).map(|_| seen.counts.replays)
}

/// The trace in a record of the command of this identity.
pub fn remembered_of(identity: &CommandIdentity, record: &Execution) -> Option<Remembered> {
    match identity {
        CommandIdentity::Fence(fence, kind) => {
            let Release { fence: by, outcome } = record.last_release.as_ref()?;
            (by == fence && releasing(outcome) == *kind).then_some(Remembered::Released(*outcome))
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
                by == id && operating(outcome) == *kind
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

/// The command that gave a lease back with this outcome.
const fn releasing(outcome: &ReleaseOutcome) -> CommandKind {
    match outcome {
        ReleaseOutcome::Completed => CommandKind::Complete,
        ReleaseOutcome::Failed(_) => CommandKind::Fail,
        ReleaseOutcome::Delayed => CommandKind::DelayExecution,
        ReleaseOutcome::WaitingChildren => CommandKind::MoveToWaitingChildren,
        ReleaseOutcome::Cancelled => CommandKind::Cancel,
    }
}

/// The operator's command that had this outcome.
const fn operating(outcome: &OperatorOutcome) -> CommandKind {
    match outcome {
        OperatorOutcome::Cancelled => CommandKind::Cancel,
        OperatorOutcome::Revoked(_) => CommandKind::RevokeLease,
        OperatorOutcome::Replayed(_) => CommandKind::Replay,
        OperatorOutcome::PriorityChanged(_) => CommandKind::ChangePriority,
        OperatorOutcome::Resumed(_) => CommandKind::Resume,
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
