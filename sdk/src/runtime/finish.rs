//! The finishing call for each end of a handler.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use ff_core::error::{EngineError, Rejection};
use ff_core::execution::{
    DEFAULT_PAYLOAD_LIMIT, FailOutcome, ResumedBy, Resumption, SuspendOutcome,
};
use ff_core::time::TimestampMs;

use crate::error::SdkError;
use crate::lease_end::LeaseEnd;
use crate::task::ClaimedTask;

use super::failure::HandlerError;
use super::outcome::TaskOutcome;
use super::report::Counters;

/// How a handler's run ended.
pub(super) enum Ended {
    Returned(TaskOutcome),
    LeaseLost,
    Stopped,
}

pub(super) fn panicked(message: &str) -> TaskOutcome {
    TaskOutcome::Fail(HandlerError::new(
        "handler_panic",
        format!("the handler panicked: {message}"),
    ))
}

/// Makes the finishing call for a handler's end. Returns a resumption when the handler has to be
/// called again, since the condition of its suspension was satisfied already.
pub(super) async fn finish(
    report: &Counters,
    task: &ClaimedTask,
    ended: Ended,
) -> Option<Resumption> {
    let execution = task.execution_id();
    let finished = match ended {
        Ended::LeaseLost => {
            count(report, &task.lease_end().await);
            return None;
        }
        // The next worker continues the same attempt, with the same signals.
        Ended::Stopped => task.end_give_back().await.map(|()| &report.given_back),
        Ended::Returned(outcome) => match outcome {
            TaskOutcome::Complete(Some(result)) if result.len() > DEFAULT_PAYLOAD_LIMIT => {
                fail(report, task, too_large(result.len())).await
            }
            TaskOutcome::Complete(result) => {
                task.end_complete(result).await.map(|()| &report.completed)
            }
            TaskOutcome::Fail(error) => fail(report, task, error).await,
            TaskOutcome::Delay(until) => task.end_delay(until).await.map(|()| &report.given_back),
            TaskOutcome::WaitForChildren => {
                task.end_wait_for_children().await.map(|()| &report.given_back)
            }
            TaskOutcome::Suspend(suspension) => match task.end_suspend(*suspension).await {
                Ok(SuspendOutcome::AlreadySatisfied { suspension_id, signals }) => {
                    return Some(Resumption { suspension_id, by: ResumedBy::Signals, signals });
                }
                Ok(SuspendOutcome::Suspended { .. }) => Ok(&report.suspended),
                Err(error) => refused(report, task, error).await,
            },
            TaskOutcome::Cancel(reason) => {
                task.end_cancel(reason).await.map(|()| &report.cancelled)
            }
        },
    };
    // The work has ended, whatever the result: a lease that could not be released expires, even if
    // the handler left a clone of its context behind.
    task.stop_renewing();
    match finished {
        Ok(counter) => drop(counter.fetch_add(1, Ordering::Relaxed)),
        Err(error) => match task.refused(&error).await {
            Some(end) => count(report, &end),
            None => {
                tracing::warn!(%execution, %error, "cannot finish the task; its lease expires");
                report.lost.fetch_add(1, Ordering::Relaxed);
            }
        },
    }
    None
}

/// The last millisecond of the year 9999, the latest time that can be formatted.
const MAX_TIME_MS: u64 = 253_402_300_799_999;

/// A time of the store's clock as text, in UTC.
fn rfc3339(at: TimestampMs) -> impl std::fmt::Display {
    let at = UNIX_EPOCH + Duration::from_millis(at.get().min(MAX_TIME_MS));
    humantime::format_rfc3339_millis(at)
}

/// Counts a lease that ended before its task did.
fn count(report: &Counters, end: &LeaseEnd) {
    let counter = match end {
        LeaseEnd::Cancelled(_) => &report.cancelled,
        LeaseEnd::AttemptTimeout => &report.timed_out,
        LeaseEnd::Deadline => &report.expired,
        LeaseEnd::Lost(_) => &report.lost,
    };
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Fails the attempt of a refused suspension: permanently if the suspension is invalid; with a
/// retry if its waitpoint has closed meanwhile, since another attempt may succeed.
async fn refused<'r>(
    report: &'r Counters,
    task: &ClaimedTask,
    error: SdkError,
) -> Result<&'r AtomicU64, SdkError> {
    match error.engine() {
        Some(EngineError::Validation { detail, .. }) => {
            let invalid = HandlerError::permanent(detail.clone());
            fail(report, task, invalid.with_category("invalid_suspension")).await
        }
        Some(EngineError::State(rejection @ Rejection::WaitpointClosed)) => {
            let closed = HandlerError::new("waitpoint_closed", rejection.to_string());
            fail(report, task, closed).await
        }
        _ => Err(error),
    }
}

/// The error of a result that the store would refuse at every attempt.
fn too_large(bytes: usize) -> HandlerError {
    let reason = format!("the result has {bytes} bytes, over the limit of {DEFAULT_PAYLOAD_LIMIT}");
    HandlerError::permanent(reason).with_category("invalid_result")
}

async fn fail<'r>(
    report: &'r Counters,
    task: &ClaimedTask,
    error: HandlerError,
) -> Result<&'r AtomicU64, SdkError> {
    let (category, reason) = (error.category(), error.reason());
    let outcome = task.end_fail(reason.to_owned(), category, error.retry()).await?;
    let (execution, kind) = (task.execution_id(), task.execution_kind());
    Ok(match outcome {
        FailOutcome::RetryScheduled { delay_until } => {
            let at = rfc3339(delay_until);
            tracing::info!(%execution, %kind, category, reason, %at, "attempt failed; retrying");
            &report.retried
        }
        FailOutcome::TerminalFailed => {
            tracing::warn!(%execution, %kind, category, reason, "execution failed permanently");
            &report.failed
        }
    })
}
