//! Completions while some partitions do not answer, and by wake-ups that anybody can send.

use std::sync::Arc;
use std::time::Duration;

use ff_sdk::core::backend::{
    CompletionCursor, CompletionFilter, CompletionItem, Completions, EngineBackend,
};
use ff_sdk::core::id::ExecutionId;
use ff_sdk::core::partition::{Partition, PartitionConfig};
use ff_sdk::core::store::{Request, Topic};
use ff_sdk::{Client, ClientConfig, JournalCompletions, Submission, ValkeyBackend};
use ff_tests::Ground;
use ff_tests::ground::NAMESPACE;
use ff_tests::kit::{ms, secs};
use ff_tests::server::Server;
use tokio::time::{Instant, timeout};

/// The partition that does not answer.
const AWAY: Partition = Partition::flow(1);

/// Whether a request reads its journal.
fn reads_away(request: &Request) -> bool {
    matches!(request, Request::Stream(page) if page.partition == AWAY)
}

/// Whether a request reads a journal.
fn reads_any(request: &Request) -> bool {
    matches!(request, Request::Stream(_))
}

/// Ends an execution in a partition.
async fn end_in(ground: &Ground, client: &Client, partition: u16) -> ExecutionId {
    let id = ground.id_in(partition);
    client.submit(Submission::new("work").id(id)).await.unwrap();
    client.cancel(&id, "no").await.unwrap();
    id
}

/// A stream of all completions.
fn stream(backend: Arc<dyn EngineBackend>, from: CompletionCursor) -> JournalCompletions {
    JournalCompletions::new(backend, from, CompletionFilter::default())
}

/// The next completion, which must come within a time.
async fn next(stream: &mut JournalCompletions, within: Duration) -> ExecutionId {
    match timeout(within, stream.next()).await.expect("it comes").unwrap() {
        Some(CompletionItem::Completed { execution_id, .. }) => execution_id,
        other => panic!("{other:?}"),
    }
}

/// Goal: of the partitions that answer each end is told at once, whether the other one fails or
/// stands still; what ended there is told when it answers again.
#[tokio::test(start_paused = true)]
async fn a_partition_that_does_not_answer_holds_up_no_other() {
    for fails in [true, false] {
        let ground = Ground::memory();
        let (client, line) = (ground.client().await, ground.line());
        let mut stream = stream(line.clone(), CompletionCursor::end());
        stream.ready().await.unwrap();
        assert!(stream.is_ready() && stream.unanswered().is_empty());
        match fails {
            true => line.cut_off(reads_away),
            false => line.slow_requests(secs(30), reads_away),
        }
        let missed = end_in(&ground, &client, AWAY.index).await;
        for round in 0..20 {
            let id = end_in(&ground, &client, [0, 2, 3][round % 3]).await;
            assert_eq!(next(&mut stream, ms(10)).await, id);
            // Meanwhile it looks everywhere by itself, and is asked for nothing that is there.
            assert!(timeout(ms(400), stream.next()).await.is_err());
        }
        assert_eq!(stream.unanswered(), [AWAY]);
        line.mend();
        assert_eq!(next(&mut stream, secs(31)).await, missed);
        assert!(stream.unanswered().is_empty());
    }
}

/// Goal: a subscriber from the end hears of partitions whose place is fixed before all are, and is
/// ready once the last one has answered.
#[tokio::test(start_paused = true)]
async fn a_partition_whose_end_is_not_fixed_holds_up_no_other() {
    let ground = Ground::memory();
    let (client, line) = (ground.client().await, ground.line());
    let mut stream = stream(line.clone(), CompletionCursor::end());
    line.cut_off(reads_away);
    end_in(&ground, &client, 3).await;
    assert!(timeout(secs(3), stream.ready()).await.is_err());
    assert!(!stream.is_ready());
    assert_eq!(stream.unanswered(), [AWAY]);
    for partition in [3, 0, 2] {
        let id = end_in(&ground, &client, partition).await;
        assert_eq!(next(&mut stream, ms(10)).await, id);
    }
    end_in(&ground, &client, AWAY.index).await;
    assert!(timeout(secs(3), stream.next()).await.is_err(), "where it begins is not fixed");
    line.mend();
    timeout(secs(2), stream.ready()).await.expect("it answers").unwrap();
    assert!(stream.is_ready() && stream.unanswered().is_empty());
    let id = end_in(&ground, &client, AWAY.index).await;
    assert_eq!(next(&mut stream, ms(10)).await, id);
}

/// A store that answers nothing is told as such, also to a caller that waits in short turns.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_from_the_start_is_told() {
    let ground = Ground::memory();
    let (client, line) = (ground.client().await, ground.line());
    line.cut();
    let mut stream = stream(line.clone(), CompletionCursor::start());
    for _ in 0..30 {
        assert!(timeout(ms(100), stream.next()).await.is_err());
    }
    assert_eq!(stream.unanswered(), [Partition::META]);
    line.mend();
    let id = end_in(&ground, &client, 2).await;
    for _ in 0..20 {
        if let Ok(item) = timeout(ms(100), stream.next()).await {
            assert!(matches!(item, Ok(Some(CompletionItem::Completed { execution_id, .. }))
                if execution_id == id));
            assert!(stream.unanswered().is_empty());
            return;
        }
    }
    panic!("it is never told");
}

/// Goal: while all partitions are looked into, what was rung is read before them.
#[tokio::test(start_paused = true)]
async fn what_was_rung_is_read_before_the_rest() {
    let ground = Ground::memory();
    let mut config = ClientConfig::new(NAMESPACE).unwrap();
    config.partition_config =
        Some(PartitionConfig { num_flow_partitions: 256, ..PartitionConfig::default() });
    let client = Client::connect(config, ground.backend()).await.unwrap();
    let line = ground.line();
    let mut stream = stream(line.clone(), CompletionCursor::start());
    assert!(timeout(ms(500), stream.next()).await.is_err(), "nothing has ended");
    // The look into each takes more than half a second.
    line.slow_requests(ms(10), reads_any);
    let calls = line.calls();
    while line.calls() < calls + 20 {
        assert!(timeout(ms(5), stream.next()).await.is_err());
    }
    let (id, begun) = (end_in(&ground, &client, 255).await, Instant::now());
    assert_eq!(next(&mut stream, secs(1)).await, id);
    assert!(begun.elapsed() <= ms(50), "{:?}", begun.elapsed());
    assert!(line.calls() < calls + 100, "they are not all looked into yet");
}

/// Goal: a wake-up that names a partition that does not exist, by whoever may publish, is ignored.
#[tokio::test]
async fn a_wake_up_for_a_partition_that_does_not_exist_is_ignored() {
    let server = Server::valkey();
    let backend = Arc::new(ValkeyBackend::connect(&server.url()).await.unwrap());
    let ground = Ground::on(backend);
    let client = ground.client().await;
    let mut stream = stream(ground.backend(), CompletionCursor::end());
    stream.ready().await.unwrap();
    assert!(timeout(ms(200), stream.next()).await.is_err(), "it listens and has looked");
    let channel = Topic::Journal(Partition::flow(0)).channel();
    for text in ["{fp:4}", "{fp:65535}", "{meta}", "{b:0}", "no partition"] {
        server.expect(&[b"PUBLISH".as_slice(), &channel, text.as_bytes()]);
    }
    let id = end_in(&ground, &client, 0).await;
    assert_eq!(next(&mut stream, secs(10)).await, id);
}
