//! Scenario dispatch: how long an idle worker takes to start an execution.

use std::time::{Duration, Instant};

use ff_sdk::core::entropy::Entropy;
use ff_sdk::{ExecutionId, State, TaskContext, WorkerRuntime};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::BenchArgs;
use super::figures::{Figures, figures, percentiles_ms};
use super::fixture::{Fixture, KIND, bar};
use super::work::submission;
use crate::exit::CliError;

/// The most submissions.
const MAX_TASKS: u32 = 500;
/// How long the start of a handler may take.
const DISPATCH_TIMEOUT: Duration = Duration::from_secs(60);

/// When the handler of an execution started.
type Started = mpsc::UnboundedSender<(ExecutionId, Instant)>;

/// Runs the scenario: one worker and one submission at a time, each a few random milliseconds after
/// the handler of the previous one.
pub async fn run(args: &BenchArgs, fixture: &Fixture) -> Result<Figures, CliError> {
    let worker = fixture.worker(args, 0).await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let (started, mut handlers) = mpsc::unbounded_channel::<(ExecutionId, Instant)>();
    let runtime = WorkerRuntime::new(worker).state(started).handle(KIND, handle);
    let running = tokio::spawn(runtime.run_until(stopped));
    let payload = vec![b'x'; args.payload as usize];
    let count = args.tasks.min(MAX_TASKS);
    let bar = bar(u64::from(count), "dispatch");
    // The pauses need not be secret, only irregular.
    let mut entropy = Entropy::from_u64(u64::from(count));
    let mut waited_us = Vec::with_capacity(count as usize);
    for _ in 0..count {
        tokio::time::sleep(Duration::from_micros(2_000 + entropy.below(6_000))).await;
        let submitted = Instant::now();
        let id = fixture.client.submit(submission(KIND, &payload)).await?.id();
        let handled = tokio::time::timeout(DISPATCH_TIMEOUT, handlers.recv()).await;
        let Ok(Some((of, at))) = handled else {
            let problem = format!("no worker started {id} within {DISPATCH_TIMEOUT:?}");
            return Err(CliError::runtime(problem));
        };
        if of != id {
            return Err(CliError::runtime(format!("{of} was dispatched instead of {id}")));
        }
        let waited = at.saturating_duration_since(submitted);
        waited_us.push(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
        bar.inc(1);
    }
    bar.finish_and_clear();
    drop(stop);
    let _ = running.await.map_err(CliError::runtime)??;
    Ok(figures(json!({ "dispatch_ms": percentiles_ms(waited_us) })))
}

async fn handle(context: TaskContext, started: State<Started>) {
    // The receiver is gone if the scenario has failed.
    let _ = started.0.send((context.execution_id(), Instant::now()));
}
