//! A worker: claims executions and hands them out as tasks.

use std::sync::Arc;
use std::time::Duration;

use ff_core::agent::{ClaimedWork, WorkerAgent, WorkerGrant, WorkerProfile};
use ff_core::backend::{CompletionBackend, EngineBackend, WakeUps};
use ff_core::execution::{
    Claimed, ExecutionSnapshot, SignalOutcome, TakeNew, TakeOver, TakeResumed, snapshot,
};
use ff_core::grant::{ClaimGrant, ReclaimGrant, ResumeGrant};
use ff_core::id::{AttemptId, ExecutionId, LaneId, LeaseId, WaitpointId};
use ff_core::op::{Committed, OperationContext, ReadExecution};
use ff_core::partition::PartitionConfig;
use ff_core::store::codec::Codec;
use ff_core::store::{Fetched, IndexName, Topic, Wake};
use ff_core::time::DurationMs;

use crate::admin::FlowFabricAdminClient;
use crate::config::WorkerConfig;
use crate::error::SdkError;
use crate::grants::{
    GrantArguments, ReclaimExecutionArgs, ReclaimExecutionOutcome, check_grant, check_lane,
    is_resumed, reclaim_rejected,
};
#[cfg(feature = "valkey-default")]
use crate::journal::JournalBackend;
use crate::shared::{Connection, Sources, lock};
use crate::signal::Signal;
use crate::task::ClaimedTask;
use crate::upkeep::{Slots, Upkeep};

/// One worker process: claims executions of its lanes and keeps their leases. Cloning gives another
/// handle to the same worker.
///
/// It needs a tokio runtime with time enabled. When the last handle and the last task are dropped,
/// its upkeep ends.
#[derive(Clone)]
pub struct FlowFabricWorker(Arc<Inner>);

struct Inner {
    config: WorkerConfig,
    completion: Option<Arc<dyn CompletionBackend>>,
    upkeep: Arc<Upkeep>,
    /// Serializes draws, so that a worker never races itself.
    drawing: tokio::sync::Mutex<()>,
    wakes: tokio::sync::Mutex<Option<Box<dyn WakeUps>>>,
}

impl FlowFabricWorker {
    /// Opens the store that the configuration names and connects a worker to it, with a stream of
    /// completions from the store's journals.
    ///
    /// ```
    /// use ff_sdk::{FlowFabricWorker, WorkerConfig};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut config = WorkerConfig::new("worker", "worker-1", "demo")?;
    /// config.backend = "memory:".to_owned(); // A server at this host unless set.
    /// let worker = FlowFabricWorker::connect(config).await?;
    /// assert!(worker.claim_next().await?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SdkError::Connect`] when the store cannot be used, and those of
    /// [`FlowFabricWorker::connect_with`].
    ///
    /// Cancel safe.
    #[cfg(feature = "valkey-default")]
    pub async fn connect(config: WorkerConfig) -> Result<Self, SdkError> {
        config.check()?;
        let backend = crate::connect::open(&config.backend).await?;
        let completions = JournalBackend::new(backend.clone());
        Self::connect_with(config, backend, Some(Arc::new(completions))).await
    }

