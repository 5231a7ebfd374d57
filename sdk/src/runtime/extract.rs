//! The arguments of handlers: payload, signals, shared state, and the context of the task.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use ff_core::budget::ReportUsageResult;
use ff_core::execution::{AttemptKind, IssuedWaitpoint, Resumption};
use ff_core::id::{
    AttemptIndex, BudgetId, ExecutionId, ExecutionKind, LaneId, LeaseEpoch, LeaseId,
};
use ff_core::op::ReceivedSignal;
use ff_core::store::Bytes;
use ff_core::tags::Tags;
use ff_core::time::TimestampMs;
use serde::de::DeserializeOwned;

use crate::error::SdkError;
use crate::task::ClaimedTask;

use super::failure::HandlerError;

/// The values that the handlers of a runtime share, by type. They are passed to
/// [`WorkerRuntime::state`](crate::WorkerRuntime::state).
#[derive(Clone, Default)]
pub struct SharedState(BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl std::fmt::Debug for SharedState {
    /// Shows the number of values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedState").field("values", &self.0.len()).finish()
    }
}

impl SharedState {
    /// Returns whether there is a value of this type.
    pub fn contains<T: Send + Sync + 'static>(&self) -> bool {
        self.0.contains_key(&TypeId::of::<T>())
    }

    pub(super) fn insert<T: Send + Sync + 'static>(&mut self, state: Arc<T>) {
        self.0.insert(TypeId::of::<T>(), state);
    }

    fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.get(&TypeId::of::<T>()).cloned()?.downcast().ok()
    }
}

/// The task of a handler: everything but the finishing calls, which the runtime makes when the
/// handler returns. Cloning is cheap.
///
/// ```
/// use std::collections::BTreeMap;
/// use ff_sdk::{HandlerError, TaskContext};
///
/// async fn count(task: TaskContext) -> Result<String, HandlerError> {
///     for number in 1..=3_u8 {
///         task.append_frame("log", number.to_string(), BTreeMap::new()).await?;
///         task.update_progress(number * 33, Some("counting")).await?;
///     }
///     Ok("counted".to_owned())
/// }
/// # let _ = |runtime: ff_sdk::WorkerRuntime| runtime.handle("count", count);
/// ```
#[derive(Clone)]
pub struct TaskContext {
    pub(super) task: Arc<ClaimedTask>,
    pub(super) states: Arc<SharedState>,
    pub(super) resumption: Option<Arc<Resumption>>,
    pub(super) signals: Arc<[ReceivedSignal]>,
}

impl std::fmt::Debug for TaskContext {
    /// Leaves out the payload and the signals, which may be confidential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskContext")
            .field("execution_id", &self.execution_id())
            .field("execution_kind", self.execution_kind())
            .field("attempt_index", &self.attempt_index())
            .field("lease_epoch", &self.lease_epoch())
            .finish_non_exhaustive()
    }
}

impl TaskContext {
    /// The id of the execution.
    pub fn execution_id(&self) -> ExecutionId {
        self.task.execution_id()
    }

    /// The kind of the execution, which selected the handler.
    pub fn execution_kind(&self) -> &ExecutionKind {
        self.task.execution_kind()
    }

    /// The lane of the execution.
    pub fn lane_id(&self) -> &LaneId {
        self.task.lane_id()
    }

    /// The trace context of the submitter, as a valid header `traceparent` of W3C Trace Context;
    /// `None` if it gave none ([`Submission::trace_parent`](crate::Submission::trace_parent)). The
    /// span that the handler runs in has it as the field `traceparent`.
    pub fn trace_parent(&self) -> Option<&str> {
        self.task.trace_parent()
    }

    /// The index of this attempt, from 0.
    pub fn attempt_index(&self) -> AttemptIndex {
        self.task.attempt_index()
    }

    /// The reason why this attempt was started: first, retry, reclaim or replay.
    pub fn attempt_kind(&self) -> AttemptKind {
        self.task.attempt_kind()
    }

