//! The completion stream, over the journals of any backend.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ff_sdk::core::backend::{
    CompletionBackend, CompletionCursor, CompletionFilter, CompletionItem, Completions,
    EngineBackend,
};
use ff_sdk::core::execution::Purpose;
use ff_sdk::core::id::{ExecutionId, LaneId};
use ff_sdk::core::partition::Partition;
use ff_sdk::core::state::TerminalOutcome;
use ff_sdk::core::store::codec::{FORMAT, checksummed};
use ff_sdk::core::store::{Commit, Request, StreamAppend, StreamName, Unit};

use ff_sdk::{
    Client, FlowFabricWorker, JournalBackend, JournalCompletions, MemoryBackend, SdkError,
    Submission, WorkerConfig,
};
use ff_tests::Fixture;
use ff_tests::fixture::namespace;
use ff_tests::kit::{claim, secs, submit, work};
use futures_util::future::join_all;
use tokio::time::{Instant, timeout};

async fn next(stream: &mut Box<dyn Completions>) -> (ExecutionId, TerminalOutcome) {
    match stream.next().await.unwrap() {
        Some(CompletionItem::Completed { execution_id, outcome, .. }) => (execution_id, outcome),
        other => panic!("{other:?}"),
    }
}

/// A stream from the start yields each ended life once, with its outcome, if it passes the filter.
#[tokio::test(start_paused = true)]
async fn a_stream_yields_every_completion_that_passes_its_filter() {
    let memory = MemoryBackend::new();
    let fixture = Fixture::on(Arc::new(memory.clone()));
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let other = fixture.client_of("elsewhere", fixture.backend()).await;
    let done = submit(&client, work()).await;
    claim(&worker).await.complete(None).await.unwrap();
    let failed = submit(&client, work()).await;
    claim(&worker).await.fail_permanently("it broke", "bad_input").await.unwrap();
    let cancelled = submit(&client, work().lane("other")).await;
    client.cancel(&cancelled, "no").await.unwrap();
    let theirs = submit(&other, work()).await;
    other.cancel(&theirs, "no").await.unwrap();

    let mut all = Vec::new();
    let mut stream = memory.completions(CompletionCursor::start(), CompletionFilter::default());
    for _ in 0..4 {
        all.push(next(&mut stream).await);
    }
    for (id, outcome) in [
        (done, TerminalOutcome::Success),
        (failed, TerminalOutcome::Failed),
        (cancelled, TerminalOutcome::Cancelled),
        (theirs, TerminalOutcome::Cancelled),
    ] {
        assert_eq!(all.iter().filter(|item| **item == (id, outcome)).count(), 1);
    }
    assert!(timeout(secs(60), stream.next()).await.is_err(), "nothing is yielded twice");
    let lane = Some(LaneId::try_new("other").unwrap());
    let filter =
        CompletionFilter { namespace: Some(namespace()), lane, ..CompletionFilter::default() };
    let mut stream = memory.completions(CompletionCursor::start(), filter);
    assert_eq!(next(&mut stream).await.0, cancelled);
    assert!(timeout(secs(60), stream.next()).await.is_err());
}

/// A stream from the end yields only later completions, as soon as they happen.
#[tokio::test(start_paused = true)]
async fn a_stream_from_the_end_wakes_with_each_completion() {
    let fixture = Fixture::memory();
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    submit(&client, work()).await;
    claim(&worker).await.complete(None).await.unwrap();
    let filter = CompletionFilter::default();
    let mut stream: Box<dyn Completions> =
        Box::new(JournalCompletions::new(fixture.backend(), CompletionCursor::end(), filter));
    assert!(timeout(secs(2), stream.next()).await.is_err());

    let started = Instant::now();
    for number in 1..4 {
        let id = submit(&client, work()).await;
        let task = claim(&worker).await;
        let completing = async {
            fixture.advance(secs(5)).await;
            task.complete(None).await.unwrap();
        };
        let (item, ()) = tokio::join!(next(&mut stream), completing);
        assert_eq!(item, (id, TerminalOutcome::Success));
        assert_eq!(started.elapsed(), secs(5 * number), "immediately");
    }
}