    /// Connects a worker to a backend, agrees on the partition configuration, and starts its
    /// upkeep. Without a completion backend there is no completion stream.
    ///
    /// # Errors
    ///
    /// [`SdkError::Config`] for a configuration that cannot be or that the store contradicts,
    /// [`SdkError::Engine`] when the store does not answer.
    ///
    /// Cancel safe.
    pub async fn connect_with(
        config: WorkerConfig,
        backend: Arc<dyn EngineBackend>,
        completion: Option<Arc<dyn CompletionBackend>>,
    ) -> Result<Self, SdkError> {
        config.check()?;
        let codec = Codec::knowing(config.known_format);
        let context = OperationContext::new(DurationMs::new(config.call_timeout_ms), codec);
        let sources = Sources { seed: config.seed, clock: config.clock };
        let connection =
            Connection::open(backend, config.partition_config, context.clone(), sources).await?;
        let profile = WorkerProfile {
            namespace: config.namespace.clone(),
            lanes: config.lanes.clone(),
            worker: config.worker_id.clone(),
            instance: config.worker_instance_id.clone(),
            capabilities: config.capabilities.clone(),
            slots: config.max_concurrent_tasks,
            lease_ttl: DurationMs::new(config.lease_ttl_ms),
            context,
            partitions: connection.partitions,
        };
        let namespace = &config.namespace;
        let topic = |lane: &LaneId| {
            Topic::Index(IndexName::Eligible { namespace: namespace.clone(), lane: lane.clone() })
        };
        let wakes = connection.backend.subscribe(config.lanes.iter().map(topic).collect());
        let agent = WorkerAgent::new(profile, connection.entropy());
        let (slots, timekeeper) = (config.max_concurrent_tasks, config.timekeeper);
        let upkeep = Upkeep::start(connection, agent, slots, timekeeper);
        let (worker, instance) = (&config.worker_id, &config.worker_instance_id);
        tracing::debug!(%worker, %instance, "connected");
        Ok(Self(Arc::new(Inner {
            config,
            completion,
            upkeep,
            drawing: tokio::sync::Mutex::new(()),
            wakes: tokio::sync::Mutex::new(wakes),
        })))
    }

    /// Claims the next execution of the worker's lanes, new, resumed or reclaimed; admission
    /// included. `None` when there is no work now.
    ///
    /// # Errors
    ///
    /// [`SdkError::WorkerAtCapacity`] when all slots are taken, [`SdkError::Engine`] when the store
    /// does not answer.
    ///
    /// Not cancel safe: an execution that was claimed when the future is dropped is lost until its
    /// lease runs out.
    pub async fn claim_next(&self) -> Result<Option<ClaimedTask>, SdkError> {
        Ok(self.claim_many(1).await?.pop())
    }

    /// Claims up to `count` executions at once, as far as there are free slots; they come from one
    /// partition. Empty when there is no work now.
    ///
    /// # Errors
    ///
    /// As for [`FlowFabricWorker::claim_next`]; cancellation too.
    pub async fn claim_many(&self, count: usize) -> Result<Vec<ClaimedTask>, SdkError> {
        let mut slots = self.0.upkeep.take_slots(count)?;
        let _drawing = self.0.drawing.lock().await;
        let state = &self.0.upkeep.state;
        let draw = lock(&state.agent).claim(slots.count());
        let (mut work, rotation) = state.connection.drive(draw).await?;
        lock(&state.agent).claimed(&mut work, rotation);
        let task = |work| slots.split_one().map(|slot| self.task(work, slot));
        Ok(work.into_iter().filter_map(task).collect())
    }

    /// Waits until there may be work: a wake-up, or the poll interval.
    ///
    /// Cancel safe.
    pub async fn wait_for_work(&self) {
        let interval = Duration::from_millis(self.0.config.claim_poll_interval_ms);
        // One of those who wait is woken; the others look when their interval is over.
        let Ok(mut wakes) = tokio::time::timeout(interval, self.0.wakes.lock()).await else {
            return;
        };
        let Some(stream) = wakes.as_mut() else {
            tokio::time::sleep(interval).await;
            return;
        };
        let mut next = tokio::time::timeout(interval, stream.next()).await;
        // Whatever else has rung meanwhile is the same news.
        while let Ok(Some(wake)) = next {
            if let Some(wake) = wake {
                self.hint(&wake);
            }
            next = tokio::select! {
                biased;
                wake = stream.next() => Ok(wake),
                () = std::future::ready(()) => return,
            };
        }
        if let Ok(None) = next {
            *wakes = None;
        }
    }

    fn hint(&self, wake: &Wake) {
        if let Topic::Index(IndexName::Eligible { lane, .. }) = &wake.topic {
            lock(&self.0.upkeep.state.agent).hint(lane, wake.partition);
        }
    }

    /// Takes an execution under a claim grant; falls back to the resumed claim by itself.
    ///
    /// # Errors
    ///
    /// [`SdkError::WorkerAtCapacity`] first, which leaves the grant untouched;
    /// [`SdkError::Config`] when the grant does not match the arguments or has expired, before
    /// anything is sent; [`SdkError::Engine`] with the rejections of a claim.
    ///
    /// Not cancel safe, like [`FlowFabricWorker::claim_next`].
    pub async fn claim_from_grant(
        &self,
        lane: &LaneId,
        grant: ClaimGrant,
    ) -> Result<ClaimedTask, SdkError> {
        let slot = self.0.upkeep.take_slots(1)?;
        self.take_granted(slot, lane, grant).await
    }

