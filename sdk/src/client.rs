//! The client: submits executions, waits for their results, and operates on them.

mod budgets;
mod bulk;
mod gauges;
mod lanes;
mod list;
mod quotas;
mod records;
mod result;
mod scans;
mod stats;
mod streams;
mod submitting;
mod waiting;
mod why;
mod workers;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use ff_core::backend::{BackendReport, EngineBackend};
use ff_core::error::{Applied, EngineError};
use ff_core::execution::{
    AnyOutcome, Cancel, CancelledBy, ChangePriority, Command, Create, CreateOutcome,
    ExecutionSnapshot, Facts, InNamespace, OperatorCall, Phase, Replay, Replayed, RevokeLease,
    Revoked, ValueKind, snapshot,
};
use ff_core::id::{ExecutionId, Namespace, RequestId};
use ff_core::lane::Lanes;
use ff_core::op::{CarryCommand, Known, Loaded, OperationContext, Query, ReadExecution};
use ff_core::partition::PartitionConfig;
use ff_core::policy::Priority;
use ff_core::store::bounds::MAX_PAGE;
use ff_core::store::codec::Codec;
use ff_core::store::{Bytes, Cursor, Fetched, JournalEntry, StreamName, StreamPage};
use ff_core::time::{DurationMs, TimestampMs};
use tokio::sync::Semaphore;

use crate::config::ClientConfig;
use crate::end_watch::EndWatches;
use crate::error::SdkError;
use crate::shared::{Connection, Sources, lock};
use crate::submission::{IntoSubmission, Submission};

pub use budgets::BudgetSettings;
pub use bulk::{Bulk, BulkCommand, BulkOutcome, BulkPage, BulkResult};
pub use gauges::QueueGauges;
pub use lanes::{LaneNote, LaneStatus};
pub use result::{ExecutionResult, History, HistoryEntry};
pub use scans::{QuarantinePage, Quarantined};
pub use stats::{LaneStats, Stats};
pub use streams::{Tail, TailItem};
pub use why::{Turn, Why};
pub use workers::{Unserved, WorkerPage, WorkerPosition};

/// A client of one namespace: submits executions, waits for their results, cancels and replays
/// them, delivers signals, and reads lists, history and output (`docs/spec.md`, 11).
///
/// Clones share one connection. Calls need a tokio runtime with time enabled.
///
/// ```
/// use std::sync::Arc;
/// use ff_sdk::{Client, MemoryBackend, PublicState, Submission};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect_with(Arc::new(MemoryBackend::new()), "demo").await?;
/// let id = client.submit(Submission::new("greet").payload("world")).await?.id();
/// let snapshot = client.describe(&id).await?.expect("it was just submitted");
/// assert_eq!(snapshot.state.public_state, PublicState::Waiting);
///
/// client.cancel(&id, "not needed any more").await?;
/// assert!(!client.result(&id).await?.is_success());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    connection: Arc<Connection>,
    config: ClientConfig,
    /// The latest creation time given to a submission in each partition, so that the submissions
    /// of one client keep their order.
    latest_created: Mutex<BTreeMap<u16, TimestampMs>>,
    in_flight: Semaphore,
    /// Whether the last batch with idempotency keys had duplicates. The next batch then reads the
    /// records of its keys first. Without that each duplicate is a conflict, which takes from the
    /// budget of retries, 100 in each second.
    repeats: AtomicBool,
    end_watches: Arc<EndWatches>,
}

/// The maximum of [`Create::position`], which counts like milliseconds after the creation time in
/// the order of a lane. Positions keep the submissions of one client in order.
const MAX_POSITION: u64 = 999;

