//! Calls on suspended executions: delivering signals, and an operator's resume.

use ff_core::execution::{Resume, Resumed, SignalOutcome};
use ff_core::id::{ExecutionId, WaitpointId};

use super::Client;
use crate::error::SdkError;
use crate::signal::Signal;

impl Client {
    /// Delivers a signal to a waitpoint (`docs/spec.md`, 5). The waitpoint's token is the only
    /// permission that is needed; the client's namespace does not matter.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `InvalidToken`, also when there is no such execution or waitpoint;
    /// `PayloadTooLarge`, `WaitpointClosed` and `SignalLimitExceeded`; `Timeout` when the store did
    /// not answer in time, which says whether the signal may have been accepted.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the signal may or may not be accepted. With an idempotency key it can be
    /// sent again.
    pub async fn deliver_signal(
        &self,
        id: &ExecutionId,
        waitpoint: &WaitpointId,
        signal: Signal,
    ) -> Result<SignalOutcome, SdkError> {
        self.0.connection.deliver(id, waitpoint, signal).await
    }

    /// Resumes a suspended execution although its condition is not satisfied.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `NotFound` and `ExecutionNotSuspended`; `Superseded` and `Timeout`
    /// as for [`Client::cancel`].
    ///
    /// # Cancel safety
    ///
    /// As for [`Client::cancel`].
    pub async fn resume(&self, id: &ExecutionId) -> Result<Resumed, SdkError> {
        let call = self.operator_call();
        self.operate(Resume { execution_id: *id, call, suspension: None }).await
    }
}

impl crate::shared::Connection {
    /// Delivers a signal to a waitpoint.
    pub(crate) async fn deliver(
        &self,
        id: &ExecutionId,
        waitpoint: &WaitpointId,
        signal: Signal,
    ) -> Result<SignalOutcome, SdkError> {
        let command = signal.into_command(*id, *waitpoint, self);
        let signal = command.signal_id;
        let outcome = self.transact(command).await?.outcome;
        tracing::debug!(execution = %id, %waitpoint, %signal, ?outcome, "signal delivered");
        Ok(outcome)
    }
}
