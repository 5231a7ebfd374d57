//! The connection that all handles to a store share: backend, clock and partition configuration.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ff_core::agent::WorkerProfile;
use ff_core::backend::EngineBackend;
use ff_core::entropy::Entropy;
use ff_core::error::EngineError;
use ff_core::execution::Decide;
use ff_core::id::ExecutionId;
use ff_core::op::{
    Batch, CarryCommand, Committed, EnsureMeta, Known, Operation, OperationContext, Patience,
    ReadMeta,
};
use ff_core::partition::{Partition, PartitionConfig};
use ff_core::store::StoreMeta;
use ff_core::time::{DurationMs, TimestampMs};
use tokio::time::{Duration, Instant};

use tracing::Instrument;

use crate::charges::Charges;
use crate::config::WorkerConfig;
use crate::drive::drive_within;
use crate::error::SdkError;
use crate::handing_over::HandOvers;
use crate::host::{ClockSource, HostClock, system_entropy};
use crate::metrics::Meter;

/// A connection to a store whose configuration has been checked.
pub(crate) struct Connection {
    pub(crate) backend: Arc<dyn EngineBackend>,
    pub(crate) clock: Arc<HostClock>,
    pub(crate) partitions: PartitionConfig,
    context: OperationContext,
    entropy: Mutex<Entropy>,
    ends_refused: bool,
    /// The budgets that it charges.
    pub(crate) charges: Charges,
    /// The slots of quotas that it offers to others.
    hand_overs: HandOvers,
    /// When the store's configuration was last requested.
    checked_at: Mutex<Instant>,
    /// The metrics that it records.
    pub(crate) meter: Arc<Meter>,
}

/// The longest time between two reads of the store's configuration by a program that makes calls.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// The time limit of such a read.
const CHECK_PATIENCE: DurationMs = DurationMs::from_secs(5);
/// The longest time for which such a read delays a call. The node of the configuration must not
/// slow the calls to the others by more than 250 ms, and the read of the lanes may take 200 ms.
const CHECK_GRACE: Duration = Duration::from_millis(50);

/// The sources of a connection's randomness and time, and its reaction to refused access.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sources {
    /// The seed of its randomness; `None` takes one from the operating system.
    pub(crate) seed: Option<u64>,
    /// The source of its time.
    pub(crate) clock: ClockSource,
    /// Whether a store that is not set up yet keeps no counts.
    pub(crate) omit_counts: bool,
    /// Whether operations end when the store refuses access, as those of a client, which reports
    /// it. A worker tries again until an operator corrects it.
    pub(crate) ends_refused: bool,
}

impl Connection {
    /// Reads the store's configuration, or sets up an empty store, and compares the partition
    /// counts with the wanted ones.
    pub(crate) async fn open(
        backend: Arc<dyn EngineBackend>,
        wanted: Option<PartitionConfig>,
        context: OperationContext,
        sources: Sources,
    ) -> Result<Self, SdkError> {
        let clock = Arc::new(HostClock::from_source(sources.clock));
        let mut entropy = sources.seed.map_or_else(system_entropy, Entropy::from_u64);
        let (partitions, format) = (wanted.unwrap_or_default(), context.codec().known());
        let meta = StoreMeta { partitions, format, counts: !sources.omit_counts };
        let ensure = EnsureMeta::new(meta, Patience::new(context.clone(), entropy.fork()));
        let ends_refused = sources.ends_refused;
        let allowed = ends_refused.then_some(context.allowed());
        let meter = Arc::new(Meter::new());
        let found = drive_within(&*backend, &clock, ensure, allowed, Some(&meter.store)).await?;
        let (partitions, entropy) = (found.partitions, Mutex::new(entropy));
        let context = context.with_partitions(partitions);
        let checked_at = Mutex::new(Instant::now());
        let charges = Charges::default();
        let new = Self {
            backend,
            clock,
            partitions,
            context,
            entropy,
            ends_refused,
            charges,
            hand_overs: HandOvers::default(),
            checked_at,
            meter,
        };
        new.check_partitions(wanted)?;
        Ok(new)
    }

