//! A task: an execution that this worker owns, until it is finished, given back or lost.

mod waiting;

use std::sync::Arc;

use ff_core::agent::ClaimedWork;
use ff_core::execution::{
    AttemptKind, Cancel, CancelledBy, Claimed, Complete, Decide, DelayExecution, Fail, FailOutcome,
    FenceParts, MoveToWaitingChildren, Renew, UpdateProgress,
};
use ff_core::id::{
    AttemptId, AttemptIndex, ExecutionId, ExecutionKind, FailureCategory, LaneId, LeaseEpoch,
    LeaseId,
};
use ff_core::op::{Committed, Known, Transact};
use ff_core::store::Bytes;
use ff_core::tags::Tags;
use ff_core::time::TimestampMs;

use crate::error::SdkError;
use crate::output::Output;
use crate::shared::lock;
use crate::upkeep::{LeaseState, Slots};

pub use waiting::SuspendOutcome;

/// An execution that this worker owns. Its lease is renewed at a third of its ttl, also during the
/// finishing call, until the task is consumed or dropped.
///
/// The finishing calls take `self`, so that finishing twice does not compile. Dropping a task
/// without finishing it releases nothing: its lease runs out and the execution is reclaimed.
#[derive(Debug)]
#[must_use = "a task that is dropped is reclaimed only when its lease has run out"]
pub struct ClaimedTask {
    owner: Owner,
    work: ClaimedWork,
    lease: Arc<LeaseState>,
    output: tokio::sync::Mutex<Output>,
}

/// The worker's side of a task: gives the lease out of care, and then the slot back.
struct Owner {
    slot: Slots,
    lease_id: LeaseId,
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owner").field("lease_id", &self.lease_id).finish_non_exhaustive()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.slot.state().release(self.lease_id);
    }
}

/// Tells when a task's lease is lost; may outlive the task, and then tells that it has ended.
#[derive(Clone, Debug)]
pub struct LeaseWatch(Arc<LeaseState>);

impl LeaseWatch {
    /// Resolves when the lease is lost or revoked, when the execution is over, and when the task is
    /// finished or dropped. Cancel safe.
    pub async fn lost(&self) {
        self.0.lost().await;
    }

    /// Whether it is lost.
    pub fn is_lost(&self) -> bool {
        self.0.is_lost()
    }
}

impl ClaimedTask {
    pub(crate) fn new(slot: Slots, work: ClaimedWork, lease: Arc<LeaseState>) -> Self {
        let owner = Owner { slot, lease_id: work.claimed.lease_id };
        Self { owner, work, lease, output: Default::default() }
    }

    const fn claimed(&self) -> &Claimed {
        &self.work.claimed
    }

    const fn fence(&self) -> FenceParts {
        FenceParts::of(self.claimed().fence())
    }

    async fn call<C: Decide>(&self, command: C) -> Result<C::Outcome, SdkError> {
        let name = command.name();
        let state = self.owner.slot.state();
        let result = state.connection.transact_knowing(command, self.known()).await;
        self.answered(name, result)
    }

    /// What is known of the record: a command begins with it instead of a read.
    fn known(&self) -> Known {
        lock(&self.owner.slot.state().agent).leases.known(self.lease_id())
    }

    /// Notes what came of a command.
    fn answered<T: std::fmt::Debug>(
        &self,
        name: &'static str,
        result: Result<Committed<T>, SdkError>,
    ) -> Result<T, SdkError> {
        let (execution, epoch) = (self.execution_id(), self.lease_epoch());
        match result {
            Ok(committed) => {
                let (attempt, outcome) = (self.attempt_index(), &committed.outcome);
                tracing::debug!(%execution, %attempt, %epoch, ?outcome, "{name}");
                let state = self.owner.slot.state();
                lock(&state.agent).leases.learn(self.lease_id(), committed.record);
                Ok(committed.outcome)
            }
            Err(error) => {
                tracing::debug!(%execution, %epoch, %error, "{name} was refused");
                Err(error)
            }
        }
    }

    /// The execution.
    pub const fn execution_id(&self) -> ExecutionId {
        self.claimed().execution_id
    }

    /// The number of the attempt that runs, from 0.
    pub const fn attempt_index(&self) -> AttemptIndex {
        self.claimed().attempt.index
    }

    /// The attempt that runs.
    pub const fn attempt_id(&self) -> AttemptId {
        self.claimed().attempt.id
    }

