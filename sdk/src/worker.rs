//! The worker: claims executions and returns them as tasks.

mod granted;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ff_core::agent::{ClaimedWork, Registration, Served, WorkerAgent};
use ff_core::backend::{CompletionBackend, EngineBackend};
use ff_core::capability::Capabilities;
use ff_core::execution::{ExecutionSnapshot, SignalOutcome, snapshot};
use ff_core::id::{ExecutionId, ExecutionKind, WaitpointId};
use ff_core::kinds::Kinds;
use ff_core::op::ReadExecution;
use ff_core::partition::PartitionConfig;
use ff_core::time::DurationMs;

use crate::claims::ClaimGroup;
use crate::config::WorkerConfig;
use crate::error::SdkError;
use crate::journal::JournalBackend;
use crate::metrics::Share;
use crate::process::Process;
use crate::shared::lock;
use crate::signal::Signal;
use crate::task::ClaimedTask;
use crate::upkeep::{Slots, Upkeep};

/// A worker: claims executions of its lanes and renews their leases (`docs/spec.md`, 11). Clones
/// are handles to the same worker.
///
/// Background tasks renew leases, and run a timekeeper unless
/// [`timekeeper`](WorkerConfig::timekeeper) is off. They end when the last handle and the last task
/// are dropped. They need a tokio runtime with time enabled.
///
/// ```
/// use std::sync::Arc;
/// use ff_sdk::{Client, FlowFabricWorker, MemoryBackend, Submission, WorkerConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let backend = Arc::new(MemoryBackend::new());
/// # let client = Client::connect_with(backend.clone(), "demo").await?;
/// # client.submit(Submission::new("greet")).await?;
/// let config = WorkerConfig::new("worker", "worker-1", "demo")?;
/// let worker = FlowFabricWorker::connect_with(config, backend, None).await?;
/// let task = loop {
///     match worker.claim_next().await? {
///         Some(task) => break task,
///         None => worker.wait_for_work().await,
///     }
/// };
/// task.complete(Some(b"done".to_vec())).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FlowFabricWorker(Arc<Inner>);

struct Inner {
    config: WorkerConfig,
    completion: Option<Arc<dyn CompletionBackend>>,
    upkeep: Arc<Upkeep>,
    process: Arc<Process>,
    /// Whether a wake-up has ended its last wait for work.
    is_woken: AtomicBool,
}

