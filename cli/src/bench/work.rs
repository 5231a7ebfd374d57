//! The steps that several scenarios share: submitting all executions, and running them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ff_sdk::core::id::ExecutionId;
use ff_sdk::{FlowFabricWorker, SdkError, Submission};
use indicatif::ProgressBar;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::BenchArgs;
use super::fixture::{Fixture, bar, kind};
use crate::exit::CliError;

/// The most submissions in one call.
const CHUNK: usize = 4_096;

/// When the submit call of each execution started, in microseconds since the start of the scenario.
type SubmittedAt = BTreeMap<ExecutionId, u64>;

/// The submitted executions.
pub struct Submitted {
    at: SubmittedAt,
    started: Instant,
    /// How long submitting took.
    pub took: Duration,
}

/// Submits all executions, many in one call.
pub async fn submit_all(args: &BenchArgs, fixture: &Fixture) -> Result<Submitted, CliError> {
    let payload = vec![b'x'; args.payload as usize];
    let bar = bar(u64::from(args.tasks), "submitting");
    let started = Instant::now();
    let mut submitted = Vec::with_capacity(args.tasks as usize);
    let mut left = args.tasks as usize;
    while left > 0 {
        let count = left.min(CHUNK);
        left -= count;
        let at = elapsed_us(started);
        // `left` numbers the executions downwards.
        let submissions = (0..count).map(|number| {
            let kind = kind((left + number) as u32 % args.kinds);
            submission(&kind, &payload)
        });
        for outcome in fixture.client.submit_many(submissions).await {
            submitted.push((outcome?.id(), at));
        }
        bar.inc(count as u64);
    }
    let took = started.elapsed();
    bar.finish_and_clear();
    Ok(Submitted { at: submitted.into_iter().collect(), started, took })
}

/// The submission of one execution.
pub fn submission(kind: &str, payload: &[u8]) -> Submission {
    match payload.is_empty() {
        true => Submission::new(kind),
        false => Submission::new(kind).payload(payload),
    }
}

/// The times of running all executions.
pub struct Drained {
    /// From the start of the workers to the last completion.
    pub took: Duration,
    /// The time from submit call to completion of each execution, in microseconds.
    pub latencies_us: Vec<u64>,
}

/// Connects the workers, then starts them and the clock. They claim and complete until nothing is
/// left.
pub async fn drain_all(
    args: &BenchArgs,
    fixture: &Fixture,
    submitted: Submitted,
) -> Result<Drained, CliError> {
    let mut workers = Vec::new();
    for number in 0..args.workers {
        workers.push(fixture.worker(args, number).await?);
    }
    let (done, over) = watch::channel(false);
    let all = Arc::new(Drain {
        bar: bar(u64::from(args.tasks), "draining"),
        left: AtomicU64::new(u64::from(args.tasks)),
        done,
        submitted,
    });
    let started = Instant::now();
    let mut running = JoinSet::new();
    for worker in workers {
        running.spawn(work(worker, all.clone(), over.clone()));
    }
    let mut latencies_us = Vec::with_capacity(args.tasks as usize);
    while let Some(ended) = running.join_next().await {
        latencies_us.append(&mut ended.map_err(CliError::runtime)??);
    }
    let took = started.elapsed();
    all.bar.finish_and_clear();
    Ok(Drained { took, latencies_us })
}

/// The state that the workers share.
struct Drain {
    bar: ProgressBar,
    left: AtomicU64,
    done: watch::Sender<bool>,
    submitted: Submitted,
}

impl Drain {
    /// Counts a completed execution. Returns the time since its submit call, in microseconds.
    fn completed(&self, id: &ExecutionId) -> u64 {
        self.bar.inc(1);
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.send_replace(true);
        }
        let at = self.submitted.at.get(id).copied().unwrap_or_default();
        elapsed_us(self.submitted.started).saturating_sub(at)
    }
}

/// Claims and completes until nothing is left. Waits for work like any worker.
async fn work(
    worker: FlowFabricWorker,
    all: Arc<Drain>,
    mut over: watch::Receiver<bool>,
) -> Result<Vec<u64>, SdkError> {
    let slots = worker.config().max_concurrent_tasks;
    let mut latencies = Vec::new();
    while !*over.borrow() {
        let mut tasks = worker.claim_many(slots).await?;
        match tasks.len() {
            0 => tokio::select! {
                biased;
                _ = over.wait_for(|over| *over) => {}
                () = worker.wait_for_work() => {}
            },
            1 => {
                let Some(task) = tasks.pop() else { continue };
                let id = task.execution_id();
                task.complete(None).await?;
                latencies.push(all.completed(&id));
            }
            _ => {
                // A worker with several slots completes its tasks concurrently.
                let mut completing = JoinSet::new();
                for task in tasks {
                    completing.spawn(async move {
                        let id = task.execution_id();
                        task.complete(None).await.map(|_| id)
                    });
                }
                for completed in completing.join_all().await {
                    latencies.push(all.completed(&completed?));
                }
            }
        }
        // Calls on the memory backend never wait: let the other tasks run.
        tokio::task::consume_budget().await;
    }
    Ok(latencies)
}

/// Microseconds since an instant.
pub fn elapsed_us(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
