//! The end of an execution, and its history.

use std::sync::Arc;

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
    /// The bytes of the result; `None` also when the execution did not succeed.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.result.as_deref()
    }

    /// Returns the result of an execution that succeeded; `None` if its worker gave none.
    ///
    /// # Errors
    ///
    /// [`SdkError::ExecutionFailed`] when the execution failed, was cancelled or expired.
    pub fn into_result(self) -> Result<Option<Bytes>, SdkError> {
        self.check()?;
        Ok(self.result)
    }

    /// Parses the result of an execution that succeeded as JSON. If its worker gave no result, only
    /// types that JSON's `null` stands for can be parsed, such as `()` and `Option`.
    ///
    /// ```
    /// # use ff_sdk::{Client, ExecutionId, SdkError};
    /// # async fn run(client: Client, id: ExecutionId) -> Result<(), SdkError> {
    /// match client.result(&id).await?.json::<u64>() {
    ///     Ok(sum) => println!("the sum is {sum}"),
    ///     Err(SdkError::ExecutionFailed { outcome }) => println!("no sum: {outcome}"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SdkError::ExecutionFailed`] when the execution failed, was cancelled or expired.
    /// - [`SdkError::Decode`] when the result is not JSON of this type, or is missing.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, SdkError> {
        self.check()?;
        let what = match self.result {
            Some(_) => "the result of the execution",
            None => "the missing result of the execution",
        };
        serde_json::from_slice(self.bytes().unwrap_or(b"null"))
            .map_err(|error| SdkError::Decode { what, source: Arc::new(error) })
    }

    fn check(&self) -> Result<(), SdkError> {
        match &self.outcome {
            Outcome::Success => Ok(()),
            outcome => Err(SdkError::ExecutionFailed { outcome: outcome.clone() }),
        }
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
