//! A client: submits executions, waits for their results, and operates on them.

mod scans;
mod streams;
mod waiting;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ff_core::backend::{BackendReport, EngineBackend};
use ff_core::error::{Applied, EngineError};
use ff_core::execution::{
    AnyOutcome, AttemptSummary, Cancel, CancelledBy, ChangePriority, Command, Create,
    CreateOutcome, Event, ExecutionSnapshot, InNamespace, OperatorCall, Outcome, Replay, Replayed,
    RevokeLease, Revoked, ValueKind, snapshot,
};
use ff_core::id::{ExecutionId, LeaseEpoch, Namespace, RequestId};
use ff_core::op::{
    Batch, Known, ListExecutions, ListFilter, ListPage, ListPosition, Loaded, OperationContext,
    Query, ReadExecution, Transact,
};
use ff_core::partition::PartitionConfig;
use ff_core::policy::Priority;
use ff_core::store::bounds::{MAX_PAGE, MAX_UNITS};
use ff_core::store::codec::Codec;
use ff_core::store::{Bytes, Cursor, Fetched, JournalEntry, StreamName, StreamPage, Topic};
use ff_core::time::{DurationMs, TimestampMs};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::config::ClientConfig;
use crate::error::SdkError;
use crate::shared::{Connection, Sources, lock};
use crate::submission::Submission;

pub use scans::{QuarantinePage, Quarantined};
pub use streams::{Tail, TailItem};

/// A client of one namespace. Cloning gives another handle to the same client.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    connection: Connection,
    config: ClientConfig,
    /// The latest place in time given to a submission in each partition, so that one client's
    /// submissions keep their order.
    places: Mutex<BTreeMap<u16, TimestampMs>>,
    in_flight: Semaphore,
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ExecutionResult {
    /// How its life ended.
    pub outcome: Outcome,
    /// What its worker handed back; no result and an empty one are different.
    pub result: Option<Bytes>,
    /// When it ended, by the store's clock.
    pub ended_at: TimestampMs,
}

impl ExecutionResult {
    /// What its worker handed back.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.result.as_deref()
    }

    /// What its worker handed back, read as JSON; no result is read as `null`.
    ///
    /// # Errors
    ///
    /// [`SdkError::Config`] when it is no such JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, SdkError> {
        serde_json::from_slice(self.bytes().unwrap_or(b"null"))
            .map_err(|error| SdkError::config("execution result", "result", error.to_string()))
    }

    /// Whether it completed.
    pub fn is_success(&self) -> bool {
        self.outcome == Outcome::Success
    }
}

/// What happened to an execution, as far as it is kept.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct History {
    /// Its latest attempts that are over, from the record.
    pub attempts: Vec<AttemptSummary>,
    /// Its events, from the journal; older ones may be dropped.
    pub events: Vec<HistoryEntry>,
}

/// One event of an execution.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// When, by the store's clock.
    pub at: TimestampMs,
    /// The count of the record's version after it.
    pub version: u64,
    /// The fencing token of the latest lease.
    pub epoch: LeaseEpoch,
    /// What happened.
    pub event: Event,
}

/// The farthest that a submission's place in its lane is moved, so that those of one client keep
/// their order: just under a second.
const MAX_POSITION: u64 = 999;

/// How long to wait for a wake-up before reading a record again.
const BACKSTOP: Duration = Duration::from_secs(1);

impl Client {
    /// Connects a client with the default configuration.
    ///
    /// # Errors
    ///
    /// As for [`Client::connect`]. Cancel safe.
    pub async fn connect_with(
        backend: Arc<dyn EngineBackend>,
        namespace: impl AsRef<str>,
    ) -> Result<Self, SdkError> {
        Self::connect(ClientConfig::new(namespace)?, backend).await
    }

