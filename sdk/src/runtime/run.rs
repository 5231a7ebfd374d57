//! The loop of the runtime: claim, run handlers, finish, shut down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ff_core::id::ExecutionKind;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tower::{Layer, Service};
use tracing::Instrument;

use crate::config::DEFAULT_LANE;
use crate::error::SdkError;
use crate::metrics::{HandlerMeter, RunEnd};
use crate::submission::Submission;
use crate::task::ClaimedTask;
use crate::worker::FlowFabricWorker;

use super::extract::{FromTask, SharedState, TaskContext};
use super::failure::{BoxError, HandlerError};
use super::finish::{Ended, finish, panicked};
use super::handler::{AnyHandler, Handler, HandlerOptions, Registered};
use super::layer::{HandlerService, Layers};
use super::outcome::{IntoTaskOutcome, TaskOutcome};
use super::report::{Counters, Running, RuntimeReports};
use super::source::{Source, all_end};
use super::unwind::{CatchUnwind, catch};

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
/// assert_eq!(sum?.json::<u64>()?, 5);
/// # Ok(())
/// # }
/// ```
pub struct WorkerRuntime {
    worker: FlowFabricWorker,
    handlers: BTreeMap<String, Registered>,
    /// The lanes to which the jobs among the kinds are submitted.
    lanes: BTreeMap<String, String>,
    states: SharedState,
    layers: Layers,
    shutdown_deadline: Duration,
    report: Arc<Counters>,
    /// Notified when no handler runs and there is no work.
    pub(super) idle: Arc<Notify>,
}

impl std::fmt::Debug for WorkerRuntime {
    /// Shows its report.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let report = self.reports().report();
        f.debug_struct("WorkerRuntime").field("report", &report).finish_non_exhaustive()
    }
}

/// The default of [`WorkerRuntime::shutdown_deadline`].
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// The part of the shutdown deadline in which the leases of unfinished tasks are released.
const RELEASE_SHARE: u32 = 5;
/// The longest time for this.
const MAX_RELEASE: Duration = Duration::from_secs(2);

/// The pause after a failed claim.
const PAUSE: Duration = Duration::from_secs(1);

impl WorkerRuntime {
    /// Creates a runtime without handlers.
    pub fn new(worker: FlowFabricWorker) -> Self {
        Self {
            worker,
            handlers: BTreeMap::new(),
            lanes: BTreeMap::new(),
            states: SharedState::default(),
            layers: Layers::default(),
            shutdown_deadline: SHUTDOWN_DEADLINE,
            report: Arc::default(),
            idle: Arc::default(),
        }
    }

    /// Registers the handler of a kind; a later one replaces an earlier one.
    #[must_use]
    pub fn handle<H, Args>(self, kind: impl Into<String>, handler: H) -> Self
    where
        Args: FromTask + 'static,
        H: Handler<Args, Future: Future<Output: IntoTaskOutcome> + Send + 'static>,
    {
        self.handle_with(kind, handler, HandlerOptions::default())
    }

    /// Registers the handler of a kind with options: a timeout, or a limit on the tasks of the kind
    /// that run at the same time.
    #[must_use]
    pub fn handle_with<H, Args>(
        mut self,
        kind: impl Into<String>,
        handler: H,
        options: HandlerOptions,
    ) -> Self
    where
        Args: FromTask + 'static,
        H: Handler<Args, Future: Future<Output: IntoTaskOutcome> + Send + 'static>,
    {
        self.handlers.insert(kind.into(), Registered::new(handler, options));
        self
    }

    /// Registers the handler of a kind.
    pub(crate) fn register(
        mut self,
        submission: &Submission,
        handler: Box<dyn AnyHandler>,
        options: HandlerOptions,
    ) -> Self {
        let (kind, lane) = (submission.kind().to_owned(), submission.lane_name().to_owned());
        self.lanes.insert(kind.clone(), lane);
        self.handlers.insert(kind, Registered { handler, options });
        self
    }

