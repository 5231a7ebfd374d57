//! The state vector that users see, derived from the record (`docs/spec.md`, 3).

use crate::condition::SuspensionReason;
use crate::execution::record::{
    BlockKind, DelayReason, Execution, Interruption, LeaseFate, NextAttempt, Phase, Runnable,
};
use crate::state::{
    AttemptState, BlockingReason, EligibilityState, OwnershipState, PublicState, StateVector,
    TerminalOutcome,
};
use crate::time::TimestampMs;

/// The state of an execution at an instant of the store's clock.
pub fn state_vector(execution: &Execution, now: TimestampMs) -> StateVector {
    let eligibility_state = eligibility(execution, now);
    StateVector {
        lifecycle_phase: execution.phase.word(),
        ownership_state: ownership(execution, now),
        eligibility_state,
        blocking_reason: blocking_reason(execution, now),
        terminal_outcome: execution.terminal_outcome(),
        attempt_state: attempt_state(execution, now),
        public_state: public_state(execution, eligibility_state),
    }
}

/// Whether an execution may be granted, and what holds it back first: operator, lane,
/// dependencies, budget, quota, route, time.
pub(in crate::execution) fn eligibility(
    execution: &Execution,
    now: TimestampMs,
) -> EligibilityState {
    let Phase::Runnable(runnable) = &execution.phase else {
        return EligibilityState::NotApplicable;
    };
    match runnable.blocks.first().map(|block| block.kind) {
        Some(BlockKind::Operator) => EligibilityState::BlockedByOperator,
        Some(BlockKind::Lane) => EligibilityState::BlockedByLaneState,
        Some(BlockKind::Dependencies) => EligibilityState::BlockedByDependencies,
        Some(BlockKind::Budget) => EligibilityState::BlockedByBudget,
        Some(BlockKind::Quota) => EligibilityState::BlockedByQuota,
        Some(BlockKind::Route) => EligibilityState::BlockedByRoute,
        None if waits_for_time(runnable, now) => EligibilityState::NotEligibleUntilTime,
        None => EligibilityState::EligibleNow,
    }
}

fn resumes_suspension(runnable: &Runnable) -> bool {
    let suspension = Interruption::Suspension;
    matches!(runnable.next, NextAttempt::Resume { interruption, .. } if interruption == suspension)
}

fn waits_for_time(runnable: &Runnable, now: TimestampMs) -> bool {
    runnable.not_before.is_some_and(|delay| now < delay.until)
}

fn ownership(execution: &Execution, now: TimestampMs) -> OwnershipState {
    match &execution.phase {
        Phase::Active(active) if active.fate == LeaseFate::Revoked => OwnershipState::LeaseRevoked,
        Phase::Active(active) if active.is_expired(now) => OwnershipState::LeaseExpiredReclaimable,
        Phase::Active(_) => OwnershipState::Leased,
        Phase::Runnable(_) | Phase::Suspended(_) | Phase::Terminal(_) => OwnershipState::Unowned,
    }
}

fn blocking_reason(execution: &Execution, now: TimestampMs) -> BlockingReason {
    match &execution.phase {
        Phase::Runnable(runnable) => match runnable.blocks.first().map(|block| block.kind) {
            Some(kind) => reason_of(kind),
            None if waits_for_time(runnable, now) => {
                match runnable.not_before.map(|delay| delay.reason) {
                    Some(DelayReason::RetryBackoff) => BlockingReason::WaitingForRetryBackoff,
                    Some(DelayReason::ResumeDelay) => BlockingReason::WaitingForResumeDelay,
                    _ => BlockingReason::WaitingForDelay,
                }
            }
            None => BlockingReason::WaitingForWorker,
        },
        Phase::Active(active) if active.is_leased(now) => BlockingReason::None,
        Phase::Active(active) => active
            .blocks
            .first()
            .map_or(BlockingReason::WaitingForWorker, |block| reason_of(block.kind)),
        Phase::Suspended(suspended) => match suspended.suspension.reason {
            SuspensionReason::Signal => BlockingReason::WaitingForSignal,
            SuspensionReason::Approval => BlockingReason::WaitingForApproval,
            SuspensionReason::Callback => BlockingReason::WaitingForCallback,
            SuspensionReason::ToolResult => BlockingReason::WaitingForToolResult,
            SuspensionReason::Operator => BlockingReason::PausedByOperator,
            SuspensionReason::Policy => BlockingReason::PausedByPolicy,
            SuspensionReason::Budget => BlockingReason::WaitingForBudget,
        },
        Phase::Terminal(_) => BlockingReason::None,
    }
}

const fn reason_of(kind: BlockKind) -> BlockingReason {
    match kind {
        BlockKind::Operator => BlockingReason::PausedByOperator,
        BlockKind::Lane => BlockingReason::PausedByPolicy,
        BlockKind::Dependencies => BlockingReason::WaitingForChildren,
        BlockKind::Budget => BlockingReason::WaitingForBudget,
        BlockKind::Quota => BlockingReason::WaitingForQuota,
        BlockKind::Route => BlockingReason::WaitingForCapableWorker,
    }
}

fn attempt_state(execution: &Execution, now: TimestampMs) -> AttemptState {
    match &execution.phase {
        Phase::Runnable(runnable) => match runnable.next {
            NextAttempt::First => AttemptState::PendingFirstAttempt,
            NextAttempt::Retry => AttemptState::PendingRetryAttempt,
            NextAttempt::Replay => AttemptState::PendingReplayAttempt,
            NextAttempt::Resume { .. } => AttemptState::AttemptInterrupted,
        },
        Phase::Active(active) if active.is_leased(now) => AttemptState::RunningAttempt,
        Phase::Active(_) | Phase::Suspended(_) => AttemptState::AttemptInterrupted,
        Phase::Terminal(terminal) if terminal.attempt.is_some() => AttemptState::AttemptTerminal,
        Phase::Terminal(_) => AttemptState::None,
    }
}

fn public_state(execution: &Execution, eligibility: EligibilityState) -> PublicState {
    match &execution.phase {
        Phase::Terminal(terminal) => match terminal.outcome.word() {
            TerminalOutcome::Failed => PublicState::Failed,
            TerminalOutcome::Cancelled => PublicState::Cancelled,
            TerminalOutcome::Expired => PublicState::Expired,
            TerminalOutcome::Skipped => PublicState::Skipped,
            TerminalOutcome::Success | TerminalOutcome::None => PublicState::Completed,
        },
        Phase::Active(_) => PublicState::Active,
        Phase::Suspended(_) => PublicState::Suspended,
        Phase::Runnable(runnable) => match eligibility {
            EligibilityState::EligibleNow if resumes_suspension(runnable) => PublicState::Resumable,
            EligibilityState::NotEligibleUntilTime => PublicState::Delayed,
            EligibilityState::BlockedByDependencies => PublicState::WaitingChildren,
            EligibilityState::BlockedByBudget | EligibilityState::BlockedByQuota => {
                PublicState::RateLimited
            }
            _ => PublicState::Waiting,
        },
    }
}