impl FlowFabricWorker {
    /// Opens the store at the configured URL and connects a worker to it. The worker's completion
    /// backend reads the store's journals.
    ///
    /// ```
    /// use ff_sdk::{FlowFabricWorker, WorkerConfig};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut config = WorkerConfig::new("worker", "worker-1", "demo")?;
    /// config.backend = Some("memory:".to_owned());
    /// let worker = FlowFabricWorker::connect(config).await?;
    /// assert!(worker.claim_next().await?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SdkError::Config`] without a URL, and [`SdkError::Connect`] when the store cannot be used;
    /// otherwise as for [`FlowFabricWorker::connect_with`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect(config: WorkerConfig) -> Result<Self, SdkError> {
        config.check()?;
        let Some(url) = &config.backend else {
            let message = "is not set: set the URL of a store, or use connect_with";
            return Err(SdkError::config("worker configuration", "backend", message));
        };
        let backend = crate::connect::open(url).await?;
        let completions = JournalBackend::new(backend.clone());
        Self::connect_to(config, backend, Some(Arc::new(completions))).await
    }

    /// Connects a worker to a backend, reads the store's partition configuration (or sets up an
    /// empty store), and starts the background tasks. If `completion` is `None`, the worker has no
    /// completion backend.
    ///
    /// # Errors
    ///
    /// - [`SdkError::Config`] when the configuration is invalid or differs from the store's.
    /// - [`SdkError::Engine`] when the store does not answer, or has a newer record format; with
    ///   `Conflict(WorkerInstanceInUse)` when another live process has the instance id, unless
    ///   [`take_over`](WorkerConfig::take_over) is set.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect_with(
        config: WorkerConfig,
        backend: Arc<dyn EngineBackend>,
        completion: Option<Arc<dyn CompletionBackend>>,
    ) -> Result<Self, SdkError> {
        if config.backend.is_some() {
            tracing::warn!("the configured store URL is not used: a backend was passed");
        }
        Self::connect_to(config, backend, completion).await
    }

    async fn connect_to(
        config: WorkerConfig,
        backend: Arc<dyn EngineBackend>,
        completion: Option<Arc<dyn CompletionBackend>>,
    ) -> Result<Self, SdkError> {
        config.check()?;
        let process = Process::of(&config, backend).await?;
        let connection = &process.connection;
        let profile = connection.profile(&config);
        let look_every = DurationMs::from(config.claim_poll_interval);
        let group = process.group(profile.served(), look_every);
        let (version, nonce, entropy) =
            (config.version.clone(), process.nonce, connection.entropy());
        let registration = Registration::new(&profile, version, config.take_over, nonce, entropy);
        let agent = WorkerAgent::new(profile, connection.entropy());
        let upkeep = Upkeep::start(&process, agent, group, registration, config.timekeeper);
        upkeep.state.register().await?;
        tracing::debug!(
            worker = %config.worker_id,
            instance = %config.worker_instance_id,
            namespace = %config.namespace,
            backend = process.connection.backend.name(),
            "worker connected"
        );
        Ok(Self(Arc::new(Inner {
            config,
            completion,
            upkeep,
            process,
            is_woken: AtomicBool::new(false),
        })))
    }

    /// Serves only those of the configured kinds that are among these, from now on.
    pub(crate) fn serve_only(&self, kinds: impl Iterator<Item = ExecutionKind>) {
        let kinds: Kinds = kinds.filter(|kind| self.0.config.kinds.serves(kind)).collect();
        let config = &self.0.config;
        tracing::info!(
            worker = %config.worker_id,
            instance = %config.worker_instance_id,
            namespace = %config.namespace,
            lanes = joined(&config.lanes),
            kinds = match &kinds {
                Kinds::All => "all".to_owned(),
                Kinds::Only(kinds) => joined(kinds),
            },
            slots = config.max_concurrent_tasks,
            capabilities = digest(&config.capabilities),
            "worker started"
        );
        lock(&self.0.upkeep.state.registration).serve(kinds.clone());
        self.0.upkeep.state.hurry();
        lock(&self.0.upkeep.state.agent).serve(kinds);
        *lock(&self.0.upkeep.state.group) = self.new_group();
    }

    /// Counts handlers as registered until the result is dropped.
    pub(crate) fn serves(&self, handlers: usize) -> Share {
        self.0.upkeep.state.meter.serves(handlers)
    }

    /// Claims the next execution of the worker's lanes: new, resumed or reclaimed. Returns `None`
    /// when there is no work now, or when all slots are taken. The call includes admission, so the
    /// caller needs no grant.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer. Also with `NewerFormat`, when this
    /// program has met a record in a format that it does not know. From then on the program claims
    /// nothing and applies no timers; it still renews the leases of its tasks. Upgrade the program.
    /// With `StoreLost`, when the store has lost its data since this program connected, which the
    /// program notices within 30 s. Restart the program. With `State(WorkerSuperseded)`, when
    /// another process has taken over the instance id, or an operator has marked this worker as
    /// dead, which it notices with its next heartbeat. A worker that an operator drains claims
    /// nothing.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the worker may have claimed an execution although the call returned no
    /// task. A worker reclaims that execution when its lease expires.
    pub async fn claim_next(&self) -> Result<Option<ClaimedTask>, SdkError> {
        Ok(self.claim_many(1).await?.pop())
    }

    /// Claims up to `count` executions of one partition in one call, but no more than there are
    /// free slots. Returns an empty vector when there is no work now, or no free slot.
    ///
    /// # Errors
    ///
    /// As for [`FlowFabricWorker::claim_next`].
    ///
    /// # Cancel safety
    ///
    /// As for [`FlowFabricWorker::claim_next`].
    pub async fn claim_many(&self, count: usize) -> Result<Vec<ClaimedTask>, SdkError> {
        let is_woken = self.0.is_woken.swap(false, Ordering::AcqRel);
        self.claim_in(&self.group(), count, is_woken).await
    }

    /// Waits until the slots of quotas that the tasks and calls of this process have freed were
    /// offered to the executions that wait for them: at most about 2 s for each.
    ///
    /// This happens beside the calls. A program that ends waits for it last; `run_until` of
    /// [`WorkerRuntime`](crate::WorkerRuntime) does. If a program does not, the slots are found
    /// within about a minute.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn settle(&self) {
        self.0.process.connection.handed_over().await;
    }

    /// Claims up to `count` executions in a group of workers, like [`Self::claim_many`].
    pub(crate) async fn claim_in(
        &self,
        group: &ClaimGroup,
        count: usize,
        is_woken: bool,
    ) -> Result<Vec<ClaimedTask>, SdkError> {
        if !self.0.upkeep.state.check_claim()? {
            return Ok(Vec::new());
        }
        let Ok(mut slots) = self.0.upkeep.take_slots(count) else { return Ok(Vec::new()) };
        let state = &self.0.upkeep.state;
        let claimant = lock(&state.agent).profile().claimant(slots.count());
        let mut work = group.claim(claimant, is_woken).await?;
        {
            let mut agent = lock(&state.agent);
            work.iter_mut().for_each(|work| agent.track_work(work));
        }
        let task = |work| slots.split_one().map(|slot| self.task(work, slot));
        Ok(work.into_iter().filter_map(task).collect())
    }

    /// The workers that claim with this one.
    fn group(&self) -> Arc<ClaimGroup> {
        let group = lock(&self.0.upkeep.state.group).clone();
        if group.runs() {
            return group;
        }
        let group = self.new_group();
        *lock(&self.0.upkeep.state.group) = group.clone();
        group
    }

    fn new_group(&self) -> Arc<ClaimGroup> {
        let kinds = lock(&self.0.upkeep.state.agent).profile().kinds.clone();
        self.group_of(kinds)
    }

    /// The workers that claim only these kinds, which are some of those that this one serves.
    pub(crate) fn group_of(&self, kinds: Kinds) -> Arc<ClaimGroup> {
        let look_every = DurationMs::from(self.0.config.claim_poll_interval);
        let served = lock(&self.0.upkeep.state.agent).profile().served();
        self.0.process.group(Served { kinds, ..served }, look_every)
    }

    /// Waits until there may be work: until a wake-up reports some, or until it is time to look,
    /// [`claim_poll_interval`](WorkerConfig::claim_poll_interval) after the last look. Of the
    /// workers of this process that use the same backend and serve the same lanes and kinds, one
    /// looks for all, and the others wait on.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn wait_for_work(&self) {
        let is_woken = self.wait_in(&self.group()).await;
        self.0.is_woken.store(is_woken, Ordering::Release);
    }

    /// Waits with a group of workers, like [`Self::wait_for_work`].
    pub(crate) async fn wait_in(&self, group: &ClaimGroup) -> bool {
        if self.0.upkeep.state.may_claim() {
            return group.wait().await;
        }
        tokio::time::sleep(self.0.config.claim_poll_interval).await;
        false
    }

    /// Says with a heartbeat that the worker claims nothing more. It keeps its tasks.
    pub(crate) fn drain(&self) {
        self.0.upkeep.state.drain();
    }

    /// Gives up the instance id, so that another process can have it immediately. The worker claims
    /// nothing more; its tasks go on, and their leases are renewed.
    ///
    /// [`WorkerRuntime`](crate::WorkerRuntime) does this at the end of a shutdown. A worker whose
    /// last handle is dropped does it in a task of its tokio runtime, which has no effect if that
    /// runtime ends before. A worker that ends without it keeps the id until its registration
    /// expires: twice the ttl of its leases after its latest heartbeat, at least 10 s.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the id may or may not be given up. The worker claims nothing more.
    pub async fn deregister(&self) -> Result<(), SdkError> {
        Ok(self.0.upkeep.state.deregister().await?)
    }

    /// Delivers a signal to a waitpoint, like
    /// [`Client::deliver_signal`](crate::Client::deliver_signal).
    ///
    /// # Errors
    ///
    /// As for [`Client::deliver_signal`](crate::Client::deliver_signal).
    ///
    /// # Cancel safety
    ///
    /// As for [`Client::deliver_signal`](crate::Client::deliver_signal).
    pub async fn deliver_signal(
        &self,
        id: &ExecutionId,
        waitpoint: &WaitpointId,
        signal: Signal,
    ) -> Result<SignalOutcome, SdkError> {
        self.0.upkeep.state.connection.deliver(id, waitpoint, signal).await
    }

    /// Reads an execution's snapshot. Returns `None` when the worker's namespace has no such
    /// execution.
    ///
    /// # Errors
    ///
    /// As for [`Client::describe`](crate::Client::describe).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn describe_execution(
        &self,
        id: &ExecutionId,
    ) -> Result<Option<ExecutionSnapshot>, SdkError> {
        let connection = &self.0.upkeep.state.connection;
        connection.check_id(id)?;
        let read = ReadExecution::new(id, &[], connection.patience());
        let (found, _, at) = connection.drive(read).await?;
        let namespace = &self.0.config.namespace;
        let found = found.filter(|loaded| loaded.execution.namespace == *namespace);
        Ok(found.map(|loaded| snapshot(&loaded.execution, at)))
    }

    /// The backend of this worker.
    pub fn backend(&self) -> &Arc<dyn EngineBackend> {
        &self.0.upkeep.state.connection.backend
    }

    /// The completion backend that was passed to [`FlowFabricWorker::connect_with`].
    pub fn completion_backend(&self) -> Option<&Arc<dyn CompletionBackend>> {
        self.0.completion.as_ref()
    }

    /// The configuration of this worker.
    pub fn config(&self) -> &WorkerConfig {
        &self.0.config
    }

    /// The partition counts of the store.
    pub fn partition_config(&self) -> &PartitionConfig {
        &self.0.upkeep.state.connection.partitions
    }

    /// The number of free slots.
    pub fn free_slots(&self) -> usize {
        self.0.upkeep.free()
    }

    /// Creates the task of a lease that the agent tracks.
    fn task(&self, work: ClaimedWork, slot: Slots) -> ClaimedTask {
        let claimed = &work.claimed;
        tracing::debug!(
            execution = %claimed.execution_id,
            attempt = %claimed.attempt.index,
            epoch = %claimed.lease_epoch,
            how = ?claimed.how,
            "execution claimed"
        );
        let lease = self.0.upkeep.state.watch(claimed.lease_id, claimed.attempt.id);
        ClaimedTask::new(slot, work, lease)
    }
}

impl std::fmt::Debug for FlowFabricWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowFabricWorker")
            .field("worker_id", &self.0.config.worker_id)
            .field("worker_instance_id", &self.0.config.worker_instance_id)
            .finish_non_exhaustive()
    }
}

fn joined<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    names.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join(",")
}

/// The number of the capabilities and a digest (FNV-1a), by which an operator can compare workers.
fn digest(capabilities: &Capabilities) -> String {
    let count = capabilities.iter().count();
    if count == 0 {
        return "none".to_owned();
    }
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let hash = capabilities.to_string().bytes().fold(0xcbf2_9ce4_8422_2325, mix);
    format!("{count} tokens, digest {hash:016x}")
}
