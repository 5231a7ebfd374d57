//! A server that became a replica takes no writes and answers reads with old data. Programs notice
//! it, say it, and look the server up again (`docs/valkey.md`, Failover).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use ff_sdk::{
    Client, ClientConfig, ConnectError, ExecutionId, FlowFabricWorker, Submission, TaskContext,
    ValkeyBackend, WorkerConfig, WorkerRuntime,
};
use ff_tests::captured::Captured;
use ff_tests::fixture::NAMESPACE;
use ff_tests::kit::{secs, submit, work};
use ff_tests::server::{Proxy, Server, wait_for};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// The time in which programs notice that their server is a replica, and go on at another one.
pub const NOTICED: Duration = secs(5);

/// The log of this process.
fn logs() -> &'static Captured {
    static LOGS: OnceLock<Captured> = OnceLock::new();
    LOGS.get_or_init(|| {
        let logs = Captured::default();
        let subscriber = tracing_subscriber::fmt().with_writer(logs.clone()).without_time();
        let subscriber = subscriber.with_ansi(false).finish();
        tracing::subscriber::set_global_default(subscriber).expect("there is no other");
        logs
    })
}

/// The lines of the log about a server with this text. The first call begins the log.
fn logged(server: &Server, text: &str) -> Vec<String> {
    let (all, address) = (logs().text(), server.address());
    let lines = all.lines().filter(|line| line.contains(text) && line.contains(&address));
    lines.map(str::to_owned).collect()
}

/// How often each execution ran.
#[derive(Clone)]
pub struct Runs {
    counts: Arc<Mutex<BTreeMap<ExecutionId, u32>>>,
    /// Permits for executions of the kind `held` to end.
    ends: Arc<Semaphore>,
}

impl Runs {
    pub fn new() -> Self {
        Self { counts: Arc::default(), ends: Arc::new(Semaphore::new(0)) }
    }

    fn count(&self, id: ExecutionId) {
        *self.counts.lock().unwrap().entry(id).or_default() += 1;
    }

    pub fn of(&self, id: &ExecutionId) -> u32 {
        self.counts.lock().unwrap().get(id).copied().unwrap_or(0)
    }

    pub fn len(&self) -> usize {
        self.counts.lock().unwrap().len()
    }
}

/// A runtime that counts how often each execution runs.
pub async fn runtime(url: &str, runs: &Runs) -> WorkerRuntime {
    let mut config = WorkerConfig::new("w", "w-1", NAMESPACE).unwrap();
    config.max_concurrent_tasks = 4;
    let store = ff_sdk::open(url).await.unwrap();
    let worker = FlowFabricWorker::connect_with(config, store, None).await.unwrap();
    let (counted, held) = (runs.clone(), runs.clone());
    WorkerRuntime::new(worker)
        .handle("work", move |task: TaskContext| {
            counted.count(task.execution_id());
            std::future::ready(())
        })
        .handle("held", move |task: TaskContext| {
            let held = held.clone();
            async move {
                held.count(task.execution_id());
                held.ends.acquire().await.unwrap().forget();
            }
        })
}

pub async fn client(url: &str) -> Client {
    let mut config = ClientConfig::new(NAMESPACE).unwrap();
    config.call_timeout = secs(2);
    Client::connect(config, ff_sdk::open(url).await.unwrap()).await.unwrap()
}

/// A primary with a replica.
fn pair() -> (Server, Server) {
    let (primary, replica) = (Server::valkey(), Server::valkey());
    replica.follow(&primary);
    (primary, replica)
}

/// A proxy, which has its own runtime.
async fn proxy(server: &Server) -> Proxy {
    let address = server.address();
    tokio::task::spawn_blocking(move || Proxy::before(&address)).await.unwrap()
}

/// Makes a server a replica of nothing: it keeps what it has, and answers reads with it.
fn cut_off(server: &Server) {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    server.expect(&["REPLICAOF", "127.0.0.1", &unused.port().to_string()]);
}

