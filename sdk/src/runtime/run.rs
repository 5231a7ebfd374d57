//! The loop of the runtime: claim, run handlers, finish, shut down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ff_core::error::{EngineError, Rejection};
use ff_core::execution::{
    DEFAULT_PAYLOAD_LIMIT, FailOutcome, ResumedBy, Resumption, SuspendOutcome,
};
use ff_core::id::FailureCategory;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument;

use crate::error::SdkError;
use crate::task::ClaimedTask;
use crate::worker::FlowFabricWorker;

use super::extract::{States, TaskContext};
use super::handler::{AnyHandler, Handler, any};
use super::outcome::{HandlerError, TaskOutcome};
use super::unwind::CatchUnwind;

/// Runs `async` handlers by kind, as many at once as the worker has slots.
///
/// A handler that panics fails its attempt with category `handler_panic`. When a lease is lost the
/// handler's future is dropped. A kind without a handler fails its attempt with category
/// `no_handler`.
///
/// ```
/// use std::sync::Arc;
/// use ff_sdk::{
///     Client, FlowFabricWorker, Json, MemoryBackend, Payload, Submission, WorkerConfig,
///     WorkerRuntime,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let backend = Arc::new(MemoryBackend::new());
/// let client = Client::connect_with(backend.clone(), "demo").await?;
/// let config = WorkerConfig::new("adder", "adder-1", "demo")?;
/// let worker = FlowFabricWorker::connect_with(config, backend, None).await?;
/// let runtime = WorkerRuntime::new(worker)
///     .handle("add", |Payload((a, b)): Payload<(u64, u64)>| async move { Json(a + b) });
///
/// let id = client.submit(Submission::new("add").json(&(2, 3))?).await?.id();
/// let sum = runtime.run_until(async { client.result(&id).await }).await?;
/// assert_eq!(sum?.bytes(), Some(&b"5"[..]));
/// # Ok(())
/// # }
/// ```
pub struct WorkerRuntime {
    worker: FlowFabricWorker,
    handlers: BTreeMap<String, AnyHandler>,
    states: States,
    shutdown_deadline: Duration,
    report: Arc<Counters>,
}

impl std::fmt::Debug for WorkerRuntime {
    /// Its figures.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let report = self.reports().report();
        f.debug_struct("WorkerRuntime").field("report", &report).finish_non_exhaustive()
    }
}

/// Tells what a runtime has done so far, also while it runs. Cloning is cheap.
#[derive(Clone)]
pub struct RuntimeReports(Arc<Counters>);

#[derive(Default)]
struct Counters {
    completed: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    retried: AtomicU64,
    lost: AtomicU64,
    given_back: AtomicU64,
    suspended: AtomicU64,
}

/// What a runtime has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeReport {
    /// Executions that it completed.
    pub completed: u64,
    /// Executions that failed for good with it.
    pub failed: u64,
    /// Executions whose handler did not want them any more.
    pub cancelled: u64,
    /// Attempts that failed and are tried again.
    pub retried: u64,
    /// Tasks whose lease was lost, or whose finishing call was refused.
    pub lost: u64,
    /// Tasks that were given back: delayed, waiting for children, or at shutdown.
    pub given_back: u64,
    /// Tasks that were given back until they are resumed.
    pub suspended: u64,
}

/// How long a graceful shutdown waits for running handlers unless set.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// How long to wait after the store did not answer.
const PAUSE: Duration = Duration::from_secs(1);

impl WorkerRuntime {
    /// A runtime without handlers yet.
    pub fn new(worker: FlowFabricWorker) -> Self {
        Self {
            worker,
            handlers: BTreeMap::new(),
            states: States::default(),
            shutdown_deadline: SHUTDOWN_DEADLINE,
            report: Arc::default(),
        }
    }

