//! What several scenarios do: submit all executions, and work them off.

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
use super::ground::{Ground, bar};
use crate::outcome::Failed;

/// Submissions handed to the client at once.
const CHUNK: usize = 4_096;
/// The kind of every execution.
pub const KIND: &str = "bench";

/// When each execution's submit call began, since the scenario did, in microseconds.
type SubmittedAt = BTreeMap<ExecutionId, u64>;

/// All executions, submitted.
pub struct Submitted {
    at: SubmittedAt,
    begun: Instant,
    /// How long it took.
    pub took: Duration,
}

/// Submits all executions, many at once.
pub async fn submit_all(args: &BenchArgs, ground: &Ground) -> Result<Submitted, Failed> {
    let payload = vec![b'x'; args.payload as usize];
    let bar = bar(u64::from(args.tasks), "submitting");
    let begun = Instant::now();
    let mut submitted = Vec::with_capacity(args.tasks as usize);
    let mut left = args.tasks as usize;
    while left > 0 {
        let count = left.min(CHUNK);
        left -= count;
        let at = elapsed_us(begun);
        let submissions = (0..count).map(|_| submission(&payload));
        for outcome in ground.client.submit_many(submissions).await {
            submitted.push((outcome?.id(), at));
        }
        bar.inc(count as u64);
    }
    let took = begun.elapsed();
    bar.finish_and_clear();
    Ok(Submitted { at: submitted.into_iter().collect(), begun, took })
}

/// One execution.
pub fn submission(payload: &[u8]) -> Submission {
    match payload.is_empty() {
        true => Submission::new(KIND),
        false => Submission::new(KIND).payload(payload),
    }
}

/// What working everything off came to.
pub struct Drained {
    /// From the start of the workers to the last completion.
    pub took: Duration,
    /// The time from submit call to completion of each execution, in microseconds.
    pub latencies_us: Vec<u64>,
}

/// Connects the workers, then starts them and the clock: each claims and completes until nothing
/// is left.
pub async fn drain_all(
    args: &BenchArgs,
    ground: &Ground,
    submitted: Submitted,
) -> Result<Drained, Failed> {
    let mut workers = Vec::new();
    for number in 0..args.workers {
        workers.push(ground.worker(args, number).await?);
    }
    let (done, over) = watch::channel(false);
    let all = Arc::new(Drain {
        bar: bar(u64::from(args.tasks), "draining"),
        left: AtomicU64::new(u64::from(args.tasks)),
        done,
        submitted,
    });
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for worker in workers {
        running.spawn(work(worker, all.clone(), over.clone()));
    }
    let mut latencies_us = Vec::with_capacity(args.tasks as usize);
    while let Some(ended) = running.join_next().await {
        latencies_us.append(&mut ended.map_err(Failed::runtime)??);
    }
    let took = begun.elapsed();
    all.bar.finish_and_clear();
    Ok(Drained { took, latencies_us })
}

/// What the workers share.
struct Drain {
    bar: ProgressBar,
    left: AtomicU64,
    done: watch::Sender<bool>,
    submitted: Submitted,
}

impl Drain {
    /// Notes that an execution is completed; the time since its submit call, in microseconds.
    fn completed(&self, id: &ExecutionId) -> u64 {
        self.bar.inc(1);
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.send_replace(true);
        }
        let at = self.submitted.at.get(id).copied().unwrap_or_default();
        elapsed_us(self.submitted.begun).saturating_sub(at)
    }
}

/// Claims and completes until nothing is left, and waits for work in between like any worker.
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
                // A worker with many slots does many things at once.
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
        // A claim and a completion in this process never wait: let the upkeep run too.
        tokio::task::consume_budget().await;
    }
    Ok(latencies)
}

/// Microseconds since an instant.
pub fn elapsed_us(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