/// A changed history of the store is a gap in each partition, after which the stream continues.
#[tokio::test(start_paused = true)]
async fn a_changed_history_is_a_gap() {
    let memory = MemoryBackend::new();
    let fixture = Fixture::on(Arc::new(memory.clone()));
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let mut stream = memory.completions(CompletionCursor::start(), CompletionFilter::default());
    let id = submit(&client, work().id(fixture.id_in(0))).await;
    claim(&worker).await.complete(None).await.unwrap();
    assert_eq!(next(&mut stream).await.0, id);

    memory.with_store(|store| store.set_history(4711));
    let again = submit(&client, work().id(fixture.id_in(0))).await;
    claim(&worker).await.complete(None).await.unwrap();
    let mut items = Vec::new();
    while let Ok(item) = timeout(secs(10), stream.next()).await {
        items.push(item.unwrap().unwrap());
    }
    let gap = CompletionItem::Gap { partition: Partition::flow(0) };
    assert_eq!(items.iter().filter(|item| **item == gap).count(), 1, "{items:?}");
    assert_eq!(items[0], gap);
    let mut completed = items.iter().filter_map(|item| match item {
        CompletionItem::Completed { execution_id, .. } => Some(*execution_id),
        _ => None,
    });
    assert!(completed.any(|id| id == again));
}

/// An entry of a newer format is a gap.
#[tokio::test(start_paused = true)]
async fn an_entry_that_cannot_be_read_is_a_gap() {
    let memory = MemoryBackend::new();
    let fixture = Fixture::on(Arc::new(memory.clone()));
    let client = fixture.client().await;
    let mut stream = memory.completions(CompletionCursor::start(), CompletionFilter::default());
    let append = |bytes: &[u8]| StreamAppend::new(StreamName::Journal, bytes.into());
    let newer = checksummed(vec![FORMAT + 1, 1, 2, 3]);
    let unit =
        Unit { append: vec![append(&newer), append(&newer)], ..Unit::new(Purpose::Finish, 1) };
    let commit = Commit { partition: Partition::flow(0), units: vec![unit] };
    fixture.backend().call(Request::Commit(commit)).await.unwrap();
    let id = submit(&client, work().id(fixture.id_in(0))).await;
    client.cancel(&id, "no").await.unwrap();
    let gap = CompletionItem::Gap { partition: Partition::flow(0) };
    assert_eq!(stream.next().await, Ok(Some(gap)));
    assert_eq!(next(&mut stream).await, (id, TerminalOutcome::Cancelled));
}

/// A worker returns the completion backend that it was connected with, if any.
#[tokio::test(start_paused = true)]
async fn a_worker_has_the_completion_backend_of_its_connection() {
    let memory = Arc::new(MemoryBackend::new());
    let fixture = Fixture::on(memory.clone());
    assert!(fixture.worker("w").await.completion_backend().is_none());
    let (config, backend) = (fixture.worker_config("v"), memory.clone() as Arc<dyn EngineBackend>);
    let worker = FlowFabricWorker::connect_with(config, backend, Some(memory)).await.unwrap();
    let given = worker.completion_backend().unwrap();
    let mut stream = given.completions(CompletionCursor::start(), CompletionFilter::default());
    let client = fixture.client().await;
    let id = submit(&client, work()).await;
    client.cancel(&id, "no").await.unwrap();
    assert_eq!(next(&mut stream).await, (id, TerminalOutcome::Cancelled));
}

