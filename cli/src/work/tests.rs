//! A worker's loop on a store in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ff_sdk::core::backend::{BackendReport, BoxFuture, EngineBackend, Finding, WakeUps};
use ff_sdk::core::partition::PartitionConfig;
use ff_sdk::core::store::{Failure, Reply, Request, Topic};
use ff_sdk::{
    Backoff, Client, ClientConfig, DurationMs, ExecutionId, FlowFabricWorker, MemoryBackend,
    PublicState, RetryPolicy, Submission, WorkerConfig,
};
use tokio::sync::watch;

use super::attempt::Exec;
use super::shift::{End, Limits, Shift, Sums, Tell};
use crate::shell::ShellJob;
use crate::signals::Wish;

/// How long a test waits for anything.
const DEADLINE: Duration = Duration::from_secs(60);

/// Whose executions.
const NAMESPACE: &str = "ns";

/// A store that can be away.
struct Store {
    memory: MemoryBackend,
    away: AtomicBool,
    /// Calls that were not answered.
    unanswered: AtomicU64,
}

impl EngineBackend for Store {
    fn name(&self) -> &'static str {
        "test"
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Failure>> {
        if self.away.load(Ordering::Relaxed) {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            return Box::pin(std::future::ready(Err(Failure::NotSent("away".to_owned()))));
        }
        self.memory.call(request)
    }

    fn subscribe(&self, topics: Vec<Topic>) -> Option<Box<dyn WakeUps>> {
        self.memory.subscribe(topics)
    }

    fn examine(&self) -> BoxFuture<'_, Result<Vec<Finding>, Failure>> {
        self.memory.examine()
    }

    fn report(&self) -> BoxFuture<'_, Result<BackendReport, Failure>> {
        self.memory.report()
    }
}

/// A store, a client of it, and what the worker is asked to do.
struct World {
    store: Arc<Store>,
    client: Client,
    wishes: watch::Sender<Wish>,
}

impl World {
    async fn new() -> Self {
        let memory = MemoryBackend::new();
        let store =
            Arc::new(Store { memory, away: AtomicBool::new(false), unanswered: AtomicU64::new(0) });
        // One partition, since there is no order between several.
        let mut config = ClientConfig::new(NAMESPACE).expect("a name");
        config.partition_config = Some(PartitionConfig {
            num_flow_partitions: 1,
            num_budget_partitions: 1,
            num_quota_partitions: 1,
        });
        let client = Client::connect(config, store.clone()).await.expect("it connects");
        Self { store, client, wishes: watch::channel(Wish::Work).0 }
    }

    async fn submit(&self, submission: Submission) -> ExecutionId {
        self.client.submit(submission).await.expect("it is taken").id()
    }

    /// Works with a command that ends when nothing is left, within the limits.
    async fn work(&self, command: &str, kinds: &[&str], limits: Limits) -> (End, Sums) {
        let mut config = WorkerConfig::new("w", "w-1", NAMESPACE).expect("names");
        config.max_concurrent_tasks = 2;
        config.call_timeout_ms = 200;
        let worker = FlowFabricWorker::connect_with(config, self.store.clone(), None).await;
        let exec = Exec {
            job: ShellJob::Command(command.to_owned()),
            kinds: kinds.iter().map(|kind| kind.parse().expect("a kind")).collect(),
        };
        let (client, wishes) = (self.client.clone(), self.wishes.subscribe());
        let worker = worker.expect("it connects");
        let shift = Shift::new(worker, client, exec, limits, Tell::Nothing, wishes);
        let worked = tokio::time::timeout(DEADLINE, shift.run()).await.expect("it ends in time");
        worked.expect("it works")
    }

    async fn state(&self, id: &ExecutionId) -> PublicState {
        let seen = self.client.describe(id).await.expect("it answers");
        seen.expect("it is there").state.public_state
    }
}

fn until_idle() -> Limits {
    Limits { max: u64::MAX, until_idle: true, timeout: None }
}

fn endless() -> Limits {
    Limits { until_idle: false, ..until_idle() }
}

/// A pipe with a name.
fn pipe(directory: &tempfile::TempDir, name: &str) -> std::path::PathBuf {
    let path = directory.path().join(name);
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    path
}

#[tokio::test]
async fn it_works_until_nothing_is_left_retries_included() {
    let world = World::new().await;
    let fixed = Backoff::Fixed { delay_ms: DurationMs::new(20) };
    let retry = RetryPolicy { max_retries: 1, backoff: fixed, ..RetryPolicy::default() };
    let good = world.submit(Submission::new("good").payload("in")).await;
    let bad = world.submit(Submission::new("bad").retry(retry)).await;
    let command = "cat; echo \" $FF_EXECUTION_KIND $FF_LANE $FF_ATTEMPT_INDEX $FF_LEASE_EPOCH\"; \
                   [ $FF_EXECUTION_KIND = good ]";
    let (end, sums) = world.work(command, &[], until_idle()).await;
    assert_eq!(end, End::AsTold);
    assert_eq!(sums, Sums { completed: 1, failed: 1, retried: 1, ..Sums::default() });
    let result = world.client.result(&good).await.expect("it is over");
    assert_eq!(result.bytes(), Some(&b"in good default 0 1\n"[..]));
    assert_eq!(world.state(&bad).await, PublicState::Failed);
}

