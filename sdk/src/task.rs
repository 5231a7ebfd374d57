//! The task: an execution that this worker owns, until it is finished, given back or lost.

mod waiting;

use std::sync::Arc;
use std::time::Duration;

use ff_core::agent::{ClaimedWork, LostReason};
use ff_core::bounded::truncated;
use ff_core::budget::ReportUsageResult;
use ff_core::error::{EngineError, ErrorClass};
use ff_core::execution::{
    AttemptKind, Cancel, CancelledBy, Claimed, Complete, Decide, DelayExecution, Fail, FailOutcome,
    FenceParts, InNamespace, MoveToWaitingChildren, Renew, RetryAdvice, UpdateProgress,
};
use ff_core::id::{
    AttemptId, AttemptIndex, BudgetId, ExecutionId, ExecutionKind, FailureCategory, LaneId,
    LeaseEpoch, LeaseId, TEXT_ID_MAX_BYTES,
};
use ff_core::op::{CarryCommand, Committed, Known};
use ff_core::store::Bytes;
use ff_core::tags::{TRACE_PARENT, Tags};
use ff_core::time::{DurationMs, TimestampMs};

use crate::error::SdkError;
use crate::lease_end::{EndedLease, LeaseEnd, READ_PATIENCE};
use crate::metrics::Share;
use crate::output::Output;
use crate::shared::lock;
use crate::trace::is_trace_parent;
use crate::upkeep::{LeaseState, Slots};

pub use waiting::SuspendOutcome;

/// The category of failures that name none, or an invalid one.
pub(crate) const DEFAULT_CATEGORY: &str = "handler_error";

fn default_category() -> FailureCategory {
    FailureCategory::try_new(DEFAULT_CATEGORY).expect("a valid category")
}

/// An execution that this worker owns (`docs/spec.md`, 11). The worker renews its lease at a third
/// of the ttl, also during the finishing call, until the task is consumed or dropped.
///
/// The finishing calls take `self`, so that finishing twice does not compile. Dropping an
/// unfinished task does not release its lease: the execution is reclaimed when the lease expires.
/// [`give_back`](Self::give_back) releases it immediately.
///
/// ```
/// use std::sync::Arc;
/// use ff_sdk::{Client, FlowFabricWorker, MemoryBackend, Submission, WorkerConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let backend = Arc::new(MemoryBackend::new());
/// # let client = Client::connect_with(backend.clone(), "demo").await?;
/// # client.submit(Submission::new("double").payload("21")).await?;
/// # let config = WorkerConfig::new("worker", "worker-1", "demo")?;
/// # let worker = FlowFabricWorker::connect_with(config, backend, None).await?;
/// let task = worker.claim_next().await?.expect("there is work");
/// let text = String::from_utf8_lossy(task.input_payload().unwrap_or_default()).into_owned();
/// match text.parse::<u64>() {
///     Ok(number) => task.complete(Some((2 * number).to_string().into_bytes())).await?,
///     Err(error) => {
///         task.fail_permanently(error.to_string(), "bad_number").await?;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a dropped task is reclaimed only after its lease has expired"]
pub struct ClaimedTask {
    owner: Owner,
    work: ClaimedWork,
    lease: Arc<LeaseState>,
    output: tokio::sync::Mutex<Output>,
}

/// The worker's side of a task: on drop it stops renewing the lease, and then frees the slot.
struct Owner {
    slot: Slots,
    lease_id: LeaseId,
    /// Counts the task as running.
    _running: Share,
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

/// Watches the lease of a task. It may outlive the task; then it resolves when the task ends.
///
/// ```
/// use ff_sdk::{ClaimedTask, SdkError};
///
/// async fn run(task: ClaimedTask) -> Result<(), SdkError> {
///     let watch = task.lease_watch();
///     tokio::select! {
///         () = watch.lost() => Ok(()), // Another worker may own the execution now: stop.
///         () = work() => task.complete(None).await,
///     }
/// }
/// # async fn work() {}
/// ```
#[derive(Clone, Debug)]
pub struct LeaseWatch(Arc<LeaseState>);

impl LeaseWatch {
    /// Waits until the lease is lost or revoked, the execution ends, or the task is finished or
    /// dropped.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn lost(&self) {
        self.0.lost().await;
    }

    /// Returns whether the lease is lost, or the task has ended.
    pub fn is_lost(&self) -> bool {
        self.0.is_lost()
    }
}

