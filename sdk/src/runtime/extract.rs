//! What a handler can ask for: its payload, shared state, and the context of its task.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use ff_core::execution::{AttemptKind, IssuedWaitpoint, Resumption};
use ff_core::id::{AttemptIndex, ExecutionId, ExecutionKind, LaneId, LeaseEpoch, LeaseId};
use ff_core::op::ReceivedSignal;
use ff_core::store::Bytes;
use ff_core::tags::Tags;
use ff_core::time::TimestampMs;
use serde::de::DeserializeOwned;

use crate::error::SdkError;
use crate::task::ClaimedTask;

use super::outcome::HandlerError;

/// Values that handlers share, by type.
#[derive(Clone, Default)]
pub(super) struct States(BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl States {
    pub(super) fn insert<T: Send + Sync + 'static>(&mut self, state: Arc<T>) {
        self.0.insert(TypeId::of::<T>(), state);
    }

    fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.get(&TypeId::of::<T>()).cloned()?.downcast().ok()
    }
}

/// A task as its handler sees it: everything but the finishing calls, which follow from what the
/// handler returns. Cloning is cheap.
#[derive(Clone)]
pub struct TaskContext {
    pub(super) task: Arc<ClaimedTask>,
    pub(super) states: Arc<States>,
    pub(super) resumption: Option<Arc<Resumption>>,
    pub(super) signals: Arc<[ReceivedSignal]>,
}

impl std::fmt::Debug for TaskContext {
    /// Without what its task was given.
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
    /// The execution.
    pub fn execution_id(&self) -> ExecutionId {
        self.task.execution_id()
    }

    /// Which handler it is for.
    pub fn execution_kind(&self) -> &ExecutionKind {
        self.task.execution_kind()
    }

    /// The queue that it came from.
    pub fn lane_id(&self) -> &LaneId {
        self.task.lane_id()
    }

    /// The number of the attempt that runs, from 0.
    pub fn attempt_index(&self) -> AttemptIndex {
        self.task.attempt_index()
    }

    /// Why the attempt was started.
    pub fn attempt_kind(&self) -> AttemptKind {
        self.task.attempt_kind()
    }

    /// Retries in this life so far.
    pub fn retry_count(&self) -> u32 {
        self.task.retry_count()
    }

    /// The lease.
    pub fn lease_id(&self) -> LeaseId {
        self.task.lease_id()
    }

    /// The fencing token: fence the outside world with it and the lease id.
    pub fn lease_epoch(&self) -> LeaseEpoch {
        self.task.lease_epoch()
    }

    /// The user's labels.
    pub fn tags(&self) -> &Tags {
        self.task.tags()
    }

    /// Whether this worker may believe that it owns the execution.
    pub fn is_lease_healthy(&self) -> bool {
        self.task.is_lease_healthy()
    }

    /// Resolves when the lease is lost or revoked, or the execution is over. Cancel safe.
    pub async fn lease_lost(&self) {
        self.task.lease_lost().await;
    }

    /// Reports progress; the last report wins.
    ///
    /// # Errors
    ///
    /// As for [`ClaimedTask::update_progress`]. Cancel safe.
    pub async fn update_progress(
        &self,
        percent: u8,
        message: Option<&str>,
    ) -> Result<(), SdkError> {
        self.task.update_progress(percent, message).await
    }

    /// Appends a frame to the attempt's output, and waits until it is kept.
    ///
    /// # Errors
    ///
    /// As for [`ClaimedTask::append_frame`]; cancellation too.
    pub async fn append_frame(
        &self,
        frame_type: impl AsRef<str>,
        payload: impl AsRef<[u8]>,
        metadata: BTreeMap<String, String>,
    ) -> Result<u64, SdkError> {
        self.task.append_frame(frame_type, payload, metadata).await
    }

    /// Opens a waitpoint while the handler runs, so that its token can be handed out before the
    /// handler returns a suspension that uses it.
    ///
    /// # Errors
    ///
    /// As for [`ClaimedTask::create_pending_waitpoint`]; cancellation too.
    pub async fn create_pending_waitpoint(
        &self,
        key: impl AsRef<str>,
        expires_in: Option<Duration>,
    ) -> Result<IssuedWaitpoint, SdkError> {
        self.task.create_pending_waitpoint(key, expires_in).await
    }

    /// How a suspension was resumed, if the handler goes on after one.
    pub fn resumption(&self) -> Option<&Resumption> {
        self.resumption.as_deref()
    }

    /// The store's clock, as far as this host knows it.
    pub fn store_now(&self) -> TimestampMs {
        self.task.store_now()
    }
}

/// Something that a handler can ask for as an argument.
pub trait FromTask: Sized {
    /// Makes it from the task.
    ///
    /// # Errors
    ///
    /// Whatever makes the attempt fail before the handler is called.
    fn from_task(context: &TaskContext) -> Result<Self, HandlerError>;
}

impl FromTask for TaskContext {
    fn from_task(context: &TaskContext) -> Result<Self, HandlerError> {
        Ok(context.clone())
    }
}

/// The signals that satisfied the suspension after which the handler goes on, in the order in which
/// they came; none where it does not go on after one, or by an operator or a timeout.
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

/// The payload, read as JSON. What is no such JSON fails for good with category
/// `invalid_payload`.
#[derive(Clone, Debug)]
pub struct Payload<T>(
    /// The value.
    pub T,
);

impl<T: DeserializeOwned> FromTask for Payload<T> {
    fn from_task(context: &TaskContext) -> Result<Self, HandlerError> {
        let bytes = context.task.input_payload().unwrap_or(b"null");
        serde_json::from_slice(bytes)
            .map(Self)
            .map_err(|error| HandlerError::new("invalid_payload", error.to_string()).permanent())
    }
}

/// The payload as it is; `None` without one.
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

/// A value that was given to the runtime with `state`; it derefs to the value.
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
            let reason = format!("no state of type {wanted}: give it with WorkerRuntime::state");
            HandlerError::new("missing_state", reason)
        })
    }
}
