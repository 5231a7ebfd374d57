//! The loop of the runtime: claim, run handlers, finish, shut down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ff_core::error::{EngineError, Rejection};
use ff_core::execution::{
    DEFAULT_PAYLOAD_LIMIT, FailOutcome, ResumedBy, Resumption, SuspendOutcome,
};
use ff_core::id::{ExecutionKind, FailureCategory};
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

/// Runs `async` handlers by kind, as many at the same time as the worker has slots (`docs/spec.md`,
/// 11).
///
/// It claims only executions of kinds that have a handler, and leaves others to other workers. A
/// handler that panics fails its attempt with category `handler_panic`. When a lease is lost, the
/// handler's future is dropped.
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
    /// Shows its report.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let report = self.reports().report();
        f.debug_struct("WorkerRuntime").field("report", &report).finish_non_exhaustive()
    }
}

/// A handle to the counters of a runtime, also while it runs. Cloning is cheap.
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
    running: AtomicU64,
}

/// A handler that runs, for the counters.
struct Running<'c>(&'c AtomicU64);

impl<'c> Running<'c> {
    fn new(counters: &'c Counters) -> Self {
        counters.running.fetch_add(1, Ordering::Relaxed);
        Self(&counters.running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The counters of a runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeReport {
    /// Executions that it completed.
    pub completed: u64,
    /// Executions that failed permanently.
    pub failed: u64,
    /// Executions that their handler cancelled.
    pub cancelled: u64,
    /// Attempts that failed and are retried.
    pub retried: u64,
    /// Tasks whose lease was lost, or whose finishing call failed.
    pub lost: u64,
    /// Tasks that were released: delayed, waiting for children, or at shutdown.
    pub given_back: u64,
    /// Tasks that were suspended.
    pub suspended: u64,
    /// Handlers that run at present.
    pub running: u64,
}

/// The default of [`WorkerRuntime::shutdown_deadline`].
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// The pause after a failed claim.
const PAUSE: Duration = Duration::from_secs(1);

impl WorkerRuntime {
    /// Creates a runtime without handlers.
    pub fn new(worker: FlowFabricWorker) -> Self {
        Self {
            worker,
            handlers: BTreeMap::new(),
            states: States::default(),
            shutdown_deadline: SHUTDOWN_DEADLINE,
            report: Arc::default(),
        }
    }

    /// Registers the handler of a kind; a later one replaces an earlier one.
    #[must_use]
    pub fn handle<Args>(mut self, kind: impl Into<String>, handler: impl Handler<Args>) -> Self {
        self.handlers.insert(kind.into(), any(handler));
        self
    }

    /// Adds a value that handlers share, as the argument [`State`](super::State). A later value of
    /// the same type replaces an earlier one.
    #[must_use]
    pub fn state<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        self.states.insert(Arc::new(state));
        self
    }

    /// Sets how long a graceful shutdown waits for running handlers. Handlers that take longer are
    /// dropped and their executions released, so that other workers continue them immediately.
    /// Default: 10 s.
    #[must_use]
    pub const fn shutdown_deadline(mut self, deadline: Duration) -> Self {
        self.shutdown_deadline = deadline;
        self
    }

    /// Returns a handle to the counters, which can be read while the runtime runs.
    pub fn reports(&self) -> RuntimeReports {
        RuntimeReports(self.report.clone())
    }

    /// Claims executions and runs their handlers until `shutdown` resolves. Then it claims nothing
    /// new, and waits for running handlers until the
    /// [shutdown deadline](WorkerRuntime::shutdown_deadline). Returns the output of `shutdown`.
    ///
    /// When the store does not answer, it tries again every second.
    /// `run_until(tokio::signal::ctrl_c())` runs until Ctrl-C.
    ///
    /// # Errors
    ///
    /// [`SdkError`] when claiming fails with an error that is not retryable, such as `NewerFormat`
    /// (see [`FlowFabricWorker::claim_next`]). The runtime first waits for the running handlers,
    /// whose leases it still renews.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: running handlers are dropped, and their leases expire.
    pub async fn run_until<T>(self, shutdown: impl Future<Output = T>) -> Result<T, SdkError> {
        let Self { worker, handlers, states, shutdown_deadline, report } = self;
        // A name that is not a kind is never submitted.
        worker.serve_only(handlers.keys().filter_map(|name| ExecutionKind::try_new(name).ok()));
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
                    None => unreachable!("claiming ends without an error only after the drain"),
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
            // The remaining tasks release their leases themselves.
            stop.send_replace(true);
            while running.join_next().await.is_some() {}
        }
        Ok(value)
    }
}

impl RuntimeReports {
    /// Returns the present values of the counters.
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
            running: read(&self.0.running),
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
    /// Whether claiming has to stop.
    draining: watch::Receiver<bool>,
    /// Whether running handlers have to be dropped and their leases released.
    stopped: watch::Receiver<bool>,
}

/// Claims as many executions as there are free slots, and runs each in its own task. Returns an
/// error that is not retryable, when the running tasks have ended, or `None` after the drain began;
/// the executions of a claim in progress are then released.
async fn claim_and_run(
    worker: &FlowFabricWorker,
    shared: &Arc<Shared>,
    running: &mut JoinSet<()>,
) -> Option<SdkError> {
    let mut draining = shared.draining.clone();
    loop {
        // First the handlers that are ready to run: some of them may end now.
        tokio::task::yield_now().await;
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
                // Other users of this worker may hold its slots.
                None if running.is_empty() => tokio::time::sleep(PAUSE).await,
                None => drop(tokio::time::timeout(PAUSE, running.join_next()).await),
                Some(Err(error)) if error.is_retryable() => {
                    tracing::warn!(%error, "cannot claim executions; trying again in a second");
                    tokio::time::sleep(PAUSE).await;
                }
                Some(Err(error)) => {
                    let running_tasks = running.len();
                    tracing::error!(%error, running_tasks, "claiming stopped; waiting for tasks");
                    while running.join_next().await.is_some() {}
                    return Some(error);
                }
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

/// The span that a handler runs in, so that its log lines name the task.
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
            // The next worker reads them again.
            Err(error) => {
                tracing::warn!(%error, "cannot read the signals; releasing the execution");
                Ended::Stopped
            }
        };
        // A clone of the context that the handler left behind keeps the task and its slot.
        resumption = finish(&shared.report, &task, ended).await;
        if resumption.is_none() {
            return;
        }
    }
}