    async fn take_granted(
        &self,
        slot: Slots,
        lane: &LaneId,
        grant: ClaimGrant,
    ) -> Result<ClaimedTask, SdkError> {
        let arguments = GrantArguments::of_claim(&grant, lane);
        let claim = self.claim(&arguments, self.0.config.lease_ttl_ms)?;
        match self.0.upkeep.state.connection.transact(TakeNew(claim.clone())).await {
            Err(error) if is_resumed(&error) => {
                let committed = self.0.upkeep.state.connection.transact(TakeResumed(claim)).await?;
                self.granted(slot, committed).await
            }
            other => self.granted(slot, other?).await,
        }
    }

    /// Goes on with an interrupted attempt under a resume grant.
    ///
    /// # Errors
    ///
    /// As for [`FlowFabricWorker::claim_from_grant`]; cancellation too.
    pub async fn claim_from_resume_grant(
        &self,
        grant: ResumeGrant,
    ) -> Result<ClaimedTask, SdkError> {
        let slot = self.0.upkeep.take_slots(1)?;
        self.resume_granted(slot, grant).await
    }

    async fn resume_granted(
        &self,
        slot: Slots,
        grant: ResumeGrant,
    ) -> Result<ClaimedTask, SdkError> {
        let arguments = GrantArguments::of_resume(&grant);
        let claim = self.claim(&arguments, self.0.config.lease_ttl_ms)?;
        let committed = self.0.upkeep.state.connection.transact(TakeResumed(claim)).await?;
        self.granted(slot, committed).await
    }

    /// Takes over from an owner that lost its lease, under a reclaim grant.
    ///
    /// # Errors
    ///
    /// As for [`FlowFabricWorker::claim_from_grant`], except that rejections are outcomes here;
    /// cancellation too.
    pub async fn claim_from_reclaim_grant(
        &self,
        grant: ReclaimGrant,
        args: ReclaimExecutionArgs,
    ) -> Result<ReclaimExecutionOutcome, SdkError> {
        let slot = self.0.upkeep.take_slots(1)?;
        self.take_over_granted(slot, grant, args).await
    }

    async fn take_over_granted(
        &self,
        slot: Slots,
        grant: ReclaimGrant,
        args: ReclaimExecutionArgs,
    ) -> Result<ReclaimExecutionOutcome, SdkError> {
        let arguments = GrantArguments::of_reclaim(&grant);
        let ttl = args.lease_ttl_ms.unwrap_or(self.0.config.lease_ttl_ms);
        let claim = self.claim(&arguments, ttl)?;
        match self.0.upkeep.state.connection.transact(TakeOver(claim)).await {
            Ok(committed) => {
                let task = self.granted(slot, committed).await?;
                Ok(ReclaimExecutionOutcome::Claimed(Box::new(task)))
            }
            Err(error) => reclaim_rejected(error),
        }
    }

    /// Asks a server for a grant and takes the execution under it. `None` when there is no work.
    ///
    /// # Errors
    ///
    /// As for [`FlowFabricWorker::claim_from_grant`], and those of the server; cancellation too.
    pub async fn claim_via_server(
        &self,
        server: &FlowFabricAdminClient,
        lane: &LaneId,
        grant_ttl_ms: u64,
    ) -> Result<Option<ClaimedTask>, SdkError> {
        // The slot is taken first, so that a full worker never costs a grant.
        let slot = self.0.upkeep.take_slots(1)?;
        let config = &self.0.config;
        check_lane(config, lane)?;
        match server.claim_for_worker(config, lane, grant_ttl_ms).await? {
            None => Ok(None),
            Some(WorkerGrant::Claim(grant)) => self.take_granted(slot, lane, grant).await.map(Some),
            Some(WorkerGrant::Resume(grant)) => self.resume_granted(slot, grant).await.map(Some),
            Some(WorkerGrant::Reclaim(grant)) => {
                let args = ReclaimExecutionArgs::default();
                match self.take_over_granted(slot, grant, args).await? {
                    ReclaimExecutionOutcome::Claimed(task) => Ok(Some(*task)),
                    _ => Ok(None),
                }
            }
        }
    }

