//! The workers of `ff run` in this process. Each has a separate worker instance, so that one can be
//! killed alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ff_sdk::core::backend::EngineBackend;
use ff_sdk::core::entropy::Entropy;
use ff_sdk::core::execution::AttemptKind;
use ff_sdk::{
    FlowFabricWorker, Namespace, RawPayload, SdkError, State, TaskContext, WorkerConfig,
    WorkerRuntime,
};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::input::SHELL;
use crate::shell;

/// How long running commands may take once nothing new is claimed. There is no real limit, because
/// a second Ctrl-C ends them.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The default namespace of every command.
pub const NAMESPACE: &str = ff_server::DEFAULT_NAMESPACE;

/// Counters of the pool, for the progress bar.
#[derive(Debug, Default)]
pub struct PoolStats {
    /// Commands that are running.
    pub running: AtomicU64,
    /// Attempts that were started after a failed one.
    pub retries: AtomicU64,
    /// Attempts that were started after a lost lease.
    pub reclaims: AtomicU64,
    /// Workers that were killed on purpose.
    pub killed: AtomicU64,
}

/// The configuration of the pool.
#[derive(Clone)]
pub struct PoolConfig {
    /// The store.
    pub backend: Arc<dyn EngineBackend>,
    /// The prefix of the workers' instance IDs.
    pub instance: String,
    /// The namespace of the executions.
    pub namespace: Namespace,
    /// The number of workers.
    pub workers: usize,
    /// How long a lease lasts unless it is renewed.
    pub lease_ttl_ms: u64,
    /// How often a worker is killed.
    pub kill_every: Option<Duration>,
    /// The seed of all random choices.
    pub seed: Option<u64>,
}

/// Runs the workers until `drain` is true and their commands have ended. A worker that is killed is
/// replaced immediately.
///
/// Dropping the future drops all workers, and ends their commands in the background.
pub async fn run(
    config: PoolConfig,
    stats: Arc<PoolStats>,
    drain: watch::Receiver<bool>,
) -> Result<(), SdkError> {
    // Without a seed the choice of the killed worker need not be repeatable.
    let seed = config.seed.unwrap_or_else(|| u64::from(std::process::id()));
    let mut entropy = Entropy::from_u64(seed);
    let mut workers = JoinSet::new();
    let mut handles = Vec::new();
    let mut number = 0;
    while handles.len() < config.workers {
        number += 1;
        handles.push(workers.spawn(worker(config.clone(), stats.clone(), drain.clone(), number)));
    }
    let mut ticks = config.kill_every.map(tokio::time::interval);
    if let Some(ticks) = &mut ticks {
        ticks.tick().await;
    }
    loop {
        let tick = async {
            match &mut ticks {
                Some(ticks) => ticks.tick().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            ended = workers.join_next() => match ended {
                None => return Ok(()),
                Some(ended) => finished(ended)?,
            },
            _ = tick, if !*drain.borrow() => {
                let victim = entropy.below(handles.len() as u64) as usize;
                handles[victim].abort();
                stats.killed.fetch_add(1, Ordering::Relaxed);
                number += 1;
                let next = worker(config.clone(), stats.clone(), drain.clone(), number);
                handles[victim] = workers.spawn(next);
            }
        }
    }
}

fn finished(ended: Result<Result<(), SdkError>, JoinError>) -> Result<(), SdkError> {
    match ended {
        Ok(result) => result,
        Err(error) if error.is_cancelled() => Ok(()),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn worker(
    pool: PoolConfig,
    stats: Arc<PoolStats>,
    mut drain: watch::Receiver<bool>,
    number: u64,
) -> Result<(), SdkError> {
    let mut config = WorkerConfig::new(
        "ff-run",
        format!("{}-{number}", pool.instance),
        pool.namespace.as_str(),
    )?;
    config.lease_ttl = Duration::from_millis(pool.lease_ttl_ms);
    config.seed = pool.seed.map(|seed| seed.wrapping_add(number));
    let worker = FlowFabricWorker::connect_with(config, pool.backend, None).await?;
    let runtime = WorkerRuntime::new(worker)
        .state(stats)
        .handle(SHELL, handle)
        .shutdown_deadline(DRAIN_TIMEOUT);
    runtime
        .run_until(async move {
            // The sender lives as long as the pool.
            let _ = drain.wait_for(|drain| *drain).await;
        })
        .await
}

/// Counts a running command until it is dropped, also when its worker is killed.
struct Running(Arc<PoolStats>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn handle(
    context: TaskContext,
    payload: RawPayload,
    stats: State<Arc<PoolStats>>,
) -> Result<Vec<u8>, ff_sdk::HandlerError> {
    let stats = (*stats.0).clone();
    stats.running.fetch_add(1, Ordering::Relaxed);
    let _running = Running(stats.clone());
    match context.attempt_kind() {
        AttemptKind::Retry => stats.retries.fetch_add(1, Ordering::Relaxed),
        AttemptKind::Reclaim => stats.reclaims.fetch_add(1, Ordering::Relaxed),
        AttemptKind::Initial | AttemptKind::Replay => 0,
    };
    shell::run(context, payload).await
}
