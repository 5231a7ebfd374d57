//! How long an execution waits for a worker that waits for it.

use std::time::{Duration, Instant};

use ff_sdk::core::entropy::Entropy;
use ff_sdk::{ExecutionId, State, TaskContext, WorkerRuntime};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::BenchArgs;
use super::figures::{Figures, figures, percentiles_ms};
use super::ground::{Ground, bar};
use super::work::{KIND, submission};
use crate::outcome::Failed;

/// Submissions at most.
const MOST: u32 = 500;
/// How long a submission may wait for its handler before the run is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// When the handler of an execution began.
type Begun = mpsc::UnboundedSender<(ExecutionId, Instant)>;

/// Runs the scenario: one worker and one submission at a time, a few random milliseconds after the
/// handler of the one before.
pub async fn run(args: &BenchArgs, ground: &Ground) -> Result<Figures, Failed> {
    let worker = ground.worker(args, 0).await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let (begun, mut handlers) = mpsc::unbounded_channel::<(ExecutionId, Instant)>();
    let runtime = WorkerRuntime::new(worker).state(begun).handle(KIND, handle);
    let running = tokio::spawn(runtime.run_until(stopped));
    let payload = vec![b'x'; args.payload as usize];
    let count = args.tasks.min(MOST);
    let bar = bar(u64::from(count), "dispatch");
    // The pauses need not be secret, only irregular.
    let mut entropy = Entropy::from_u64(u64::from(count));
    let mut waited_us = Vec::with_capacity(count as usize);
    for _ in 0..count {
        tokio::time::sleep(Duration::from_micros(2_000 + entropy.below(6_000))).await;
        let submitted = Instant::now();
        let id = ground.client.submit(submission(&payload)).await?.id();
        let handled = tokio::time::timeout(PATIENCE, handlers.recv()).await;
        let Ok(Some((of, at))) = handled else {
            return Err(Failed::runtime(format!("{id} was not dispatched within {PATIENCE:?}")));
        };
        if of != id {
            return Err(Failed::runtime(format!("{of} was dispatched instead of {id}")));
        }
        let waited = at.saturating_duration_since(submitted);
        waited_us.push(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
        bar.inc(1);
    }
    bar.finish_and_clear();
    drop(stop);
    let _ = running.await.map_err(Failed::runtime)??;
    Ok(figures(json!({ "dispatch_ms": percentiles_ms(waited_us) })))
}

async fn handle(context: TaskContext, begun: State<Begun>) {
    // Nobody listens any more once the run was given up.
    let _ = begun.0.send((context.execution_id(), Instant::now()));
}
