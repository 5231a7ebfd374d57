//! Measures quotas on a server: how fast a slot is passed on, whether a rate is kept by several
//! processes, and whether slots stay taken after workers were killed.
//!
//!     cargo run --release -p ff-sdk --example quotas -- handover valkey://HOST:PORT 10000 1000
//!     cargo run --release -p ff-sdk --example quotas -- rate valkey://HOST:PORT 60
//!     cargo run --release -p ff-sdk --example quotas -- crashes valkey://HOST:PORT 5000
//!
//! The numbers are the executions that wait and those that run; the seconds; and the executions.

use std::collections::BTreeMap;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ff_sdk::backend::Topic;
use ff_sdk::backend::{Failure, Reply, Request, WakeUps};
use ff_sdk::{
    BackendReport, BoxFuture, Client, EngineBackend, Event, ExecutionId, ExecutionPolicy,
    ExecutionSnapshot, Finding, FlowFabric, HandlerError, ListFilter, ListOrder, Partition,
    PartitionFamily, PublicState, QuotaId, QuotaKey, QuotaLimits, State, Submission, TimestampMs,
};
use futures_util::StreamExt;
use tokio::sync::{Notify, watch};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const QUOTA: &str = "measured";

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let namespace = format!("quotas-{}", std::process::id());
    match arguments[..] {
        ["handover", url, waiting, tasks] => {
            handover(url, &namespace, waiting.parse()?, tasks.parse()?).await
        }
        ["rate", url, seconds] => rate(url, &namespace, seconds.parse()?).await,
        ["crashes", url, count] => crashes(url, &namespace, count.parse()?).await,
        ["work", url, namespace] => work(url, namespace).await,
        _ => {
            Err("expected handover URL WAITING TASKS, rate URL SECONDS or crashes URL COUNT".into())
        }
    }
}

/// Counts calls by their kind and the family of their partition.
struct Counted {
    inner: Arc<dyn EngineBackend>,
    calls: Mutex<BTreeMap<String, u64>>,
}

impl EngineBackend for Counted {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn call(&self, request: Request) -> BoxFuture<'_, std::result::Result<Reply, Failure>> {
        let kind = match &request {
            Request::Commit(commit) if commit.partition.family == PartitionFamily::Quota => {
                "commit of a quota's use"
            }
            Request::Commit(_) => "commit",
            Request::Take(_) => "take",
            Request::Poll(_) => "poll",
            Request::Read(read) if read.partition.family == PartitionFamily::Quota => {
                "read of a quota's use"
            }
            Request::Read(_) => "read",
            Request::Scan(_) => "scan",
            Request::Stream(_) => "stream",
        };
        *self.calls.lock().expect("no panic").entry(kind.to_owned()).or_default() += 1;
        self.inner.call(request)
    }

    fn clock_of(&self, partition: Partition) -> usize {
        self.inner.clock_of(partition)
    }

    fn subscribe(&self, topics: Vec<Topic>) -> Option<Box<dyn WakeUps>> {
        self.inner.subscribe(topics)
    }

    fn report(&self) -> BoxFuture<'_, std::result::Result<BackendReport, Failure>> {
        self.inner.report()
    }

    fn examine(&self) -> BoxFuture<'_, std::result::Result<Vec<Finding>, Failure>> {
        self.inner.examine()
    }
}

/// The hand-overs of one slot.
struct HandOvers {
    /// Whether the first execution, which waits until all others are blocked, may end.
    gate: watch::Sender<bool>,
    /// When the last handler ended, and the times until the next one started.
    times: Mutex<(Option<Instant>, Vec<Duration>)>,
    tasks: usize,
    done: Notify,
}

async fn step(hand_overs: State<Arc<HandOvers>>) {
    let last = {
        let mut times = hand_overs.0.times.lock().expect("no panic");
        let gap = times.0.take().map(|ended| ended.elapsed());
        times.1.extend(gap);
        times.1.len() >= hand_overs.0.tasks
    };
    // The sender is shared by the handlers.
    let _ = hand_overs.0.gate.subscribe().wait_for(|open| *open).await;
    if last {
        hand_overs.0.done.notify_one();
        std::future::pending::<()>().await;
    }
    hand_overs.0.times.lock().expect("no panic").0 = Some(Instant::now());
}

