//! The end of an execution, and its history.

use ff_core::execution::{AttemptSummary, Event, Outcome};
use ff_core::id::LeaseEpoch;
use ff_core::store::Bytes;
use ff_core::time::TimestampMs;
use serde::de::DeserializeOwned;

use crate::error::SdkError;

/// The end of an execution's life and the result of its worker.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ExecutionResult {
    /// The terminal outcome of the life.
    pub outcome: Outcome,
    /// The result of the worker; `None` (no result) and an empty result are different.
    pub result: Option<Bytes>,
    /// The end of the life, by the store's clock.
    pub ended_at: TimestampMs,
}

impl ExecutionResult {
    /// The bytes of the result.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.result.as_deref()
    }

    /// Parses the result as JSON; no result is parsed as `null`.
    ///
    /// # Errors
    ///
    /// [`SdkError::Config`] when the result is not JSON of this type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, SdkError> {
        serde_json::from_slice(self.bytes().unwrap_or(b"null")).map_err(|error| {
            let message = format!("cannot be parsed as JSON: {error}");
            SdkError::config("execution result", "result", message)
        })
    }

    /// Returns whether the execution completed.
    pub fn is_success(&self) -> bool {
        self.outcome == Outcome::Success
    }
}

/// The history of an execution, as far as the store still has it.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct History {
    /// The latest attempts that have ended, from the record.
    pub attempts: Vec<AttemptSummary>,
    /// The events in the partition's journal, oldest first; older ones may be dropped.
    pub events: Vec<HistoryEntry>,
}

/// One event of an execution.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// The time of the event, by the store's clock.
    pub at: TimestampMs,
    /// The counter of the record's version after the event.
    pub version: u64,
    /// The fencing epoch of the latest lease.
    pub epoch: LeaseEpoch,
    /// The event.
    pub event: Event,
}