    /// Delivers a signal to a waitpoint. Whoever has the waitpoint's token may.
    ///
    /// # Errors
    ///
    /// As for [`Client::deliver_signal`](crate::Client::deliver_signal); cancellation too.
    pub async fn deliver_signal(
        &self,
        id: &ExecutionId,
        waitpoint: &WaitpointId,
        signal: Signal,
    ) -> Result<SignalOutcome, SdkError> {
        self.0.upkeep.state.connection.deliver(id, waitpoint, signal).await
    }

    /// What there is to know of an execution; `None` when the worker's namespace has none.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`]. Cancel safe.
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

    /// The backend that it is connected to.
    pub fn backend(&self) -> &Arc<dyn EngineBackend> {
        &self.0.upkeep.state.connection.backend
    }

    /// The completion stream that it was connected with.
    pub fn completion_backend(&self) -> Option<&Arc<dyn CompletionBackend>> {
        self.0.completion.as_ref()
    }

    /// How it was set up.
    pub fn config(&self) -> &WorkerConfig {
        &self.0.config
    }

    /// The store's partitions.
    pub fn partition_config(&self) -> &PartitionConfig {
        &self.0.upkeep.state.connection.partitions
    }

    /// How many slots are free.
    pub fn free_slots(&self) -> usize {
        self.0.upkeep.free()
    }

    fn claim(
        &self,
        grant: &GrantArguments<'_>,
        lease_ttl_ms: u64,
    ) -> Result<ff_core::execution::Claim, SdkError> {
        let connection = &self.0.upkeep.state.connection;
        check_grant(grant, &self.0.config, connection)?;
        let mut entropy = connection.entropy();
        Ok(ff_core::execution::Claim {
            execution_id: grant.execution_id,
            grant_id: ff_core::execution::parse_grant_key(grant.grant_key)
                .map_err(ff_core::error::EngineError::from)?,
            worker: self.0.config.worker_id.clone(),
            instance: self.0.config.worker_instance_id.clone(),
            lease_id: LeaseId::random(&mut entropy),
            attempt_id: AttemptId::random(&mut entropy),
            lease_ttl: DurationMs::new(lease_ttl_ms),
        })
    }

    /// A task of a claim under a grant. A repeated claim may have lost much of its lease and is
    /// renewed before work starts.
    async fn granted(
        &self,
        slot: Slots,
        mut committed: Committed<Claimed>,
    ) -> Result<ClaimedTask, SdkError> {
        let state = &self.0.upkeep.state;
        if committed.repeat {
            let claimed = &committed.outcome;
            let renew = ff_core::execution::Renew {
                execution_id: claimed.execution_id,
                fence: claimed.fence().into(),
                lease_ttl: claimed.lease_ttl,
            };
            let renewed = state.connection.transact(renew).await?;
            committed.outcome.expires_at = renewed.outcome.expires_at;
            (committed.first_sent, committed.at) = (renewed.first_sent, renewed.at);
            committed.record = renewed.record;
        }
        let payload = committed.values.into_iter().find_map(|value| match value {
            Fetched::Value(payload) => Some(payload),
            _ => None,
        });
        let (claimed, first_sent, at) = (committed.outcome, committed.first_sent, committed.at);
        lock(&state.agent).track(&claimed, committed.record, first_sent, at);
        Ok(self.task(ClaimedWork { claimed, payload, record: None, first_sent, at }, slot))
    }

    /// A task of work that the agent has taken into care.
    fn task(&self, work: ClaimedWork, slot: Slots) -> ClaimedTask {
        let claimed = &work.claimed;
        tracing::debug!(
            execution = %claimed.execution_id,
            attempt = %claimed.attempt.index,
            epoch = %claimed.lease_epoch,
            how = ?claimed.how,
            "claimed"
        );
        let lease = self.0.upkeep.state.watch(claimed.lease_id);
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
