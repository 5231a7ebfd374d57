//! By what a command is recognised, and what a record remembers of it
//! (`docs/architecture.md`, Identity). Written here a second time, independently of the rules.

use ff_core::error::EngineError;
use ff_core::execution::Fence;
use ff_core::execution::{
    Admitted, AnyCommand, AnyOutcome, CancelledBy, Claimed, CreateOutcome, Execution, FenceParts,
    Offered, OperatorOutcome, Phase, ReclaimGranted, Release, ReleaseOutcome, SuspendOutcome,
    SuspendedHow,
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

/// By what a command is recognised.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// The fence of a holder and the command's kind.
    Fence(Fence, ReleaseKind),
    /// The lease that a claim begins.
    Lease(LeaseId),
    /// The grant that is asked for.
    Grant(GrantId),
    /// The execution and its creator's nonce.
    Creator(ExecutionId, Nonce),
    /// An operator's request, and which creation of the execution it was about.
    Request(ExecutionId, RequestId, OperatorKind, u32),
    /// The suspension that a holder begins.
    Suspension(SuspensionId),
    /// The waitpoint that a holder opens.
    Waitpoint(WaitpointId),
}

/// What a record remembers of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// How a lease was given back.
    Released(ReleaseOutcome),
    /// The fence of the lease that was given.
    Leased(Fence),
    /// A grant was issued.
    Granted(GrantId),
    /// It was created.
    Created,
    /// What came of an operator's call.
    Operated(OperatorOutcome),
    /// Until when the lease was given back, at the latest.
    Suspended(Option<TimestampMs>),
    /// The lease was kept, for so many signals.
    Satisfied(usize),
    /// When a waitpoint was opened.
    Opened(TimestampMs),
}

