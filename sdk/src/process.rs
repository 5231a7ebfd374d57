//! The shared part of the workers of a process that use the same backend: the connection, the
//! timekeeper, the completions that travel together, and the claims of workers that serve the same.

use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use ff_core::agent::{Served, WorkerProfile};
use ff_core::backend::EngineBackend;
use ff_core::id::{Namespace, Nonce, WorkerInstanceId};
use ff_core::op::OperationContext;
use ff_core::store::codec::Codec;
use ff_core::time::DurationMs;

use crate::claims::ClaimGroup;
use crate::config::WorkerConfig;
use crate::error::SdkError;
use crate::gather::Gatherer;
use crate::host::ClockSource;
use crate::shared::{Connection, Sources, lock};
use crate::timekeeping::TimekeeperTask;

/// The shared part of the workers of this process that use the same backend with the same settings
/// of calls. A worker with a seed shares with none.
pub(crate) struct Process {
    pub(crate) connection: Arc<Connection>,
    pub(crate) gatherer: Arc<Gatherer>,
    timekeeper: Mutex<Weak<TimekeeperTask>>,
    groups: Mutex<Vec<Weak<ClaimGroup>>>,
    /// The number by which the store distinguishes this process from others.
    pub(crate) nonce: Nonce,
    /// The instance ids of its workers.
    instances: Mutex<Vec<Weak<InstanceName>>>,
}

/// An instance id, in the namespace whose workers have it. Workers of one process can share one.
#[derive(PartialEq, Eq)]
pub(crate) struct InstanceName(Namespace, WorkerInstanceId);

/// The number of this program, unless the random numbers of a worker come from a seed.
static NONCE: OnceLock<u64> = OnceLock::new();

/// The settings that workers must have in common to share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Settings {
    known_format: u8,
    call_timeout: Duration,
    clock: ClockSource,
}

/// A process's shared part, and whose it is.
struct Registered {
    backend: Weak<dyn EngineBackend>,
    settings: Settings,
    process: Weak<Process>,
}

/// The shared parts of this process. They end with their last worker.
static PROCESSES: Mutex<Vec<Registered>> = Mutex::new(Vec::new());

impl Process {
    /// Returns the shared part for a worker. The first worker opens it.
    pub(crate) async fn of(
        config: &WorkerConfig,
        backend: Arc<dyn EngineBackend>,
    ) -> Result<Arc<Self>, SdkError> {
        let WorkerConfig { known_format, call_timeout, clock, .. } = *config;
        let settings = Settings { known_format, call_timeout, clock };
        if let (None, Some(process)) = (config.seed, registered(&backend, settings)) {
            process.connection.check_partitions(config.partition_config)?;
            return Ok(process);
        }
        let context =
            OperationContext::new(DurationMs::from(call_timeout), Codec::knowing(known_format));
        let omit_counts = !config.keep_counts;
        let sources = Sources { seed: config.seed, clock, omit_counts, ends_refused: false };
        let connection =
            Connection::open(backend.clone(), config.partition_config, context, sources).await?;
        let draw = || connection.entropy().next_u64();
        let nonce = Nonce(if config.seed.is_some() { draw() } else { *NONCE.get_or_init(draw) });
        let process = Arc::new(Self {
            connection: Arc::new(connection),
            gatherer: Arc::default(),
            timekeeper: Mutex::default(),
            groups: Mutex::default(),
            nonce,
            instances: Mutex::default(),
        });
        if config.seed.is_some() {
            return Ok(process);
        }
        let mut processes = lock(&PROCESSES);
        // Another worker may have opened it at the same time.
        if let Some(process) = find(&processes, &backend, settings) {
            return Ok(process);
        }
        let (backend, shared) = (Arc::downgrade(&backend), Arc::downgrade(&process));
        processes.push(Registered { backend, settings, process: shared });
        Ok(process)
    }

    /// Returns the timekeeper of the process. It starts one if none runs, also if the last one has
    /// ended with its tokio runtime.
    pub(crate) fn timekeeper(&self) -> Arc<TimekeeperTask> {
        let mut timekeeper = lock(&self.timekeeper);
        if let Some(running) = timekeeper.upgrade().filter(|running| running.runs()) {
            return running;
        }
        let started = Arc::new(TimekeeperTask::start(self.connection.clone()));
        *timekeeper = Arc::downgrade(&started);
        started
    }

    /// Returns the instance id of a worker, which all its workers with this id share.
    pub(crate) fn instance(&self, profile: &WorkerProfile) -> Arc<InstanceName> {
        let name = InstanceName(profile.namespace.clone(), profile.instance.clone());
        let mut instances = lock(&self.instances);
        instances.retain(|instance| instance.strong_count() > 0);
        let known = instances.iter().filter_map(Weak::upgrade).find(|known| **known == name);
        known.unwrap_or_else(|| {
            let name = Arc::new(name);
            instances.push(Arc::downgrade(&name));
            name
        })
    }

    /// Returns the group of the workers that serve the same, with the same time between looks.
    pub(crate) fn group(&self, served: Served, look_every: DurationMs) -> Arc<ClaimGroup> {
        let mut groups = lock(&self.groups);
        groups.retain(|group| group.strong_count() > 0);
        let fits = |group: &Weak<ClaimGroup>| {
            group.upgrade().filter(|group| group.serves(&served, look_every) && group.runs())
        };
        groups.iter().find_map(fits).unwrap_or_else(|| {
            let group = ClaimGroup::start(self.connection.clone(), served, look_every);
            groups.push(Arc::downgrade(&group));
            group
        })
    }
}

fn registered(backend: &Arc<dyn EngineBackend>, settings: Settings) -> Option<Arc<Process>> {
    let mut processes = lock(&PROCESSES);
    processes.retain(|registered| registered.process.strong_count() > 0);
    find(&processes, backend, settings)
}

fn find(
    processes: &[Registered],
    backend: &Arc<dyn EngineBackend>,
    settings: Settings,
) -> Option<Arc<Process>> {
    let backend = Arc::downgrade(backend);
    let same = |registered: &&Registered| {
        registered.settings == settings && registered.backend.ptr_eq(&backend)
    };
    processes.iter().filter(same).find_map(|registered| registered.process.upgrade())
}
