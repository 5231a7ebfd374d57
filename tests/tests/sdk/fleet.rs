//! Many workers, kinds and partitions: the calls that they cost the store, and the order of work.
//! The calls are counted, not timed (`docs/architecture.md`, Waking up).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ff_sdk::core::backend::EngineBackend;
use ff_sdk::core::capability::Capabilities;
use ff_sdk::{
    Client, FlowFabricWorker, LaneId, MemoryBackend, Payload, Submission, WorkerConfig,
    WorkerRuntime,
};
use tokio::sync::watch;

/// A store with 256 partitions, and a client of it.
async fn store() -> (Arc<MemoryBackend>, Client) {
    let backend = Arc::new(MemoryBackend::new());
    let client = Client::connect_with(backend.clone(), "ns").await.unwrap();
    assert_eq!(client.partition_config().num_flow_partitions, 256);
    (backend, client)
}

async fn worker(
    backend: &Arc<MemoryBackend>,
    name: &str,
    set_up: impl FnOnce(&mut WorkerConfig),
) -> FlowFabricWorker {
    let mut config = WorkerConfig::new(name, format!("{name}-1"), "ns").unwrap();
    config.timekeeper = false;
    set_up(&mut config);
    FlowFabricWorker::connect_with(config, backend.clone(), None).await.unwrap()
}

async fn calls(backend: &MemoryBackend) -> u64 {
    backend.report().await.unwrap().calls
}

/// Runs this number of workers of one slot until they have run so many tasks. Returns the calls
/// for each task.
async fn drains(workers: usize, tasks: usize) -> f64 {
    let (backend, client) = store().await;
    for _ in 0..tasks {
        client.submit(Submission::new("work")).await.unwrap();
    }
    let ran = watch::Sender::new(0_usize);
    let mut running = tokio::task::JoinSet::new();
    let before = calls(&backend).await;
    for number in 0..workers {
        let worker = worker(&backend, &format!("w{number}"), |_| {}).await;
        let (counted, mut all) = (ran.clone(), ran.subscribe());
        let runtime = WorkerRuntime::new(worker).handle("work", move || {
            let counted = counted.clone();
            async move { counted.send_modify(|ran| *ran += 1) }
        });
        running.spawn(
            runtime.run_until(async move { all.wait_for(|ran| *ran >= tasks).await.map(drop) }),
        );
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap().unwrap().unwrap();
    }
    assert_eq!(*ran.borrow(), tasks);
    (calls(&backend).await - before) as f64 / tasks as f64
}

#[tokio::test(start_paused = true)]
async fn workers_of_one_process_claim_and_complete_in_common_calls() {
    for workers in [16, 64, 256] {
        let calls = drains(workers, 6_000).await;
        assert!(calls <= 1.3, "{workers} workers need {calls} calls for a task");
    }
}

