//! Whether an attempt can still append output (`docs/spec.md`, 6).

use serde::{Deserialize, Serialize};

use crate::execution::record::{AttemptEnd, Execution, LeaseFate, Phase};
use crate::id::AttemptIndex;
use crate::state::TerminalOutcome;
use crate::time::TimestampMs;

/// Why an attempt's output is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CloseReason {
    /// The attempt completed.
    Success,
    /// The attempt failed.
    Failure,
    /// The execution was cancelled.
    Cancelled,
    /// The execution's deadline passed.
    Expired,
    /// The suspension timed out and ended the execution.
    SuspensionTimeout,
    /// The attempt lost its lease: another took over, or the reclaim limit was reached.
    Reclaimed,
    /// The attempt lost its lease and is not taken over yet.
    LeaseExpired,
    /// Later attempts ran; the record no longer has how this one ended.
    Superseded,
}

/// Why an attempt appends no more output, if it does not. The output of a suspended or delayed
/// attempt stays open, because the attempt goes on later. An attempt that has not begun when its
/// execution's life ends is closed: it begins only in another life.
pub fn output_closed(
    execution: &Execution,
    attempt: AttemptIndex,
    now: TimestampMs,
) -> Option<CloseReason> {
    if let Some(past) = execution.past_attempts.iter().find(|past| past.attempt.index == attempt) {
        return Some(match past.end {
            AttemptEnd::Succeeded => CloseReason::Success,
            AttemptEnd::Failed(_) => CloseReason::Failure,
            AttemptEnd::Interrupted => CloseReason::Reclaimed,
            AttemptEnd::Cancelled => CloseReason::Cancelled,
            AttemptEnd::Expired => CloseReason::Expired,
            AttemptEnd::SuspensionTimedOut => CloseReason::SuspensionTimeout,
        });
    }
    match &execution.phase {
        Phase::Terminal(_) if attempt.0 >= execution.attempts_total => {
            match execution.terminal_outcome() {
                TerminalOutcome::Success => Some(CloseReason::Success),
                TerminalOutcome::Failed => Some(CloseReason::Failure),
                TerminalOutcome::Expired => Some(CloseReason::Expired),
                // Decided by others: the attempt does not run.
                TerminalOutcome::Cancelled | TerminalOutcome::Skipped => {
                    Some(CloseReason::Cancelled)
                }
                TerminalOutcome::None => None,
            }
        }
        _ if execution.attempt().is_some_and(|present| present.index < attempt) => None,
        Phase::Active(active) if active.attempt.index == attempt => {
            let lost = active.fate != LeaseFate::Held || active.is_expired(now);
            lost.then_some(CloseReason::LeaseExpired)
        }
        _ if execution.attempt().is_some_and(|present| present.index == attempt) => None,
        _ if attempt.0 >= execution.attempts_total => None,
        _ => Some(CloseReason::Superseded),
    }
}
