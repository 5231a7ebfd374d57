//! Scenario resume: how long a suspended execution takes to continue after its signal.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ff_sdk::{
    ClaimedTask, Client, ExecutionId, IssuedWaitpoint, Signal, SignalOutcome, State,
    SuspendOutcome, Suspension, TaskContext, WorkerRuntime,
};
use indicatif::ProgressBar;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::BenchArgs;
use super::figures::{Figures, figures, percentiles_ms};
use super::fixture::{Fixture, KIND, bar};
use super::work::{elapsed_us, submission};
use crate::exit::CliError;

/// The most executions.
const MAX_TASKS: u32 = 5_000;
/// How many executions are suspended, or in the second half signalled, concurrently.
const IN_FLIGHT: usize = 4;
/// The slots of the worker, so that a resumed execution does not wait for the completion of others.
const SLOTS: u32 = 16;
/// How long an execution may take to continue.
const RESUME_TIMEOUT: Duration = Duration::from_secs(60);

/// Where the handler of each execution reports its start.
type Awaited = Mutex<BTreeMap<ExecutionId, oneshot::Sender<Instant>>>;

/// Runs the scenario: suspends all executions, then signals half of them one at a time to measure
/// the latency, and half of them concurrently.
pub async fn run(args: &BenchArgs, fixture: &Fixture) -> Result<Figures, CliError> {
    let args = BenchArgs { slots: SLOTS, tasks: args.tasks.min(MAX_TASKS), ..args.clone() };
    let (mut suspended, suspend_us) = suspend_all(&args, fixture).await?;
    let second = suspended.split_off(suspended.len() / 2);
    let resume_us = resume_all(&args, fixture, suspended, 1).await?;
    let busy_us = resume_all(&args, fixture, second, IN_FLIGHT).await?;
    Ok(figures(json!({
        "suspend_ms": percentiles_ms(suspend_us),
        "resume_ms": percentiles_ms(resume_us),
        "resume_busy_ms": percentiles_ms(busy_us),
    })))
}

/// A suspended execution and its waitpoint.
struct Suspended {
    id: ExecutionId,
    waitpoint: IssuedWaitpoint,
}

/// Submits all executions and suspends them. Returns how long each call took, in microseconds.
async fn suspend_all(
    args: &BenchArgs,
    fixture: &Fixture,
) -> Result<(Vec<Suspended>, Vec<u64>), CliError> {
    let count = args.tasks as usize;
    let payload = vec![b'x'; args.payload as usize];
    for outcome in fixture.client.submit_many((0..count).map(|_| submission(KIND, &payload))).await
    {
        outcome?;
    }
    let worker = fixture.worker(args, 0).await?;
    let bar = bar(u64::from(args.tasks), "suspending");
    let (mut suspended, mut times) = (Vec::with_capacity(count), Vec::with_capacity(count));
    while suspended.len() < count {
        let tasks = worker.claim_many(IN_FLIGHT).await?;
        if tasks.is_empty() {
            worker.wait_for_work().await;
        }
        let mut suspending: JoinSet<_> = tasks.into_iter().map(suspend).collect();
        while let Some(done) = suspending.join_next().await {
            let (execution, us) = done.map_err(CliError::runtime)??;
            suspended.push(execution);
            times.push(us);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok((suspended, times))
}

async fn suspend(task: ClaimedTask) -> Result<(Suspended, u64), CliError> {
    let id = task.execution_id();
    let started = Instant::now();
    let outcome = task.suspend(Suspension::until_signal("go")?).await?;
    let us = elapsed_us(started);
    match outcome {
        SuspendOutcome::Suspended { mut waitpoints, .. } if waitpoints.len() == 1 => {
            Ok((Suspended { id, waitpoint: waitpoints.remove(0) }, us))
        }
        other => Err(CliError::runtime(format!("{id} was not suspended: {other:?}"))),
    }
}

/// Signals the executions to an idle worker. Returns how long each took from the call that delivers
/// the signal to the start of the resumed handler, in microseconds.
async fn resume_all(
    args: &BenchArgs,
    fixture: &Fixture,
    suspended: Vec<Suspended>,
    in_flight: usize,
) -> Result<Vec<u64>, CliError> {
    let worker = fixture.worker(args, 1).await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let awaited: Arc<Awaited> = Arc::default();
    let runtime = WorkerRuntime::new(worker).state(awaited.clone()).handle(KIND, handle);
    let running = tokio::spawn(runtime.run_until(stopped));
    let bar = bar(suspended.len() as u64, "resuming");
    let left = Arc::new(Mutex::new(suspended));
    let mut signalling: JoinSet<_> = (0..in_flight)
        .map(|_| signal_some(fixture.client.clone(), left.clone(), awaited.clone(), bar.clone()))
        .collect();
    let mut times = Vec::new();
    while let Some(done) = signalling.join_next().await {
        times.append(&mut done.map_err(CliError::runtime)??);
    }
    bar.finish_and_clear();
    drop(stop);
    let _ = running.await.map_err(CliError::runtime)??;
    Ok(times)
}

/// Signals one execution after another until none is left.
async fn signal_some(
    client: Client,
    left: Arc<Mutex<Vec<Suspended>>>,
    awaited: Arc<Awaited>,
    bar: ProgressBar,
) -> Result<Vec<u64>, CliError> {
    let mut times = Vec::new();
    loop {
        let next = left.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(Suspended { id, waitpoint }) = next else { return Ok(times) };
        let signal = Signal::new("go", waitpoint.token)?;
        let (started, handled) = oneshot::channel();
        awaited.lock().unwrap_or_else(PoisonError::into_inner).insert(id, started);
        let sent = Instant::now();
        match client.deliver_signal(&id, &waitpoint.id, signal).await? {
            SignalOutcome::TriggeredResume { .. } => {}
            other => return Err(CliError::runtime(format!("{id} was not resumed: {other:?}"))),
        }
        let Ok(Ok(at)) = tokio::time::timeout(RESUME_TIMEOUT, handled).await else {
            return Err(CliError::runtime(format!(
                "{id} did not continue within {RESUME_TIMEOUT:?}"
            )));
        };
        let took = at.saturating_duration_since(sent).as_micros();
        times.push(u64::try_from(took).unwrap_or(u64::MAX));
        bar.inc(1);
    }
}

async fn handle(context: TaskContext, awaited: State<Arc<Awaited>>) {
    let started = Instant::now();
    let id = context.execution_id();
    let sender = awaited.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    // The receiver is gone if the scenario has failed.
    let _ = sender.map(|sender| sender.send(started));
}
