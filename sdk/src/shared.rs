//! The connection that all handles to a store share: backend, clock and partition configuration.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ff_core::backend::EngineBackend;
use ff_core::entropy::Entropy;
use ff_core::error::EngineError;
use ff_core::execution::Decide;
use ff_core::id::ExecutionId;
use ff_core::op::{
    CarryCommand, Committed, EnsureMeta, Known, Operation, OperationContext, Patience,
};
use ff_core::partition::{Partition, PartitionConfig};
use ff_core::store::StoreMeta;
use ff_core::time::TimestampMs;

use tracing::Instrument;

use crate::drive::drive;
use crate::error::SdkError;
use crate::host::{ClockSource, HostClock, system_entropy};

/// A connection to a store whose configuration has been checked.
pub(crate) struct Connection {
    pub(crate) backend: Arc<dyn EngineBackend>,
    pub(crate) clock: HostClock,
    pub(crate) partitions: PartitionConfig,
    context: OperationContext,
    entropy: Mutex<Entropy>,
}

/// The sources of a connection's randomness and time.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sources {
    /// The seed of its randomness; `None` takes one from the operating system.
    pub(crate) seed: Option<u64>,
    /// The source of its time.
    pub(crate) clock: ClockSource,
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
        let clock = HostClock::from_source(sources.clock);
        let mut entropy = sources.seed.map_or_else(system_entropy, Entropy::from_u64);
        let meta =
            StoreMeta { partitions: wanted.unwrap_or_default(), format: context.codec().known() };
        let ensure = EnsureMeta::new(meta, Patience::new(context.clone(), entropy.fork()));
        let found = drive(&*backend, &clock, ensure).await?;
        if let Some(wanted) = wanted
            && wanted != found.partitions
        {
            let message = format!(
                "is {wanted:?}, but the store was set up with {:?}, which never changes: use these",
                found.partitions
            );
            return Err(SdkError::config("connect", "partition_config", message));
        }
        let (partitions, entropy) = (found.partitions, Mutex::new(entropy));
        Ok(Self { backend, clock, partitions, context, entropy })
    }

    /// Forks the entropy for one more user.
    pub(crate) fn entropy(&self) -> Entropy {
        lock(&self.entropy).fork()
    }

    /// The retry policy of one more operation.
    pub(crate) fn patience(&self) -> Patience {
        Patience::new(self.context.clone(), self.entropy())
    }

    /// The time limit and the codec of its operations.
    pub(crate) const fn context(&self) -> &OperationContext {
        &self.context
    }

    /// The estimated time of the clock that decides on a partition.
    pub(crate) fn store_now(&self, partition: Partition) -> TimestampMs {
        self.clock.now_of(self.backend.clock_of(partition)).store
    }

    /// Runs an operation to its end.
    pub(crate) async fn drive<O: Operation>(&self, operation: O) -> O::Output {
        drive(&*self.backend, &self.clock, operation).await
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
        Ok(self.drive(operation).instrument(span).await?)
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

/// Locks a mutex, also after a holder has panicked: no holder panics between two changes that
/// belong together, so that the value is consistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
