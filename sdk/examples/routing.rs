//! Measures what capabilities cost: the time until all tasks are done that each need one of ten
//! capabilities, against the same tasks without any; and how soon the one fitting worker among many
//! idle ones starts a task.
//!
//!     cargo run --release -p ff-sdk --example routing -- valkey://127.0.0.1:6379 5
//!
//! The arguments are the URL and the number of rounds.

use std::time::{Duration, Instant};

use ff_sdk::{Client, FlowFabric, Submission, WorkerRuntime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The workers of a round, and its tasks.
const WORKERS: usize = 100;
const TASKS: usize = 1_000;
const SETS: usize = 10;
/// The idle workers beside the fitting one, and the tasks that are sent one by one.
const IDLE: usize = 50;
const SENT: usize = 200;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "memory:".to_owned());
    let rounds: usize = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let ff = FlowFabric::connect(&url).await?;
    let (mut plain, mut routed) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        plain.push(drain(&ff, &format!("plain-{round}"), false).await?);
        routed.push(drain(&ff, &format!("routed-{round}"), true).await?);
    }
    let (plain, routed) = (median(&mut plain), median(&mut routed));
    let ratio = routed.as_secs_f64() / plain.as_secs_f64();
    println!("{TASKS} tasks, {WORKERS} workers, {rounds} of {rounds} rounds done, medians:");
    println!("without capabilities {plain:.2?}, with {SETS} sets {routed:.2?}: {ratio:.2} times");
    let mut waits = dispatch(&ff).await?;
    waits.sort();
    let at = |part: usize| waits[(waits.len() * part / 100).min(waits.len() - 1)];
    println!(
        "one fitting worker among {IDLE} idle ones, {SENT} tasks: p50 {:.1?}, p99 {:.1?}",
        at(50),
        at(99)
    );
    Ok(())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// A worker that reports each task that it runs.
async fn worker(
    ff: &FlowFabric,
    name: String,
    lane: &str,
    capability: Option<String>,
    done: mpsc::UnboundedSender<Instant>,
) -> Result<WorkerRuntime> {
    let worker = ff.worker(name).lanes([lane]).capabilities(capability);
    let runtime = worker.max_concurrent_tasks(1).runtime().await?;
    Ok(runtime.handle("work", move || {
        let done = done.clone();
        async move {
            done.send(Instant::now()).ok();
        }
    }))
}

/// Starts workers, and returns what ends them.
fn run(workers: Vec<WorkerRuntime>) -> (watch::Sender<bool>, JoinSet<()>) {
    let (stop, stopped) = watch::channel(false);
    let mut running = JoinSet::new();
    for worker in workers {
        let mut stopped = stopped.clone();
        running.spawn(async move {
            let asked = async move { stopped.wait_for(|stop| *stop).await.map(|_| ()).ok() };
            worker.run_until(asked).await.expect("it runs");
        });
    }
    (stop, running)
}

fn submission(lane: &str, capability: Option<String>) -> Submission {
    Submission::new("work").lane(lane).requires(capability)
}

/// The time from the start of the workers until all tasks are done.
async fn drain(ff: &FlowFabric, lane: &str, routed: bool) -> Result<Duration> {
    let capability = |number: usize| routed.then(|| format!("set-{}", number % SETS));
    let submissions = (0..TASKS).map(|number| submission(lane, capability(number)));
    submit_all(ff.client(), submissions.collect()).await?;
    let (done, mut ends) = mpsc::unbounded_channel();
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        let name = format!("{lane}-{number}");
        workers.push(worker(ff, name, lane, capability(number), done.clone()).await?);
    }
    let started = Instant::now();
    let (stop, mut running) = run(workers);
    for _ in 0..TASKS {
        ends.recv().await.ok_or("the workers ended early")?;
    }
    let elapsed = started.elapsed();
    stop.send(true)?;
    while running.join_next().await.is_some() {}
    Ok(elapsed)
}

async fn submit_all(client: &Client, submissions: Vec<Submission>) -> Result<()> {
    for result in client.submit_many(submissions).await {
        result?;
    }
    Ok(())
}

/// The times from submissions to starts, of tasks that one worker of many can run.
async fn dispatch(ff: &FlowFabric) -> Result<Vec<Duration>> {
    let lane = "dispatch";
    let (done, mut starts) = mpsc::unbounded_channel();
    let mut workers =
        vec![worker(ff, "able".into(), lane, Some("gpu".into()), done.clone()).await?];
    for number in 0..IDLE {
        workers.push(worker(ff, format!("idle-{number}"), lane, None, done.clone()).await?);
    }
    let (stop, mut running) = run(workers);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut waits = Vec::with_capacity(SENT);
    for _ in 0..SENT {
        let sent = Instant::now();
        ff.client().submit(submission(lane, Some("gpu".into()))).await?;
        let started = starts.recv().await.ok_or("the workers ended early")?;
        waits.push(started.saturating_duration_since(sent));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.send(true)?;
    while running.join_next().await.is_some() {}
    Ok(waits)
}