    /// Connects a client and agrees on the partition configuration.
    ///
    /// # Errors
    ///
    /// [`SdkError::Config`] for a configuration that cannot be or that the store contradicts,
    /// [`SdkError::Engine`] when the store does not answer. Cancel safe.
    pub async fn connect(
        config: ClientConfig,
        backend: Arc<dyn EngineBackend>,
    ) -> Result<Self, SdkError> {
        config.check()?;
        let codec = Codec::knowing(config.known_format);
        let context = OperationContext::new(DurationMs::from(config.call_timeout), codec);
        let sources = Sources { seed: config.seed, clock: config.clock };
        let connection =
            Connection::open(backend, config.partition_config, context, sources).await?;
        let (places, in_flight) = (Mutex::default(), Semaphore::new(config.max_in_flight));
        Ok(Self(Arc::new(Inner { connection, config, places, in_flight })))
    }

    /// Submits one execution.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `Validation` for what cannot be right and
    /// `Conflict(IdempotencyMismatch)` when the key stands for other content.
    ///
    /// Dropping the future may leave the execution submitted or not: use an idempotency key or an
    /// id of your own to submit it again.
    pub async fn submit(&self, submission: Submission) -> Result<CreateOutcome, SdkError> {
        let create = self.create(submission)?;
        let execution = create.execution_id;
        let connection = &self.0.connection;
        let operation = Transact::knowing(create, Known::Absent, connection.patience());
        let committed = connection.drive(operation).await?;
        tracing::debug!(%execution, outcome = ?committed.outcome, "submitted");
        Ok(committed.outcome)
    }

    /// Submits many executions, gathered by partition, a bounded number of calls at once. The
    /// results are in the order of the submissions; within a lane and partition the executions are
    /// too, up to a thousand in a second.
    ///
    /// # Errors
    ///
    /// Each submission has its own result, as for [`Client::submit`]; cancellation is as there.
    pub async fn submit_many(
        &self,
        submissions: impl IntoIterator<Item = Submission>,
    ) -> Vec<Result<CreateOutcome, SdkError>> {
        let mut results: Vec<Option<Result<CreateOutcome, SdkError>>> = Vec::new();
        let mut by_partition: BTreeMap<u16, Vec<(usize, Create)>> = BTreeMap::new();
        for (number, submission) in submissions.into_iter().enumerate() {
            match self.create(submission) {
                Ok(create) => {
                    let partition = create.execution_id.partition().index;
                    by_partition.entry(partition).or_default().push((number, create));
                    results.push(None);
                }
                Err(error) => results.push(Some(Err(error))),
            }
        }
        let mut running = tokio::task::JoinSet::new();
        for (_, creates) in by_partition {
            let client = self.clone();
            running.spawn(async move { client.submit_to_one(creates).await });
        }
        while let Some(done) = running.join_next().await {
            for (number, result) in done.into_iter().flatten() {
                results[number] = Some(result);
            }
        }
        let lost = || Err(unfinished("create"));
        results.into_iter().map(|result| result.unwrap_or_else(lost)).collect()
    }

    /// Submits executions of one partition in their order, a chunk at a time.
    async fn submit_to_one(
        &self,
        creates: Vec<(usize, Create)>,
    ) -> Vec<(usize, Result<CreateOutcome, SdkError>)> {
        let mut results = Vec::with_capacity(creates.len());
        let mut creates = creates.into_iter().peekable();
        while let Some((_, first)) = creates.peek() {
            let partition = first.execution_id.partition();
            let Ok(_permit) = self.0.in_flight.acquire().await else { break };
            let (numbers, operations): (Vec<usize>, Vec<_>) = creates
                .by_ref()
                .take(MAX_UNITS)
                .map(|(number, create)| {
                    let patience = self.0.connection.patience();
                    (number, Transact::knowing(create, Known::Absent, patience))
                })
                .unzip();
            let done = self.0.connection.drive(Batch::new(partition, operations)).await;
            let done = done.into_iter().map(|result| Ok(result?.outcome));
            results.extend(numbers.into_iter().zip(done));
        }
        results
    }

    /// Checks a submission as far as that is possible without asking the store.
    ///
    /// # Errors
    ///
    /// As for [`Client::submit`].
    pub fn check(&self, submission: &Submission) -> Result<(), SdkError> {
        let Inner { connection, config, .. } = &*self.0;
        let drawn = (connection.entropy().uuid(), 0);
        let (partitions, limit) = (&connection.partitions, config.payload_limit);
        let create = submission.clone().into_create(&config.namespace, partitions, limit, drawn)?;
        let now = connection.store_now(create.execution_id.partition());
        let ruling = ff_core::execution::create(None, &create, now);
        ruling.map(|_| ()).map_err(|rejection| EngineError::from(rejection).into())
    }