impl ClaimedTask {
    pub(crate) fn new(slot: Slots, work: ClaimedWork, lease: Arc<LeaseState>) -> Self {
        let running = slot.state().meter.runs(&work.claimed.lane);
        let owner = Owner { slot, lease_id: work.claimed.lease_id, _running: running };
        let output = tokio::sync::Mutex::new(Output::new(work.claimed.attempt.frames));
        Self { owner, work, lease, output }
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

    /// The cached record, from which a command starts instead of a read.
    fn known(&self) -> Known {
        lock(&self.owner.slot.state().agent).leases.known(self.lease_id())
    }

    /// Forgets the cached record after a call that may have changed it.
    fn failed(&self, error: Option<&EngineError>) {
        if let Some(error) = error {
            lock(&self.owner.slot.state().agent).leases.failed(self.lease_id(), error);
        }
    }

    /// Logs the result of a command, and caches the record that it wrote.
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
                tracing::debug!(%execution, %epoch, %error, "{name} failed");
                self.failed(error.engine());
                Err(error)
            }
        }
    }

    /// The id of the execution.
    pub const fn execution_id(&self) -> ExecutionId {
        self.claimed().execution_id
    }

    /// The index of this attempt, from 0.
    pub const fn attempt_index(&self) -> AttemptIndex {
        self.claimed().attempt.index
    }

    /// The id of this attempt.
    pub const fn attempt_id(&self) -> AttemptId {
        self.claimed().attempt.id
    }

    /// The reason why this attempt was started: first, retry, reclaim or replay.
    pub const fn attempt_kind(&self) -> AttemptKind {
        self.claimed().attempt.kind
    }

    /// The id of the lease.
    pub const fn lease_id(&self) -> LeaseId {
        self.claimed().lease_id
    }

    /// The fencing epoch of the lease. Pass it and the lease id to outside systems as a fencing
    /// token.
    pub const fn lease_epoch(&self) -> LeaseEpoch {
        self.claimed().lease_epoch
    }

    /// The payload of the submission; `None` (no payload) and an empty payload are different.
    pub fn input_payload(&self) -> Option<&[u8]> {
        self.work.payload.as_deref()
    }

    /// The payload as a shared buffer, which is cheap to clone.
    pub const fn payload(&self) -> Option<&Bytes> {
        self.work.payload.as_ref()
    }

    /// The kind of the execution, which selects the handler.
    pub const fn execution_kind(&self) -> &ExecutionKind {
        &self.claimed().kind
    }

    /// The lane of the execution.
    pub const fn lane_id(&self) -> &LaneId {
        &self.claimed().lane
    }

    /// The tags of the execution.
    pub const fn tags(&self) -> &Tags {
        &self.claimed().tags
    }

    /// The trace context of the submitter, as a valid header `traceparent`; `None` if it gave none
    /// ([`Submission::trace_parent`](crate::Submission::trace_parent)).
    pub fn trace_parent(&self) -> Option<&str> {
        self.tags().get(TRACE_PARENT).filter(|header| is_trace_parent(header))
    }

    /// The number of retries in this life so far.
    pub const fn retry_count(&self) -> u32 {
        self.claimed().counts.retries
    }

    /// The number of reclaims in this life so far.
    pub const fn reclaim_count(&self) -> u32 {
        self.claimed().counts.reclaims
    }

    /// Returns whether this worker can assume that it owns the execution. `false` after three
    /// failed renewals in a row, and when the lease must have expired by this host's own clock.
    pub fn is_lease_healthy(&self) -> bool {
        let state = self.owner.slot.state();
        let now = state.connection.clock.now();
        let health = lock(&state.agent).leases.health(self.lease_id(), now);
        !self.lease.is_lost() && health.is_some_and(|health| health.healthy)
    }

    /// The number of renewals that failed in a row.
    pub fn consecutive_renewal_failures(&self) -> u32 {
        let state = self.owner.slot.state();
        let now = state.connection.clock.now();
        let health = lock(&state.agent).leases.health(self.lease_id(), now);
        health.map_or(0, |health| health.consecutive_failures)
    }

    /// Waits until the lease is lost or revoked, or the execution ends.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn lease_lost(&self) {
        self.lease.lost().await;
    }

    /// Determines why the lease was lost.
    pub(crate) async fn lease_end(&self) -> LeaseEnd {
        // As long as it takes to read the execution, or to give up.
        let end = tokio::time::timeout(2 * Duration::from(READ_PATIENCE), self.lease.end());
        let unknown = |_| LeaseEnd::Lost("the store did not answer".to_owned());
        end.await.map_or_else(unknown, Clone::clone)
    }

    /// Determines why a finishing call was refused; `None` if it failed for another reason than the
    /// end of the lease.
    pub(crate) async fn refused(&self, error: &SdkError) -> Option<LeaseEnd> {
        let error = error.engine().filter(|error| error.class() == ErrorClass::Cooperative)?;
        let ended = EndedLease {
            execution_id: self.execution_id(),
            lease_id: self.lease_id(),
            attempt_id: self.attempt_id(),
            reason: LostReason::Refused(error.clone()),
        };
        Some(ended.explain(&self.owner.slot.state().connection).await)
    }

    /// Returns a watch of the lease that does not borrow the task.
    pub fn lease_watch(&self) -> LeaseWatch {
        LeaseWatch(self.lease.clone())
    }

    /// Renews the lease now, and returns when it expires, by the store's clock. The worker renews
    /// leases itself; call this only to check a lease with the store.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `StaleLease`, `ExecutionNotActive`, `LeaseRevoked` or
    /// `LeaseExpired`, and when the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn renew_lease(&self) -> Result<TimestampMs, SdkError> {
        let (execution_id, lease_ttl) = (self.execution_id(), self.claimed().lease_ttl);
        let state = self.owner.slot.state();
        let renew = Renew { execution_id, fence: self.fence(), lease_ttl };
        let renewed = state.connection.transact_knowing(renew, self.known()).await;
        let renewed = renewed.inspect_err(|error| self.failed(error.engine()))?;
        let mut claimed = self.claimed().clone();
        claimed.expires_at = renewed.outcome.expires_at;
        let (record, first_sent, at) = (renewed.record, renewed.first_sent, renewed.at);
        lock(&state.agent).track(&claimed, record, first_sent, at);
        Ok(renewed.outcome.expires_at)
    }

    /// Reports progress: 0 to 100 percent, and a message. The last report wins.
    ///
    /// # Errors
    ///
    /// As for [`ClaimedTask::renew_lease`], and `InvalidInput` above 100 percent.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn update_progress(
        &self,
        percent: u8,
        message: Option<&str>,
    ) -> Result<(), SdkError> {
        let message = message.map(str::to_owned);
        let (execution_id, fence) = (self.execution_id(), self.fence());
        self.call(UpdateProgress { execution_id, fence, percent, message }).await
    }

    /// Charges a budget of the worker's namespace, as
    /// [`Client::report_usage`](crate::Client::report_usage). It does not depend on the lease: what
    /// was used is charged, even if another worker owns the execution now. A dedup key made of the
    /// execution id and a step charges once, however many attempts there are.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancel safety
    ///
    /// As there.
    pub async fn report_usage(
        &self,
        budget: &BudgetId,
        amounts: &[(&str, u64)],
        dedup_key: Option<&str>,
    ) -> Result<ReportUsageResult, SdkError> {
        let state = self.owner.slot.state();
        state.connection.report_usage(&state.namespace(), budget, amounts, dedup_key).await
    }

    /// Completes the execution. The result is stored byte for byte, at most 1 MiB; no result and an
    /// empty one are different.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `StaleLease`, `ExecutionNotActive`, `LeaseRevoked`,
    /// `LeaseExpired` or `PayloadTooLarge`, and when the store does not answer. `Timeout` says
    /// whether the call may have been applied.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the call may or may not be applied, as in a crash.
    pub async fn complete(self, result: Option<Vec<u8>>) -> Result<(), SdkError> {
        self.end_complete(result).await
    }

    pub(crate) async fn end_complete(&self, result: Option<Vec<u8>>) -> Result<(), SdkError> {
        let (execution_id, fence) = (self.execution_id(), self.fence());
        let command = Complete { execution_id, fence, result: result.map(Bytes::from) };
        let state = self.owner.slot.state();
        let command = InNamespace { namespace: state.namespace(), command };
        let (name, patience) = (command.name(), state.connection.patience());
        let operation = CarryCommand::knowing(command, self.known(), patience);
        let result = state.gatherer.complete(&state.connection, operation).await;
        self.answered(name, result.map_err(SdkError::from))
    }

    /// Fails the attempt. The retry policy decides by `category` whether the execution is retried;
    /// `reason` is for people, and is truncated to 4,096 bytes.
    ///
    /// A category is 1 to 64 printable ASCII bytes without space. An invalid one never costs the
    /// task: the attempt fails with category `handler_error`, and the reason names the invalid one.
    ///
    /// # Errors
    ///
    /// As for [`ClaimedTask::complete`].
    ///
    /// # Cancel safety
    ///
    /// As for [`ClaimedTask::complete`].
    pub async fn fail(
        self,
        reason: impl Into<String>,
        category: &str,
    ) -> Result<FailOutcome, SdkError> {
        self.end_fail(reason.into(), category, RetryAdvice::ByPolicy).await
    }

    /// Fails the execution without a retry, whatever its retry policy.
    ///
    /// # Errors
    ///
    /// As for [`ClaimedTask::fail`].
    ///
    /// # Cancel safety
    ///
    /// As for [`ClaimedTask::complete`].
    pub async fn fail_permanently(
        self,
        reason: impl Into<String>,
        category: &str,
    ) -> Result<FailOutcome, SdkError> {
        self.end_fail(reason.into(), category, RetryAdvice::Never).await
    }

    /// Fails the attempt, and says when a retry can help: if the retry policy allows a retry, it
    /// starts `after` this time instead of after the policy's backoff. For a service that says when
    /// it can be called again.
    ///
    /// # Errors
    ///
    /// As for [`ClaimedTask::fail`].
    ///
    /// # Cancel safety
    ///
    /// As for [`ClaimedTask::complete`].
    pub async fn fail_and_retry_after(
        self,
        reason: impl Into<String>,
        category: &str,
        after: Duration,
    ) -> Result<FailOutcome, SdkError> {
        let retry = RetryAdvice::After(DurationMs::from(after));
        self.end_fail(reason.into(), category, retry).await
    }

    pub(crate) async fn end_fail(
        &self,
        reason: String,
        category: &str,
        retry: RetryAdvice,
    ) -> Result<FailOutcome, SdkError> {
        let (category, reason) = match FailureCategory::try_new(category) {
            Ok(category) => (category, reason),
            // First in the reason, whose end may be cut off.
            Err(_) => {
                let invalid = truncated(category, 4 * TEXT_ID_MAX_BYTES);
                (default_category(), format!("invalid category {invalid:?}: {reason}"))
            }
        };
        let (execution_id, fence) = (self.execution_id(), self.fence());
        let failed = Fail { execution_id, fence, reason, category, retry };
        let outcome = self.call(failed).await?;
        if let FailOutcome::RetryScheduled { delay_until } = outcome {
            self.owner.slot.state().will_be_due(execution_id, delay_until);
        }
        Ok(outcome)
    }

    /// Cancels the execution.
    ///
    /// # Errors
    ///
    /// As for [`ClaimedTask::complete`].
    ///
    /// # Cancel safety
    ///
    /// As for [`ClaimedTask::complete`].
    pub async fn cancel(self, reason: impl Into<String>) -> Result<(), SdkError> {
        self.end_cancel(reason.into()).await
    }

    pub(crate) async fn end_cancel(&self, reason: String) -> Result<(), SdkError> {
        let (execution_id, by) = (self.execution_id(), CancelledBy::Holder(self.fence()));
        self.call(Cancel { execution_id, by, reason }).await
    }

    /// Releases the execution until a time of the store's clock. Then a worker continues the same
    /// attempt.
    ///
    /// # Errors
    ///
    /// As for [`ClaimedTask::complete`].
    ///
    /// # Cancel safety
    ///
    /// As for [`ClaimedTask::complete`].
    pub async fn delay_execution(self, until: TimestampMs) -> Result<(), SdkError> {
        self.end_delay(until).await
    }

    pub(crate) async fn end_delay(&self, until: TimestampMs) -> Result<(), SdkError> {
        self.end_until(until, false).await
    }

    /// Releases the execution immediately, as if it had not been claimed. The next worker continues
    /// the same attempt, with the signals that resumed it.
    ///
    /// # Errors
    ///
    /// As for [`ClaimedTask::complete`].
    ///
    /// # Cancel safety
    ///
    /// As for [`ClaimedTask::complete`].
    pub async fn give_back(self) -> Result<(), SdkError> {
        self.end_give_back().await
    }

    pub(crate) async fn end_give_back(&self) -> Result<(), SdkError> {
        self.end_until(self.store_now(), true).await
    }

    async fn end_until(&self, until: TimestampMs, keeps_resumption: bool) -> Result<(), SdkError> {
        let (execution_id, fence) = (self.execution_id(), self.fence());
        self.call(DelayExecution { execution_id, fence, until, keeps_resumption }).await?;
        self.owner.slot.state().will_be_due(execution_id, until);
        Ok(())
    }

    /// Releases the execution until all its children have ended. Then a worker continues the same
    /// attempt.
    ///
    /// # Errors
    ///
    /// As for [`ClaimedTask::complete`].
    ///
    /// # Cancel safety
    ///
    /// As for [`ClaimedTask::complete`].
    pub async fn move_to_waiting_children(self) -> Result<(), SdkError> {
        self.end_wait_for_children().await
    }

    pub(crate) async fn end_wait_for_children(&self) -> Result<(), SdkError> {
        let (execution_id, fence) = (self.execution_id(), self.fence());
        self.call(MoveToWaitingChildren { execution_id, fence }).await
    }

    /// Stops renewing the lease.
    pub(crate) fn stop_renewing(&self) {
        self.owner.slot.state().release(self.lease_id());
    }

    /// The store's time, as this host estimates it from replies.
    pub fn store_now(&self) -> TimestampMs {
        self.owner.slot.state().connection.store_now(self.execution_id().partition())
    }
}
