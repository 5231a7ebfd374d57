//! \[REFUSAL\] A certain refusal rests on a reply of the store, and is true of it.

use ff_core::condition::TimeoutBehaviour;
use ff_core::error::{EngineError, Rejection, RejectionKind};
use ff_core::execution::{
    AnyCommand, BindWaitpoint, Continuation, Execution, LeaseFate, Phase, Waitpoint, WaitpointState,
};
use ff_core::id::WaitpointId;
use ff_core::time::TimestampMs;

use crate::model::Model;
use crate::model::change::fence_of;
use crate::model::identity::is_certain;
use crate::report::invariants::Invariant;
use crate::report::{Broken, ensure};

const TAG: &str = "REFUSAL";

/// A certain refusal is true of the record in the latest reply. `record` and `at`: the record in
/// that reply, and the store's clock in it; zero before the first reply.
pub fn check(
    model: &Model,
    command: &AnyCommand,
    record: Option<&Execution>,
    at: TimestampMs,
    error: &EngineError,
) -> Result<(), Broken> {
    if !model.watched.contains(Invariant::Refusal) || !is_certain(error) {
        return Ok(());
    }
    let told = at > TimestampMs::ZERO;
    ensure!(told, TAG, "{command:?} was refused ({error}) before any reply of the store");
    ensure!(
        is_true(command, record, at, error),
        TAG,
        "{command:?} was refused ({error}) at {at}, but the record is {record:?}"
    );
    Ok(())
}

/// Whether a refusal is true of a record at a time. Refusals that depend on the command alone, or
/// on more than the record, count as true.
fn is_true(
    command: &AnyCommand,
    record: Option<&Execution>,
    at: TimestampMs,
    error: &EngineError,
) -> bool {
    let kind = match error {
        EngineError::NotFound { .. } => RejectionKind::NotFound,
        EngineError::Validation { kind, .. } => *kind,
        other => match other.rejection() {
            Some(rejection) => return is_true_of_state(command, record, at, rejection),
            None => return true,
        },
    };
    match (kind, command, record) {
        (RejectionKind::NotFound, AnyCommand::ForgetSignals(_), Some(record)) => {
            record.continuation != Some(Continuation::RemoveSignals)
        }
        // The execution that it saw first was removed, and its id created again.
        (RejectionKind::NotFound, AnyCommand::Offer(_) | AnyCommand::Admit(_), Some(_)) => true,
        (RejectionKind::NotFound, _, Some(record)) => record.continuation.is_some(),
        (RejectionKind::PayloadTooLarge, AnyCommand::DeliverSignal(sent), _) => {
            sent.payload.as_ref().is_some_and(|payload| payload.len() > 256 << 10)
        }
        (RejectionKind::PayloadTooLarge, AnyCommand::AppendFrame(sent), _) => {
            sent.frame.payload.len() > 64 << 10
        }
        (RejectionKind::PayloadTooLarge, AnyCommand::Create(create), None) => {
            create.payload.as_ref().is_some_and(|payload| payload.len() > create.payload_limit)
        }
        (RejectionKind::PayloadTooLarge | RejectionKind::DeadlineNotInFuture, _, found) => {
            found.is_none()
        }
        _ => true,
    }
}