    /// The number of retries in this life so far.
    pub fn retry_count(&self) -> u32 {
        self.task.retry_count()
    }

    /// The id of the lease.
    pub fn lease_id(&self) -> LeaseId {
        self.task.lease_id()
    }

    /// The fencing epoch of the lease. Pass it and the lease id to outside systems as a fencing
    /// token.
    pub fn lease_epoch(&self) -> LeaseEpoch {
        self.task.lease_epoch()
    }

    /// The tags of the execution.
    pub fn tags(&self) -> &Tags {
        self.task.tags()
    }

    /// Returns whether this worker can assume that it owns the execution, as
    /// [`ClaimedTask::is_lease_healthy`].
    pub fn is_lease_healthy(&self) -> bool {
        self.task.is_lease_healthy()
    }

    /// Waits until the lease is lost or revoked, or the execution ends. The runtime then drops the
    /// handler's future, so this is for other tasks that the handler has spawned.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn lease_lost(&self) {
        self.task.lease_lost().await;
    }

    /// Reports progress, as [`ClaimedTask::update_progress`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn update_progress(
        &self,
        percent: u8,
        message: Option<&str>,
    ) -> Result<(), SdkError> {
        self.task.update_progress(percent, message).await
    }

    /// Charges a budget, as [`ClaimedTask::report_usage`].
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
        self.task.report_usage(budget, amounts, dedup_key).await
    }

    /// Appends a frame to the attempt's output, as [`ClaimedTask::append_frame`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancel safety
    ///
    /// As there.
    pub async fn append_frame(
        &self,
        frame_type: impl AsRef<str>,
        payload: impl AsRef<[u8]>,
        metadata: BTreeMap<String, String>,
    ) -> Result<u64, SdkError> {
        self.task.append_frame(frame_type, payload, metadata).await
    }

    /// Opens a waitpoint while the handler runs, as [`ClaimedTask::create_pending_waitpoint`]: the
    /// handler can pass its token on before it returns a suspension.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Cancel safety
    ///
    /// As there.
    pub async fn create_pending_waitpoint(
        &self,
        key: impl AsRef<str>,
        expires_in: Option<Duration>,
    ) -> Result<IssuedWaitpoint, SdkError> {
        self.task.create_pending_waitpoint(key, expires_in).await
    }

    /// The end of the suspension after which the handler was called; `None` if there was none.
    pub fn resumption(&self) -> Option<&Resumption> {
        self.resumption.as_deref()
    }

    /// The store's time, as this host estimates it from replies.
    pub fn store_now(&self) -> TimestampMs {
        self.task.store_now()
    }
}

/// A type that can be an argument of a handler: [`Payload`], [`RawPayload`], [`Signals`],
/// [`State`] or [`TaskContext`]. Implement it to add your own.
///
/// ```
/// use ff_sdk::{FromTask, HandlerError, TaskContext};
///
/// /// The team that a task belongs to.
/// struct Team(String);
///
/// impl FromTask for Team {
///     fn from_task(task: &TaskContext) -> Result<Self, HandlerError> {
///         let team = task.tags().get("team.name");
///         let missing = || HandlerError::new("no_team", "the execution has no tag team.name");
///         Ok(Self(team.ok_or_else(missing)?.to_owned()))
///     }
/// }
///
/// async fn greet(Team(team): Team) -> String {
///     format!("hello {team}")
/// }
/// # let _ = |runtime: ff_sdk::WorkerRuntime| runtime.handle("greet", greet);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a handler",
    label = "not an argument that can be extracted from a task",
    note = "wrap the payload in `Payload<{Self}>`, and shared state in `State<{Self}>`"
)]
pub trait FromTask: Sized {
    /// Extracts the argument from the task.
    ///
    /// # Errors
    ///
    /// A [`HandlerError`] fails the attempt before the handler is called.
    fn from_task(context: &TaskContext) -> Result<Self, HandlerError>;

