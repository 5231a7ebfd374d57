//! Workers in this process, each a worker of its own, so that one can be killed alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ff_sdk::core::backend::EngineBackend;
use ff_sdk::core::entropy::Entropy;
use ff_sdk::{
    FlowFabricWorker, Namespace, RawPayload, SdkError, State, TaskContext, WorkerConfig,
    WorkerRuntime,
};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::input::SHELL;
use crate::shell;

/// How long commands that run may take once nothing new is claimed: as long as they want, since a
/// second Ctrl-C stops them.
const DRAIN: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The namespace of everything that is run from the command line, unless it is set.
pub const NAMESPACE: &str = "ff";

/// What the workers are doing, for the progress bar.
#[derive(Debug, Default)]
pub struct Doing {
    /// Commands that run now.
    pub active: AtomicU64,
    /// Attempts that were started after a failed one.
    pub retries: AtomicU64,
    /// Attempts that were started after a lost lease.
    pub reclaims: AtomicU64,
    /// Workers that were killed on purpose.
    pub killed: AtomicU64,
}

/// How the pool is set up.
#[derive(Clone)]
pub struct PoolConfig {
    /// The store.
    pub backend: Arc<dyn EngineBackend>,
    /// What the workers' names begin with.
    pub instance: String,
    /// Whose executions.
    pub namespace: Namespace,
    /// How many workers.
    pub workers: usize,
    /// How long their leases are good.
    pub lease_ttl_ms: u64,
    /// How often one is killed.
    pub kill_every: Option<Duration>,
    /// The seed of all randomness.
    pub seed: Option<u64>,
}

/// Runs workers until told to drain. A worker that is killed is replaced at once.
///
/// Dropping the future kills all of them and their commands.
pub async fn run(
    config: PoolConfig,
    doing: Arc<Doing>,
    drain: watch::Receiver<bool>,
) -> Result<(), SdkError> {
    let mut entropy = Entropy::from_u64(config.seed.unwrap_or_else(|| {
        // Which worker is killed need not be repeatable without a seed.
        u64::from(std::process::id())
    }));
    let mut workers = JoinSet::new();
    let mut handles = Vec::new();
    let mut number = 0;
    while handles.len() < config.workers {
        number += 1;
        handles.push(workers.spawn(worker(config.clone(), doing.clone(), drain.clone(), number)));
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
                doing.killed.fetch_add(1, Ordering::Relaxed);
                number += 1;
                let next = worker(config.clone(), doing.clone(), drain.clone(), number);
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
    doing: Arc<Doing>,
    mut drain: watch::Receiver<bool>,
    number: u64,
) -> Result<(), SdkError> {
    let mut config = WorkerConfig::new(
        "ff-run",
        format!("{}-{number}", pool.instance),
        pool.namespace.as_str(),
    )?;
    config.lease_ttl_ms = pool.lease_ttl_ms;
    config.seed = pool.seed.map(|seed| seed.wrapping_add(number));
    let worker = FlowFabricWorker::connect_with(config, pool.backend, None).await?;
    let runtime = WorkerRuntime::new(worker)
        .state(Watched(doing))
        .handle(SHELL, watched)
        .shutdown_deadline(DRAIN);
    runtime
        .run_until(async move {
            // The sender lives as long as the pool.
            let _ = drain.wait_for(|drain| *drain).await;
        })
        .await
}

struct Watched(Arc<Doing>);

/// Counts a command in and out, also when it is killed.
struct Active(Arc<Doing>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn watched(
    context: TaskContext,
    payload: RawPayload,
    doing: State<Watched>,
) -> Result<Vec<u8>, ff_sdk::HandlerError> {
    use ff_sdk::core::execution::AttemptKind;
    let doing = doing.0.0.clone();
    doing.active.fetch_add(1, Ordering::Relaxed);
    let _active = Active(doing.clone());
    match context.attempt_kind() {
        AttemptKind::Retry => doing.retries.fetch_add(1, Ordering::Relaxed),
        AttemptKind::Reclaim => doing.reclaims.fetch_add(1, Ordering::Relaxed),
        AttemptKind::Initial | AttemptKind::Replay => 0,
    };
    shell::run(context, payload).await
}