/// After a failover to a replica, a worker goes on at the new primary, which has the same name. All
/// executions run exactly once, also one that runs meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_goes_on_at_the_new_primary() {
    let (old, new) = pair();
    let proxy = proxy(&old).await;
    let runs = Runs::new();
    let runtime = runtime(&proxy.url(), &runs).await;
    let working = tokio::spawn(runtime.run_until(std::future::pending::<()>()));
    let mut ids = Vec::new();
    let before = client(&old.url()).await;
    for _ in 0..20 {
        ids.push(submit(&before, work()).await);
    }
    for id in &ids {
        before.result(id).await.unwrap();
    }
    let held = submit(&before, Submission::new("held")).await;
    timeout(secs(10), async {
        while runs.of(&held) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it begins");
    old.hand_over(&new);
    let after = client(&new.url()).await;
    proxy.point_to(&new.address());
    runs.ends.add_permits(1);
    ids.push(held);
    let begun = Instant::now();
    for _ in 0..20 {
        ids.push(submit(&after, work()).await);
    }
    for id in &ids {
        timeout(NOTICED * 2, after.result(id)).await.expect("the worker goes on").unwrap();
    }
    println!("all results after {:?}", begun.elapsed());
    for id in &ids {
        assert_eq!(runs.of(id), 1);
    }
    working.abort();
}

/// A worker that has nothing to do sends no writes. It notices by its reads that its server is a
/// replica, and goes on at the new primary although the old one still answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_leaves_a_replica_that_answers_reads() {
    let (old, new) = pair();
    let proxy = proxy(&old).await;
    let runs = Runs::new();
    let runtime = runtime(&proxy.url(), &runs).await;
    let working = tokio::spawn(runtime.run_until(std::future::pending::<()>()));
    let before = client(&old.url()).await;
    before.result(&submit(&before, work()).await).await.unwrap();
    old.hand_over(&new);
    cut_off(&old);
    proxy.point_to(&new.address());
    let after = client(&new.url()).await;
    let id = submit(&after, work()).await;
    timeout(NOTICED, after.result(&id)).await.expect("the worker goes on").unwrap();
    assert_eq!(runs.of(&id), 1);
    working.abort();
}

/// While the server is a replica, calls fail with that reason, also those that only read, and new
/// programs do not connect. Tries to connect again become rarer. When the server is the primary
/// again, work goes on.
#[tokio::test]
async fn a_replica_is_not_used_and_is_the_reason() {
    let server = Server::valkey();
    assert!(logged(&server, "").is_empty());
    let client = client(&server.url()).await;
    let id = submit(&client, work()).await;
    cut_off(&server);
    let (begun, connections) = (Instant::now(), connections(&server));
    let reason = loop {
        match client.describe(&id).await {
            Err(error) => break error.to_string(),
            Ok(_) => assert!(begun.elapsed() < NOTICED, "a replica answers a read"),
        }
    };
    assert!(reason.contains("the server is a replica"), "{reason}");
    let reason = client.submit(work()).await.unwrap_err().to_string();
    assert!(reason.contains("the server is a replica"), "{reason}");
    let error = ValkeyBackend::connect(&server.url()).await.unwrap_err();
    let ConnectError::Unfit { problem, .. } = &error else { panic!("{error}") };
    assert!(problem.contains("replica") && problem.contains("connect to the primary"), "{error}");
    while begun.elapsed() < secs(8) {
        assert!(client.describe(&id).await.is_err());
    }
    let tries = self::connections(&server) - connections;
    assert!(tries < 60, "{tries} connections in 8 s");
    let said = logged(&server, "is a replica");
    assert!(said.len() == 1 && said[0].contains("WARN"), "{said:?}");
    server.expect(&["REPLICAOF", "NO", "ONE"]);
    timeout(secs(10), async { while client.describe(&id).await.is_err() {} }).await.expect("again");
    client.submit(work()).await.unwrap();
    assert_eq!(logged(&server, "connected again").len(), 1, "{}", logs().text());
}

/// A worker claims nothing from a replica, and waits longer and longer between its tries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_takes_no_work_from_a_replica() {
    let server = Server::valkey();
    let client = client(&server.url()).await;
    let runs = Runs::new();
    let runtime = runtime(&server.url(), &runs).await;
    let working = tokio::spawn(runtime.run_until(std::future::pending::<()>()));
    client.result(&submit(&client, work()).await).await.unwrap();
    assert!(logged(&server, "").is_empty());
    cut_off(&server);
    wait_for("the worker to notice it", || {
        (!logged(&server, "is a replica").is_empty()).then_some(())
    });
    let calls = |server: &Server| {
        let calls = server.info("stats", "total_commands_processed").unwrap();
        calls.parse::<u64>().unwrap()
    };
    let before = calls(&server);
    tokio::time::sleep(secs(3)).await;
    let sent = calls(&server) - before;
    assert!(sent < 100, "{sent} commands in 3 s");
    assert_eq!(runs.len(), 1);
    server.expect(&["REPLICAOF", "NO", "ONE"]);
    let id = loop {
        if let Ok(id) = client.submit(Submission::new("work")).await {
            break id.id();
        }
    };
    timeout(secs(10), client.result(&id)).await.expect("the worker goes on").unwrap();
    working.abort();
}

fn connections(server: &Server) -> u64 {
    let count = server.info("stats", "total_connections_received").unwrap();
    count.parse().unwrap()
}