impl Client {
    /// Connects a client with the default configuration.
    ///
    /// # Errors
    ///
    /// As for [`Client::connect`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect_with(
        backend: Arc<dyn EngineBackend>,
        namespace: impl AsRef<str>,
    ) -> Result<Self, SdkError> {
        Self::connect(ClientConfig::new(namespace)?, backend).await
    }

    /// Connects a client and reads the store's partition configuration, or sets up an empty store.
    ///
    /// # Errors
    ///
    /// - [`SdkError::Config`] when the configuration is invalid or differs from the store's.
    /// - [`SdkError::Engine`] when the store does not answer, or has a newer record format.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect(
        config: ClientConfig,
        backend: Arc<dyn EngineBackend>,
    ) -> Result<Self, SdkError> {
        config.check()?;
        let codec = Codec::knowing(config.known_format);
        let context = OperationContext::new(DurationMs::from(config.call_timeout), codec);
        let (seed, clock, omit_counts) = (config.seed, config.clock, !config.keep_counts);
        let sources = Sources { seed, clock, omit_counts, ends_refused: true };
        let connection =
            Connection::open(backend, config.partition_config, context, sources).await?;
        Ok(Self::over(config, Arc::new(connection)))
    }

    /// A client over a connection.
    pub(crate) fn over(config: ClientConfig, connection: Arc<Connection>) -> Self {
        let end_watches = Arc::new(EndWatches::new(connection.clone()));
        Self::of(config, connection, end_watches)
    }

    /// A client for another namespace over the same connection. Nothing is sent.
    pub fn in_namespace(&self, namespace: &Namespace) -> Self {
        let Inner { connection, config, end_watches, .. } = &*self.0;
        let config = ClientConfig { namespace: namespace.clone(), ..config.clone() };
        Self::of(config, connection.clone(), end_watches.clone())
    }

    fn of(config: ClientConfig, connection: Arc<Connection>, end_watches: Arc<EndWatches>) -> Self {
        let (latest_created, in_flight) = (Mutex::default(), Semaphore::new(config.max_in_flight));
        let repeats = AtomicBool::new(false);
        let inner = Inner { connection, config, latest_created, in_flight, repeats, end_watches };
        Self(Arc::new(inner))
    }

    /// Submits one execution (`docs/spec.md`, 4: create): a [`Submission`] or a
    /// [`Job`](crate::Job).
    ///
    /// If an execution with the same ID exists, or one with the same idempotency key and content,
    /// the call succeeds: it returns [`CreateOutcome::Duplicate`] with the ID of that execution.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`]:
    ///
    /// - `Validation` when the submission is invalid.
    /// - `Conflict(IdempotencyMismatch)` when the idempotency key was used for other content.
    /// - `Timeout` when the store does not answer in time; the execution may have been submitted.
    /// - `Unreachable` or `Transport` when the store cannot be reached or refuses the call, and the
    ///   execution was not submitted.
    /// - `StoreLost` when the store has lost its data since this program connected, which the
    ///   program notices within 30 s. Restart the program.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the execution may or may not be submitted. With an idempotency key, or an
    /// ID that you choose, it is safe to submit it again.
    pub async fn submit(&self, submission: impl IntoSubmission) -> Result<CreateOutcome, SdkError> {
        let create = self.create(submission.into_submission()?)?;
        let execution = create.execution_id;
        let connection = &self.0.connection;
        let operation = CarryCommand::knowing(create, Known::Absent, connection.patience());
        let committed = connection.carry(operation).await?;
        tracing::debug!(%execution, outcome = ?committed.outcome, "submitted");
        Ok(committed.outcome)
    }

    /// Submits many executions, in batches by partition, with at most
    /// [`max_in_flight`](ClientConfig::max_in_flight) batches at the same time.
    ///
    /// The results are in the order of the submissions. Within a lane and partition the executions
    /// are also queued in this order, for up to a thousand submissions per second.
    ///
    /// # Errors
    ///
    /// Each submission has its own result, as for [`Client::submit`].
    ///
    /// # Cancel safety
    ///
    /// As for [`Client::submit`].
    pub async fn submit_many(
        &self,
        submissions: impl IntoIterator<Item = Submission>,
    ) -> Vec<Result<CreateOutcome, SdkError>> {
        let (mut results, mut count) = (Vec::new(), 0);
        self.submit_each(submissions.into_iter().inspect(|_| count += 1), |number, result| {
            if results.len() <= number {
                results.resize_with(number + 1, || None);
            }
            results[number] = Some(result);
            ControlFlow::Continue(())
        })
        .await;
        results.resize_with(count, || None);
        let stopped = || Err(stopped_while_submitting());
        results.into_iter().map(|result| result.unwrap_or_else(stopped)).collect()
    }

    /// Validates a submission without calling the store.
    ///
    /// # Errors
    ///
    /// As for [`Client::submit`], except for errors that depend on the store's records.
    pub fn check(&self, submission: &Submission) -> Result<(), SdkError> {
        let Inner { connection, config, .. } = &*self.0;
        let uuid = connection.entropy().uuid();
        let (partitions, limit) = (&connection.partitions, config.payload_limit);
        let create =
            submission.clone().into_create(&config.namespace, partitions, limit, uuid, 0)?;
        let now = connection.store_now(create.execution_id.partition());
        // The store knows the state of the lane.
        let lanes = Lanes::new(config.namespace.clone());
        let facts = Facts { lanes: Some(&lanes), ..Facts::default() };
        let ruling = ff_core::execution::create(&facts, &create, now);
        ruling.map(|_| ()).map_err(|rejection| EngineError::from(rejection).into())
    }

    fn create(&self, submission: Submission) -> Result<Create, SdkError> {
        let Inner { connection, config, .. } = &*self.0;
        let mut entropy = connection.entropy();
        let (uuid, creator) = (entropy.uuid(), entropy.next_u64());
        let (partitions, limit) = (&connection.partitions, config.payload_limit);
        let mut create =
            submission.into_create(&config.namespace, partitions, limit, uuid, creator)?;
        let now = connection.store_now(create.execution_id.partition());
        let mut latest = lock(&self.0.latest_created);
        let latest = latest.entry(create.execution_id.partition().index).or_default();
        let created = now.max(latest.plus(DurationMs::new(1)));
        let position = created.since(now).get().min(MAX_POSITION);
        *latest = now.plus(DurationMs::new(position));
        create.position = position as u16;
        Ok(create)
    }

    /// Waits until the execution ends, and returns its outcome and result. It waits without a time
    /// limit.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `NotFound` when the namespace has no such execution, or when its
    /// retention has ended; with `Unreachable` or `Transport` when the store does not answer or
    /// refuses the call.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn result(&self, id: &ExecutionId) -> Result<ExecutionResult, SdkError> {
        if let Some(result) = self.result_now(id).await? {
            return Ok(result);
        }
        let mut watch = self.0.end_watches.watch(id);
        loop {
            let _permit = watch.may_have_ended().await?;
            if let Some(result) = self.result_now(id).await? {
                return Ok(result);
            }
        }
    }

    /// Reads the outcome and the result of an execution; `None` if it has not ended.
    async fn result_now(&self, id: &ExecutionId) -> Result<Option<ExecutionResult>, SdkError> {
        let (found, mut values) = self.read(id, &[ValueKind::Result]).await?;
        let Some((loaded, _)) = found else {
            return Err(self.0.connection.not_found().await.into());
        };
        let Phase::Terminal(terminal) = &loaded.execution.phase else { return Ok(None) };
        let result = match values.pop() {
            Some(Fetched::Value(result)) => Some(result),
            _ => None,
        };
        let (outcome, ended_at) = (terminal.outcome.clone(), terminal.at);
        Ok(Some(ExecutionResult { outcome, result, ended_at }))
    }

    /// Reads an execution's snapshot. Returns `None` when the namespace has no such execution.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `Validation` when the store does not have the partition of the ID;
    /// with `Unreachable` or `Transport` when the store does not answer or refuses the call.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn describe(&self, id: &ExecutionId) -> Result<Option<ExecutionSnapshot>, SdkError> {
        let (found, _) = self.read(id, &[]).await?;
        Ok(found.map(|(loaded, at)| snapshot(&loaded.execution, at)))
    }

    /// Returns the number of commits of an execution's record, which changes with every change of
    /// the execution; `None` when the namespace has no such execution. A program that polls an
    /// execution reads the rest only when it has changed. Costs one call.
    ///
    /// # Errors
    ///
    /// As for [`Client::describe`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn version(&self, id: &ExecutionId) -> Result<Option<u64>, SdkError> {
        let (found, _) = self.read(id, &[]).await?;
        Ok(found.map(|(loaded, _)| loaded.version.count))
    }

    /// Reads a value that is stored beside an execution's record: its payload, its result, or the
    /// payload of a signal. Returns `None` when there is no such value.
    ///
    /// # Errors
    ///
    /// As for [`Client::result`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn value(
        &self,
        id: &ExecutionId,
        kind: ValueKind,
    ) -> Result<Option<Bytes>, SdkError> {
        let (found, mut values) = self.read(id, &[kind]).await?;
        found.ok_or(EngineError::NotFound { entity: "execution" })?;
        Ok(match values.pop() {
            Some(Fetched::Value(value)) => Some(value),
            _ => None,
        })
    }

    async fn read(
        &self,
        id: &ExecutionId,
        values: &[ValueKind],
    ) -> Result<(Option<(Loaded, TimestampMs)>, Vec<Fetched>), SdkError> {
        let connection = &self.0.connection;
        connection.check_id(id)?;
        let read = ReadExecution::new(id, values, connection.patience());
        let (found, values, at) = connection.drive(read).await?;
        // An execution of another namespace does not exist for this client.
        let namespace = &self.0.config.namespace;
        let found = found.filter(|loaded| loaded.execution.namespace == *namespace);
        Ok((found.map(|loaded| (loaded, at)), values))
    }

    /// Reads the history of an execution: attempts from its record, events from the journal.
    ///
    /// # Errors
    ///
    /// As for [`Client::result`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn history(&self, id: &ExecutionId) -> Result<History, SdkError> {
        let (found, _) = self.read(id, &[]).await?;
        let loaded = found.ok_or(EngineError::NotFound { entity: "execution" })?.0;
        let attempts = loaded.execution.past_attempts.to_vec();
        let mut history = History { attempts, events: Vec::new() };
        let (partition, stream) = (id.partition(), StreamName::Journal);
        let mut from = Cursor::Start;
        loop {
            let page =
                StreamPage { partition, stream: stream.clone(), from, limit: MAX_PAGE as u32 };
            let connection = &self.0.connection;
            let query = Query::stream(page, connection.patience());
            let (page, _) = connection.drive(query).await?;
            let count = page.entries.len();
            for entry in page.entries {
                // An entry that this program cannot decode, such as one of a newer format, is left
                // out.
                let codec = connection.context().codec();
                let Ok(journal) = codec.decode::<JournalEntry>(&entry.entry) else { continue };
                if journal.execution == *id {
                    let (at, version, epoch) = (entry.id.at, journal.version, journal.epoch);
                    let event = |event| HistoryEntry { at, version, epoch, event };
                    history.events.extend(journal.events.into_iter().map(event));
                }
            }
            if count < MAX_PAGE {
                return Ok(history);
            }
            from = page.next;
        }
    }

    /// Cancels an execution that has not ended, in any phase (`docs/spec.md`, 4). A worker that
    /// holds it loses its lease, and notices that at its next renewal: after a third of the lease's
    /// ttl at the latest, so within 10 s unless `lease_ttl` is set.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`]:
    ///
    /// - `NotFound` when the namespace has no such execution.
    /// - `ExecutionNotActive` when the execution has ended.
    /// - `Superseded` when the execution was replayed during the call.
    /// - `Timeout` when the store does not answer in time, and the call may have been applied.
    /// - `Unreachable` or `Transport` when the store cannot be reached or refuses the call, and the
    ///   call was not applied.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: if the future is dropped, the call may or may not have been applied.
    pub async fn cancel(
        &self,
        id: &ExecutionId,
        reason: impl Into<String>,
    ) -> Result<(), SdkError> {
        let (execution_id, by) = (*id, CancelledBy::Operator(self.operator_call()));
        self.operate(Cancel { execution_id, by, reason: reason.into() }).await
    }

    /// Revokes the lease of an execution, so that another worker can reclaim it immediately.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `NotFound`, `ExecutionNotActive` and `LeaseExpired`; `Superseded`
    /// and `Timeout` as for [`Client::cancel`].
    ///
    /// # Cancel safety
    ///
    /// As for [`Client::cancel`].
    pub async fn revoke_lease(&self, id: &ExecutionId) -> Result<Revoked, SdkError> {
        self.operate(RevokeLease { execution_id: *id, call: self.operator_call() }).await
    }

    /// Changes the priority of an execution that has not ended, and returns the new priority, which
    /// is clamped to 0..=9000. Executions of the same priority stay in the order of their creation.
    ///
    /// # Errors
    ///
    /// As for [`Client::cancel`].
    ///
    /// # Cancel safety
    ///
    /// As for [`Client::cancel`].
    pub async fn change_priority(
        &self,
        id: &ExecutionId,
        priority: i64,
    ) -> Result<Priority, SdkError> {
        let (call, priority) = (self.operator_call(), Priority::clamped(priority));
        self.operate(ChangePriority { execution_id: *id, call, priority }).await
    }

    /// Starts a new life of an execution that has ended.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `NotFound`, `ExecutionNotTerminal` and `MaxReplaysExhausted`;
    /// `Superseded` and `Timeout` as for [`Client::cancel`].
    ///
    /// # Cancel safety
    ///
    /// As for [`Client::cancel`].
    pub async fn replay(&self, id: &ExecutionId) -> Result<Replayed, SdkError> {
        self.operate(Replay { execution_id: *id, call: self.operator_call() }).await
    }

    /// Executes any command of `docs/spec.md`, 4 and 5, in its wire form. Tools and tests use it to
    /// choose the fence, the grant or the request id themselves.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with any rejection of `docs/errors.md`.
    ///
    /// # Cancel safety
    ///
    /// As for [`Client::cancel`].
    pub async fn execute(&self, command: Command) -> Result<AnyOutcome, SdkError> {
        let command = command.parse(&mut self.0.connection.entropy()).map_err(EngineError::from)?;
        let namespace = self.0.config.namespace.clone();
        let command = InNamespace { namespace, command };
        Ok(self.0.connection.transact(command).await?.outcome)
    }

    async fn operate<C: ff_core::execution::Decide>(
        &self,
        command: C,
    ) -> Result<C::Outcome, SdkError> {
        let (name, execution) = (command.name(), command.execution_id());
        let namespace = self.0.config.namespace.clone();
        let committed = self.0.connection.transact(InNamespace { namespace, command }).await?;
        tracing::info!(%execution, "{name}");
        Ok(committed.outcome)
    }

    /// Creates an operator's call with a new request id.
    fn operator_call(&self) -> OperatorCall {
        let id = self.0.connection.entropy().uuid().to_string();
        OperatorCall::new(RequestId::try_new(id).expect("a uuid is a request id"))
    }

    /// Reads the backend's report on its store: load and memory, if the backend knows them.
    ///
    /// # Errors
    ///
    /// [`SdkError::Backend`] when the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn report(&self) -> Result<BackendReport, SdkError> {
        let backend = &self.0.connection.backend;
        let failed = |source| SdkError::Backend { backend: backend.name(), source };
        backend.report().await.map_err(failed)
    }

    /// The backend of this client.
    pub fn backend(&self) -> &Arc<dyn EngineBackend> {
        &self.0.connection.backend
    }

    /// The namespace in which this client submits and sees executions.
    pub fn namespace(&self) -> &Namespace {
        &self.0.config.namespace
    }

    /// The partition counts of the store.
    pub fn partition_config(&self) -> &PartitionConfig {
        &self.0.connection.partitions
    }

    /// The store's time, as this host estimates it from replies; in a cluster, the time of the node
    /// that replied last.
    pub fn store_now(&self) -> TimestampMs {
        self.0.connection.clock.now().store
    }
}

/// The error of a submission whose tokio task was aborted because the runtime shut down.
fn stopped_while_submitting() -> SdkError {
    let (op, elapsed, applied) = ("create", DurationMs::ZERO, Applied::Unknown);
    EngineError::Timeout { op, elapsed, applied }.into()
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("namespace", &self.0.config.namespace)
            .finish_non_exhaustive()
    }
}