fn is_true_of_state(
    command: &AnyCommand,
    record: Option<&Execution>,
    at: TimestampMs,
    rejection: &Rejection,
) -> bool {
    if let Rejection::LaneDraining { .. } | Rejection::LaneDisabled { .. } = rejection {
        // The world compares the lane.
        return record.is_none();
    }
    let Some(record) = record else { return false };
    let active = match &record.phase {
        Phase::Active(active) => Some(active),
        _ => None,
    };
    let runnable = matches!(record.phase, Phase::Runnable(_));
    let terminal = matches!(record.phase, Phase::Terminal(_));
    let fate = active.map(|active| active.fate);
    let ran_out = active.is_some_and(|active| at >= active.lease.expires_at);
    let grant = record.grant();
    match rejection {
        Rejection::StaleLease { .. } => fence_of(command)
            .and_then(|parts| parts.complete())
            .is_some_and(|fence| record.last_fence != Some(fence)),
        Rejection::LeaseRevoked => fate == Some(LeaseFate::Revoked),
        Rejection::LeaseExpired { .. } => {
            fate == Some(LeaseFate::Expired) || (fate == Some(LeaseFate::Held) && ran_out)
        }
        Rejection::ExecutionNotActive { .. } => active.is_none(),
        Rejection::ExecutionNotTerminal { .. } => !terminal,
        Rejection::ExecutionNotRunnable { .. } => !runnable,
        Rejection::MaxReplaysExhausted { .. } => {
            terminal && record.counts.replays >= record.policy.max_replay_count
        }
        Rejection::GrantAlreadyExists { .. } => grant.is_some_and(|out| at < out.expires_at),
        Rejection::ClaimGrantExpired { .. } => grant.is_some_and(|out| at >= out.expires_at),
        Rejection::CapabilityMismatch { missing } => {
            let needed = |token: &str| record.requires.iter().any(|needs| needs == token);
            !missing.is_empty() && missing.iter().all(|token| needed(token))
        }
        Rejection::IdempotencyMismatch { .. } => match command {
            AnyCommand::Create(create) => record.content != create.content,
            _ => false,
        },
        Rejection::AlreadySuspended | Rejection::ExecutionNotSuspended { .. } => {
            let wants = matches!(rejection, Rejection::AlreadySuspended);
            is_suspended(record, at, !wants) == wants || is_suspended_anew(command, record)
        }
        Rejection::WaitpointClosed => takes_nothing(command, record, at),
        Rejection::StreamClosed => active.is_none(),
        Rejection::StaleOwnerCannotAppend => {
            let lost = ran_out || fate.is_some_and(|fate| fate != LeaseFate::Held);
            fence_of(command)
                .and_then(|parts| parts.complete())
                .is_some_and(|fence| record.last_fence != Some(fence) || lost)
        }
        Rejection::SequenceGap { expected, given } => {
            given != expected && active.is_some_and(|active| active.attempt.frames + 1 == *expected)
        }
        Rejection::Superseded { asked, current } => {
            asked != current && record.counts.replays == *current
        }
        _ => true,
    }
}

/// Whether a record waits to be resumed; `in_time`: and its timeout has not passed.
fn is_suspended(record: &Execution, at: TimestampMs, in_time: bool) -> bool {
    let Phase::Suspended(suspended) = &record.phase else { return false };
    let timeout = suspended.suspension.timeout;
    let timed_out = timeout
        .is_some_and(|timeout| timeout.at <= at && timeout.behaviour != TimeoutBehaviour::Escalate);
    let over = timed_out || record.deadline.is_some_and(|deadline| deadline <= at);
    !(in_time && over)
}

/// Whether an operator's call saw another suspension first.
fn is_suspended_anew(command: &AnyCommand, record: &Execution) -> bool {
    let (AnyCommand::Resume(resume), Phase::Suspended(suspended)) = (command, &record.phase) else {
        return false;
    };
    resume.suspension.is_some_and(|seen| seen != suspended.suspension.id)
}

/// Whether a waitpoint that a command names accepts no signals.
fn takes_nothing(command: &AnyCommand, record: &Execution, at: TimestampMs) -> bool {
    let is_open = |id: WaitpointId| {
        let open = record.waiting.iter().flat_map(|waiting| &waiting.open);
        let expired = |waitpoint: &Waitpoint| match waitpoint.state {
            WaitpointState::Pending { expires_at } => expires_at.is_some_and(|end| end <= at),
            WaitpointState::Active => false,
        };
        open.clone().any(|waitpoint| waitpoint.id == id && !expired(waitpoint))
    };
    match command {
        AnyCommand::DeliverSignal(sent) => {
            let over = matches!(record.phase, Phase::Terminal(_))
                || record.deadline.is_some_and(|deadline| deadline <= at)
                || matches!(record.phase, Phase::Suspended(_)) && !is_suspended(record, at, true);
            over || !is_open(sent.waitpoint_id)
        }
        AnyCommand::Suspend(suspend) => suspend.waitpoints.iter().any(|bound| match bound {
            BindWaitpoint::Open { id } => !is_open(*id),
            BindWaitpoint::New { .. } => false,
        }),
        _ => false,
    }
}
