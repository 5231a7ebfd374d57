//! A store loses everything under running programs: they stop with an error that says so, readers
//! of completions get a gap, and the doctor reports it (`docs/spec.md`, Stores).

use std::future::pending;
use std::sync::Arc;

use ff_sdk::core::backend::{
    CompletionCursor, CompletionFilter, CompletionItem, Completions, CursorError, EngineBackend,
    FindingLevel,
};
use ff_sdk::core::error::EngineError;
use ff_sdk::core::partition::{Partition, PartitionConfig};
use ff_sdk::{
    Auditor, Client, ClientConfig, FlowFabricWorker, JournalCompletions, SdkError, ValkeyBackend,
    WorkerRuntime,
};
use ff_tests::Fixture;
use ff_tests::fixture::{NAMESPACE, PARTITIONS, namespace};
use ff_tests::kit::{claim, secs, submit, work};
use ff_tests::server::Server;
use ff_tests::virtual_time::{Loss, VirtualTimeBackend};
use tokio::time::timeout;

const LOSSES: [Loss; 2] = [Loss::Flush, Loss::Restart];

/// Programs read the store's configuration this often, in seconds.
const CHECKED_EVERY: u64 = 30;

/// Defines tests for each way to lose everything. Each has its own runtime, which ends before the
/// next test gets the server.
macro_rules! on_each_loss {
    ($($name:ident),+ $(,)?) => {
        mod flush {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::$name(super::Loss::Flush).await;
            })+
        }
        mod restart {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::$name(super::Loss::Restart).await;
            })+
        }
    };
}

on_each_loss!(
    readers_of_completions_get_a_gap,
    a_runtime_ends_and_its_successor_sets_the_store_up_again,
    programs_of_the_lost_store_do_not_use_the_new_one,
);

fn fixture() -> (Fixture, Arc<VirtualTimeBackend>) {
    let backend = Arc::new(VirtualTimeBackend::valkey());
    (Fixture::on(backend.clone()), backend)
}

fn is_lost(error: &SdkError) -> bool {
    matches!(error.engine(), Some(EngineError::StoreLost { .. })) && !error.is_retryable()
}

fn stream(fixture: &Fixture, from: CompletionCursor) -> JournalCompletions {
    JournalCompletions::new(fixture.backend(), from, CompletionFilter::default())
}

/// The items that arrive until there is none for some seconds.
async fn items(stream: &mut JournalCompletions) -> Vec<CompletionItem> {
    let mut items = Vec::new();
    while let Ok(item) = timeout(secs(5), stream.next()).await {
        items.push(item.expect("the partitions are the same").expect("the store is there"));
    }
    items
}

fn gaps(items: &[CompletionItem]) -> Vec<u16> {
    let mut gaps: Vec<u16> = items
        .iter()
        .filter_map(|item| match item {
            CompletionItem::Gap { partition } => Some(partition.index),
            _ => None,
        })
        .collect();
    gaps.sort_unstable();
    gaps.dedup();
    gaps
}

/// A subscriber that is running, and one that continues later from a cursor, get a gap in each
/// partition. The running one gets it although no program has set the store up again.
async fn readers_of_completions_get_a_gap(loss: Loss) {
    let (fixture, backend) = fixture();
    let client = fixture.client().await;
    let mut running = stream(&fixture, CompletionCursor::start());
    for partition in 0..PARTITIONS.num_flow_partitions {
        let id = submit(&client, work().id(fixture.id_in(partition))).await;
        client.cancel(&id, "the test ends it").await.expect("it ends");
    }
    assert_eq!(items(&mut running).await.len(), 4);
    let before = running.cursor();

    backend.lose_everything(loss);
    assert_eq!(gaps(&items(&mut running).await), [0, 1, 2, 3], "{loss:?}");
    let client = fixture.client().await;
    let id = submit(&client, work().id(fixture.id_in(0))).await;
    client.cancel(&id, "the test ends it").await.expect("it ends");
    for mut stream in [running, stream(&fixture, before.clone())] {
        let items = items(&mut stream).await;
        assert_eq!(gaps(&items), [0, 1, 2, 3], "{loss:?}");
        let is_new = |item: &CompletionItem| match item {
            CompletionItem::Completed { execution_id, .. } => *execution_id == id,
            _ => false,
        };
        assert!(items.iter().any(is_new), "the stream continues");
    }
}

/// A runtime ends with the error, also if no program has set the store up again. Its successor sets
/// the store up, and new subscribers become ready.
async fn a_runtime_ends_and_its_successor_sets_the_store_up_again(loss: Loss) {
    let (fixture, backend) = fixture();
    let worker = fixture.worker("w").await;
    let runtime = WorkerRuntime::new(worker).handle("work", async || ());
    let lose = async {
        fixture.advance(secs(1)).await;
        backend.lose_everything(loss);
    };
    let ends = timeout(secs(CHECKED_EVERY + 5), runtime.run_until(pending::<()>()));
    let (ended, ()) = tokio::join!(ends, lose);
    let error = ended.expect("it ends in time").expect_err("the store is lost");
    assert!(is_lost(&error), "{loss:?}: {error}");

    let mut subscriber = stream(&fixture, CompletionCursor::end());
    assert!(timeout(secs(5), subscriber.ready()).await.is_err());
    assert_eq!(subscriber.unanswered(), [Partition::META]);
    let _successor = fixture.worker("w").await;
    timeout(secs(5), subscriber.ready()).await.expect("it is ready").expect("a valid cursor");
}

