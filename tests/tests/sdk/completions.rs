//! The completion stream, over the journals of any backend.

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
use ff_sdk::core::store::codec::FORMAT;
use ff_sdk::core::store::{Commit, Request, StreamAppend, StreamName, Unit};

use ff_sdk::{
    Client, FlowFabricWorker, JournalCompletions, MemoryBackend, SdkError, Submission, WorkerConfig,
};
use ff_tests::Ground;
use ff_tests::ground::namespace;
use ff_tests::kit::{claim, secs, submit, work};
use tokio::time::{Instant, timeout};

async fn next(stream: &mut Box<dyn Completions>) -> (ExecutionId, TerminalOutcome) {
    match stream.next().await.unwrap() {
        Some(CompletionItem::Completed { execution_id, outcome, .. }) => (execution_id, outcome),
        other => panic!("{other:?}"),
    }
}

/// A stream from the start tells of every life that ended, how and why, once; a filter leaves out
/// the rest.
#[tokio::test(start_paused = true)]
async fn a_stream_tells_of_every_end_that_passes_its_filter() {
    let memory = MemoryBackend::new();
    let ground = Ground::on(Arc::new(memory.clone()));
    let (client, worker) = (ground.client().await, ground.worker("w").await);
    let other = ground.client_of("elsewhere", ground.backend()).await;
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
    assert!(timeout(secs(60), stream.next()).await.is_err(), "nothing is told twice");
    let lane = Some(LaneId::try_new("other").unwrap());
    let filter =
        CompletionFilter { namespace: Some(namespace()), lane, ..CompletionFilter::default() };
    let mut stream = memory.completions(CompletionCursor::start(), filter);
    assert_eq!(next(&mut stream).await.0, cancelled);
    assert!(timeout(secs(60), stream.next()).await.is_err());
}

/// A stream from the end tells only of what ends later, the moment it ends.
#[tokio::test(start_paused = true)]
async fn a_stream_from_the_end_wakes_with_each_completion() {
    let ground = Ground::memory();
    let (client, worker) = (ground.client().await, ground.worker("w").await);
    submit(&client, work()).await;
    claim(&worker).await.complete(None).await.unwrap();
    let filter = CompletionFilter::default();
    let mut stream: Box<dyn Completions> =
        Box::new(JournalCompletions::new(ground.backend(), CompletionCursor::end(), filter));
    assert!(timeout(secs(2), stream.next()).await.is_err());

    let started = Instant::now();
    for number in 1..4 {
        let id = submit(&client, work()).await;
        let task = claim(&worker).await;
        let completing = async {
            ground.advance(secs(5)).await;
            task.complete(None).await.unwrap();
        };
        let (told, ()) = tokio::join!(next(&mut stream), completing);
        assert_eq!(told, (id, TerminalOutcome::Success));
        assert_eq!(started.elapsed(), secs(5 * number), "at once");
    }
}

/// A store whose history changed, or that did not keep what a reader has not read, is a gap: the
/// reader is told to look again.
#[tokio::test(start_paused = true)]
async fn a_changed_history_is_a_gap() {
    let memory = MemoryBackend::new();
    let ground = Ground::on(Arc::new(memory.clone()));
    let (client, worker) = (ground.client().await, ground.worker("w").await);
    let mut stream = memory.completions(CompletionCursor::start(), CompletionFilter::default());
    let id = submit(&client, work().id(ground.id_in(0))).await;
    claim(&worker).await.complete(None).await.unwrap();
    assert_eq!(next(&mut stream).await.0, id);

    memory.with_store(|store| store.set_history(4711));
    let again = submit(&client, work().id(ground.id_in(0))).await;
    claim(&worker).await.complete(None).await.unwrap();
    let mut items = Vec::new();
    while let Ok(item) = timeout(secs(10), stream.next()).await {
        items.push(item.unwrap().unwrap());
    }
    let gap = CompletionItem::Gap { partition: Partition::flow(0) };
    assert_eq!(items.iter().filter(|item| **item == gap).count(), 1, "{items:?}");
    assert_eq!(items[0], gap);
    let told = items.iter().filter_map(|item| match item {
        CompletionItem::Completed { execution_id, .. } => Some(*execution_id),
        _ => None,
    });
    assert!(told.into_iter().any(|id| id == again));
}

