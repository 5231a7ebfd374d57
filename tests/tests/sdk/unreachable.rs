//! Completions while some partitions do not answer, and with wake-ups of other clients.

use std::sync::Arc;
use std::time::Duration;

use ff_sdk::core::backend::{
    CompletionCursor, CompletionFilter, CompletionItem, Completions, EngineBackend,
};
use ff_sdk::core::id::ExecutionId;
use ff_sdk::core::partition::{Partition, PartitionConfig};
use ff_sdk::core::store::{Request, Topic};
use ff_sdk::{Client, ClientConfig, JournalCompletions, Submission, ValkeyBackend};
use ff_tests::Fixture;
use ff_tests::fixture::NAMESPACE;
use ff_tests::kit::{ms, secs};
use ff_tests::server::Server;
use tokio::time::{Instant, timeout};

/// The partition that does not answer.
const AWAY: Partition = Partition::flow(1);

/// Whether a request reads the journal of that partition.
fn reads_away(request: &Request) -> bool {
    matches!(request, Request::Stream(page) if page.partition == AWAY)
}

/// Whether a request reads a journal.
fn reads_any(request: &Request) -> bool {
    matches!(request, Request::Stream(_))
}

/// Ends an execution in a partition.
async fn end_in(fixture: &Fixture, client: &Client, partition: u16) -> ExecutionId {
    let id = fixture.id_in(partition);
    client.submit(Submission::new("work").id(id)).await.unwrap();
    client.cancel(&id, "no").await.unwrap();
    id
}

/// A stream of all completions.
fn stream(backend: Arc<dyn EngineBackend>, from: CompletionCursor) -> JournalCompletions {
    JournalCompletions::new(backend, from, CompletionFilter::default())
}

/// The next completion, which must arrive within this time.
async fn next(stream: &mut JournalCompletions, within: Duration) -> ExecutionId {
    match timeout(within, stream.next()).await.expect("it arrives in time").unwrap() {
        Some(CompletionItem::Completed { execution_id, .. }) => execution_id,
        other => panic!("{other:?}"),
    }
}

/// Completions of partitions that answer are yielded immediately, whether another partition fails
/// or hangs; its completions are yielded when it answers again.
#[tokio::test(start_paused = true)]
async fn a_partition_that_does_not_answer_holds_up_no_other() {
    for fails in [true, false] {
        let fixture = Fixture::memory();
        let (client, faulty) = (fixture.client().await, fixture.faulty());
        let mut stream = stream(faulty.clone(), CompletionCursor::end());
        stream.ready().await.unwrap();
        assert!(stream.is_ready() && stream.unanswered().is_empty());
        match fails {
            true => faulty.disconnect_for(reads_away),
            false => faulty.slow_requests(secs(30), reads_away),
        }
        let missed = end_in(&fixture, &client, AWAY.index).await;
        for round in 0..20 {
            let id = end_in(&fixture, &client, [0, 2, 3][round % 3]).await;
            assert_eq!(next(&mut stream, ms(10)).await, id);
            // Meanwhile it reads all partitions, which have nothing new.
            assert!(timeout(ms(400), stream.next()).await.is_err());
        }
        assert_eq!(stream.unanswered(), [AWAY]);
        faulty.heal();
        assert_eq!(next(&mut stream, secs(31)).await, missed);
        assert!(stream.unanswered().is_empty());
    }
}