/// A program with other partition counts may set the emptied store up. The programs of the lost
/// store then stop: calls, claims and subscriptions fail.
async fn programs_of_the_lost_store_do_not_use_the_new_one(loss: Loss) {
    let (fixture, backend) = fixture();
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let mut follower = stream(&fixture, CompletionCursor::end());
    follower.ready().await.expect("a valid cursor");
    submit(&client, work()).await;
    let task = claim(&worker).await;
    backend.lose_everything(loss);

    let mut config = ClientConfig::new(NAMESPACE).expect("a namespace");
    let more = PartitionConfig { num_flow_partitions: 8, ..PARTITIONS };
    config.partition_config = Some(more);
    let other = Client::connect(config, fixture.backend()).await.expect("it connects");
    fixture.advance(secs(CHECKED_EVERY + 1)).await;
    assert!(is_lost(&client.submit(work()).await.expect_err("another store")), "{loss:?}");
    let many = client.submit_many(vec![work(), work()]).await;
    assert!(many.iter().all(|outcome| outcome.as_ref().is_err_and(is_lost)), "{many:?}");
    assert!(is_lost(&task.complete(None).await.expect_err("another store")), "{loss:?}");
    assert!(is_lost(&worker.claim_next().await.expect_err("another store")), "{loss:?}");
    let refused = CursorError::OtherPartitions { cursor: 4, store: 8 };
    for _ in 0..2 {
        let end = timeout(secs(5), async {
            while follower.next().await?.is_some() {}
            Ok(())
        });
        assert_eq!(end.await.expect("it ends"), Err(refused.clone()), "{loss:?}");
    }
    submit(&other, work()).await;
}

/// Activating a format does not make the store another one.
#[tokio::test(start_paused = true)]
async fn an_activated_format_keeps_the_identity() {
    let fixture = Fixture::memory();
    let mut config = ClientConfig::new(NAMESPACE).expect("a namespace");
    (config.partition_config, config.known_format) = (Some(PARTITIONS), 1);
    let first = Client::connect(config, fixture.backend()).await.expect("it connects");
    let worker: FlowFabricWorker = fixture.worker("w").await;
    let before = Auditor::connect(fixture.backend()).await.expect("it connects").store_id();
    fixture.admin().await.activate_format(2).await.expect("it is activated");
    let after = Auditor::connect(fixture.backend()).await.expect("it connects").store_id();
    assert_eq!((before.is_some(), before), (true, after));
    fixture.advance(secs(CHECKED_EVERY + 1)).await;
    assert!(worker.claim_next().await.expect("it is the same store").is_none());
    drop(first);
}

/// The doctor reports a missing configuration while programs are connected, or if executions exist,
/// and prints the identity of the store.
#[tokio::test]
async fn the_doctor_reports_a_lost_configuration() {
    let mut server = Server::valkey();
    let examine = async |server: &Server| {
        let backend = Arc::new(ValkeyBackend::connect(&server.url()).await.expect("a server"));
        let auditor = Auditor::connect(backend).await.expect("it connects");
        let found = auditor.examine().await.expect("the store answers");
        let report = auditor.audit(&namespace(), 100, |_| {}).await.expect("the store answers");
        let audited = report.findings().iter().any(|one| one.level == FindingLevel::Problem);
        let problem = found.iter().find(|one| one.level == FindingLevel::Problem).cloned();
        (problem, audited, auditor.store_id())
    };
    assert_eq!(examine(&server).await, (None, false, None), "it was never set up");
    let backend: Arc<dyn EngineBackend> =
        Arc::new(ValkeyBackend::connect(&server.url()).await.expect("a server"));
    let fixture = Fixture::on(backend.clone());
    fixture.client().await;
    let (problem, audited, id) = examine(&server).await;
    assert!(problem.is_none() && !audited && id.is_some());

    for loss in LOSSES {
        let client = fixture.client().await;
        let mut follower = stream(&fixture, CompletionCursor::end());
        follower.ready().await.expect("a valid cursor");
        match loss {
            Loss::Flush => drop(server.expect(&["FLUSHALL"])),
            Loss::Restart => server.restart(),
        }
        // The subscriber connects again within a second or so.
        let connected = async {
            while examine(&server).await.0.is_none() {
                tokio::time::sleep(secs(1)).await;
            }
        };
        timeout(secs(20), connected).await.expect("the doctor reports the program");
        drop(follower);
        submit(&client, work()).await;
        assert!(examine(&server).await.1, "the doctor reports the executions");
        fixture.client().await;
        let (problem, _, new) = examine(&server).await;
        assert!(problem.is_none() && new.is_some() && new != id, "{problem:?}");
    }
}