/// An entry that a newer program wrote is a gap, not silence: what it tells is in the records.
#[tokio::test(start_paused = true)]
async fn an_entry_that_cannot_be_read_is_a_gap() {
    let memory = MemoryBackend::new();
    let ground = Ground::on(Arc::new(memory.clone()));
    let client = ground.client().await;
    let mut stream = memory.completions(CompletionCursor::start(), CompletionFilter::default());
    let append = |bytes: &[u8]| StreamAppend { stream: StreamName::Journal, entry: bytes.into() };
    let newer = [FORMAT + 1, 1, 2, 3];
    let unit =
        Unit { append: vec![append(&newer), append(&newer)], ..Unit::new(Purpose::Finish, 1) };
    let commit = Commit { partition: Partition::flow(0), units: vec![unit] };
    ground.backend().call(Request::Commit(commit)).await.unwrap();
    let id = submit(&client, work().id(ground.id_in(0))).await;
    client.cancel(&id, "no").await.unwrap();
    let gap = CompletionItem::Gap { partition: Partition::flow(0) };
    assert_eq!(stream.next().await, Ok(Some(gap)));
    assert_eq!(next(&mut stream).await, (id, TerminalOutcome::Cancelled));
}

/// A worker hands out the completion stream that it was connected with, and none otherwise.
#[tokio::test(start_paused = true)]
async fn a_worker_has_the_completion_stream_that_it_was_given() {
    let memory = Arc::new(MemoryBackend::new());
    let ground = Ground::on(memory.clone());
    assert!(ground.worker("w").await.completion_backend().is_none());
    let (config, backend) = (ground.worker_config("v"), memory.clone() as Arc<dyn EngineBackend>);
    let worker = FlowFabricWorker::connect_with(config, backend, Some(memory)).await.unwrap();
    let given = worker.completion_backend().unwrap();
    let mut stream = given.completions(CompletionCursor::start(), CompletionFilter::default());
    let client = ground.client().await;
    let id = submit(&client, work()).await;
    client.cancel(&id, "no").await.unwrap();
    assert_eq!(next(&mut stream).await, (id, TerminalOutcome::Cancelled));
}

/// A caller that gives up waiting again and again, as in a loop over several events, still hears of
/// what ended, from a backend without wake-ups too.
#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_in_short_turns_is_told_within_a_second() {
    let ground = Ground::memory();
    let (client, line) = (ground.client().await, ground.line());
    line.mute();
    let filter = CompletionFilter::default();
    let mut stream: Box<dyn Completions> =
        Box::new(JournalCompletions::new(line.clone(), CompletionCursor::end(), filter));
    let turn = || Duration::from_millis(100);
    assert!(timeout(turn(), stream.next()).await.is_err(), "nothing has ended");
    let id = submit(&client, work()).await;
    client.cancel(&id, "no").await.unwrap();
    let ended = Instant::now();
    let told = loop {
        match timeout(turn(), next(&mut stream)).await {
            Ok((told, _)) => break told,
            Err(_) => assert!(ended.elapsed() <= secs(2), "it is never told"),
        }
    };
    assert_eq!(told, id);
}

/// A worker that opens its store by its address has the completions of that store.
#[tokio::test]
async fn a_worker_that_opens_its_own_store_hears_of_completions() {
    let mut config = WorkerConfig::new("worker", "worker-1", "here").unwrap();
    assert_eq!(config.backend, "valkey://127.0.0.1:6379");
    config.backend = "memory:".to_owned();
    let worker = FlowFabricWorker::connect(config.clone()).await.unwrap();
    let client = Client::connect_with(worker.backend().clone(), "here").await.unwrap();
    let completions = worker.completion_backend().unwrap();
    let mut stream =
        completions.completions(CompletionCursor::start(), CompletionFilter::default());
    let id = client.submit(Submission::new("work")).await.unwrap().id();
    worker.claim_next().await.unwrap().unwrap().complete(None).await.unwrap();
    assert_eq!(next(&mut stream).await, (id, TerminalOutcome::Success));
    config.backend = "memory".to_owned();
    let refused = FlowFabricWorker::connect(config).await.unwrap_err();
    assert!(matches!(refused, SdkError::Connect(_)), "{refused}");
}
