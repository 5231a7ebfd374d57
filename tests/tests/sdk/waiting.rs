//! Waiting for results: the waiters of one partition share one wait, so an end costs the store a
//! few reads, however many wait (`docs/architecture.md`, Waking up).

use std::sync::Arc;

use ff_sdk::core::error::{Bug, EngineError};
use ff_sdk::core::execution::Purpose;
use ff_sdk::core::id::ExecutionId;
use ff_sdk::core::partition::{Partition, PartitionConfig};
use ff_sdk::core::store::{
    Bytes, Commit, RecordKey, ReplyBody, Request, StreamAppend, StreamName, Topic, Unit, UnitReply,
};
use ff_sdk::{Client, ClientConfig, ExecutionResult, MemoryBackend, SdkError};
use ff_tests::Fixture;
use ff_tests::faulty_backend::{FaultyBackend, any};
use ff_tests::fixture::NAMESPACE;
use ff_tests::kit::{ms, secs, submit, work};
use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

type Waiter = JoinHandle<Result<ExecutionResult, SdkError>>;

/// A store with one partition.
struct OnePartition {
    memory: MemoryBackend,
    fixture: Fixture,
    /// Submits executions and ends them.
    other: Client,
    /// Counts the calls of `client`, which waits.
    counted: Arc<FaultyBackend>,
    client: Client,
}

impl OnePartition {
    async fn new() -> Self {
        let memory = MemoryBackend::new();
        let fixture = Fixture::on(Arc::new(memory.clone()));
        let mut config = ClientConfig::new(NAMESPACE).unwrap();
        config.partition_config =
            Some(PartitionConfig { num_flow_partitions: 1, ..PartitionConfig::default() });
        let other = Client::connect(config.clone(), fixture.backend()).await.unwrap();
        let counted = fixture.faulty();
        let client = Client::connect(config, counted.clone()).await.unwrap();
        Self { memory, fixture, other, counted, client }
    }

    /// Submits executions, and waits for their results until all waiters wait.
    async fn waiters(&self, count: usize) -> Vec<(ExecutionId, Waiter)> {
        let mut waiters = Vec::with_capacity(count);
        for _ in 0..count {
            let (id, client) = (submit(&self.other, work()).await, self.client.clone());
            waiters.push((id, tokio::spawn(async move { client.result(&id).await })));
        }
        self.fixture.advance(ms(1)).await;
        waiters
    }

    async fn end(&self, id: &ExecutionId) {
        self.other.cancel(id, "the test ends it").await.unwrap();
    }

    async fn commit(&self, unit: Unit) {
        let commit = Commit { partition: Partition::flow(0), units: vec![unit] };
        let reply = self.fixture.backend().call(Request::Commit(commit)).await.unwrap();
        let is_done = |units: &[UnitReply]| matches!(units, [UnitReply::Committed { .. }]);
        assert!(matches!(&reply.body, ReplyBody::Commit(units) if is_done(units)), "{reply:?}");
    }

    /// Ends the executions one at a time. Each waiter gets its result immediately.
    async fn end_each(&self, waiters: Vec<(ExecutionId, Waiter)>) {
        for (id, waiter) in waiters {
            let begun = Instant::now();
            self.end(&id).await;
            assert!(!waiter.await.unwrap().unwrap().is_success());
            assert_eq!(begun.elapsed(), ms(0), "no waiter needs the second look");
        }
    }
}

/// 500 waiters, of which some begin to wait later, and 500 ends, one at a time.
#[tokio::test(start_paused = true)]
async fn waiters_of_a_partition_read_as_often_as_executions_end() {
    let store = OnePartition::new().await;
    let before = store.counted.calls();
    let mut waiters = store.waiters(400).await;
    for _ in 0..100 {
        waiters.extend(store.waiters(1).await);
    }
    store.end_each(waiters).await;
    let calls = store.counted.calls() - before;
    println!("{calls} calls of 500 waiters");
    assert!(calls <= 5 * 500, "{calls} calls of 500 waiters");
}

/// An execution that ends between the first read of its waiter and the begin of the wait: the
/// journal names it too early for this waiter.
#[tokio::test(start_paused = true)]
async fn an_end_before_the_wait_is_not_missed() {
    let store = OnePartition::new().await;
    for others in [0, 1, 20] {
        let (_others, id) = (store.waiters(others).await, submit(&store.other, work()).await);
        store.counted.slow_replies(ms(10), |request| matches!(request, Request::Read(_)));
        let (client, begun) = (store.client.clone(), Instant::now());
        let waiter = tokio::spawn(async move { client.result(&id).await });
        store.fixture.advance(ms(5)).await;
        store.end(&id).await;
        waiter.await.unwrap().unwrap();
        assert_eq!(begun.elapsed(), ms(20));
        store.counted.heal();
    }
}

/// Waiters that are dropped wait no longer, and cost no further calls.
#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_its_last_waiter() {
    let store = OnePartition::new().await;
    let mut waiters = store.waiters(20).await;
    for (_, waiter) in waiters.split_off(1) {
        waiter.abort();
    }
    // A single waiter reads as before, and the journal is not read for it.
    store.fixture.advance(ms(1)).await;
    let before = store.counted.calls();
    store.end_each(waiters).await;
    assert_eq!(store.counted.calls() - before, 1);
    store.fixture.advance(secs(60)).await;
    assert_eq!(store.counted.calls() - before, 1, "no waiter is left");
    let waiters = store.waiters(20).await;
    store.end_each(waiters).await;
}