/// Measures the time from the end of a handler to the start of the next one under one key.
async fn handover(url: &str, namespace: &str, waiting: usize, tasks: usize) -> Result<()> {
    let inner = ff_sdk::open(url).await?;
    let counted = Arc::new(Counted { inner, calls: Mutex::default() });
    let ff = FlowFabric::connect_with(counted.clone()).namespace(namespace).await?;
    let client = ff.client();
    client.set_quota(&QuotaId::new(QUOTA), QuotaLimits::new().concurrency(1)).await?;
    let submission = || Submission::new("step").quota_key(QUOTA, "key");
    submit(client, waiting + tasks, submission).await?;
    let hand_overs = Arc::new(HandOvers {
        gate: watch::Sender::new(false),
        times: Mutex::default(),
        tasks,
        done: Notify::new(),
    });
    let worker = ff.worker("steps").max_concurrent_tasks(4).runtime().await?;
    let worker = worker
        .state(hand_overs.clone())
        .shutdown_deadline(Duration::from_secs(1))
        .handle("step", step);
    let measured = worker.run_until(async {
        let began = Instant::now();
        let ready = |state| state == PublicState::Waiting;
        while count(client, ready).await? > waiting / 20 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        println!("{} wait, after {:.1?}", waiting + tasks - 1, began.elapsed());
        let before = counted.calls.lock().expect("no panic").clone();
        let began = Instant::now();
        hand_overs.gate.send_replace(true);
        hand_overs.done.notified().await;
        let took = began.elapsed();
        let after = counted.calls.lock().expect("no panic").clone();
        let mut total = 0.0;
        for (kind, calls) in after {
            let made = calls - before.get(&kind).copied().unwrap_or_default();
            let each = made as f64 / tasks as f64;
            total += each;
            println!("  {each:6.2} calls per task: {kind}");
        }
        let mut times = hand_overs.times.lock().expect("no panic").1.clone();
        times.sort();
        let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
        println!(
            "{tasks} hand-overs in {took:.1?}: p50 {:.2?}, p95 {:.2?}, p99 {:.2?}; {total:.2} \
             calls per task",
            at(50),
            at(95),
            at(99)
        );
        Ok::<(), Box<dyn std::error::Error>>(())
    });
    measured.await?
}

/// Measures how many executions start under a rate of 100 per second, in two processes.
async fn rate(url: &str, namespace: &str, seconds: u64) -> Result<()> {
    let ff = FlowFabric::connect(url).namespace(namespace).await?;
    let client = ff.client();
    let limits = QuotaLimits::new().rate(100, Duration::from_secs(1));
    client.set_quota(&QuotaId::new(QUOTA), limits).await?;
    let submission = || Submission::new("short").quota(QUOTA);
    let ids = submit(client, 100 * seconds as usize + 1_000, submission).await?;
    let mut workers = vec![start(url, namespace)?, start(url, namespace)?];
    tokio::time::sleep(Duration::from_secs(seconds + 5)).await;
    for worker in &mut workers {
        worker.kill()?;
        worker.wait()?;
    }
    let mut starts: Vec<u64> = Vec::new();
    let runs = ids.iter().map(|id| runs(client, *id));
    let mut runs = futures_util::stream::iter(runs).buffer_unordered(32);
    while let Some(runs) = runs.next().await {
        starts.extend(runs?.iter().map(|(from, _)| from.get()));
    }
    starts.sort_unstable();
    let from = *starts.first().ok_or("nothing started")?;
    let within = |length: u64| {
        let counts = starts.iter().enumerate().map(|(number, start)| {
            starts[number..].iter().take_while(|other| **other < start + length).count()
        });
        counts.max().unwrap_or_default()
    };
    let most = within(1_000);
    let started = starts.iter().filter(|start| **start < from + seconds * 1_000).count();
    let share = started as f64 / seconds as f64;
    println!(
        "{started} starts in {seconds} s: {share:.1} % of the quota; at most {most} in a second"
    );
    Ok(())
}