/// The calls of idle workers in ten seconds; a look over all partitions is one call.
async fn idles(workers: usize, lanes: usize) -> u64 {
    let (backend, _client) = store().await;
    let mut idle = Vec::new();
    for number in 0..workers {
        let lanes = (0..lanes).map(|lane| LaneId::try_new(format!("lane-{lane}")).unwrap());
        let lanes: Vec<LaneId> = lanes.collect();
        let worker =
            worker(&backend, &format!("w{number}"), |config| config.lanes.clone_from(&lanes)).await;
        let runtime = WorkerRuntime::new(worker).handle("work", || async {});
        idle.push(tokio::spawn(runtime.run_until(std::future::pending::<()>())));
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = calls(&backend).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let used = calls(&backend).await - before;
    idle.iter().for_each(tokio::task::JoinHandle::abort);
    used
}

#[tokio::test(start_paused = true)]
async fn idle_workers_and_lanes_of_one_process_cost_as_much_as_one() {
    let one = idles(1, 1).await;
    assert!((10..=30).contains(&one), "one worker makes {one} calls");
    let many_workers = idles(64, 1).await;
    assert!(many_workers <= one + 8, "{many_workers} calls of 64 workers, {one} of one");
    let many_lanes = idles(1, 1_000).await;
    assert!(many_lanes <= one + 2, "{many_lanes} calls with 1,000 lanes, {one} with one");
}

/// 500 executions with a low priority and 20 with a high one, in 256 partitions: a single slot
/// serves the high ones first.
#[tokio::test(start_paused = true)]
async fn a_high_priority_is_served_first_in_all_partitions() {
    let (backend, client) = store().await;
    for (count, priority) in [(500, 0), (20, 5)] {
        for _ in 0..count {
            let submission = Submission::new("work").priority(priority).json(&priority).unwrap();
            client.submit(submission).await.unwrap();
        }
    }
    let worker = worker(&backend, "w", |_| {}).await;
    let mut worst = 0;
    for place in 1..=520 {
        let task = worker.claim_next().await.unwrap().expect("work is left");
        if task.input_payload() == Some(&b"5"[..]) {
            worst = place;
        }
        task.complete(None).await.unwrap();
    }
    assert!(worst <= 25, "the last high priority is served at place {worst}");
}

/// A new kind appears while old workers still serve its lane. They leave it to the new worker, also
/// if its priority is higher than that of everything else.
#[tokio::test(start_paused = true)]
async fn old_workers_leave_a_new_kind_to_new_ones() {
    let (backend, client) = store().await;
    let ran = Arc::new(std::sync::Mutex::new(BTreeMap::<(String, String), usize>::new()));
    let handler = |name: &str, kind: &str| {
        let (ran, key) = (ran.clone(), (name.to_owned(), kind.to_owned()));
        move |Payload(_): Payload<u8>| {
            let (ran, key) = (ran.clone(), key.clone());
            async move { *ran.lock().unwrap().entry(key).or_default() += 1 }
        }
    };
    let mut running = Vec::new();
    for name in ["old-1", "old-2"] {
        let old = WorkerRuntime::new(worker(&backend, name, |_| {}).await);
        let old = old.handle("a", handler(name, "a"));
        running.push(tokio::spawn(old.run_until(std::future::pending::<()>())));
    }
    let mut new_kind = Vec::new();
    for number in 0..50_u8 {
        let new = Submission::new("b").priority(9).json(&number).unwrap();
        new_kind.push(client.submit(new).await.unwrap().id());
        let old = client.submit(Submission::new("a").json(&number).unwrap()).await.unwrap().id();
        assert!(client.result(&old).await.unwrap().is_success());
    }
    let new = WorkerRuntime::new(worker(&backend, "new", |_| {}).await);
    let new = new.handle("a", handler("new", "a")).handle("b", handler("new", "b"));
    running.push(tokio::spawn(new.run_until(std::future::pending::<()>())));
    for id in new_kind {
        assert!(client.result(&id).await.unwrap().is_success());
        let counts = client.describe(&id).await.unwrap().unwrap().counts;
        assert_eq!((counts.retries, counts.reclaims), (0, 0), "no attempt is lost");
    }
    let ran = ran.lock().unwrap().clone();
    assert!(ran.keys().all(|(name, kind)| kind == "a" || name == "new"), "{ran:?}");
    assert_eq!(ran.values().sum::<usize>(), 100);
    running.iter().for_each(tokio::task::JoinHandle::abort);
}

/// One worker that fits beside 20 idle ones that do not, each in its own process: it starts an
/// execution that only it can run as soon as one of the others has set it aside.
#[tokio::test(start_paused = true)]
async fn the_one_worker_that_fits_runs_an_execution_at_once() {
    let (backend, client) = store().await;
    let (ran, started) = tokio::sync::mpsc::unbounded_channel();
    let mut running = tokio::task::JoinSet::new();
    for number in 0..21 {
        // Another backend for the same store: as in another process.
        let other = Arc::new(MemoryBackend::clone(&backend));
        let worker = worker(&other, &format!("w{number}"), |config| {
            if number == 20 {
                config.capabilities = Capabilities::try_new(["gpu"]).unwrap();
            }
        })
        .await;
        let ran = ran.clone();
        let runtime = WorkerRuntime::new(worker).handle("work", move || {
            let ran = ran.clone();
            async move { ran.send(()).unwrap() }
        });
        running.spawn(runtime.run_until(std::future::pending::<()>()));
    }
    let mut started = started;
    tokio::time::sleep(Duration::from_secs(5)).await;
    for _ in 0..20 {
        let at = tokio::time::Instant::now();
        client.submit(Submission::new("work").requires(["gpu"])).await.unwrap();
        started.recv().await.unwrap();
        assert!(at.elapsed() <= Duration::from_millis(50), "it waited {:?}", at.elapsed());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let before = calls(&backend).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let idle = calls(&backend).await - before;
    // Each of the 21 workers sends a heartbeat in 20 s.
    let heartbeats = 21;
    assert!(idle <= 60 + heartbeats, "{idle} calls in 10 s, when nothing is blocked any more");
}
