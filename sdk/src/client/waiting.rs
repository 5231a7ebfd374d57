//! What a client does about suspended executions: signals, and operators' resumes.

use ff_core::execution::{Resume, Resumed, SeenSuspension, SignalOutcome};
use ff_core::id::{ExecutionId, WaitpointId};
use ff_core::op::Known;

use super::Client;
use crate::error::SdkError;
use crate::signal::Signal;

impl Client {
    /// Delivers a signal to a waitpoint. Whoever has the waitpoint's token may, of whatever
    /// namespace.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `InvalidToken`, also where there is no such execution or
    /// waitpoint; then `PayloadTooLarge`, `WaitpointClosed` and `SignalLimitExceeded`; `Timeout`
    /// when nobody can say whether it was taken.
    ///
    /// Dropping the future may leave the signal taken or not: give it an idempotency key to send it
    /// again.
    pub async fn deliver_signal(
        &self,
        id: &ExecutionId,
        waitpoint: &WaitpointId,
        signal: Signal,
    ) -> Result<SignalOutcome, SdkError> {
        self.0.connection.deliver(id, waitpoint, signal).await
    }

    /// Resumes a suspended execution without its signals.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `NotFound`, `ExecutionNotSuspended`, and `Superseded` and
    /// `Timeout` as for [`Client::cancel`]; cancellation too.
    pub async fn resume(&self, id: &ExecutionId) -> Result<Resumed, SdkError> {
        let (call, suspension) = (self.operator_call(), SeenSuspension::default());
        self.operate(Resume { execution_id: *id, call, suspension }).await
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
        let outcome = self.inform(command, Known::Nothing).await?.outcome;
        tracing::debug!(execution = %id, %waitpoint, %signal, ?outcome, "signal delivered");
        Ok(outcome)
    }
}