    /// The handler of a kind; a later one replaces an earlier one.
    #[must_use]
    pub fn handle<Args>(mut self, kind: impl Into<String>, handler: impl Handler<Args>) -> Self {
        self.handlers.insert(kind.into(), any(handler));
        self
    }

    /// A value that handlers share and ask for with [`super::State`]; one for each type.
    #[must_use]
    pub fn state<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        self.states.insert(Arc::new(state));
        self
    }

    /// How long a graceful shutdown waits for running handlers; 10 s unless set. Those that take
    /// longer are dropped and their leases given back, so that others go on at once.
    #[must_use]
    pub const fn shutdown_deadline(mut self, deadline: Duration) -> Self {
        self.shutdown_deadline = deadline;
        self
    }

    /// A handle that tells what it has done so far, also while it runs.
    pub fn reports(&self) -> RuntimeReports {
        RuntimeReports(self.report.clone())
    }

    /// Claims and works until `shutdown` resolves, then drains: nothing new is claimed, running
    /// handlers have until the shutdown deadline. Returns what `shutdown` resolved to.
    ///
    /// A store that does not answer is asked again every second. A worker that goes on until it is
    /// told to stop is `run_until(tokio::signal::ctrl_c())`.
    ///
    /// # Errors
    ///
    /// [`SdkError`] when claiming fails in a way that no retry can help; then running handlers are
    /// dropped and their leases run out.
    ///
    /// Dropping the future drops the running handlers; their leases run out.
    pub async fn run_until<T>(self, shutdown: impl Future<Output = T>) -> Result<T, SdkError> {
        let Self { worker, handlers, states, shutdown_deadline, report } = self;
        let (drain, draining) = watch::channel(false);
        let (stop, stopped) = watch::channel(false);
        let states = Arc::new(states);
        let shared = Arc::new(Shared { handlers, states, report, draining, stopped });
        let mut running = JoinSet::new();
        let left;
        let value = {
            let claiming = claim_and_run(&worker, &shared, &mut running);
            tokio::pin!(shutdown, claiming);
            let value = tokio::select! {
                biased;
                value = &mut shutdown => value,
                ended = &mut claiming => match ended {
                    Some(error) => return Err(error),
                    None => unreachable!("nobody has told it to drain"),
                },
            };
            drain.send_replace(true);
            let began = Instant::now();
            if let Ok(Some(error)) = tokio::time::timeout(shutdown_deadline, claiming).await {
                tracing::warn!(%error, "the last claim failed");
            }
            left = shutdown_deadline.saturating_sub(began.elapsed());
            value
        };
        let drained = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(left, drained).await.is_err() {
            // Those that are left give their leases back by themselves.
            stop.send_replace(true);
            while running.join_next().await.is_some() {}
        }
        Ok(value)
    }
}

impl RuntimeReports {
    /// What the runtime has done so far.
    pub fn report(&self) -> RuntimeReport {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RuntimeReport {
            completed: read(&self.0.completed),
            failed: read(&self.0.failed),
            cancelled: read(&self.0.cancelled),
            retried: read(&self.0.retried),
            lost: read(&self.0.lost),
            given_back: read(&self.0.given_back),
            suspended: read(&self.0.suspended),
        }
    }
}

impl std::fmt::Debug for RuntimeReports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.report().fmt(f)
    }
}

struct Shared {
    handlers: BTreeMap<String, AnyHandler>,
    states: Arc<States>,
    report: Arc<Counters>,
    /// Nothing new is to be claimed.
    draining: watch::Receiver<bool>,
    /// Running handlers are to give their leases back.
    stopped: watch::Receiver<bool>,
}