    fn create(&self, submission: Submission) -> Result<Create, SdkError> {
        let Inner { connection, config, .. } = &*self.0;
        let mut entropy = connection.entropy();
        let drawn = (entropy.uuid(), entropy.next_u64());
        let (partitions, limit) = (&connection.partitions, config.payload_limit);
        let mut create = submission.into_create(&config.namespace, partitions, limit, drawn)?;
        let now = connection.store_now(create.execution_id.partition());
        let mut places = lock(&self.0.places);
        let last = places.entry(create.execution_id.partition().index).or_default();
        let place = now.max(last.plus(DurationMs::new(1)));
        let position = place.since(now).get().min(MAX_POSITION);
        *last = now.plus(DurationMs::new(position));
        create.position = position as u16;
        Ok(create)
    }

    /// Waits until the execution is over.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `NotFound` when there is no such execution, or its retention is
    /// over. Cancel safe.
    pub async fn result(&self, id: &ExecutionId) -> Result<ExecutionResult, SdkError> {
        let connection = &self.0.connection;
        let mut wakes = None;
        loop {
            let (found, mut values) = self.read(id, &[ValueKind::Result]).await?;
            let loaded = found.ok_or(EngineError::NotFound { entity: "execution" })?.0;
            if let ff_core::execution::Phase::Terminal(terminal) = &loaded.execution.phase {
                let result = match values.pop() {
                    Some(Fetched::Value(result)) => Some(result),
                    _ => None,
                };
                let (outcome, ended_at) = (terminal.outcome.clone(), terminal.at);
                return Ok(ExecutionResult { outcome, result, ended_at });
            }
            match &mut wakes {
                // Subscribed now; what ended before that is seen by reading once more.
                None => wakes = Some(connection.backend.subscribe(journal_of(id))),
                Some(Some(stream)) => {
                    if let Ok(None) = tokio::time::timeout(BACKSTOP, stream.next()).await {
                        wakes = Some(None);
                    }
                }
                Some(None) => tokio::time::sleep(BACKSTOP).await,
            }
        }
    }

    /// What there is to know of an execution; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`]. Cancel safe.
    pub async fn describe(&self, id: &ExecutionId) -> Result<Option<ExecutionSnapshot>, SdkError> {
        let (found, _) = self.read(id, &[]).await?;
        Ok(found.map(|(loaded, at)| snapshot(&loaded.execution, at)))
    }