    /// Checks that the worker serves the lanes to which its jobs are submitted. A worker whose
    /// lanes were chosen may leave them to others.
    fn check_lanes(&self) -> Result<(), SdkError> {
        let own = &self.worker.config().lanes;
        let lacking =
            self.lanes.iter().find(|(_, lane)| own.iter().all(|own| own.as_str() != **lane));
        let Some((kind, lane)) = lacking else { return Ok(()) };
        if own.iter().any(|own| own.as_str() != DEFAULT_LANE) {
            tracing::warn!(kind, lane, "the worker does not serve the lane of this job");
            return Ok(());
        }
        let message = format!(
            "do not contain `{lane}`, to which the job `{kind}` is submitted: add \
             .lanes([\"{lane}\"]) to the worker"
        );
        Err(SdkError::config("worker", "lanes", message))
    }

    /// Adds a value that handlers share, as the argument [`State`](super::State). A later value of
    /// the same type replaces an earlier one.
    #[must_use]
    pub fn state<T: Send + Sync + 'static>(mut self, state: T) -> Self {
        self.states.insert(Arc::new(state));
        self
    }

    /// Wraps all handlers, also those that are registered later, with a layer of tower, such as a
    /// timeout or one of your own. A later layer is outside of an earlier one.
    ///
    /// A layer sees each call of a handler: the [`TaskContext`], and the [`TaskOutcome`] or the
    /// error, which is the failure of the attempt; a [`HandlerError`] in it decides the category.
    /// The task keeps its slot and its lease while a layer lets it wait, as a concurrency limit
    /// does. [`HandlerOptions::timeout`] includes the time in layers.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower::timeout::TimeoutLayer;
    ///
    /// # let _ = |runtime: ff_sdk::WorkerRuntime| {
    /// runtime.handle("mail", || async {}).layer(TimeoutLayer::new(Duration::from_secs(30)))
    /// # };
    /// ```
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<HandlerService> + Send + Sync + 'static,
        L::Service: Service<TaskContext, Response = TaskOutcome> + Clone + Send + Sync + 'static,
        <L::Service as Service<TaskContext>>::Error: Into<BoxError>,
        <L::Service as Service<TaskContext>>::Future: Send + 'static,
    {
        self.layers.push(layer);
        self
    }

    /// Sets how long a graceful shutdown may take. Default: 10 s.
    ///
    /// It waits for running handlers, but not during the last fifth of this time, at most 2 s. Then
    /// it drops the handlers that still run and releases their executions, so that other workers
    /// continue them immediately. Calls that the store has not answered at the deadline are given
    /// up; those leases expire.
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
    /// `run_until(shutdown_signal())` runs until SIGTERM or Ctrl-C
    /// ([`shutdown_signal`](crate::shutdown_signal)).
    ///
    /// # Errors
    ///
    /// - [`SdkError::MissingState`] when a handler needs shared state that was not passed to
    ///   [`state`](Self::state); nothing was claimed.
    /// - [`SdkError::Config`] when the lanes of the worker were not chosen and it has the handler
    ///   of a job that is submitted to another lane than `default`; nothing was claimed.
    /// - Any other when claiming fails with an error that is not retryable, such as `NewerFormat`
    ///   (see [`FlowFabricWorker::claim_next`]). The runtime first waits for the running handlers,
    ///   whose leases it still renews.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: running handlers are dropped, and their leases expire.
    pub async fn run_until<T>(self, shutdown: impl Future<Output = T>) -> Result<T, SdkError> {
        self.check_lanes()?;
        let Self { worker, handlers, layers, states, shutdown_deadline, report, idle, .. } = self;
        for (kind, registered) in &handlers {
            if let Some(state) = registered.handler.missing_state(&states) {
                return Err(SdkError::MissingState { kind: kind.clone(), state });
            }
        }
        // A name that is not a kind is never submitted.
        worker.serve_only(handlers.keys().filter_map(|name| ExecutionKind::try_new(name).ok()));
        let drain = watch::Sender::new(false);
        let (stop, stopped) = watch::channel(false);
        let states = Arc::new(states);
        let handlers = Arc::new(handlers);
        let layered = layers.around(&handlers);
        let meters = handlers.keys().map(|kind| (kind.clone(), HandlerMeter::new(kind)));
        let meters = meters.collect();
        let _serves = worker.serves(handlers.len());
        let mut sources = Source::all(&worker, &handlers);
        let idle = Idle { all: sources.len(), count: AtomicUsize::new(0), notify: idle };
        let freed = Notify::new();
        let shared = Arc::new(Shared {
            handlers,
            layered,
            meters,
            states,
            report,
            idle,
            freed,
            drain,
            stopped,
        });
        let releasing = (shutdown_deadline / RELEASE_SHARE).min(MAX_RELEASE);
        let handling = shutdown_deadline.saturating_sub(releasing);
        let (left, began);
        let value = {
            let claiming = claim_from_all(&shared, &mut sources);
            tokio::pin!(shutdown, claiming);
            let value = tokio::select! {
                biased;
                value = &mut shutdown => value,
                ended = &mut claiming => match ended {
                    Some(error) => return Err(error),
                    None => unreachable!("claiming ends without an error only after the drain"),
                },
            };
            shared.drain.send_replace(true);
            began = Instant::now();
            if let Ok(Some(error)) = tokio::time::timeout(handling, claiming).await {
                tracing::warn!(%error, "the last claim failed");
            }
            left = handling.saturating_sub(began.elapsed());
            value
        };
        if sources.iter().any(|source| !source.running.is_empty()) {
            worker.drain();
        }
        if !all_end(&mut sources, left).await {
            // The remaining tasks release their leases themselves.
            stop.send_replace(true);
            if !all_end(&mut sources, releasing).await {
                let tasks: usize = sources.iter().map(|source| source.running.len()).sum();
                tracing::warn!(tasks, "the store did not answer in time; these leases expire");
                shared.report.lost.fetch_add(tasks as u64, Ordering::Relaxed);
            }
        }
        leave(&worker, shutdown_deadline.saturating_sub(began.elapsed())).await;
        Ok(value)
    }
}