/// Claims as many executions as there are free slots, and runs each in a task of its own. Returns
/// an error when claiming fails for good, and nothing once it is told to drain: what was just being
/// claimed is given back.
async fn claim_and_run(
    worker: &FlowFabricWorker,
    shared: &Arc<Shared>,
    running: &mut JoinSet<()>,
) -> Option<SdkError> {
    let mut draining = shared.draining.clone();
    loop {
        while running.try_join_next().is_some() {}
        let free = worker.free_slots();
        let claimed = if free == 0 { None } else { Some(worker.claim_many(free).await) };
        if *draining.borrow() {
            for task in claimed.into_iter().flatten().flatten() {
                finish(&shared.report, &task, Ended::Stopped).await;
            }
            return None;
        }
        let pause = async {
            match claimed {
                Some(Ok(tasks)) if tasks.is_empty() => worker.wait_for_work().await,
                Some(Ok(tasks)) => {
                    for task in tasks {
                        let span = span_of(&task);
                        running.spawn(run_task(shared.clone(), task).instrument(span));
                    }
                }
                // Others that have this worker may hold its slots and give them back.
                None if running.is_empty() => tokio::time::sleep(PAUSE).await,
                None => drop(tokio::time::timeout(PAUSE, running.join_next()).await),
                Some(Err(error)) if error.is_retryable() => {
                    tracing::warn!(%error, "claiming failed, trying again");
                    tokio::time::sleep(PAUSE).await;
                }
                Some(Err(error)) => return Some(error),
            }
            None
        };
        let failed = tokio::select! {
            biased;
            failed = pause => failed,
            _ = draining.wait_for(|draining| *draining) => return None,
        };
        if failed.is_some() {
            return failed;
        }
    }
}

/// The span that a handler runs in, so that what it logs says for which task.
fn span_of(task: &ClaimedTask) -> tracing::Span {
    tracing::info_span!(
        "task",
        execution = %task.execution_id(),
        kind = %task.execution_kind(),
        attempt = %task.attempt_index(),
        epoch = %task.lease_epoch(),
    )
}

/// How a handler's run ended.
enum Ended {
    Returned(TaskOutcome),
    LeaseLost,
    Stopped,
}

async fn run_task(shared: Arc<Shared>, task: ClaimedTask) {
    let task = Arc::new(task);
    let mut resumption = task.resumption().cloned();
    loop {
        let signals = match &resumption {
            Some(resumption) => task.signals_of(resumption.clone()).await,
            None => Ok(Vec::new()),
        };
        let ended = match signals {
            Ok(signals) => {
                let (task, states) = (task.clone(), shared.states.clone());
                let (resumption, signals) = (resumption.map(Arc::new), signals.into());
                run_handler(&shared, TaskContext { task, states, resumption, signals }).await
            }
            // Whoever takes it next reads them again.
            Err(error) => {
                tracing::warn!(%error, "the signals could not be read");
                Ended::Stopped
            }
        };
        // What the handler has cloned of its context may keep the task and its slot for longer.
        resumption = finish(&shared.report, &task, ended).await;
        if resumption.is_none() {
            return;
        }
    }
}

async fn run_handler(shared: &Shared, context: TaskContext) -> Ended {
    let watch = context.task.lease_watch();
    let Some(handler) = shared.handlers.get(context.execution_kind().as_str()) else {
        let reason = format!("no handler for kind {}", context.execution_kind());
        return Ended::Returned(TaskOutcome::Fail(HandlerError::new("no_handler", reason)));
    };
    let mut stopped = shared.stopped.clone();
    let called = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| handler(context)));
    let Ok(work) = called else {
        return Ended::Returned(panicked("before its first await"));
    };
    tokio::select! {
        biased;
        () = watch.lost() => Ended::LeaseLost,
        returned = CatchUnwind(work) => Ended::Returned(match returned {
            Ok(outcome) => outcome,
            Err(message) => panicked(&message),
        }),
        _ = stopped.wait_for(|stopped| *stopped) => Ended::Stopped,
    }
}

fn panicked(message: &str) -> TaskOutcome {
    TaskOutcome::Fail(HandlerError::new(
        "handler_panic",
        format!("the handler panicked: {message}"),
    ))
}