#[tokio::test]
async fn what_is_of_another_kind_fails_and_no_more_than_asked_are_taken() {
    let world = World::new().await;
    let once = RetryPolicy { max_retries: 0, ..RetryPolicy::default() };
    let other = world.submit(Submission::new("other").retry(once).priority(9)).await;
    for _ in 0..3 {
        world.submit(Submission::new("mine")).await;
    }
    let (end, sums) = world.work("true", &["mine"], Limits { max: 3, ..endless() }).await;
    assert_eq!(end, End::AsTold);
    assert_eq!(sums, Sums { completed: 2, failed: 1, ..Sums::default() });
    let history = world.client.history(&other).await.expect("it is there");
    let told = format!("{:?}", history.events);
    assert!(told.contains("no_handler"), "{told}");
}

#[tokio::test]
async fn it_waits_for_what_another_worker_may_lose() {
    let world = World::new().await;
    let id = world.submit(Submission::new("k")).await;
    let mut config = WorkerConfig::new("dead", "dead-1", NAMESPACE).expect("names");
    config.lease_ttl_ms = 300;
    let dead = FlowFabricWorker::connect_with(config, world.store.clone(), None).await;
    let task = dead.expect("it connects").claim_next().await.expect("it answers");
    drop(task.expect("there is work"));
    let (_, sums) = world.work("echo done", &[], until_idle()).await;
    assert_eq!(sums, Sums { completed: 1, ..Sums::default() });
    assert_eq!(world.state(&id).await, PublicState::Completed);
}

#[tokio::test]
async fn a_wish_to_drain_lets_commands_end_and_claims_no_more() {
    let world = World::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let (up, go) = (pipe(&directory, "up"), pipe(&directory, "go"));
    let running = world.submit(Submission::new("k")).await;
    let command = format!("echo up > {}; cat {}", up.display(), go.display());
    let drained = async {
        let read = move || std::fs::read_to_string(&up).expect("it reads");
        tokio::task::spawn_blocking(read).await.expect("it ends");
        world.wishes.send_replace(Wish::Drain);
        let late = world.submit(Submission::new("k")).await;
        let write = move || std::fs::write(&go, "done").expect("it writes");
        tokio::task::spawn_blocking(write).await.expect("it ends");
        late
    };
    let ((end, sums), late) = tokio::join!(world.work(&command, &[], endless()), drained);
    assert_eq!((end, sums), (End::AsTold, Sums { completed: 1, ..Sums::default() }));
    assert_eq!(
        world.client.result(&running).await.expect("it is over").bytes(),
        Some(&b"done"[..])
    );
    assert_eq!(world.state(&late).await, PublicState::Waiting);
}

#[tokio::test]
async fn a_wish_to_stop_kills_commands_and_gives_their_executions_back() {
    let world = World::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let up = pipe(&directory, "up");
    let id = world.submit(Submission::new("k")).await;
    let command = format!("echo up > {}; sleep 1000", up.display());
    let wishes = world.wishes.clone();
    let reader = tokio::task::spawn_blocking(move || {
        std::fs::read_to_string(&up).expect("it reads");
        wishes.send_replace(Wish::Stop);
    });
    let (end, sums) = world.work(&command, &[], endless()).await;
    reader.await.expect("it ends");
    assert_eq!(end, End::Stopped);
    assert_eq!(sums, Sums { given_back: 1, ..Sums::default() });
    assert_ne!(world.state(&id).await, PublicState::Active);
    world.wishes.send_replace(Wish::Work);
    let (_, sums) = world.work("true", &[], until_idle()).await;
    assert_eq!(sums.completed, 1);
    assert_eq!(world.state(&id).await, PublicState::Completed);
}

#[tokio::test]
async fn a_store_that_is_away_for_a_while_ends_no_worker() {
    let world = World::new().await;
    let store = world.store.clone();
    let back = async {
        store.away.store(true, Ordering::Relaxed);
        while store.unanswered.load(Ordering::Relaxed) < 5 {
            tokio::task::yield_now().await;
        }
        // Longer than one call tries, so that a claim has failed.
        tokio::time::sleep(Duration::from_millis(500)).await;
        store.away.store(false, Ordering::Relaxed);
        world.submit(Submission::new("k")).await
    };
    let working = world.work("true", &[], Limits { max: 1, ..endless() });
    let away_once_connected = async {
        tokio::task::yield_now().await;
        back.await
    };
    let ((end, sums), id) = tokio::join!(working, away_once_connected);
    assert_eq!((end, sums.completed), (End::AsTold, 1));
    assert_eq!(world.state(&id).await, PublicState::Completed);
}

#[tokio::test]
async fn it_ends_after_its_time() {
    let world = World::new().await;
    let limits = Limits { timeout: Some(Duration::from_millis(50)), ..endless() };
    let (end, sums) = world.work("true", &[], limits).await;
    assert_eq!((end, sums), (End::AsTold, Sums::default()));
}