/// Deregisters a worker, and waits for the slots that its tasks have freed. Both are made up for
/// later: a registration expires, and others find executions that wait for the slots.
async fn leave(worker: &FlowFabricWorker, within: Duration) {
    let ends = async { tokio::join!(worker.deregister(), worker.settle()).0 };
    match tokio::time::timeout(within, ends).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the worker was not deregistered"),
        Err(_) => tracing::warn!("the worker was not deregistered in time"),
    }
}

struct Shared {
    handlers: Arc<BTreeMap<String, Registered>>,
    /// The handlers with layers around them, if there are any.
    layered: Option<HandlerService>,
    meters: BTreeMap<String, HandlerMeter>,
    states: Arc<SharedState>,
    report: Arc<Counters>,
    idle: Idle,
    /// Notified when slots of the worker become free.
    freed: Notify,
    /// Whether claiming has to stop.
    drain: watch::Sender<bool>,
    /// Whether running handlers have to be dropped and their leases released.
    stopped: watch::Receiver<bool>,
}

/// The sources that have no task and found no work.
struct Idle {
    all: usize,
    count: AtomicUsize,
    /// Notified when all sources are idle.
    notify: Arc<Notify>,
}

impl Idle {
    /// Counts a source until the guard is dropped.
    fn enter(&self) -> IdleGuard<'_> {
        if self.count.fetch_add(1, Ordering::AcqRel) + 1 == self.all {
            self.notify.notify_one();
        }
        IdleGuard(self)
    }
}

struct IdleGuard<'i>(&'i Idle);

impl Drop for IdleGuard<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Claims from all sources until the drain begins, or until claiming from one of them fails with an
/// error that is not retryable; it returns that error when all running tasks have ended.
async fn claim_from_all(shared: &Arc<Shared>, sources: &mut [Source]) -> Option<SdkError> {
    let mut error = None;
    {
        // The one that waits the longest for a free slot is polled first.
        let mut all: FuturesUnordered<_> =
            sources.iter_mut().map(|source| claim_and_run(shared, source)).collect();
        while let Some(ended) = all.next().await {
            if let Some(failed) = ended {
                error.get_or_insert(failed);
                shared.drain.send_replace(true);
            }
        }
    }
    if error.is_some() {
        all_end(sources, Duration::MAX).await;
    }
    error
}

