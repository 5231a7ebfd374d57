//! How fast tasks append output that is kept, and what readers cost them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ff_sdk::core::store::Cursor;
use ff_sdk::{ClaimedTask, Client, FlowFabricWorker, Tail, TailItem};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::BenchArgs;
use super::figures::{Figures, figures, percentiles_us, short};
use super::ground::{Ground, bar};
use super::work::{elapsed_us, submission};
use crate::outcome::Failed;

/// How many tasks append at once.
const TASKS: usize = 16;
/// How many bytes a frame has.
const FRAME_BYTES: usize = 256;
/// Frames for each execution that was asked for.
const FRAMES_PER_TASK: u32 = 10;
/// Frames of a run at most: what an attempt keeps is bounded.
const MOST: u32 = 100_000;
/// How often it is done with readers and without: the median of each figure is shown.
const PAIRS: usize = 5;
/// How long a reader may wait for a frame before the run is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the scenario: pairs of a run with a reader for each task and one without, in turn.
pub async fn run(args: &BenchArgs, ground: &Ground) -> Result<Figures, Failed> {
    let args = BenchArgs { slots: TASKS as u32, ..args.clone() };
    let each = (args.tasks.saturating_mul(FRAMES_PER_TASK).min(MOST) as usize).div_ceil(TASKS);
    let (worker, reader) = (ground.worker(&args, 0).await?, ground.reader().await?);
    let bar = bar((2 * PAIRS) as u64, "appending");
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        // Whoever goes first does so only every other time.
        for second in [false, true] {
            let tails = (pair % 2 == 0) == second;
            let ran = append_all(ground, &worker, each, tails.then_some(&reader)).await?;
            if tails {
                with.push(ran)
            } else {
                without.push(ran)
            };
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let ratio =
        |(with, without): (&Ran, &Ran)| with.append_us[2] as f64 / without.append_us[2] as f64;
    let ratios: Vec<f64> = with.iter().zip(&without).map(ratio).collect();
    Ok(figures(json!({
        "frames": each * TASKS,
        "frames_per_s": per_s(&with),
        "frames_without_tails_per_s": per_s(&without),
        "append_ms": append_ms(&with),
        "append_without_tails_ms": append_ms(&without),
        "append_p99_ratio": short(median(ratios)),
    })))
}

/// What one run came to.
struct Ran {
    per_s: f64,
    /// p50, p95 and p99 of a call, in microseconds.
    append_us: [u64; 3],
}

fn per_s(runs: &[Ran]) -> f64 {
    median(runs.iter().map(|ran| ran.per_s).collect()).round()
}

fn append_ms(runs: &[Ran]) -> Value {
    let at = |place: usize| {
        let us = median(runs.iter().map(|ran| ran.append_us[place] as f64).collect());
        short(us / 1_000.0)
    };
    json!({ "p50": at(0), "p95": at(1), "p99": at(2) })
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

/// Appends so many frames by each task, all at once, with a tail for each if there is a reader,
/// until all are kept, and read.
async fn append_all(
    ground: &Ground,
    worker: &FlowFabricWorker,
    each: usize,
    reader: Option<&Client>,
) -> Result<Ran, Failed> {
    let tasks = claim(ground, worker).await?;
    let mut reading = JoinSet::new();
    if let Some(reader) = reader {
        for task in &tasks {
            let attempt = Some(task.attempt_index());
            let id = task.execution_id();
            let tail = reader.tail(&id, attempt, Cursor::Start, None).await?;
            reading.spawn(read(tail, each));
        }
    }
    let begun = Instant::now();
    let mut appending: JoinSet<_> = tasks.into_iter().map(|task| append(task, each)).collect();
    let (mut times, mut tasks) = (Vec::with_capacity(each * TASKS), Vec::new());
    while let Some(done) = appending.join_next().await {
        let (task, mut took) = done.map_err(Failed::runtime)??;
        times.append(&mut took);
        tasks.push(task);
    }
    while let Some(done) = reading.join_next().await {
        done.map_err(Failed::runtime)??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    for task in tasks {
        task.complete(None).await?;
    }
    let per_s = (each * TASKS) as f64 / seconds;
    Ok(Ran { per_s, append_us: percentiles_us(&mut times) })
}

/// Submits the executions of a run and claims them.
async fn claim(ground: &Ground, worker: &FlowFabricWorker) -> Result<Vec<ClaimedTask>, Failed> {
    for outcome in ground.client.submit_many((0..TASKS).map(|_| submission(&[]))).await {
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

/// Appends frames, each once the one before is kept. How long each call took, in microseconds.
async fn append(task: ClaimedTask, count: usize) -> Result<(ClaimedTask, Vec<u64>), Failed> {
    let payload = [b'x'; FRAME_BYTES];
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        task.append_frame("bench", payload, BTreeMap::new()).await?;
        times.push(elapsed_us(begun));
        // A call in this process never waits: let the others run too.
        tokio::task::consume_budget().await;
    }
    Ok((task, times))
}

/// Reads until all frames have come, each of them once and in order.
async fn read(mut tail: Tail, count: usize) -> Result<(), Failed> {
    for sequence in 1..=count as u64 {
        let Ok(Some(item)) = tokio::time::timeout(PATIENCE, tail.next()).await else {
            return Err(Failed::runtime(format!("frame {sequence} did not come")));
        };
        match item? {
            TailItem::Frame(stored) if stored.frame.sequence == sequence => {}
            other => {
                return Err(Failed::runtime(format!("in place of frame {sequence}: {other:?}")));
            }
        }
    }
    Ok(())
}