/// A subscriber from the end gets completions of partitions whose position is fixed, before all
/// positions are; it is ready when the last partition has answered.
#[tokio::test(start_paused = true)]
async fn a_partition_whose_end_is_not_fixed_holds_up_no_other() {
    let fixture = Fixture::memory();
    let (client, faulty) = (fixture.client().await, fixture.faulty());
    let mut stream = stream(faulty.clone(), CompletionCursor::end());
    faulty.disconnect_for(reads_away);
    end_in(&fixture, &client, 3).await;
    assert!(timeout(secs(3), stream.ready()).await.is_err());
    assert!(!stream.is_ready());
    assert_eq!(stream.unanswered(), [AWAY]);
    for partition in [3, 0, 2] {
        let id = end_in(&fixture, &client, partition).await;
        assert_eq!(next(&mut stream, ms(10)).await, id);
    }
    end_in(&fixture, &client, AWAY.index).await;
    assert!(timeout(secs(3), stream.next()).await.is_err(), "its position is not fixed");
    faulty.heal();
    timeout(secs(2), stream.ready()).await.expect("it answers").unwrap();
    assert!(stream.is_ready() && stream.unanswered().is_empty());
    let id = end_in(&fixture, &client, AWAY.index).await;
    assert_eq!(next(&mut stream, ms(10)).await, id);
}

/// A store that does not answer is reported, also to a caller that waits in short turns.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_unreachable_from_the_start_is_reported() {
    let fixture = Fixture::memory();
    let (client, faulty) = (fixture.client().await, fixture.faulty());
    faulty.disconnect();
    let mut stream = stream(faulty.clone(), CompletionCursor::start());
    for _ in 0..30 {
        assert!(timeout(ms(100), stream.next()).await.is_err());
    }
    assert_eq!(stream.unanswered(), [Partition::META]);
    faulty.heal();
    let id = end_in(&fixture, &client, 2).await;
    for _ in 0..20 {
        if let Ok(item) = timeout(ms(100), stream.next()).await {
            assert!(matches!(item, Ok(Some(CompletionItem::Completed { execution_id, .. }))
                if execution_id == id));
            assert!(stream.unanswered().is_empty());
            return;
        }
    }
    panic!("the completion is not yielded");
}

/// While all partitions are read, a partition with a wake-up is read before the others.
#[tokio::test(start_paused = true)]
async fn a_partition_with_a_wake_up_is_read_before_the_rest() {
    let fixture = Fixture::memory();
    let mut config = ClientConfig::new(NAMESPACE).unwrap();
    config.partition_config =
        Some(PartitionConfig { num_flow_partitions: 256, ..PartitionConfig::default() });
    let client = Client::connect(config, fixture.backend()).await.unwrap();
    let faulty = fixture.faulty();
    let mut stream = stream(faulty.clone(), CompletionCursor::start());
    assert!(timeout(ms(500), stream.next()).await.is_err(), "nothing has ended");
    // Reading all of them takes more than half a second.
    faulty.slow_requests(ms(10), reads_any);
    let calls = faulty.calls();
    while faulty.calls() < calls + 20 {
        assert!(timeout(ms(5), stream.next()).await.is_err());
    }
    let (id, begun) = (end_in(&fixture, &client, 255).await, Instant::now());
    assert_eq!(next(&mut stream, secs(1)).await, id);
    assert!(begun.elapsed() <= ms(50), "{:?}", begun.elapsed());
    assert!(faulty.calls() < calls + 100, "not all of them were read before");
}

/// A wake-up that names a partition that does not exist, which any client may publish, is ignored.
#[tokio::test]
async fn a_wake_up_for_a_partition_that_does_not_exist_is_ignored() {
    let server = Server::valkey();
    let backend = Arc::new(ValkeyBackend::connect(&server.url()).await.unwrap());
    let fixture = Fixture::on(backend);
    let client = fixture.client().await;
    let mut stream = stream(fixture.backend(), CompletionCursor::end());
    stream.ready().await.unwrap();
    assert!(timeout(ms(200), stream.next()).await.is_err(), "it is subscribed and has read");
    let channel = Topic::Journal(Partition::flow(0)).channel();
    for text in ["{fp:4}", "{fp:65535}", "{meta}", "{b:0}", "no partition"] {
        server.expect(&[b"PUBLISH".as_slice(), &channel, text.as_bytes()]);
    }
    let id = end_in(&fixture, &client, 0).await;
    assert_eq!(next(&mut stream, secs(10)).await, id);
}