/// The identity of a command, if it has one beside the record itself. `generation`: which creation
/// of the execution this is.
pub fn identity_of(command: &AnyCommand, generation: u32) -> Option<Identity> {
    let held =
        |fence: &FenceParts, kind| fence.complete().map(|fence| Identity::Fence(fence, kind));
    let request = |id: ExecutionId, request: &RequestId, kind| {
        Some(Identity::Request(id, request.clone(), kind, generation))
    };
    match command {
        AnyCommand::Create(c) => Some(Identity::Creator(c.execution_id, c.creator)),
        AnyCommand::IssueClaimGrant(c) => Some(Identity::Grant(c.grant_id)),
        AnyCommand::IssueReclaimGrant(c) => Some(Identity::Grant(c.0.grant_id)),
        AnyCommand::Admit(c) => Some(Identity::Grant(c.0.grant_id)),
        AnyCommand::Claim(c) => Some(Identity::Lease(c.0.lease_id)),
        AnyCommand::ClaimResumed(c) => Some(Identity::Lease(c.0.lease_id)),
        AnyCommand::Reclaim(c) => Some(Identity::Lease(c.0.lease_id)),
        AnyCommand::Offer(c) => Some(Identity::Lease(c.claim.lease_id)),
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
        AnyCommand::Suspend(c) => Some(Identity::Suspension(c.suspension_id)),
        AnyCommand::CreatePendingWaitpoint(c) => Some(Identity::Waitpoint(c.waitpoint_id)),
        // Signals have records of their own, and frames a place in a stream.
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

/// The life that an operator's call is meant for, where that was known when it was sent.
pub const fn life_of(command: &AnyCommand) -> Option<u32> {
    match command {
        AnyCommand::Cancel(c) => match &c.by {
            CancelledBy::Operator(call) => call.life,
            CancelledBy::Holder(_) => None,
        },
        AnyCommand::RevokeLease(c) => c.call.life,
        AnyCommand::ChangePriority(c) => c.call.life,
        AnyCommand::Replay(c) => c.call.life,
        AnyCommand::Resume(c) => c.call.life,
        _ => None,
    }
}

/// What a record remembers of the command of this identity.
pub fn memory_of(identity: &Identity, record: &Execution) -> Option<Memory> {
    match identity {
        Identity::Fence(fence, kind) => {
            let Release { fence: by, outcome } = record.last_release.as_ref()?;
            (by == fence && release_kind(outcome) == *kind).then_some(Memory::Released(*outcome))
        }
        Identity::Lease(id) => match &record.phase {
            Phase::Active(active) if active.lease.id == *id => {
                record.last_fence.map(Memory::Leased)
            }
            _ => None,
        },
        Identity::Grant(id) => {
            let out = record.grant().is_some_and(|grant| grant.id == *id);
            let consumed =
                matches!(&record.phase, Phase::Active(active) if active.lease.grant.id == *id);
            (out || consumed).then_some(Memory::Granted(*id))
        }
        Identity::Creator(_, nonce) => (record.creator == *nonce).then_some(Memory::Created),
        Identity::Request(_, id, kind, _) => {
            let fits = |(by, outcome): &&(RequestId, OperatorOutcome)| {
                by == id && operator_kind(outcome) == *kind
            };
            let found = record.requests.iter().rev().find(fits);
            found.map(|(_, outcome)| Memory::Operated(*outcome))
        }
        Identity::Suspension(id) => {
            let latest = record.waiting.as_ref()?.latest.as_ref()?;
            (latest.id == *id).then_some(match &latest.outcome {
                SuspendedHow::Suspended(until) => Memory::Suspended(*until),
                SuspendedHow::AlreadySatisfied(signals) => Memory::Satisfied(signals.len()),
            })
        }
        Identity::Waitpoint(id) => {
            let (waitpoint, _) = record.waiting.as_ref()?.waitpoint(*id)?;
            Some(Memory::Opened(waitpoint.created_at))
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

/// What an acknowledged outcome says was done by a command of this identity. `None`: it says that
/// nothing had to be done.
pub fn claim_of(identity: &Identity, outcome: &AnyOutcome) -> Option<Memory> {
    let leased = |claimed: &Claimed| Some(Memory::Leased(claimed.fence()));
    let operated = |outcome| Some(Memory::Operated(outcome));
    match outcome {
        AnyOutcome::Create(CreateOutcome::Created(_)) => Some(Memory::Created),
        AnyOutcome::IssueClaimGrant(granted)
        | AnyOutcome::Admit(Admitted::Granted(granted) | Admitted::ReclaimGranted(granted))
        | AnyOutcome::IssueReclaimGrant(ReclaimGranted::Granted(granted)) => {
            Some(Memory::Granted(granted.grant_id))
        }
        AnyOutcome::Claim(claimed)
        | AnyOutcome::ClaimResumed(claimed)
        | AnyOutcome::Reclaim(claimed) => leased(claimed),
        AnyOutcome::Offer(Offered::Claimed(claimed)) => leased(claimed),
        AnyOutcome::Complete(()) => Some(Memory::Released(ReleaseOutcome::Completed)),
        AnyOutcome::Fail(outcome) => Some(Memory::Released(ReleaseOutcome::Failed(*outcome))),
        AnyOutcome::DelayExecution(()) => Some(Memory::Released(ReleaseOutcome::Delayed)),
        AnyOutcome::MoveToWaitingChildren(()) => {
            Some(Memory::Released(ReleaseOutcome::WaitingChildren))
        }
        AnyOutcome::Cancel(()) => match identity {
            Identity::Fence(..) => Some(Memory::Released(ReleaseOutcome::Cancelled)),
            _ => operated(OperatorOutcome::Cancelled),
        },
        AnyOutcome::Replay(replayed) => operated(OperatorOutcome::Replayed(replayed.life)),
        AnyOutcome::ChangePriority(priority) => {
            operated(OperatorOutcome::PriorityChanged(*priority))
        }
        AnyOutcome::Resume(resumed) => operated(OperatorOutcome::Resumed(resumed.suspension_id)),
        AnyOutcome::Suspend(SuspendOutcome::Suspended { timeout_at, .. }) => {
            Some(Memory::Suspended(*timeout_at))
        }
        AnyOutcome::Suspend(SuspendOutcome::AlreadySatisfied { signals, .. }) => {
            Some(Memory::Satisfied(signals.len()))
        }
        // Under a name that is open already it hands out that waitpoint, and opens none.
        AnyOutcome::CreatePendingWaitpoint(issued) => {
            let own = *identity == Identity::Waitpoint(issued.id);
            own.then_some(Memory::Opened(issued.created_at))
        }
        AnyOutcome::RevokeLease(revoked) => operated(OperatorOutcome::Revoked(revoked.lease_epoch)),
        _ => None,
    }
}

/// Whether an error says for certain that the command was not carried out.
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
