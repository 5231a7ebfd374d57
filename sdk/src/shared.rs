//! What every handle to a store has: the backend, the clock, the agreed configuration.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ff_core::backend::EngineBackend;
use ff_core::entropy::Entropy;
use ff_core::error::EngineError;
use ff_core::execution::Decide;
use ff_core::id::ExecutionId;
use ff_core::op::{
    Committed, EnsureMeta, Informed, Known, Operation, OperationContext, Patience, Transact,
};
use ff_core::partition::{Partition, PartitionConfig};
use ff_core::store::StoreMeta;
use ff_core::time::TimestampMs;

use tracing::Instrument;

use crate::drive::drive;
use crate::error::SdkError;
use crate::host::{ClockSource, HostClock, system_entropy};

/// A connection to a store, agreed on its configuration.
pub(crate) struct Connection {
    pub(crate) backend: Arc<dyn EngineBackend>,
    pub(crate) clock: HostClock,
    pub(crate) partitions: PartitionConfig,
    context: OperationContext,
    entropy: Mutex<Entropy>,
}

/// Where a connection takes from what no rule decides.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sources {
    /// The seed of its randomness; `None` asks the operating system.
    pub(crate) seed: Option<u64>,
    /// Its time.
    pub(crate) clock: ClockSource,
}

impl Connection {
    /// Agrees with the store on its configuration.
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
                "is {wanted:?}, but the store was set up with {:?} and never changes",
                found.partitions
            );
            return Err(SdkError::config("connect", "partition_config", message));
        }
        let (partitions, entropy) = (found.partitions, Mutex::new(entropy));
        Ok(Self { backend, clock, partitions, context, entropy })
    }

    /// Randomness for one more use.
    pub(crate) fn entropy(&self) -> Entropy {
        lock(&self.entropy).fork()
    }

    /// Patience for one more operation.
    pub(crate) fn patience(&self) -> Patience {
        Patience::new(self.context.clone(), self.entropy())
    }

    /// The context of its operations.
    pub(crate) const fn context(&self) -> &OperationContext {
        &self.context
    }

    /// The clock that decides on a partition, as far as it is known.
    pub(crate) fn store_now(&self, partition: Partition) -> TimestampMs {
        self.clock.now_of(self.backend.clock_of(partition)).store
    }

    /// Carries an operation to its end.
    pub(crate) async fn drive<O: Operation>(&self, operation: O) -> O::Output {
        drive(&*self.backend, &self.clock, operation).await
    }

    /// Carries a command to its execution.
    pub(crate) async fn transact<C: Decide>(
        &self,
        command: C,
    ) -> Result<Committed<C::Outcome>, SdkError> {
        self.transact_knowing(command, Known::Nothing).await
    }

    /// Carries a command to an execution of which something is known.
    pub(crate) async fn transact_knowing<C: Decide>(
        &self,
        command: C,
        known: Known,
    ) -> Result<Committed<C::Outcome>, SdkError> {
        let (name, execution) = (command.name(), command.execution_id());
        self.check_id(&execution)?;
        let span = tracing::debug_span!("command", name, %execution);
        let operation = Transact::knowing(command, known, self.patience());
        Ok(self.drive(operation).instrument(span).await?)
    }

    /// Carries a command that needs the secrets of tokens, or signals.
    pub(crate) async fn inform<C: Decide>(
        &self,
        command: C,
        known: Known,
    ) -> Result<Committed<C::Outcome>, SdkError> {
        let (name, execution) = (command.name(), command.execution_id());
        self.check_id(&execution)?;
        let span = tracing::debug_span!("command", name, %execution);
        let operation = Informed::new(command, known, self.context.clone(), self.entropy());
        Ok(self.drive(operation).instrument(span).await?)
    }

    /// Refuses an id whose partition does not exist, before anything is sent.
    pub(crate) fn check_id(&self, id: &ExecutionId) -> Result<(), EngineError> {
        let (index, count) = (id.partition().index, self.partitions.num_flow_partitions);
        if index < count {
            return Ok(());
        }
        Err(ff_core::error::Rejection::PartitionOutOfRange { index, count }.into())
    }
}

/// Locks a mutex; what a panicking holder left behind is still consistent, since nothing panics
/// between two changes that belong together.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