/// Claims as many executions as there are free slots and the source allows, and runs each in its
/// own task. Returns an error that is not retryable, when the running tasks have ended, or `None`
/// after the drain began; the executions of a claim in progress are then released.
async fn claim_and_run(shared: &Arc<Shared>, source: &mut Source) -> Option<SdkError> {
    let mut draining = shared.drain.subscribe();
    loop {
        // First the handlers that are ready to run: some of them may end now.
        tokio::task::yield_now().await;
        while source.running.try_join_next().is_some() {}
        let freed = shared.freed.notified();
        tokio::pin!(freed);
        freed.as_mut().enable();
        let room = source.room();
        let claimed = if room == 0 { None } else { Some(source.claim(room).await) };
        if claimed.as_ref().is_some_and(|claimed| claimed.as_ref().map_or(0, Vec::len) < room) {
            // The claim had taken these slots.
            shared.freed.notify_waiters();
        }
        if *draining.borrow() {
            for task in claimed.into_iter().flatten().flatten() {
                finish(&shared.report, &task, Ended::Stopped).await;
            }
            return None;
        }
        let pause = async {
            match claimed {
                Some(Ok(tasks)) if tasks.is_empty() => {
                    let _idle = source.running.is_empty().then(|| shared.idle.enter());
                    source.wait_for_work().await;
                }
                Some(Ok(tasks)) => {
                    for task in tasks {
                        let (span, shared) = (span_of(&task), shared.clone());
                        source.running.spawn(async move {
                            run_task(&shared, task).instrument(span).await;
                            shared.freed.notify_waiters();
                        });
                    }
                }
                // Other users of this worker may hold its slots.
                None => tokio::select! {
                    Some(_) = source.running.join_next() => {}
                    () = freed => {}
                    () = tokio::time::sleep(PAUSE) => {}
                },
                Some(Err(error)) if error.is_retryable() => {
                    // The backend reports a store that does not answer.
                    tracing::debug!(%error, "cannot claim executions; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
                Some(Err(error)) => {
                    let running_tasks = source.running.len();
                    tracing::error!(%error, running_tasks, "claiming stopped; waiting for tasks");
                    while source.running.join_next().await.is_some() {}
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
        traceparent = task.trace_parent(),
    )
}

async fn run_task(shared: &Shared, task: ClaimedTask) {
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
                run_handler(shared, TaskContext { task, states, resumption, signals }).await
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
    let _running = Running::new(&shared.report);
    let Some(registered) = shared.handlers.get(context.execution_kind().as_str()) else {
        // The runtime claims no such execution.
        return Ended::Stopped;
    };
    let began = Instant::now();
    let (ended, end) = run_registered(shared, registered, &context).await;
    if let Some(meter) = shared.meters.get(context.execution_kind().as_str()) {
        meter.ended(end, began.elapsed());
    }
    ended
}

async fn run_registered(
    shared: &Shared,
    registered: &Registered,
    context: &TaskContext,
) -> (Ended, RunEnd) {
    let watch = context.task.lease_watch();
    let mut stopped = shared.stopped.clone();
    let timeout = registered.options.timeout;
    let call = || match &shared.layered {
        Some(layered) => Box::pin(layered.clone().run(context.clone())),
        None => registered.handler.call(context),
    };
    let work = match catch(call) {
        Ok(work) => work,
        Err(message) => return (Ended::Returned(panicked(&message)), RunEnd::Panic),
    };
    tokio::select! {
        biased;
        () = watch.lost() => (Ended::LeaseLost, RunEnd::LeaseLost),
        returned = CatchUnwind(work) => match returned {
            Ok(outcome) => {
                let end = end_of(&outcome);
                (Ended::Returned(outcome), end)
            }
            Err(message) => (Ended::Returned(panicked(&message)), RunEnd::Panic),
        },
        late = over(timeout) => (Ended::Returned(late), RunEnd::Timeout),
        _ = stopped.wait_for(|stopped| *stopped) => (Ended::Stopped, RunEnd::Shutdown),
    }
}

const fn end_of(outcome: &TaskOutcome) -> RunEnd {
    match outcome {
        TaskOutcome::Complete(_) => RunEnd::Complete,
        TaskOutcome::Fail(_) => RunEnd::Fail,
        TaskOutcome::Delay(_) => RunEnd::Delay,
        TaskOutcome::WaitForChildren => RunEnd::WaitForChildren,
        TaskOutcome::Cancel(_) => RunEnd::Cancel,
        TaskOutcome::Suspend(_) => RunEnd::Suspend,
    }
}

/// Waits for the end of a handler's timeout, and returns the failure of its attempt.
async fn over(timeout: Option<Duration>) -> TaskOutcome {
    let Some(timeout) = timeout else { return std::future::pending().await };
    tokio::time::sleep(timeout).await;
    tracing::warn!(?timeout, "handler timed out; failing the attempt");
    let reason = format!("the handler took longer than {timeout:?}");
    TaskOutcome::Fail(HandlerError::new("handler_timeout", reason))
}