async fn run_handler(shared: &Shared, context: TaskContext) -> Ended {
    let watch = context.task.lease_watch();
    let _running = Running::new(&shared.report);
    let Some(handler) = shared.handlers.get(context.execution_kind().as_str()) else {
        // The runtime claims no such execution.
        return Ended::Stopped;
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

/// Makes the finishing call for a handler's end. Returns a resumption when the handler has to be
/// called again, since the condition of its suspension was satisfied already.
async fn finish(report: &Counters, task: &ClaimedTask, ended: Ended) -> Option<Resumption> {
    let execution = task.execution_id();
    let finished = match ended {
        Ended::LeaseLost => {
            report.lost.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        // The next worker continues the same attempt, with the same signals.
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
    // The work has ended, whatever the result: a lease that could not be released expires, even if
    // the handler left a clone of its context behind.
    task.stop_renewing();
    match finished {
        Ok(counter) => counter.fetch_add(1, Ordering::Relaxed),
        Err(error) => {
            tracing::warn!(%execution, %error, "cannot finish the task");
            report.lost.fetch_add(1, Ordering::Relaxed)
        }
    };
    None
}

/// Fails the attempt of a refused suspension: permanently if the suspension is invalid; with a
/// retry if its waitpoint has closed meanwhile, since another attempt may succeed.
async fn refused<'r>(
    report: &'r Counters,
    task: &ClaimedTask,
    error: SdkError,
) -> Result<&'r AtomicU64, SdkError> {
    match error.engine() {
        Some(EngineError::Validation { detail, .. }) => {
            let invalid = HandlerError::new("invalid_suspension", detail.clone());
            fail(report, task, invalid.permanent()).await
        }
        Some(EngineError::State(rejection @ Rejection::WaitpointClosed)) => {
            let closed = HandlerError::new("waitpoint_closed", rejection.to_string());
            fail(report, task, closed).await
        }
        _ => Err(error),
    }
}

/// The error of a result that the store would refuse at every attempt.
fn too_large(bytes: usize) -> HandlerError {
    let reason = format!("the result has {bytes} bytes, over the limit of {DEFAULT_PAYLOAD_LIMIT}");
    HandlerError::new("invalid_result", reason).permanent()
}

/// Fails the attempt. An invalid category is replaced, since the store would refuse the call.
async fn fail<'r>(
    report: &'r Counters,
    task: &ClaimedTask,
    error: HandlerError,
) -> Result<&'r AtomicU64, SdkError> {
    let HandlerError { category, reason, permanent } = error;
    let (category, reason) = match FailureCategory::try_new(&category) {
        Ok(category) => (category, reason),
        Err(invalid) => {
            let category = FailureCategory::try_new("handler_error").expect("a valid category");
            (category, format!("{reason} ({invalid})"))
        }
    };
    Ok(match task.end_fail(reason, category, permanent).await? {
        FailOutcome::RetryScheduled { .. } => &report.retried,
        FailOutcome::TerminalFailed => &report.failed,
    })
}