/// Does what a handler's end asks for. Where it would have suspended and the signals were there
/// already, it goes on with them instead.
async fn finish(report: &Counters, task: &ClaimedTask, ended: Ended) -> Option<Resumption> {
    let execution = task.execution_id();
    let finished = match ended {
        Ended::LeaseLost => {
            report.lost.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        // The same attempt goes on with whoever takes it next, and has the same signals.
        Ended::Stopped => task.end_give_back().await.map(|()| &report.given_back),
        Ended::Returned(outcome) => match outcome {
            TaskOutcome::Complete(Some(result)) if result.len() > DEFAULT_PAYLOAD_LIMIT => {
                fail(report, task, too_large(result.len())).await
            }
            TaskOutcome::Complete(result) => {
                task.end_complete(result).await.map(|()| &report.completed)
            }
            TaskOutcome::Fail(error) => fail(report, task, error).await,
            TaskOutcome::Delay(until) => task.end_delay(until).await.map(|()| &report.given_back),
            TaskOutcome::WaitForChildren => {
                task.end_wait_for_children().await.map(|()| &report.given_back)
            }
            TaskOutcome::Suspend(suspension) => match task.end_suspend(*suspension).await {
                Ok(SuspendOutcome::AlreadySatisfied { suspension_id, signals }) => {
                    return Some(Resumption { suspension_id, by: ResumedBy::Signals, signals });
                }
                Ok(SuspendOutcome::Suspended { .. }) => Ok(&report.suspended),
                Err(error) => refused(report, task, error).await,
            },
            TaskOutcome::Cancel(reason) => {
                task.end_cancel(reason).await.map(|()| &report.cancelled)
            }
        },
    };
    // Whatever came of it, nobody works on it any more: a lease that could not be given back runs
    // out, even if the handler has left a clone of its context behind.
    task.let_go();
    match finished {
        Ok(counter) => counter.fetch_add(1, Ordering::Relaxed),
        Err(error) => {
            tracing::warn!(%execution, %error, "the task could not be finished");
            report.lost.fetch_add(1, Ordering::Relaxed)
        }
    };
    None
}

/// A suspension that can never be fails its attempt, like a handler's own error; one whose
/// waitpoint has closed meanwhile may do better in another.
async fn refused<'r>(
    report: &'r Counters,
    task: &ClaimedTask,
    error: SdkError,
) -> Result<&'r AtomicU64, SdkError> {
    match error.engine() {
        Some(EngineError::Validation { detail, .. }) => {
            let wrong = HandlerError::new("invalid_suspension", detail.clone());
            fail(report, task, wrong.permanent()).await
        }
        Some(EngineError::State(rejection @ Rejection::WaitpointClosed)) => {
            let closed = HandlerError::new("waitpoint_closed", rejection.to_string());
            fail(report, task, closed).await
        }
        _ => Err(error),
    }
}

/// A result that the store would refuse each time that the handler runs.
fn too_large(bytes: usize) -> HandlerError {
    let reason = format!("the result has {bytes} bytes, over the limit of {DEFAULT_PAYLOAD_LIMIT}");
    HandlerError::new("invalid_result", reason).permanent()
}

/// Reports a failed attempt. A category that is none would leave the attempt to run out.
async fn fail<'r>(
    report: &'r Counters,
    task: &ClaimedTask,
    error: HandlerError,
) -> Result<&'r AtomicU64, SdkError> {
    let HandlerError { category, reason, permanent } = error;
    let (category, reason) = match FailureCategory::try_new(&category) {
        Ok(category) => (category, reason),
        Err(wrong) => {
            let category = FailureCategory::try_new("handler_error").expect("a valid category");
            (category, format!("{reason} ({wrong})"))
        }
    };
    Ok(match task.end_fail(reason, category, permanent).await? {
        FailOutcome::RetryScheduled { .. } => &report.retried,
        FailOutcome::TerminalFailed => &report.failed,
    })
}
