//! Work for workers that do not run in this process: a server claims executions for them and
//! carries their calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ff_core::agent::{Claimant, ClaimedWork, Registration, Served, Standing, WorkerProfile};
use ff_core::backend::EngineBackend;
use ff_core::error::{EngineError, Rejection};
use ff_core::execution::{AnyOutcome, Claimed, Command, DelayExecution, FenceParts, InNamespace};
use ff_core::id::{LeaseId, Namespace, Nonce, WorkerInstanceId};
use ff_core::op::CarryCommand;
use ff_core::store::Bytes;
use ff_core::time::DurationMs;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use crate::claims::ClaimGroup;
use crate::client::Client;
use crate::config::WorkerConfig;
use crate::error::SdkError;
use crate::metrics::{Share, WorkerMeter};
use crate::process::Process;
use crate::shared::{Connection, lock};
use crate::timekeeping::TimekeeperTask;

/// Claims executions for workers that do not run in this process, such as those that speak HTTP,
/// and carries their calls. Clones are handles to the same gateway.
///
/// A worker is known by its calls alone: each claim registers it or is its heartbeat, and so is the
/// renewal of a lease that this gateway has passed on. The gateway renews no lease: the worker
/// does, and the fence in its calls decides, so that any gateway of the store can carry them. Its
/// timekeeper applies due timers for the whole store.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use ff_sdk::{Client, MemoryBackend, Submission, WorkerConfig, WorkerGateway};
/// use ff_sdk::{Command, command::{Complete, FenceParts}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let backend = Arc::new(MemoryBackend::new());
/// let client = Client::connect_with(backend.clone(), "demo").await?;
/// let gateway = WorkerGateway::connect_with(backend).await?;
/// client.submit(Submission::new("greet").payload("world")).await?;
///
/// let worker = WorkerConfig::new("script", "script-1", "demo")?;
/// let task = gateway.claim(worker, 1, Duration::ZERO).await?.pop().expect("there is work");
/// let complete = Complete {
///     execution_id: task.claimed.execution_id,
///     fence: FenceParts::of(task.claimed.fence()),
///     result: task.payload,
/// };
/// gateway.carry(&client, Command::Complete(complete)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct WorkerGateway(Arc<Inner>);

struct Inner {
    process: Arc<Process>,
    _timekeeper: Arc<TimekeeperTask>,
    workers: Mutex<BTreeMap<(Namespace, WorkerInstanceId), Arc<Remote>>>,
    /// The leases that were passed on here and have not ended here, with the end of each unless
    /// it is renewed.
    leases: Mutex<BTreeMap<LeaseId, HandedOut>>,
}

/// A lease that was passed on.
struct HandedOut {
    remote: Arc<Remote>,
    until: Instant,
    /// Counts the execution as running.
    _running: Share,
}

/// A worker as this process knows it.
struct Remote {
    served: Served,
    claimant: Claimant,
    group: Arc<ClaimGroup>,
    registration: Mutex<Registration>,
    last_call: Mutex<Instant>,
    meter: Arc<WorkerMeter>,
}

/// An execution that was claimed for a worker of another process.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RemoteTask {
    /// The claim, with its lease and fence.
    pub claimed: Claimed,
    /// The payload that the submitter passed.
    pub payload: Option<Bytes>,
}

/// The most workers that are remembered; beyond that, the one that has been silent the longest is
/// forgotten, and registers anew with its next call.
const MAX_WORKERS: usize = 16_384;
/// The longest wait of a claim.
const MAX_WAIT: Duration = Duration::from_secs(60);

