//! How long an execution that is suspended takes to go on after its signal.

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
use super::ground::{Ground, bar};
use super::work::{KIND, elapsed_us, submission};
use crate::outcome::Failed;

/// Executions at most.
const MOST: u32 = 5_000;
/// How many are suspended, or in the second half on their way back, at a time.
const IN_FLIGHT: usize = 4;
/// How many executions the worker holds at once: one that was resumed does not wait for others
/// that are being completed.
const SLOTS: u32 = 16;
/// How long an execution may take to be resumed before the run is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who waits for the handler of which execution.
type Awaited = Mutex<BTreeMap<ExecutionId, oneshot::Sender<Instant>>>;

/// Runs the scenario: suspends everything, then signals each execution once: half of them one at a
/// time, as a latency is measured, and half some at a time.
pub async fn run(args: &BenchArgs, ground: &Ground) -> Result<Figures, Failed> {
    let args = BenchArgs { slots: SLOTS, tasks: args.tasks.min(MOST), ..args.clone() };
    let (mut suspended, suspend_us) = suspend_all(&args, ground).await?;
    let second = suspended.split_off(suspended.len() / 2);
    let resume_us = resume_all(&args, ground, (suspended, 1)).await?;
    let busy_us = resume_all(&args, ground, (second, IN_FLIGHT)).await?;
    Ok(figures(json!({
        "suspend_ms": percentiles_ms(suspend_us),
        "resume_ms": percentiles_ms(resume_us),
        "resume_busy_ms": percentiles_ms(busy_us),
    })))
}

/// An execution that waits for a signal.
struct Waiting {
    id: ExecutionId,
    waitpoint: IssuedWaitpoint,
}

/// Submits everything, and suspends it, some at a time. How long each call took, in microseconds.
async fn suspend_all(
    args: &BenchArgs,
    ground: &Ground,
) -> Result<(Vec<Waiting>, Vec<u64>), Failed> {
    let count = args.tasks as usize;
    let payload = vec![b'x'; args.payload as usize];
    for outcome in ground.client.submit_many((0..count).map(|_| submission(&payload))).await {
        outcome?;
    }
    let worker = ground.worker(args, 0).await?;
    let bar = bar(u64::from(args.tasks), "suspending");
    let (mut suspended, mut times) = (Vec::with_capacity(count), Vec::with_capacity(count));
    while suspended.len() < count {
        let tasks = worker.claim_many(IN_FLIGHT).await?;
        if tasks.is_empty() {
            worker.wait_for_work().await;
        }
        let mut suspending: JoinSet<_> = tasks.into_iter().map(suspend).collect();
        while let Some(done) = suspending.join_next().await {
            let (waiting, us) = done.map_err(Failed::runtime)??;
            suspended.push(waiting);
            times.push(us);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok((suspended, times))
}

async fn suspend(task: ClaimedTask) -> Result<(Waiting, u64), Failed> {
    let id = task.execution_id();
    let begun = Instant::now();
    let outcome = task.suspend(Suspension::until_signal("go")?).await?;
    let us = elapsed_us(begun);
    match outcome {
        SuspendOutcome::Suspended { mut waitpoints, .. } if waitpoints.len() == 1 => {
            Ok((Waiting { id, waitpoint: waitpoints.remove(0) }, us))
        }
        other => Err(Failed::runtime(format!("{id} was not suspended: {other:?}"))),
    }
}

/// Signals everything, some at a time, to a worker that waits. How long each took from the call
/// that delivers the signal to the start of the resumed handler, in microseconds.
async fn resume_all(
    args: &BenchArgs,
    ground: &Ground,
    (suspended, in_flight): (Vec<Waiting>, usize),
) -> Result<Vec<u64>, Failed> {
    let worker = ground.worker(args, 1).await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let awaited: Arc<Awaited> = Arc::default();
    let runtime = WorkerRuntime::new(worker).state(awaited.clone()).handle(KIND, handle);
    let running = tokio::spawn(runtime.run_until(stopped));
    let bar = bar(suspended.len() as u64, "resuming");
    let left = Arc::new(Mutex::new(suspended));
    let mut signalling: JoinSet<_> = (0..in_flight)
        .map(|_| signal_some(ground.client.clone(), left.clone(), awaited.clone(), bar.clone()))
        .collect();
    let mut times = Vec::new();
    while let Some(done) = signalling.join_next().await {
        times.append(&mut done.map_err(Failed::runtime)??);
    }
    bar.finish_and_clear();
    drop(stop);
    let _ = running.await.map_err(Failed::runtime)??;
    Ok(times)
}

/// Signals one execution after the other until none is left.
async fn signal_some(
    client: Client,
    left: Arc<Mutex<Vec<Waiting>>>,
    awaited: Arc<Awaited>,
    bar: ProgressBar,
) -> Result<Vec<u64>, Failed> {
    let mut times = Vec::new();
    loop {
        let next = left.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(Waiting { id, waitpoint }) = next else { return Ok(times) };
        let signal = Signal::new("go", waitpoint.token)?;
        let (begun, handled) = oneshot::channel();
        awaited.lock().unwrap_or_else(PoisonError::into_inner).insert(id, begun);
        let sent = Instant::now();
        match client.deliver_signal(&id, &waitpoint.id, signal).await? {
            SignalOutcome::TriggeredResume => {}
            other => return Err(Failed::runtime(format!("{id} was not resumed: {other:?}"))),
        }
        let Ok(Ok(at)) = tokio::time::timeout(PATIENCE, handled).await else {
            return Err(Failed::runtime(format!("{id} did not go on within {PATIENCE:?}")));
        };
        let took = at.saturating_duration_since(sent).as_micros();
        times.push(u64::try_from(took).unwrap_or(u64::MAX));
        bar.inc(1);
    }
}

async fn handle(context: TaskContext, awaited: State<Arc<Awaited>>) {
    let begun = Instant::now();
    let id = context.execution_id();
    let waits = awaited.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    // Nobody waits any more once the run was given up.
    let _ = waits.map(|waits| waits.send(begun));
}