    /// A value beside an execution: what its submitter handed in, or its worker handed back.
    ///
    /// # Errors
    ///
    /// As for [`Client::result`]. Cancel safe.
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
        // Another tenant's execution is none of ours.
        let namespace = &self.0.config.namespace;
        let found = found.filter(|loaded| loaded.execution.namespace == *namespace);
        Ok((found.map(|loaded| (loaded, at)), values))
    }

    /// A page of the namespace's executions: partition by partition, within each by creation time.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`]. Cancel safe.
    pub async fn list(
        &self,
        filter: ListFilter,
        from: Option<ListPosition>,
        limit: usize,
    ) -> Result<ListPage, SdkError> {
        let Inner { connection, config, .. } = &*self.0;
        let namespace = config.namespace.clone();
        let (partitions, patience) = (&connection.partitions, connection.patience());
        let list = ListExecutions::new(partitions, namespace, filter, from, limit, patience);
        Ok(connection.drive(list).await?)
    }

    /// What happened to an execution: attempts from the record, events from the journal.
    ///
    /// # Errors
    ///
    /// As for [`Client::result`]. Cancel safe.
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
                // An entry of a newer format is another program's to understand.
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

    /// Cancels an execution, in whatever phase it is.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `NotFound`, `ExecutionNotActive` when it is over, `Superseded`
    /// when it was replayed meanwhile, and `Timeout` when nobody can say whether it was applied.
    ///
    /// Dropping the future may leave the call applied or not, like a crash.
    pub async fn cancel(
        &self,
        id: &ExecutionId,
        reason: impl Into<String>,
    ) -> Result<(), SdkError> {
        let (execution_id, by) = (*id, CancelledBy::Operator(self.operator_call()));
        self.operate(Cancel { execution_id, by, reason: reason.into() }).await
    }

    /// Takes an execution's lease away; the work can be reclaimed at once.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `NotFound`, `ExecutionNotActive`, `LeaseExpired`, and `Superseded`
    /// and `Timeout` as for [`Client::cancel`]; cancellation too.
    pub async fn revoke_lease(&self, id: &ExecutionId) -> Result<Revoked, SdkError> {
        self.operate(RevokeLease { execution_id: *id, call: self.operator_call() }).await
    }

    /// Changes an execution's priority; it keeps its place in time.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `NotFound`, `ExecutionNotActive` when it is over, `Superseded`
    /// when it was replayed meanwhile, and `Timeout` when nobody can say whether it was applied.
    ///
    /// Dropping the future may leave the call applied or not, like a crash.
    pub async fn change_priority(
        &self,
        id: &ExecutionId,
        priority: i64,
    ) -> Result<Priority, SdkError> {
        let (call, priority) = (self.operator_call(), Priority::clamped(priority));
        self.operate(ChangePriority { execution_id: *id, call, priority }).await
    }

    /// Starts a new life of an execution that is over.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `NotFound`, `ExecutionNotTerminal`, `MaxReplaysExhausted`, and
    /// `Superseded` and `Timeout` as for [`Client::cancel`]; cancellation too.
    pub async fn replay(&self, id: &ExecutionId) -> Result<Replayed, SdkError> {
        self.operate(Replay { execution_id: *id, call: self.operator_call() }).await
    }

    /// Carries any command in its wire form: for tools and tests that need the store's own answer
    /// to a fence, a grant or a request id of their choice.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with every rejection of `docs/errors.md`; cancellation is as for
    /// [`Client::cancel`].
    pub async fn execute(&self, command: Command) -> Result<AnyOutcome, SdkError> {
        let command = command.parse(&mut self.0.connection.entropy()).map_err(EngineError::from)?;
        let namespace = self.0.config.namespace.clone();
        let command = InNamespace { namespace, command };
        Ok(self.0.connection.inform(command, Known::Nothing).await?.outcome)
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

    /// A call under a fresh request id.
    fn operator_call(&self) -> OperatorCall {
        let id = self.0.connection.entropy().uuid().to_string();
        OperatorCall::new(RequestId::try_new(id).expect("a uuid is a request id"))
    }

    /// What the backend knows of its store's load.
    ///
    /// # Errors
    ///
    /// [`SdkError::Backend`] when it cannot say. Cancel safe.
    pub async fn report(&self) -> Result<BackendReport, SdkError> {
        let backend = &self.0.connection.backend;
        let failed = |source| SdkError::Backend { backend: backend.name(), source };
        backend.report().await.map_err(failed)
    }

    /// The backend that it is connected to.
    pub fn backend(&self) -> &Arc<dyn EngineBackend> {
        &self.0.connection.backend
    }

    /// Whose executions it submits and sees.
    pub fn namespace(&self) -> &Namespace {
        &self.0.config.namespace
    }

    /// The store's partitions.
    pub fn partition_config(&self) -> &PartitionConfig {
        &self.0.connection.partitions
    }

    /// The store's clock, as far as this host knows it; of a cluster that of the node that replied
    /// last.
    pub fn store_now(&self) -> TimestampMs {
        self.0.connection.clock.now().store
    }
}

fn journal_of(id: &ExecutionId) -> Vec<Topic> {
    vec![Topic::Journal(id.partition())]
}

/// The error of a submission whose task was shut down under it.
fn unfinished(op: &'static str) -> SdkError {
    let (elapsed, applied) = (DurationMs::ZERO, Applied::Unknown);
    EngineError::Timeout { op, elapsed, applied }.into()
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("namespace", &self.0.config.namespace)
            .finish_non_exhaustive()
    }
}