    /// Compares the partition counts with the wanted ones.
    pub(crate) fn check_partitions(&self, wanted: Option<PartitionConfig>) -> Result<(), SdkError> {
        let found = self.partitions;
        match wanted.filter(|wanted| *wanted != found) {
            None => Ok(()),
            Some(wanted) => {
                let message = format!(
                    "is {wanted:?}, but the store was set up with {found:?}, which never changes: \
                     use these"
                );
                Err(SdkError::config("connect", "partition_config", message))
            }
        }
    }

    /// The agent's view of a worker's configuration.
    pub(crate) fn profile(&self, config: &WorkerConfig) -> WorkerProfile {
        WorkerProfile {
            namespace: config.namespace.clone(),
            lanes: config.lanes.clone(),
            kinds: config.kinds.clone(),
            worker: config.worker_id.clone(),
            instance: config.worker_instance_id.clone(),
            capabilities: config.capabilities.clone(),
            slots: config.max_concurrent_tasks,
            lease_ttl: DurationMs::from(config.lease_ttl),
            context: self.context.clone(),
            partitions: self.partitions,
        }
    }

    /// Forks the entropy for one more user.
    pub(crate) fn entropy(&self) -> Entropy {
        lock(&self.entropy).fork()
    }

    /// The patience of one more call of a user.
    pub(crate) fn patience(&self) -> Patience {
        Patience::new(self.context.clone(), self.entropy()).budgeted()
    }

    /// The time limit and the codec of its operations.
    pub(crate) const fn context(&self) -> &OperationContext {
        &self.context
    }

    /// The estimated time of the clock that decides on a partition.
    pub(crate) fn store_now(&self, partition: Partition) -> TimestampMs {
        self.clock.now_of(self.backend.clock_of(partition)).store
    }

    /// Runs an operation to its end, unless the store is lost.
    pub(crate) async fn drive<T, O: Operation<Output = Result<T, EngineError>>>(
        &self,
        operation: O,
    ) -> Result<T, EngineError> {
        self.check_store().await?;
        let begun = Instant::now();
        let result = self.drive_unchecked(operation).await;
        self.hand_over();
        result.map_err(|error| with_elapsed(error, begun))
    }

    /// Runs an operation to its end, and counts its calls.
    async fn drive_unchecked<O: Operation>(&self, operation: O) -> O::Output {
        let allowed = self.refused_within();
        drive_within(&*self.backend, &self.clock, operation, allowed, Some(&self.meter.store)).await
    }

    /// Begins to hand over the slots of quotas that calls have freed.
    fn hand_over(&self) {
        let (backend, clock, meter) = (&self.backend, &self.clock, &self.meter);
        self.hand_overs.begin(backend, clock, &self.context, meter, || self.entropy());
    }

    /// Waits until the slots that calls have freed so far were offered to those that wait.
    pub(crate) async fn handed_over(&self) {
        // Work that was added while those under way ended is begun in the second round.
        for _ in 0..2 {
            self.hand_over();
            self.hand_overs.ended().await;
        }
    }

    /// The time limit of operations that end when the store refuses access.
    const fn refused_within(&self) -> Option<DurationMs> {
        if self.ends_refused { Some(self.context.allowed()) } else { None }
    }

    /// Runs the commands of a partition to their ends, unless the store is lost.
    pub(crate) async fn drive_batch<C: Decide>(
        &self,
        partition: Partition,
        operations: Vec<CarryCommand<C>>,
    ) -> Vec<Result<Committed<C::Outcome>, EngineError>> {
        if let Err(lost) = self.check_store().await {
            return operations.iter().map(|_| Err(lost.clone())).collect();
        }
        let name = operations.first().map_or("", |first| first.command().name());
        let (begun, batch) = (Instant::now(), Batch::new(partition, operations));
        let ended = self.drive_unchecked(batch).await.into_iter();
        self.hand_over();
        let ended = ended.map(|result| result.map_err(|error| with_elapsed(error, begun)));
        ended.inspect(|result| self.note(name, result)).collect()
    }