    /// Why the attempt was started.
    pub const fn attempt_kind(&self) -> AttemptKind {
        self.claimed().attempt.kind
    }

    /// The lease.
    pub const fn lease_id(&self) -> LeaseId {
        self.claimed().lease_id
    }

    /// The fencing token: fence the outside world with it and the lease id.
    pub const fn lease_epoch(&self) -> LeaseEpoch {
        self.claimed().lease_epoch
    }

    /// What the submitter handed in; no payload and an empty one are different.
    pub fn input_payload(&self) -> Option<&[u8]> {
        self.work.payload.as_deref()
    }

    /// The payload as shared data.
    pub const fn payload(&self) -> Option<&Bytes> {
        self.work.payload.as_ref()
    }

    /// Which handler it is for.
    pub const fn execution_kind(&self) -> &ExecutionKind {
        &self.claimed().kind
    }

    /// The queue that it came from.
    pub const fn lane_id(&self) -> &LaneId {
        &self.claimed().lane
    }

    /// The user's labels.
    pub const fn tags(&self) -> &Tags {
        &self.claimed().tags
    }

    /// Retries in this life so far.
    pub const fn retry_count(&self) -> u32 {
        self.claimed().counts.retries
    }

    /// Reclaims in this life so far.
    pub const fn reclaim_count(&self) -> u32 {
        self.claimed().counts.reclaims
    }

    /// Whether this worker may believe that it owns the execution: not after three renewals have
    /// failed in a row, and not when the lease must have run out by this host's own clock.
    pub fn is_lease_healthy(&self) -> bool {
        let state = self.owner.slot.state();
        let now = state.connection.clock.now();
        let health = lock(&state.agent).leases.health(self.lease_id(), now);
        !self.lease.is_lost() && health.is_some_and(|health| health.healthy)
    }

    /// Renewals that failed in a row.
    pub fn consecutive_renewal_failures(&self) -> u32 {
        let state = self.owner.slot.state();
        let now = state.connection.clock.now();
        let health = lock(&state.agent).leases.health(self.lease_id(), now);
        health.map_or(0, |health| health.consecutive_failures)
    }

    /// Resolves when the lease is lost or revoked, or the execution is over. Cancel safe.
    pub async fn lease_lost(&self) {
        self.lease.lost().await;
    }

    /// Tells when the lease is lost, without borrowing the task.
    pub fn lease_watch(&self) -> LeaseWatch {
        LeaseWatch(self.lease.clone())
    }

    /// Renews the lease now. The upkeep does so by itself; call it only to be sure.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `StaleLease`, `ExecutionNotActive`, `LeaseRevoked` or
    /// `LeaseExpired`. Cancel safe.
    pub async fn renew_lease(&self) -> Result<TimestampMs, SdkError> {
        let (execution_id, lease_ttl) = (self.execution_id(), self.claimed().lease_ttl);
        let state = self.owner.slot.state();
        let renew = Renew { execution_id, fence: self.fence(), lease_ttl };
        let renewed = state.connection.transact_knowing(renew, self.known()).await?;
        let mut claimed = self.claimed().clone();
        claimed.expires_at = renewed.outcome.expires_at;
        let (record, first_sent, at) = (renewed.record, renewed.first_sent, renewed.at);
        lock(&state.agent).track(&claimed, record, first_sent, at);
        Ok(renewed.outcome.expires_at)
    }

    /// Reports progress; the last report wins.
    ///
    /// # Errors
    ///
    /// As for [`ClaimedTask::renew_lease`], and `InvalidInput` over 100 percent. Cancel safe.
    pub async fn update_progress(
        &self,
        percent: u8,
        message: Option<&str>,
    ) -> Result<(), SdkError> {
        let message = message.map(str::to_owned);
        let (execution_id, fence) = (self.execution_id(), self.fence());
        self.call(UpdateProgress { execution_id, fence, percent, message }).await
    }

    /// Finishes the execution with success. The result is stored byte for byte, at most 1 MiB.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `StaleLease`, `ExecutionNotActive`, `LeaseRevoked`,
    /// `LeaseExpired` or `PayloadTooLarge`; `Timeout` when the store did not answer, which says
    /// whether it may be applied.
    ///
    /// Dropping the future may leave the execution completed or not, like a crash.
    pub async fn complete(self, result: Option<Vec<u8>>) -> Result<(), SdkError> {
        self.end_complete(result).await
    }