/// A caller that drops the future again and again, as in a loop over several events, still gets
/// completions, also from a backend without wake-ups.
#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_in_short_turns_gets_completions_in_time() {
    let fixture = Fixture::memory();
    let (client, faulty) = (fixture.client().await, fixture.faulty());
    faulty.disable_wake_ups();
    let filter = CompletionFilter::default();
    let mut stream: Box<dyn Completions> =
        Box::new(JournalCompletions::new(faulty.clone(), CompletionCursor::end(), filter));
    let turn = || Duration::from_millis(100);
    assert!(timeout(turn(), stream.next()).await.is_err(), "nothing has ended");
    let id = submit(&client, work()).await;
    client.cancel(&id, "no").await.unwrap();
    let ended = Instant::now();
    let completed = loop {
        match timeout(turn(), next(&mut stream)).await {
            Ok((completed, _)) => break completed,
            Err(_) => assert!(ended.elapsed() <= secs(2), "the completion is not yielded"),
        }
    };
    assert_eq!(completed, id);
}

/// A worker that opens its store by a URL has the completions of that store.
#[tokio::test]
async fn a_worker_that_opens_its_own_store_gets_completions() {
    let mut config = WorkerConfig::new("worker", "worker-1", "here").unwrap();
    let refused = FlowFabricWorker::connect(config.clone()).await.unwrap_err();
    assert!(matches!(refused, SdkError::Config { field: "backend", .. }), "{refused}");
    config.backend = Some("memory:".to_owned());
    let worker = FlowFabricWorker::connect(config.clone()).await.unwrap();
    let client = Client::connect_with(worker.backend().clone(), "here").await.unwrap();
    let completions = worker.completion_backend().unwrap();
    let mut stream =
        completions.completions(CompletionCursor::start(), CompletionFilter::default());
    let id = client.submit(Submission::new("work")).await.unwrap().id();
    worker.claim_next().await.unwrap().unwrap().complete(None).await.unwrap();
    assert_eq!(next(&mut stream).await, (id, TerminalOutcome::Success));
    config.backend = Some("memory".to_owned());
    let refused = FlowFabricWorker::connect(config).await.unwrap_err();
    assert!(matches!(refused, SdkError::Connect(_)), "{refused}");
}

/// The items that a stream yields until nothing has come for so long.
async fn rest(stream: &mut Box<dyn Completions>, silence: Duration) -> BTreeSet<ExecutionId> {
    let mut items = BTreeSet::new();
    while let Ok((id, _)) = timeout(silence, next(stream)).await {
        assert!(items.insert(id), "{id} is yielded twice");
    }
    items
}

async fn end_some(client: &Client, count: usize) -> BTreeSet<ExecutionId> {
    let mut ended = BTreeSet::new();
    for _ in 0..count {
        let id = submit(client, work()).await;
        client.cancel(&id, "no").await.unwrap();
        ended.insert(id);
    }
    ended
}

/// Streams of one backend share the reading of the journals: an hour of waiting costs the store as
/// much for fifty of them as for one. Each yields every completion once.
#[tokio::test(start_paused = true)]
async fn many_streams_ask_the_store_for_no_more_than_one_does() {
    let fixture = Fixture::memory();
    let (client, faulty) = (fixture.client().await, fixture.faulty());
    let mut costs = Vec::new();
    for count in [1, 50] {
        let shared = JournalBackend::new(faulty.clone());
        let end = || shared.completions(CompletionCursor::end(), CompletionFilter::default());
        let mut streams: Vec<_> = (0..count).map(|_| end()).collect();
        for stream in &mut streams {
            stream.ready().await.unwrap();
        }
        let ended = end_some(&client, 10).await;
        for items in join_all(streams.iter_mut().map(|stream| rest(stream, secs(10)))).await {
            assert_eq!(items, ended);
        }
        let before = faulty.calls();
        for items in join_all(streams.iter_mut().map(|stream| rest(stream, secs(3_600)))).await {
            assert_eq!(items.len(), 0);
        }
        costs.push(faulty.calls() - before);
    }
    assert!(costs[1] < costs[0] + costs[0] / 100, "{costs:?}");
}