/// Kills workers while executions run under a concurrency and a rate, and checks the slots.
async fn crashes(url: &str, namespace: &str, count: usize) -> Result<()> {
    const CONCURRENCY: u32 = 8;
    let ff = FlowFabric::connect(url).namespace(namespace).await?;
    let client = ff.client();
    client.set_quota(&QuotaId::new(QUOTA), QuotaLimits::new().concurrency(CONCURRENCY)).await?;
    let rate = QuotaLimits::new().rate(400, Duration::from_secs(1));
    client.set_quota(&QuotaId::new("rate"), rate).await?;
    let policy = ExecutionPolicy { max_reclaim_count: 1_000, ..ExecutionPolicy::default() };
    let submission =
        || Submission::new("short").policy(policy.clone()).quota_key(QUOTA, "key").quota("rate");
    let ids = submit(client, count, submission).await?;
    let began = Instant::now();
    let mut workers: Vec<Child> =
        (0..4).map(|_| start(url, namespace)).collect::<std::io::Result<_>>()?;
    let mut killed = 0;
    let mut left = count;
    while left > 0 {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let victim = killed % workers.len();
            workers[victim].kill()?;
            workers[victim].wait()?;
            workers[victim] = start(url, namespace)?;
            killed += 1;
        }
        left = count_left(client).await?;
        println!("{left} left after {:.1?} and {killed} killed workers", began.elapsed());
    }
    let took = began.elapsed();
    let mut changes: Vec<(TimestampMs, i32)> = Vec::new();
    let histories = ids.iter().map(|id| runs(client, *id));
    let mut histories = futures_util::stream::iter(histories).buffer_unordered(32);
    let mut attempts = 0;
    while let Some(runs) = histories.next().await {
        for (from, until) in runs? {
            attempts += 1;
            changes.extend([(from, 1), (until, -1)]);
        }
    }
    // What ends in a millisecond ends before what starts in it.
    changes.sort_unstable();
    let running = changes.iter().scan(0, |running, (_, change)| {
        *running += change;
        Some(*running)
    });
    let most = running.max().unwrap_or_default();
    println!(
        "{count} executions, {attempts} attempts, {killed} kills in {took:.1?}: at most {most} ran"
    );
    let key = QuotaKey::new("key");
    loop {
        let taken = client.quota_use(&QuotaId::new(QUOTA), Some(&key)).await?.holders.len();
        println!("{taken} slots taken, {:.1?} after the end", began.elapsed() - took);
        if taken == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    workers
        .iter_mut()
        .try_for_each(|worker| worker.kill().and_then(|()| worker.wait().map(drop)))?;
    match most <= CONCURRENCY as i32 {
        true => Ok(()),
        false => {
            Err(format!("{most} ran at the same time under a concurrency of {CONCURRENCY}").into())
        }
    }
}

/// When an execution ran, by its journal.
async fn runs(client: &Client, id: ExecutionId) -> Result<Vec<(TimestampMs, TimestampMs)>> {
    let (mut runs, mut since) = (Vec::new(), None);
    for entry in client.history(&id).await?.events {
        let ends = matches!(
            entry.event,
            Event::Claimed { .. }
                | Event::LeaseExpired { .. }
                | Event::RetryScheduled { .. }
                | Event::Released { .. }
                | Event::Ended { .. }
        );
        if ends && let Some(since) = since.take() {
            runs.push((since, entry.at));
        }
        if matches!(entry.event, Event::Claimed { .. }) {
            since = Some(entry.at);
        }
    }
    Ok(runs)
}

/// A worker process, until it is killed.
fn start(url: &str, namespace: &str) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?).args(["work", url, namespace]).spawn()
}

async fn work(url: &str, namespace: &str) -> Result<()> {
    let ff = FlowFabric::connect(url).namespace(namespace).await?;
    let worker = ff.worker("short").lease_ttl(Duration::from_secs(1)).max_concurrent_tasks(8);
    let worker = worker.runtime().await?.handle("short", || async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok::<(), HandlerError>(())
    });
    Ok(worker.run_until(std::future::pending()).await?)
}

async fn submit(
    client: &Client,
    count: usize,
    submission: impl Fn() -> Submission,
) -> Result<Vec<ExecutionId>> {
    let mut ids = Vec::with_capacity(count);
    for outcome in client.submit_many((0..count).map(|_| submission())).await {
        ids.push(outcome?.id());
    }
    Ok(ids)
}

async fn all(client: &Client) -> Result<Vec<ExecutionSnapshot>> {
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let (filter, order) = (ListFilter::default(), ListOrder::OldestFirst);
        let page = client.list_by_time(filter, order, from, 1_000).await?;
        all.extend(page.executions);
        match page.next {
            Some(next) => from = Some(next),
            None => return Ok(all),
        }
    }
}

async fn count(client: &Client, of: impl Fn(PublicState) -> bool) -> Result<usize> {
    let all = all(client).await?;
    Ok(all.iter().filter(|seen| of(seen.state.public_state)).count())
}

/// How many executions have not ended.
async fn count_left(client: &Client) -> Result<usize> {
    let all = all(client).await?;
    Ok(all.iter().filter(|seen| seen.ended_at.is_none()).count())
}