impl WorkerGateway {
    /// Connects a gateway to a backend, reads the store's configuration (or sets up an empty
    /// store), and starts a timekeeper.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer, or has a newer record format.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect_with(backend: Arc<dyn EngineBackend>) -> Result<Self, SdkError> {
        let config = WorkerConfig::new("gateway", "gateway", "gateway")?;
        let process = Process::of(&config, backend).await?;
        let (_timekeeper, workers, leases) =
            (process.timekeeper(), Mutex::default(), Mutex::default());
        Ok(Self(Arc::new(Inner { process, _timekeeper, workers, leases })))
    }

    /// Claims up to `count` executions for a worker. If there is none, it waits for one up to
    /// `wait`, at most a minute; the vector is empty if there was none until then, or if an
    /// operator drains the worker. Of the configuration only the namespace, the ids, lanes, kinds,
    /// capabilities, lease ttl and version count; its number of slots is shown by `ff workers`.
    ///
    /// # Errors
    ///
    /// [`SdkError::Config`] for an invalid configuration. [`SdkError::Engine`] when the store does
    /// not answer; with `Conflict(WorkerInstanceInUse)` when a live process that is connected to
    /// the store itself has the instance id; with `State(WorkerSuperseded)` when an operator has
    /// marked the worker as dead.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if the future is dropped, executions that were claimed for it are given back
    /// as if they had not been claimed.
    pub async fn claim(
        &self,
        config: WorkerConfig,
        count: usize,
        wait: Duration,
    ) -> Result<Vec<RemoteTask>, SdkError> {
        config.check()?;
        let remote = self.0.remote(config);
        let until = Instant::now() + wait.min(MAX_WAIT);
        let (answer, answered) = oneshot::channel();
        let inner = self.0.clone();
        tokio::spawn(inner.claim_for(remote, count, until, answer));
        let lost = || EngineError::Unreachable {
            op: "claim",
            message: "the process shuts down".to_owned(),
        };
        Ok(answered.await.map_err(|_| lost())??)
    }

    /// Carries a call of a worker, in the namespace of the client. Completions of one partition
    /// that are ready together travel in one call to the store.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with any rejection of the command in `docs/errors.md`.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the call may or may not be applied.
    pub async fn carry(&self, client: &Client, command: Command) -> Result<AnyOutcome, SdkError> {
        let (lease, ends) = lease_of(&command);
        let renews = match &command {
            Command::Renew(renew) => Some(renew.lease_ttl),
            _ => None,
        };
        let outcome = match command {
            Command::Complete(command) => {
                let namespace = client.namespace().clone();
                let (command, connection) = (InNamespace { namespace, command }, self.connection());
                let operation = CarryCommand::new(command, connection.patience());
                let gatherer = &self.0.process.gatherer;
                gatherer.complete(connection, operation).await?;
                AnyOutcome::Complete(())
            }
            command => {
                let result = client.execute(command).await;
                if let (Some(lease), Some(_)) = (lease, renews) {
                    self.0.count_renewal(lease, &result);
                }
                result?
            }
        };
        match (lease, renews) {
            (Some(lease), Some(ttl)) => self.0.renewed(lease, ttl),
            (Some(lease), None) if ends => drop(lock(&self.0.leases).remove(&lease)),
            _ => {}
        }
        Ok(outcome)
    }

    /// Waits until the slots of quotas that its calls have freed were offered to those that wait,
    /// as [`FlowFabricWorker::settle`](crate::FlowFabricWorker::settle) does.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn settle(&self) {
        self.connection().handed_over().await;
    }

    fn connection(&self) -> &Arc<Connection> {
        &self.0.process.connection
    }
}

/// The lease in whose name a command is sent, and whether the command ends it.
const fn lease_of(command: &Command) -> (Option<LeaseId>, bool) {
    let (fence, ends) = match command {
        Command::Complete(complete) => (&complete.fence, true),
        Command::Fail { fence, .. } | Command::CancelByHolder { fence, .. } => (fence, true),
        Command::DelayExecution(delay) => (&delay.fence, true),
        Command::MoveToWaitingChildren(wait) => (&wait.fence, true),
        Command::Suspend(suspend) => (&suspend.fence, true),
        Command::Renew(renew) => (&renew.fence, false),
        _ => return (None, false),
    };
    (fence.lease_id, ends)
}

