//! Tests of the work loop on a store in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ff_sdk::core::backend::{BackendReport, BoxFuture, EngineBackend, Finding, WakeUps};
use ff_sdk::core::partition::PartitionConfig;
use ff_sdk::core::store::{Failure, Reply, Request, Topic};
use ff_sdk::{
    Backoff, ClaimedTask, Client, ClientConfig, DurationMs, ExecutionId, FlowFabricWorker,
    MemoryBackend, PublicState, RetryPolicy, Signal, Submission, SuspendOutcome, Suspension,
    WorkerConfig,
};
use tokio::sync::watch;

use super::work_loop::{Counts, Limits, Output, WorkLoop};
use crate::shell::ShellJob;
use crate::shutdown::Shutdown;

/// How long a test waits for an event.
const DEADLINE: Duration = Duration::from_secs(60);

/// The namespace of the executions.
const NAMESPACE: &str = "ns";

/// A store that can stop answering.
struct FlakyStore {
    memory: MemoryBackend,
    down: AtomicBool,
    /// Whether a call that it does not answer ends with an error.
    fails: AtomicBool,
    /// The number of calls without an answer.
    unanswered: AtomicU64,
}

impl EngineBackend for FlakyStore {
    fn name(&self) -> &'static str {
        "test"
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Failure>> {
        if self.down.load(Ordering::Relaxed) {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            if !self.fails.load(Ordering::Relaxed) {
                return Box::pin(std::future::pending());
            }
            return Box::pin(std::future::ready(Err(Failure::NotSent("down".to_owned()))));
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

/// A store, a client of it, and the shutdown of the worker.
struct Fixture {
    store: Arc<FlakyStore>,
    client: Client,
    shutdown: watch::Sender<Shutdown>,
}

impl Fixture {
    async fn new() -> Self {
        let memory = MemoryBackend::new();
        let store = Arc::new(FlakyStore {
            memory,
            down: AtomicBool::new(false),
            fails: AtomicBool::new(true),
            unanswered: AtomicU64::new(0),
        });
        // Executions of one partition have an order.
        let mut config = ClientConfig::new(NAMESPACE).expect("a name");
        config.partition_config = Some(PartitionConfig {
            num_flow_partitions: 1,
            num_budget_partitions: 1,
            num_quota_partitions: 1,
        });
        let client = Client::connect(config, store.clone()).await.expect("it connects");
        Self { store, client, shutdown: watch::channel(Shutdown::No).0 }
    }

    async fn submit(&self, submission: Submission) -> ExecutionId {
        self.client.submit(submission).await.expect("the store accepts it").id()
    }

    /// Runs the loop with a command. Returns whether it was stopped, and the counts.
    async fn work(&self, command: &str, kinds: &[&str], limits: Limits) -> (bool, Counts) {
        self.work_as(command, kinds, limits, Duration::from_millis(200)).await
    }

    /// The same without limits, and with this timeout of calls.
    async fn work_with_timeout(&self, command: &str, calls: Duration) -> (bool, Counts) {
        self.work_as(command, &[], without_limits(), calls).await
    }

    async fn work_as(
        &self,
        command: &str,
        kinds: &[&str],
        limits: Limits,
        calls: Duration,
    ) -> (bool, Counts) {
        let mut config = WorkerConfig::new("w", "w-1", NAMESPACE).expect("names");
        config.max_concurrent_tasks = 2;
        config.call_timeout = calls;
        if !kinds.is_empty() {
            config.kinds = kinds.iter().map(|kind| kind.parse().expect("a kind")).collect();
        }
        let worker = FlowFabricWorker::connect_with(config, self.store.clone(), None).await;
        let job = ShellJob::Command(command.to_owned());
        let (client, shutdown) = (self.client.clone(), self.shutdown.subscribe());
        let worker = worker.expect("it connects");
        let work_loop = WorkLoop::new(worker, client, job, limits, Output::Quiet, shutdown);
        let ended = tokio::time::timeout(DEADLINE, work_loop.run()).await;
        let ended = ended.expect("the loop ends in time").expect("the loop does not fail");
        (ended.stopped, ended.counts)
    }

    /// Claims the next execution with a worker of the SDK.
    async fn claim(&self) -> ClaimedTask {
        let config = WorkerConfig::new("sdk", "sdk-1", NAMESPACE).expect("names");
        let worker = FlowFabricWorker::connect_with(config, self.store.clone(), None).await;
        let worker = worker.expect("it connects");
        loop {
            match worker.claim_next().await.expect("the store answers") {
                Some(task) => return task,
                None => worker.wait_for_work().await,
            }
        }
    }

    async fn state(&self, id: &ExecutionId) -> PublicState {
        let snapshot = self.client.describe(id).await.expect("the store answers");
        snapshot.expect("the execution exists").state.public_state
    }
}

fn until_idle() -> Limits {
    Limits { max: u64::MAX, until_idle: true, timeout: None, grace: DEADLINE }
}

fn without_limits() -> Limits {
    Limits { until_idle: false, ..until_idle() }
}

/// Creates a named pipe.
fn pipe(directory: &tempfile::TempDir, name: &str) -> std::path::PathBuf {
    let path = directory.path().join(name);
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    path
}

#[tokio::test]
async fn until_idle_waits_for_retries() {
    let fixture = Fixture::new().await;
    let fixed = Backoff::Fixed { delay_ms: DurationMs::new(20) };
    let retry = RetryPolicy { max_retries: 1, backoff: fixed, ..RetryPolicy::default() };
    let good = fixture.submit(Submission::new("good").payload("in")).await;
    let bad = fixture.submit(Submission::new("bad").retry(retry)).await;
    let command = "cat; echo \" $FF_EXECUTION_KIND $FF_LANE $FF_ATTEMPT_INDEX $FF_LEASE_EPOCH\"; \
                   [ $FF_EXECUTION_KIND = good ]";
    let (stopped, counts) = fixture.work(command, &[], until_idle()).await;
    assert!(!stopped);
    assert_eq!(counts, Counts { completed: 1, failed: 1, retried: 1, ..Counts::default() });
    let result = fixture.client.result(&good).await.expect("it has ended");
    let seen = fixture.client.describe(&good).await.expect("the store answers").expect("it exists");
    let expected = format!("in good default 0 {}\n", seen.lease_epoch);
    assert_eq!(result.bytes(), Some(expected.as_bytes()));
    assert_eq!(fixture.state(&bad).await, PublicState::Failed);
}

#[tokio::test]
async fn another_kind_is_left_to_others_and_no_more_than_max_are_claimed() {
    let fixture = Fixture::new().await;
    let other = fixture.submit(Submission::new("other").priority(9)).await;
    for _ in 0..4 {
        fixture.submit(Submission::new("mine")).await;
    }
    let (stopped, counts) =
        fixture.work("true", &["mine"], Limits { max: 3, ..without_limits() }).await;
    assert!(!stopped);
    assert_eq!(counts, Counts { completed: 3, ..Counts::default() });
    assert_eq!(fixture.state(&other).await, PublicState::Waiting);
    // The kind that is left does not keep the worker from being idle.
    let (_, counts) = fixture.work("true", &["mine"], until_idle()).await;
    assert_eq!(counts, Counts { completed: 1, ..Counts::default() });
    assert_eq!(fixture.state(&other).await, PublicState::Waiting);
}

#[tokio::test]
async fn until_idle_waits_for_the_leases_of_other_workers() {
    let fixture = Fixture::new().await;
    let id = fixture.submit(Submission::new("k")).await;
    let mut config = WorkerConfig::new("dead", "dead-1", NAMESPACE).expect("names");
    config.lease_ttl = Duration::from_millis(300);
    let dead = FlowFabricWorker::connect_with(config, fixture.store.clone(), None).await;
    let task = dead.expect("it connects").claim_next().await.expect("the store answers");
    drop(task.expect("there is work"));
    let (_, counts) = fixture.work("echo done", &[], until_idle()).await;
    assert_eq!(counts, Counts { completed: 1, ..Counts::default() });
    assert_eq!(fixture.state(&id).await, PublicState::Completed);
}

#[tokio::test]
async fn a_drain_waits_for_commands_and_claims_no_more() {
    let fixture = Fixture::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let (up, go) = (pipe(&directory, "up"), pipe(&directory, "go"));
    let running = fixture.submit(Submission::new("k")).await;
    let command = format!("echo up > {}; cat {}", up.display(), go.display());
    let drained = async {
        let read = move || std::fs::read_to_string(&up).expect("it reads");
        tokio::task::spawn_blocking(read).await.expect("it ends");
        fixture.shutdown.send_replace(Shutdown::Drain);
        let late = fixture.submit(Submission::new("k")).await;
        let write = move || std::fs::write(&go, "done").expect("it writes");
        tokio::task::spawn_blocking(write).await.expect("it ends");
        late
    };
    let ((stopped, counts), late) =
        tokio::join!(fixture.work(&command, &[], without_limits()), drained);
    assert_eq!((stopped, counts), (false, Counts { completed: 1, ..Counts::default() }));
    assert_eq!(
        fixture.client.result(&running).await.expect("it has ended").bytes(),
        Some(&b"done"[..])
    );
    assert_eq!(fixture.state(&late).await, PublicState::Waiting);
}

#[tokio::test]
async fn a_stop_kills_commands_and_gives_their_executions_back() {
    let fixture = Fixture::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let up = pipe(&directory, "up");
    let id = fixture.submit(Submission::new("k")).await;
    let command = format!("echo up > {}; sleep 1000", up.display());
    let shutdown = fixture.shutdown.clone();
    let reader = tokio::task::spawn_blocking(move || {
        std::fs::read_to_string(&up).expect("it reads");
        shutdown.send_replace(Shutdown::Stop);
    });
    let (stopped, counts) = fixture.work(&command, &[], without_limits()).await;
    reader.await.expect("it ends");
    assert!(stopped);
    assert_eq!(counts, Counts { given_back: 1, ..Counts::default() });
    assert_ne!(fixture.state(&id).await, PublicState::Active);
    fixture.shutdown.send_replace(Shutdown::No);
    let (_, counts) = fixture.work("true", &[], until_idle()).await;
    assert_eq!(counts.completed, 1);
    assert_eq!(fixture.state(&id).await, PublicState::Completed);
}

/// The signals that resumed an execution are for the command that runs to its end: another worker
/// finds them after a stop.
#[tokio::test]
async fn a_stop_keeps_the_signals_of_a_resumed_execution() {
    let fixture = Fixture::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let up = pipe(&directory, "up");
    let id = fixture.submit(Submission::new("k")).await;
    let task = fixture.claim().await;
    let suspension = Suspension::until_signal("approval").expect("a name");
    let suspended = task.suspend(suspension).await.expect("it suspends");
    let SuspendOutcome::Suspended { waitpoints, .. } = suspended else { panic!("{suspended:?}") };
    let signal = Signal::new("approved", waitpoints[0].token.clone()).expect("a name");
    let delivered = fixture.client.deliver_signal(&id, &waitpoints[0].id, signal).await;
    delivered.expect("it is accepted");

    let command = format!("echo up > {}; sleep 1000", up.display());
    let shutdown = fixture.shutdown.clone();
    let reader = tokio::task::spawn_blocking(move || {
        std::fs::read_to_string(&up).expect("it reads");
        shutdown.send_replace(Shutdown::Stop);
    });
    let (_, counts) = fixture.work(&command, &[], without_limits()).await;
    reader.await.expect("it ends");
    assert_eq!(counts, Counts { given_back: 1, ..Counts::default() });
    let signals = fixture.claim().await.resume_signals().await.expect("the store answers");
    let names: Vec<&str> = signals.iter().map(|signal| signal.name.as_str()).collect();
    assert_eq!(names, ["approved"]);
}

#[tokio::test]
async fn a_worker_survives_a_store_that_is_down_for_a_while() {
    let fixture = Fixture::new().await;
    let store = fixture.store.clone();
    let outage = async {
        store.down.store(true, Ordering::Relaxed);
        while store.unanswered.load(Ordering::Relaxed) < 5 {
            tokio::task::yield_now().await;
        }
        // Longer than the call timeout, so that a claim has failed.
        tokio::time::sleep(Duration::from_millis(500)).await;
        store.down.store(false, Ordering::Relaxed);
        fixture.submit(Submission::new("k")).await
    };
    let working = fixture.work("true", &[], Limits { max: 1, ..without_limits() });
    let outage_after_connecting = async {
        tokio::task::yield_now().await;
        outage.await
    };
    let ((stopped, counts), id) = tokio::join!(working, outage_after_connecting);
    assert_eq!((stopped, counts.completed), (false, 1));
    assert_eq!(fixture.state(&id).await, PublicState::Completed);
}

/// A stop does not wait for a store that does not answer, whether its calls fail or hang.
#[tokio::test]
async fn a_stop_interrupts_reporting() {
    for fails in [true, false] {
        let fixture = Fixture::new().await;
        let store = &fixture.store;
        store.fails.store(fails, Ordering::Relaxed);
        let directory = tempfile::tempdir().expect("a directory");
        let (up, go) = (pipe(&directory, "up"), pipe(&directory, "go"));
        fixture.submit(Submission::new("k")).await;
        let command = format!("echo up > {}; cat {}", up.display(), go.display());
        let stopped = async {
            let read = move || std::fs::read_to_string(&up).expect("it reads");
            tokio::task::spawn_blocking(read).await.expect("it ends");
            fixture.shutdown.send_replace(Shutdown::Drain);
            store.down.store(true, Ordering::Relaxed);
            let unanswered = || store.unanswered.load(Ordering::Relaxed);
            let before = unanswered();
            let write = move || std::fs::write(&go, "done").expect("it writes");
            tokio::task::spawn_blocking(write).await.expect("it ends");
            while unanswered() == before {
                tokio::task::yield_now().await;
            }
            fixture.shutdown.send_replace(Shutdown::Stop);
            std::time::Instant::now()
        };
        // The calls of the worker may take longer than the shutdown.
        let limit = Duration::from_secs(3);
        let working = fixture.work_with_timeout(&command, DEADLINE);
        let ((is_stopped, counts), begun) = tokio::join!(working, stopped);
        assert!(begun.elapsed() < limit, "{:?}", begun.elapsed());
        assert_eq!((is_stopped, counts), (true, Counts { lost: 1, ..Counts::default() }));
    }
}

#[tokio::test]
async fn the_loop_ends_after_the_timeout() {
    let fixture = Fixture::new().await;
    let limits = Limits { timeout: Some(Duration::from_millis(50)), ..without_limits() };
    let (stopped, counts) = fixture.work("true", &[], limits).await;
    assert_eq!((stopped, counts), (false, Counts::default()));
}