    pub(crate) async fn end_complete(&self, result: Option<Vec<u8>>) -> Result<(), SdkError> {
        let (execution_id, fence) = (self.execution_id(), self.fence());
        let command = Complete { execution_id, fence, result: result.map(Bytes::from) };
        let state = self.owner.slot.state();
        let (name, patience) = (command.name(), state.connection.patience());
        let operation = Transact::knowing(command, self.known(), patience);
        let result = state.gatherer.complete(&state.connection, operation).await;
        self.answered(name, result.map_err(SdkError::from))
    }

    /// Reports the attempt as failed; the retry policy decides whether it is tried again.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] as for [`ClaimedTask::complete`], and when `category` is no category.
    /// Cancellation is as there.
    pub async fn fail(
        self,
        reason: impl Into<String>,
        category: &str,
    ) -> Result<FailOutcome, SdkError> {
        self.end_fail(reason.into(), FailureCategory::try_new(category)?, false).await
    }

    /// Reports a failure that no retry can help; the life is over.
    ///
    /// # Errors
    ///
    /// As for [`ClaimedTask::fail`]; cancellation too.
    pub async fn fail_permanently(
        self,
        reason: impl Into<String>,
        category: &str,
    ) -> Result<FailOutcome, SdkError> {
        self.end_fail(reason.into(), FailureCategory::try_new(category)?, true).await
    }

    pub(crate) async fn end_fail(
        &self,
        reason: String,
        category: FailureCategory,
        permanent: bool,
    ) -> Result<FailOutcome, SdkError> {
        let (execution_id, fence) = (self.execution_id(), self.fence());
        let failed = Fail { execution_id, fence, reason, category, permanent };
        let outcome = self.call(failed).await?;
        if let FailOutcome::RetryScheduled { delay_until } = outcome {
            self.owner.slot.state().will_be_due(delay_until);
        }
        Ok(outcome)
    }

    /// Cancels the execution.
    ///
    /// # Errors
    ///
    /// As for [`ClaimedTask::complete`]; cancellation too.
    pub async fn cancel(self, reason: impl Into<String>) -> Result<(), SdkError> {
        self.end_cancel(reason.into()).await
    }

    pub(crate) async fn end_cancel(&self, reason: String) -> Result<(), SdkError> {
        let (execution_id, by) = (self.execution_id(), CancelledBy::Holder(self.fence()));
        self.call(Cancel { execution_id, by, reason }).await
    }

    /// Gives the execution back until a time of the store's clock; the same attempt goes on then.
    ///
    /// # Errors
    ///
    /// As for [`ClaimedTask::complete`]; cancellation too.
    pub async fn delay_execution(self, until: TimestampMs) -> Result<(), SdkError> {
        self.end_delay(until).await
    }

    pub(crate) async fn end_delay(&self, until: TimestampMs) -> Result<(), SdkError> {
        self.end_until(until, false).await
    }

    /// Gives the execution back at once, as if it had not been claimed: the same attempt goes on
    /// with whoever takes it next, and with the signals that have resumed it.
    ///
    /// # Errors
    ///
    /// As for [`ClaimedTask::complete`]; cancellation too.
    pub async fn give_back(self) -> Result<(), SdkError> {
        self.end_give_back().await
    }

    pub(crate) async fn end_give_back(&self) -> Result<(), SdkError> {
        self.end_until(self.store_now(), true).await
    }

    async fn end_until(&self, until: TimestampMs, keeps_resumption: bool) -> Result<(), SdkError> {
        let (execution_id, fence) = (self.execution_id(), self.fence());
        self.call(DelayExecution { execution_id, fence, until, keeps_resumption }).await?;
        self.owner.slot.state().will_be_due(until);
        Ok(())
    }

    /// Gives the execution back until no child of it is open; the same attempt goes on then.
    ///
    /// # Errors
    ///
    /// As for [`ClaimedTask::complete`]; cancellation too.
    pub async fn move_to_waiting_children(self) -> Result<(), SdkError> {
        self.end_wait_for_children().await
    }

    pub(crate) async fn end_wait_for_children(&self) -> Result<(), SdkError> {
        let (execution_id, fence) = (self.execution_id(), self.fence());
        self.call(MoveToWaitingChildren { execution_id, fence }).await
    }

    /// Ends the care for the lease: it is renewed no more.
    pub(crate) fn let_go(&self) {
        self.owner.slot.state().release(self.lease_id());
    }

    /// The store's clock, as far as this host knows it.
    pub fn store_now(&self) -> TimestampMs {
        self.owner.slot.state().connection.store_now(self.execution_id().partition())
    }
}