impl Inner {
    /// The worker with this configuration. One that was described differently registers anew.
    fn remote(&self, config: WorkerConfig) -> Arc<Remote> {
        let key = (config.namespace.clone(), config.worker_instance_id.clone());
        let connection = &self.process.connection;
        let profile = connection.profile(&config);
        let mut workers = lock(&self.workers);
        if let Some(known) = workers.get(&key)
            && known.fits(&profile)
        {
            *lock(&known.last_call) = Instant::now();
            return known.clone();
        }
        if workers.len() >= MAX_WORKERS {
            let silent = workers.iter().min_by_key(|(_, remote)| *lock(&remote.last_call));
            if let Some(key) = silent.map(|(key, _)| key.clone()) {
                workers.remove(&key);
            }
        }
        let group = self.process.group(profile.served(), DurationMs::from_secs(1));
        // The same in every process, so that any gateway can carry the worker's calls.
        let name = format!("{} {}", key.0, key.1);
        let (nonce, _) = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).as_u64_pair();
        let entropy = connection.entropy();
        let registration =
            Registration::new(&profile, config.version, config.take_over, Nonce(nonce), entropy);
        let remote = Arc::new(Remote {
            served: profile.served(),
            claimant: profile.claimant(0),
            group,
            registration: Mutex::new(registration),
            last_call: Mutex::new(Instant::now()),
            meter: connection.meter.remote(&profile.worker),
        });
        workers.insert(key, remote.clone());
        remote
    }

    /// Claims for a worker until it has something, or until its time is over or it is gone.
    async fn claim_for(
        self: Arc<Self>,
        remote: Arc<Remote>,
        count: usize,
        until: Instant,
        mut answer: oneshot::Sender<Result<Vec<RemoteTask>, EngineError>>,
    ) {
        let mut is_woken = false;
        let claimed = loop {
            let claimed = match self.keep_registered(&remote).await {
                Ok(true) => remote.claim(count, is_woken).await,
                Ok(false) => Ok(Vec::new()),
                Err(error) => Err(error),
            };
            if !matches!(&claimed, Ok(work) if work.is_empty()) || Instant::now() >= until {
                break claimed;
            }
            let next_heartbeat = self.next_heartbeat(&remote);
            is_woken = tokio::select! {
                () = answer.closed() => return,
                is_woken = remote.wait() => is_woken,
                () = tokio::time::sleep_until(until.min(next_heartbeat)) => false,
            };
        };
        let work = claimed.map(|work| self.hand_out(&remote, work));
        if let Err(Ok(unwanted)) = answer.send(work) {
            self.give_back(&remote, unwanted).await;
        }
    }

    /// Registers a worker, or sends its heartbeat, if that is due. Returns whether it may claim.
    async fn keep_registered(&self, remote: &Arc<Remote>) -> Result<bool, EngineError> {
        let connection = &self.process.connection;
        let active = self.active(remote);
        let call = lock(&remote.registration).due(active, connection.clock.now());
        if let Some(call) = call {
            let result = connection.drive(call).await;
            let failed = result.as_ref().err().cloned();
            let mut registration = lock(&remote.registration);
            registration.answered(result, connection.clock.now());
            if let (Some(failed), Standing::Unregistered) = (failed, registration.standing()) {
                return Err(failed);
            }
        }
        let registration = lock(&remote.registration);
        if registration.standing() == Standing::Superseded {
            let instance = registration.info().instance.clone();
            return Err(Rejection::WorkerSuperseded { instance }.into());
        }
        Ok(registration.may_claim())
    }

    fn next_heartbeat(&self, remote: &Remote) -> Instant {
        let connection = &self.process.connection;
        let next = lock(&remote.registration).next_wakeup();
        next.map_or_else(|| Instant::now() + MAX_WAIT, |next| connection.clock.instant(next))
    }

    /// How many executions a worker holds, as far as this process knows.
    fn active(&self, remote: &Arc<Remote>) -> usize {
        let now = Instant::now();
        let mut leases = lock(&self.leases);
        leases.retain(|_, lease| lease.until > now);
        leases.values().filter(|lease| Arc::ptr_eq(&lease.remote, remote)).count()
    }

    fn hand_out(&self, remote: &Arc<Remote>, work: Vec<ClaimedWork>) -> Vec<RemoteTask> {
        let until = Instant::now() + Duration::from(remote.claimant.lease_ttl);
        let mut leases = lock(&self.leases);
        let task = |work: ClaimedWork| {
            let _running = remote.meter.runs(&work.claimed.lane);
            let lease = HandedOut { remote: remote.clone(), until, _running };
            leases.insert(work.claimed.lease_id, lease);
            RemoteTask { claimed: work.claimed, payload: work.payload }
        };
        work.into_iter().map(task).collect()
    }

    /// Counts a renewal of a lease that was passed on here.
    fn count_renewal<T>(&self, lease: LeaseId, result: &Result<T, SdkError>) {
        let result = match result {
            Ok(_) => Ok(()),
            Err(SdkError::Engine(error)) => Err(error.clone()),
            Err(_) => return,
        };
        if let Some(lease) = lock(&self.leases).get(&lease) {
            lease.remote.meter.renewed(&result);
        }
    }

    /// Notes a renewal, which is also a heartbeat of the worker.
    fn renewed(self: &Arc<Self>, lease: LeaseId, ttl: DurationMs) {
        let remote = {
            let mut leases = lock(&self.leases);
            let Some(lease) = leases.get_mut(&lease) else { return };
            lease.until = Instant::now() + Duration::from(ttl);
            lease.remote.clone()
        };
        *lock(&remote.last_call) = Instant::now();
        if self.next_heartbeat(&remote) <= Instant::now() {
            let inner = self.clone();
            tokio::spawn(async move {
                if let Err(error) = inner.keep_registered(&remote).await {
                    tracing::warn!(%error, "a heartbeat of a remote worker failed");
                }
            });
        }
    }

    /// Releases executions whose worker has gone before it got them.
    async fn give_back(&self, remote: &Remote, unwanted: Vec<RemoteTask>) {
        let connection = &self.process.connection;
        for RemoteTask { claimed, .. } in unwanted {
            lock(&self.leases).remove(&claimed.lease_id);
            let execution_id = claimed.execution_id;
            let command = DelayExecution {
                execution_id,
                fence: FenceParts::of(claimed.fence()),
                until: connection.store_now(execution_id.partition()),
                keeps_resumption: true,
            };
            let namespace = remote.served.namespace.clone();
            if let Err(error) = connection.transact(InNamespace { namespace, command }).await {
                tracing::warn!(%execution_id, %error, "an execution waits for its lease to expire");
            }
        }
    }
}

impl Remote {
    fn fits(&self, profile: &WorkerProfile) -> bool {
        let claimant = profile.claimant(0);
        self.served == profile.served()
            && self.group.runs()
            && self.claimant.worker == claimant.worker
            && self.claimant.lease_ttl == claimant.lease_ttl
    }

    async fn claim(&self, count: usize, is_woken: bool) -> Result<Vec<ClaimedWork>, EngineError> {
        self.group.claim(Claimant { count, ..self.claimant.clone() }, is_woken).await
    }

    /// Waits until there may be work. Returns whether that is because of a wake-up.
    async fn wait(&self) -> bool {
        let may_claim = lock(&self.registration).may_claim();
        if !may_claim {
            return std::future::pending().await;
        }
        self.group.wait().await
    }
}

impl std::fmt::Debug for WorkerGateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerGateway").finish_non_exhaustive()
    }
}
