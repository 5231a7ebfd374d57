//! The state in which an execution is counted: one function of its record, so that no rule changes
//! a count by hand. A change of this function is a change of the record's format.

use crate::execution::record::{BlockKind, Execution, Interruption, NextAttempt, Phase, Runnable};
use crate::state::{CountedState, TerminalOutcome};

/// The state in which an execution is counted. \[INV-COUNT-1\]
pub fn counted_state(execution: &Execution) -> CountedState {
    match &execution.phase {
        Phase::Runnable(runnable) => counted_waiting(runnable),
        Phase::Active(_) => CountedState::Active,
        Phase::Suspended(_) => CountedState::Suspended,
        Phase::Terminal(terminal) => match terminal.outcome.word() {
            TerminalOutcome::Failed => CountedState::Failed,
            TerminalOutcome::Cancelled => CountedState::Cancelled,
            TerminalOutcome::Expired => CountedState::Expired,
            TerminalOutcome::Skipped => CountedState::Skipped,
            TerminalOutcome::Success | TerminalOutcome::None => CountedState::Completed,
        },
    }
}

/// A reason that blocks comes before a delay, as in the state vector.
fn counted_waiting(runnable: &Runnable) -> CountedState {
    match runnable.blocks.first().map(|block| block.kind) {
        Some(BlockKind::Operator) => CountedState::BlockedByOperator,
        Some(BlockKind::Lane) => CountedState::BlockedByLaneState,
        Some(BlockKind::Dependencies) => CountedState::BlockedByDependencies,
        Some(BlockKind::Budget) => CountedState::BlockedByBudget,
        Some(BlockKind::Quota) => CountedState::BlockedByQuota,
        Some(BlockKind::Route) => CountedState::BlockedByRoute,
        None if runnable.not_before.is_some() => CountedState::Delayed,
        None => match runnable.next {
            NextAttempt::Resume { interruption: Interruption::Suspension, .. } => {
                CountedState::Resumable
            }
            _ => CountedState::Waiting,
        },
    }
}
