//! Scenario frames: how fast tasks append output, and how much readers slow them down.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ff_sdk::core::store::Cursor;
use ff_sdk::{ClaimedTask, Client, FlowFabricWorker, Tail, TailItem};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::BenchArgs;
use super::figures::{Figures, figures, percentiles_us, rounded};
use super::fixture::{Fixture, KIND, bar};
use super::work::{elapsed_us, submission};
use crate::exit::CliError;

/// The number of tasks that append concurrently.
const TASKS: usize = 16;
/// The bytes of a frame.
const FRAME_BYTES: usize = 256;
/// The frames for each execution of --tasks.
const FRAMES_PER_TASK: u32 = 10;
/// The most frames of a run, because an attempt keeps a limited number.
const MAX_FRAMES: u32 = 100_000;
/// The number of runs with readers and of runs without. Each figure is the median.
const PAIRS: usize = 5;
/// How long a reader waits for a frame.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs the scenario: pairs of a run with a reader for each task and a run without.
pub async fn run(args: &BenchArgs, fixture: &Fixture) -> Result<Figures, CliError> {
    let args = BenchArgs { slots: TASKS as u32, ..args.clone() };
    let each =
        (args.tasks.saturating_mul(FRAMES_PER_TASK).min(MAX_FRAMES) as usize).div_ceil(TASKS);
    let (worker, reader) = (fixture.worker(&args, 0).await?, fixture.reader().await?);
    let bar = bar((2 * PAIRS) as u64, "appending");
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        // Each of the two goes first in every other pair.
        for second in [false, true] {
            let tails = (pair % 2 == 0) == second;
            let run = append_all(fixture, &worker, each, tails.then_some(&reader)).await?;
            if tails {
                with.push(run)
            } else {
                without.push(run)
            };
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let ratio = |(with, without): (&RunFigures, &RunFigures)| {
        with.append_us[2] as f64 / without.append_us[2] as f64
    };
    let ratios: Vec<f64> = with.iter().zip(&without).map(ratio).collect();
    Ok(figures(json!({
        "frames": each * TASKS,
        "frames_per_s": per_s(&with),
        "frames_without_tails_per_s": per_s(&without),
        "append_ms": append_ms(&with),
        "append_without_tails_ms": append_ms(&without),
        "append_p99_ratio": rounded(median(ratios)),
    })))
}

/// The figures of one run.
struct RunFigures {
    per_s: f64,
    /// The p50, p95 and p99 of a call, in microseconds.
    append_us: [u64; 3],
}

fn per_s(runs: &[RunFigures]) -> f64 {
    median(runs.iter().map(|run| run.per_s).collect()).round()
}

fn append_ms(runs: &[RunFigures]) -> Value {
    let at = |index: usize| {
        let us = median(runs.iter().map(|run| run.append_us[index] as f64).collect());
        rounded(us / 1_000.0)
    };
    json!({ "p50": at(0), "p95": at(1), "p99": at(2) })
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

/// Appends this number of frames from each task concurrently, and waits until all are stored. With
/// a reader, each task has a tail, and the run ends when all frames are read.
async fn append_all(
    fixture: &Fixture,
    worker: &FlowFabricWorker,
    each: usize,
    reader: Option<&Client>,
) -> Result<RunFigures, CliError> {
    let tasks = claim(fixture, worker).await?;
    let mut reading = JoinSet::new();
    if let Some(reader) = reader {
        for task in &tasks {
            let attempt = Some(task.attempt_index());
            let id = task.execution_id();
            let tail = reader.tail(&id, attempt, Cursor::Start, None).await?;
            reading.spawn(read(tail, each));
        }
    }
    let started = Instant::now();
    let mut appending: JoinSet<_> = tasks.into_iter().map(|task| append(task, each)).collect();
    let (mut times, mut tasks) = (Vec::with_capacity(each * TASKS), Vec::new());
    while let Some(done) = appending.join_next().await {
        let (task, mut took) = done.map_err(CliError::runtime)??;
        times.append(&mut took);
        tasks.push(task);
    }
    while let Some(done) = reading.join_next().await {
        done.map_err(CliError::runtime)??;
    }
    let seconds = started.elapsed().as_secs_f64();
    for task in tasks {
        task.complete(None).await?;
    }
    let per_s = (each * TASKS) as f64 / seconds;
    Ok(RunFigures { per_s, append_us: percentiles_us(&mut times) })
}

/// Submits the executions of a run and claims them.
async fn claim(fixture: &Fixture, worker: &FlowFabricWorker) -> Result<Vec<ClaimedTask>, CliError> {
    for outcome in fixture.client.submit_many((0..TASKS).map(|_| submission(KIND, &[]))).await {
        outcome?;
    }
    let mut tasks = Vec::new();
    while tasks.len() < TASKS {
        let mut claimed = worker.claim_many(TASKS - tasks.len()).await?;
        if claimed.is_empty() {
            worker.wait_for_work().await;
        }
        tasks.append(&mut claimed);
    }
    Ok(tasks)
}

/// Appends frames one after another. Returns how long each call took, in microseconds.
async fn append(task: ClaimedTask, count: usize) -> Result<(ClaimedTask, Vec<u64>), CliError> {
    let payload = [b'x'; FRAME_BYTES];
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        task.append_frame("bench", payload, BTreeMap::new()).await?;
        times.push(elapsed_us(started));
        // A call on the memory backend never waits: let the other tasks run.
        tokio::task::consume_budget().await;
    }
    Ok((task, times))
}

/// Reads until all frames have arrived, each of them once and in order.
async fn read(mut tail: Tail, count: usize) -> Result<(), CliError> {
    for sequence in 1..=count as u64 {
        let Ok(Some(item)) = tokio::time::timeout(READ_TIMEOUT, tail.next()).await else {
            return Err(CliError::runtime(format!(
                "frame {sequence} did not arrive within {READ_TIMEOUT:?}"
            )));
        };
        match item? {
            TailItem::Frame(stored) if stored.frame.sequence == sequence => {}
            other => {
                return Err(CliError::runtime(format!(
                    "expected frame {sequence}, read {other:?}"
                )));
            }
        }
    }
    Ok(())
}
