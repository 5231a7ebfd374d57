//! The reason for which the lease of a task ended before the task did.

use ff_core::agent::LostReason;
use ff_core::error::{EngineError, Rejection};
use ff_core::execution::{AttemptEnd, ExecutionSnapshot, Outcome, snapshot};
use ff_core::id::{AttemptId, ExecutionId, LeaseId};
use ff_core::op::{Patience, ReadExecution};
use ff_core::time::DurationMs;

use crate::shared::Connection;

/// The reason for which a lease ended before its task did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LeaseEnd {
    /// The execution was cancelled, for this reason.
    Cancelled(String),
    /// The attempt took longer than its timeout.
    AttemptTimeout,
    /// The deadline of the execution passed.
    Deadline,
    /// The lease was revoked, or not renewed in time. Holds the cause.
    Lost(String),
}

/// A lease that ended.
pub(crate) struct EndedLease {
    pub(crate) execution_id: ExecutionId,
    pub(crate) lease_id: LeaseId,
    pub(crate) attempt_id: AttemptId,
    pub(crate) reason: LostReason,
}

/// The time limit for reading the execution.
pub(crate) const READ_PATIENCE: DurationMs = DurationMs::from_secs(2);

/// The category of an attempt that timed out.
const ATTEMPT_TIMEOUT: &str = "attempt_timeout";

impl EndedLease {
    /// Reads the execution, determines why its lease ended, and logs it.
    pub(crate) async fn explain(&self, connection: &Connection) -> LeaseEnd {
        let patience =
            Patience::new(connection.context().within(READ_PATIENCE), connection.entropy());
        let read = ReadExecution::new(&self.execution_id, &[], patience);
        let end = match connection.drive(read).await {
            Ok((Some(found), _, at)) => self.seen_in(&snapshot(&found.execution, at)),
            Ok((None, ..)) | Err(_) => None,
        };
        let end = end.unwrap_or_else(|| LeaseEnd::Lost(self.cause()));
        let execution = &self.execution_id;
        match &end {
            LeaseEnd::Cancelled(reason) => {
                tracing::warn!(%execution, reason, "execution cancelled while its task ran");
            }
            LeaseEnd::AttemptTimeout => {
                tracing::warn!(%execution, "attempt timed out; the retry policy decides");
            }
            LeaseEnd::Deadline => {
                tracing::warn!(%execution, "execution expired while its task ran");
            }
            LeaseEnd::Lost(cause) => {
                tracing::warn!(%execution, cause, "lease lost; another worker may take over");
            }
        }
        end
    }

    fn cause(&self) -> String {
        match &self.reason {
            LostReason::Refused(error) => error.to_string(),
            LostReason::RanOut => "it was not renewed in time".to_owned(),
        }
    }

    fn seen_in(&self, seen: &ExecutionSnapshot) -> Option<LeaseEnd> {
        if matches!(&self.reason, LostReason::Refused(EngineError::State(Rejection::LeaseRevoked)))
        {
            return None;
        }
        if let Some(lease) = seen.lease.as_ref().filter(|lease| lease.lease_id == self.lease_id) {
            // The timer that ends it is about to be applied.
            let timeout = seen.policy.timeout.attempt_timeout_ms;
            let timeout = timeout.map(|timeout| lease.acquired_at.plus(timeout));
            return match lease.expires_at {
                end if seen.deadline == Some(end) => Some(LeaseEnd::Deadline),
                end if timeout == Some(end) => Some(LeaseEnd::AttemptTimeout),
                _ => None,
            };
        }
        let is_own =
            |past: &&ff_core::execution::AttemptSummary| past.attempt.id == self.attempt_id;
        match &seen.past_attempts.iter().find(is_own)?.end {
            AttemptEnd::Cancelled => Some(LeaseEnd::Cancelled(match &seen.outcome {
                Some(Outcome::Cancelled { reason }) => reason.clone(),
                _ => String::new(),
            })),
            AttemptEnd::Expired => Some(LeaseEnd::Deadline),
            AttemptEnd::Failed(failure) if failure.category.as_str() == ATTEMPT_TIMEOUT => {
                Some(LeaseEnd::AttemptTimeout)
            }
            _ => None,
        }
    }
}