/// The waiters of one execution all get its result, and one that is replayed before they read goes
/// on.
#[tokio::test(start_paused = true)]
async fn each_waiter_of_an_execution_gets_the_end_of_its_last_life() {
    let store = OnePartition::new().await;
    let (_others, id) = (store.waiters(10).await, submit(&store.other, work()).await);
    let wait = |client: Client| tokio::spawn(async move { client.result(&id).await });
    let waiters: Vec<Waiter> = (0..10).map(|_| wait(store.client.clone())).collect();
    store.fixture.advance(ms(1)).await;
    store.counted.slow_requests(ms(10), any);
    store.end(&id).await;
    store.fixture.advance(ms(1)).await;
    store.other.replay(&id).await.unwrap();
    store.fixture.advance(secs(1)).await;
    assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
    store.end(&id).await;
    for waiter in waiters {
        assert!(!waiter.await.unwrap().unwrap().is_success());
    }
}

/// After a gap in the journal, and after an entry that cannot be read, all waiters read their
/// records once.
#[tokio::test(start_paused = true)]
async fn all_waiters_read_after_a_gap_in_the_journal() {
    let store = OnePartition::new().await;
    let waiters = store.waiters(20).await;
    let unreadable = StreamAppend::new(StreamName::Journal, Bytes::from(vec![u8::MAX]));
    let calls_after = async |append| {
        let before = store.counted.calls();
        let ring = vec![Topic::Journal(Partition::flow(0))];
        store.commit(Unit { append, ring, ..Unit::new(Purpose::Finish, 1) }).await;
        store.fixture.advance(ms(1)).await;
        store.counted.calls() - before
    };
    assert_eq!(calls_after(Vec::new()).await, 1, "the journal names no end");
    store.memory.with_store(|memory| memory.set_history(4_711));
    assert_eq!(calls_after(Vec::new()).await, 1 + 20);
    assert_eq!(calls_after(vec![unreadable]).await, 1 + 20);
    assert_eq!(calls_after(Vec::new()).await, 1);
    store.end_each(waiters).await;
}

/// Waiters of a store without wake-ups get their results within a second.
#[tokio::test(start_paused = true)]
async fn waiters_do_not_depend_on_wake_ups() {
    let store = OnePartition::new().await;
    store.counted.disable_wake_ups();
    for (id, waiter) in store.waiters(20).await {
        let begun = Instant::now();
        store.end(&id).await;
        waiter.await.unwrap().unwrap();
        assert!(begun.elapsed() <= secs(1), "{:?}", begun.elapsed());
    }
}

/// A record that cannot be read is an error of its waiters only, after half a minute.
#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_is_an_error_of_its_own_waiters() {
    let store = OnePartition::new().await;
    let mut waiters = store.waiters(20).await;
    let (id, waiter) = waiters.pop().unwrap();
    let (version, _) = store.fixture.stored(&id).await.unwrap();
    let put = vec![(RecordKey::of(&id), Bytes::from(vec![1_u8, 0xff, 0xff, 0xff]))];
    let expect = vec![(RecordKey::of(&id), version)];
    store.commit(Unit { expect, put, ..Unit::new(Purpose::Finish, 1) }).await;
    let begun = Instant::now();
    let error = waiter.await.unwrap().unwrap_err();
    assert!(begun.elapsed() <= secs(32), "{:?}", begun.elapsed());
    assert!(matches!(error.engine(), Some(EngineError::Bug(Bug::CorruptRecord { .. }))), "{error}");
    store.end_each(waiters).await;
}

/// While the store does not answer, each waiter gets an error at the end of the call's time limit.
#[tokio::test(start_paused = true)]
async fn waiters_get_an_error_while_the_store_does_not_answer() {
    let store = OnePartition::new().await;
    let waiters = store.waiters(20).await;
    store.counted.disconnect();
    let begun = Instant::now();
    for (_, waiter) in waiters {
        let error = waiter.await.unwrap().unwrap_err();
        assert!(matches!(error.engine(), Some(EngineError::Unreachable { .. })), "{error}");
    }
    assert!(secs(28) < begun.elapsed() && begun.elapsed() < secs(32), "{:?}", begun.elapsed());
    store.counted.heal();
    store.end_each(store.waiters(20).await).await;
}

/// Waiters on another runtime go on after the end of the runtime that ran the shared wait.
#[test]
fn waiters_go_on_after_the_end_of_the_first_runtime() {
    let runtime = || Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let (store, _) = first.block_on(async {
        let store = OnePartition::new().await;
        let waiters = store.waiters(10).await;
        (store, waiters)
    });
    second.block_on(async {
        let waiters = store.waiters(10).await;
        tokio::task::spawn_blocking(move || drop(first)).await.unwrap();
        for (id, waiter) in waiters {
            store.end(&id).await;
            timeout(secs(10), waiter).await.unwrap().unwrap().unwrap();
        }
    });
}

/// A runtime that exists and is not run delays no waiter of another runtime that waits alone, and
/// the others for a minute and a half.
#[test]
fn waiters_do_not_depend_on_a_runtime_that_is_not_run() {
    let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let store = first.block_on(async {
        let store = OnePartition::new().await;
        let id = submit(&store.other, work()).await;
        timeout(ms(10), store.client.result(&id)).await.unwrap_err();
        store
    });
    second.block_on(async {
        let waiters = store.waiters(1).await;
        store.end(&waiters[0].0).await;
        for (_, waiter) in waiters {
            timeout(secs(10), waiter).await.unwrap().unwrap().unwrap();
        }
    });
    // It has a waiter that is not run, and the task of the partition.
    let _not_run = first.block_on(store.waiters(1));
    second.block_on(async {
        tokio::time::pause();
        let waiters = store.waiters(5).await;
        for (id, waiter) in waiters {
            store.end(&id).await;
            timeout(secs(91), waiter).await.unwrap().unwrap().unwrap();
        }
    });
}