    /// Carries out a command on its execution, and counts it.
    pub(crate) async fn carry<C: Decide>(
        &self,
        operation: CarryCommand<C>,
    ) -> Result<Committed<C::Outcome>, EngineError> {
        let name = operation.command().name();
        let result = self.drive(operation).await;
        self.note(name, &result);
        result
    }

    /// Counts a command.
    fn note<T: Any>(&self, name: &'static str, result: &Result<Committed<T>, EngineError>) {
        match result {
            Ok(Committed { outcome, record: Some(record), .. }) => {
                self.meter.carried_out(name, outcome, &record.execution.lane);
            }
            Ok(_) => {}
            Err(error) => self.meter.failed(name, error),
        }
    }

    /// Refuses to use a lost store. If the configuration was not read for [`CHECK_INTERVAL`], this
    /// reads it first, and waits for it at most for [`CHECK_GRACE`]. While the store does not
    /// answer, the store is taken for the known one.
    pub(crate) async fn check_store(&self) -> Result<(), EngineError> {
        if self.begin_check() {
            self.read_identity().await;
        }
        self.context.store().check()
    }

    /// Reads the store's configuration, and waits for it at most for [`CHECK_GRACE`].
    async fn read_identity(&self) {
        let patience = Patience::new(self.context.within(CHECK_PATIENCE), self.entropy());
        let (backend, clock) = (self.backend.clone(), self.clock.clone());
        let meter = self.meter.clone();
        // The context remembers the result, also if it arrives after the grace.
        let reading = tokio::spawn(async move {
            let (read, store) = (ReadMeta::new(patience), Some(&meter.store));
            if let Err(error) = drive_within(&*backend, &clock, read, None, store).await {
                tracing::debug!(%error, "cannot read the store's configuration");
            }
        });
        let _ = tokio::time::timeout(CHECK_GRACE, reading).await;
    }

    /// The error of a call that waits for an execution which the store does not have: the store may
    /// be lost.
    pub(crate) async fn not_found(&self) -> EngineError {
        self.read_identity().await;
        let lost = self.context.store().check().err();
        lost.unwrap_or(EngineError::NotFound { entity: "execution" })
    }

    /// Whether the caller has to read the configuration now: one of several callers does.
    fn begin_check(&self) -> bool {
        let mut checked_at = lock(&self.checked_at);
        let is_due = checked_at.elapsed() >= CHECK_INTERVAL;
        if is_due {
            *checked_at = Instant::now();
        }
        is_due
    }

    /// The instant of the next read of the configuration.
    pub(crate) fn next_check(&self) -> Instant {
        *lock(&self.checked_at) + CHECK_INTERVAL
    }

    /// Applies a command to its execution.
    pub(crate) async fn transact<C: Decide>(
        &self,
        command: C,
    ) -> Result<Committed<C::Outcome>, SdkError> {
        self.transact_knowing(command, Known::Nothing).await
    }

    /// Applies a command, starting from what is known of its execution's record.
    pub(crate) async fn transact_knowing<C: Decide>(
        &self,
        command: C,
        known: Known,
    ) -> Result<Committed<C::Outcome>, SdkError> {
        let (name, execution) = (command.name(), command.execution_id());
        self.check_id(&execution)?;
        let span = tracing::debug_span!("command", name, %execution);
        let operation = CarryCommand::knowing(command, known, self.patience());
        Ok(self.carry(operation).instrument(span).await?)
    }

    /// Refuses an id whose partition does not exist.
    pub(crate) fn check_id(&self, id: &ExecutionId) -> Result<(), EngineError> {
        let (index, count) = (id.partition().index, self.partitions.num_flow_partitions);
        if index < count {
            return Ok(());
        }
        Err(ff_core::error::Rejection::PartitionOutOfRange { index, count }.into())
    }
}

/// The error with the time that has passed: an operation may have ended before its time limit.
fn with_elapsed(error: EngineError, begun: Instant) -> EngineError {
    match error {
        EngineError::Timeout { op, elapsed, applied } => {
            let elapsed = elapsed.min(DurationMs::from(begun.elapsed()));
            EngineError::Timeout { op, elapsed, applied }
        }
        error => error,
    }
}

/// Locks a mutex, also after a holder has panicked: no holder panics between two changes that
/// belong together, so that the value is consistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