    /// Returns the name of a type of shared state that the argument needs and that is missing. A
    /// runtime with a handler that has such an argument does not start. An argument that extracts a
    /// [`State`] itself returns `State::<T>::missing_state(shared)`. Default: `None`.
    fn missing_state(shared: &SharedState) -> Option<&'static str> {
        let _ = shared;
        None
    }
}

impl FromTask for TaskContext {
    fn from_task(context: &TaskContext) -> Result<Self, HandlerError> {
        Ok(context.clone())
    }
}

/// The signals that satisfied the suspension after which the handler was called, in the order in
/// which they were received. Empty when there was no suspension, and when an operator or a timeout
/// ended it.
///
/// ```
/// use ff_sdk::{HandlerError, Signals, Suspension, TaskOutcome};
///
/// async fn deploy(signals: Signals) -> Result<TaskOutcome, HandlerError> {
///     if signals.is_empty() {
///         let suspension = Suspension::until_signal("approval")?;
///         return Ok(TaskOutcome::Suspend(Box::new(suspension)));
///     }
///     Ok(TaskOutcome::Complete(Some(b"deployed".to_vec())))
/// }
/// # let _ = |runtime: ff_sdk::WorkerRuntime| runtime.handle("deploy", deploy);
/// ```
#[derive(Clone, Debug)]
pub struct Signals(
    /// The signals.
    pub Arc<[ReceivedSignal]>,
);

impl Deref for Signals {
    type Target = [ReceivedSignal];

    fn deref(&self) -> &[ReceivedSignal] {
        &self.0
    }
}

impl FromTask for Signals {
    fn from_task(context: &TaskContext) -> Result<Self, HandlerError> {
        Ok(Self(context.signals.clone()))
    }
}

/// The payload, parsed as JSON; no payload is parsed as `null`. A payload that cannot be parsed
/// fails the execution permanently with category `invalid_payload`.
#[derive(Clone, Debug)]
pub struct Payload<T>(
    /// The value.
    pub T,
);

impl<T: DeserializeOwned> FromTask for Payload<T> {
    fn from_task(context: &TaskContext) -> Result<Self, HandlerError> {
        let bytes = context.task.input_payload().unwrap_or(b"null");
        serde_json::from_slice(bytes).map(Self).map_err(|error| {
            let what = if context.task.input_payload().is_some() { "the" } else { "the missing" };
            let reason = format!("cannot parse {what} payload as JSON: {error}");
            HandlerError::permanent(reason).with_category("invalid_payload")
        })
    }
}

/// The payload as bytes; `None` if the execution has none.
#[derive(Clone, Debug)]
pub struct RawPayload(
    /// The payload.
    pub Option<Bytes>,
);

impl FromTask for RawPayload {
    fn from_task(context: &TaskContext) -> Result<Self, HandlerError> {
        Ok(Self(context.task.payload().cloned()))
    }
}

/// A value that was passed to [`WorkerRuntime::state`](crate::WorkerRuntime::state). It derefs to
/// the value. A runtime without a value that one of its handlers needs does not start.
///
/// ```
/// use ff_sdk::{Payload, State};
///
/// async fn greet(Payload(name): Payload<String>, greeting: State<String>) -> String {
///     format!("{} {name}", *greeting)
/// }
/// # let _ = |runtime: ff_sdk::WorkerRuntime| {
/// runtime.state("hello".to_owned()).handle("greet", greet)
/// # };
/// ```
#[derive(Debug)]
pub struct State<T>(
    /// The value.
    pub Arc<T>,
);

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Send + Sync + 'static> FromTask for State<T> {
    fn from_task(context: &TaskContext) -> Result<Self, HandlerError> {
        context.states.get().map(Self).ok_or_else(|| {
            let wanted = std::any::type_name::<T>();
            let reason = format!("no state of type {wanted}: pass one to WorkerRuntime::state");
            HandlerError::new("missing_state", reason)
        })
    }

    fn missing_state(shared: &SharedState) -> Option<&'static str> {
        (!shared.contains::<T>()).then(std::any::type_name::<T>)
    }
}