/// A stream that is not polled while others are yields all that it has missed, and then continues
/// with the others; also when the tokio runtime in which the reading began does not run any more.
#[test]
fn a_stream_that_was_not_polled_yields_what_it_has_missed() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap()
    };
    let first = runtime();
    let fixture = Fixture::memory();
    let shared = JournalBackend::new(fixture.backend());
    let end = || shared.completions(CompletionCursor::end(), CompletionFilter::default());
    let (mut quick, mut slow) = (end(), end());
    let client = first.block_on(fixture.client());
    let missed = first.block_on(async {
        quick.ready().await.unwrap();
        slow.ready().await.unwrap();
        let ended = end_some(&client, 1).await;
        let (one, two) = tokio::join!(rest(&mut quick, secs(10)), rest(&mut slow, secs(10)));
        assert_eq!((one, two), (ended.clone(), ended), "both follow");
        let mut missed = BTreeSet::new();
        // More than the shared reader keeps for those that are behind.
        for _ in 0..1_500 {
            let mut ended = end_some(&client, 1).await;
            assert_eq!(Some(next(&mut quick).await.0), ended.first().copied());
            missed.append(&mut ended);
        }
        missed
    });
    drop(first);
    runtime().block_on(async {
        assert_eq!(rest(&mut slow, secs(10)).await, missed);
        let ended = end_some(&client, 5).await;
        let (one, two) = tokio::join!(rest(&mut quick, secs(10)), rest(&mut slow, secs(10)));
        assert_eq!((one, two), (ended.clone(), ended));
    });
}

/// A stream that reads from the start while executions end, and while another one follows, yields
/// each completion once: what it has read by itself is not yielded again.
#[tokio::test(start_paused = true)]
async fn a_stream_that_catches_up_while_executions_end_yields_each_once() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let shared = JournalBackend::new(fixture.backend());
    let begin = |from| shared.completions(from, CompletionFilter::default());
    let mut live = begin(CompletionCursor::end());
    live.ready().await.unwrap();
    let mut ended = end_some(&client, 50).await;
    assert_eq!(rest(&mut live, secs(10)).await, ended);
    let mut late = begin(CompletionCursor::start());
    let mut yielded = BTreeSet::new();
    for _ in 0..50 {
        ended.append(&mut end_some(&client, 3).await);
        next(&mut live).await;
        let (id, _) = next(&mut late).await;
        assert!(yielded.insert(id), "{id} is yielded twice");
    }
    for id in rest(&mut late, secs(10)).await {
        assert!(yielded.insert(id), "{id} is yielded twice");
    }
    assert_eq!(yielded, ended);
}

/// Streams from the end begin with what ends after they are ready, also when others follow already
/// and many begin at the same time, which costs the store little more than one of them.
#[tokio::test(start_paused = true)]
async fn streams_from_the_end_share_the_look_for_it() {
    let fixture = Fixture::memory();
    let (client, faulty) = (fixture.client().await, fixture.faulty());
    // The shared reader learns of a completion only by looking.
    faulty.disable_wake_ups();
    let shared = JournalBackend::new(faulty.clone());
    let end = || shared.completions(CompletionCursor::end(), CompletionFilter::default());
    let mut first = end();
    first.ready().await.unwrap();
    let before = end_some(&client, 1).await;
    let calls = faulty.calls();
    let mut streams: Vec<_> = (0..50).map(|_| end()).collect();
    join_all(streams.iter_mut().map(|stream| stream.ready())).await;
    assert!(faulty.calls() - calls <= 20, "{} calls", faulty.calls() - calls);
    let after = end_some(&client, 1).await;
    for items in join_all(streams.iter_mut().map(|stream| rest(stream, secs(10)))).await {
        assert_eq!(items, after);
    }
    assert_eq!(rest(&mut first, secs(10)).await, &before | &after);
}
