//! Reading output while it comes: at the reader's own pace, and not with each frame.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ff_sdk::core::store::Cursor;
use ff_sdk::{
    AttemptIndex, DurationMs, EngineError, ExecutionPolicy, MemoryBackend, SdkError, TailItem,
    ValkeyBackend, WorkerConfig,
};
use ff_tests::Ground;
use ff_tests::kit::{claim, ms, submit, work};
use ff_tests::line::{any, commits};
use ff_tests::server::Server;
use futures_util::StreamExt;
use tokio::time::{Instant, timeout};

/// A tail that keeps up with its writer asks some times in a second, however many frames come and
/// however long an answer takes, and one that is behind reads on at once.
#[tokio::test(start_paused = true)]
async fn a_tail_reads_at_its_own_pace() {
    const FRAMES: u64 = 1_000;
    const REPLY: Duration = ms(2);
    let ground = Ground::memory();
    let (worker, line) = (ground.worker("w").await, ground.line());
    line.slow_replies(REPLY, any);
    let client = ground.client_on(line.clone()).await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    let mut tail = client.tail(&id, None, Cursor::Start, None).await.unwrap();
    let before = line.calls();
    let write = async {
        for _ in 0..FRAMES {
            task.append_frame("log", "x", BTreeMap::new()).await.unwrap();
            ground.advance(ms(1)).await;
        }
    };
    let read = async {
        for sequence in 1..=FRAMES {
            let item = tail.next().await.unwrap().unwrap();
            assert!(matches!(item, TailItem::Frame(frame) if frame.frame.sequence == sequence));
        }
    };
    tokio::join!(write, read);
    let calls = line.calls() - before;
    assert!((40..=250).contains(&calls), "{calls} calls for a second of frames");

    let (began, before) = (ground.now().await, line.calls());
    let mut behind = client.tail(&id, None, Cursor::Start, None).await.unwrap();
    for _ in 0..FRAMES {
        behind.next().await.unwrap().unwrap();
    }
    let took = ground.now().await.since(began).get();
    let calls = line.calls() - before;
    assert!(calls <= FRAMES / 50 + 2, "{calls} calls for pages of 50 frames");
    assert!(
        u128::from(took) <= REPLY.as_millis() * u128::from(calls),
        "{took} ms for {calls} calls, one after the other"
    );
}

/// Goal: what has rung while frames came does not keep a tail busy once none come any more.
#[tokio::test(start_paused = true)]
async fn a_tail_is_quiet_after_a_busy_time() {
    let ground = Ground::memory();
    let (worker, line) = (ground.worker("w").await, ground.line());
    let client = ground.client_on(line.clone()).await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    let mut tail = client.tail(&id, None, Cursor::Start, None).await.unwrap();
    let write = async {
        for _ in 0..1_000 {
            task.append_frame("log", "x", BTreeMap::new()).await.unwrap();
            ground.advance(ms(1)).await;
        }
    };
    let read = async {
        for _ in 0..1_000 {
            tail.next().await.unwrap().unwrap();
        }
    };
    tokio::join!(write, read);
    let before = line.calls();
    assert!(timeout(ms(3_000), tail.next()).await.is_err(), "nothing comes");
    // Each look where nothing is are two calls, and there is one in a second.
    let calls = line.calls() - before;
    assert!(calls <= 20, "{calls} calls in three quiet seconds");
}

/// Goal: a call that waits for output gets what rang nobody, since another frame did just before,
/// as soon as a tail does.
#[tokio::test(start_paused = true)]
async fn a_call_that_waits_gets_what_rang_nobody() {
    let ground = Ground::memory();
    let (client, worker) = (ground.client().await, ground.worker("w").await);
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    let attempt = task.attempt_index();
    let append = async || task.append_frame("log", "x", BTreeMap::new()).await.unwrap();
    for wait in [0, 10, 25] {
        append().await;
        let page = client.read_stream(&id, attempt, Cursor::Start, 100, None).await.unwrap();
        let began = Instant::now();
        let (next, ()) =
            tokio::join!(client.tail_stream(&id, attempt, page.next, 10, ms(5_000)), async {
                ground.advance(ms(wait)).await;
                append().await;
            });
        assert_eq!(next.unwrap().frames.len(), 1);
        let took = began.elapsed();
        assert!(took <= ms(wait) + ms(40), "{took:?} for a frame after {wait} ms");
        ground.advance(ms(200)).await;
    }
}

/// Goal: in another history a tail tells of the gap once and goes on with what is kept, and whoever
/// goes on from its place behind the gap is not told again.
#[tokio::test]
async fn a_gap_is_told_once_also_to_who_goes_on_behind_it() {
    let memory = MemoryBackend::new();
    let ground = Ground::on(Arc::new(memory.clone()));
    let mut server = Server::valkey_with(&["--appendonly", "yes"]);
    let on_server = Ground::on(Arc::new(ValkeyBackend::connect(&server.url()).await.unwrap()));
    for (number, ground) in [ground, on_server].iter().enumerate() {
        let (client, worker) = (ground.client().await, ground.worker("w").await);
        let id = submit(&client, work()).await;
        let task = claim(&worker).await;
        let mut tail = client.tail(&id, None, Cursor::Start, None).await.unwrap();
        for sequence in 1..=3 {
            task.append_frame("log", "x", BTreeMap::new()).await.unwrap();
            assert_eq!(sequence_of(tail.next().await), Some(sequence));
        }
        let behind = tail.cursor();
        match number {
            0 => memory.with_store(|store| store.set_history(4_711)),
            _ => server.restart(),
        }
        assert_eq!(sequence_of(tail.next().await), None);
        let gap = tail.cursor();
        let page = client.read_stream(&id, tail.attempt(), behind, 10, None).await.unwrap();
        assert!(page.gap && page.begins() == gap && gap != behind, "{page:?}");
        let mut again = client.tail(&id, None, gap, None).await.unwrap();
        for tail in [&mut tail, &mut again] {
            for sequence in 1..=3 {
                assert_eq!(sequence_of(tail.next().await), Some(sequence));
            }
            assert!(timeout(ms(300), tail.next()).await.is_err(), "nothing else is told");
        }
    }
}

/// The sequence of a frame; `None` where a gap is told.
fn sequence_of(item: Option<Result<TailItem, SdkError>>) -> Option<u64> {
    match item {
        Some(Ok(TailItem::Frame(stored))) => Some(stored.frame.sequence),
        Some(Ok(TailItem::Gap)) => None,
        other => panic!("{other:?}"),
    }
}

/// Goal: who follows a tail as a stream and passes over errors does not ask for ever for an
/// execution that is gone, and goes on where a store was away.
#[tokio::test(start_paused = true)]
async fn a_stream_of_output_ends_with_an_error_that_stays() {
    let ground = Ground::memory();
    let (plain, worker, line) = (ground.client().await, ground.worker("w").await, ground.line());
    let client = ground.client_on(line.clone()).await;
    let retention_ms = DurationMs::from_secs(60);
    let brief = ExecutionPolicy { retention_ms, ..Default::default() };
    let id = submit(&client, work().policy(brief)).await;
    let task = claim(&worker).await;
    let tail = client.tail(&id, None, Cursor::Start, None).await.unwrap();
    let mut items = std::pin::pin!(tail.into_stream());
    line.cut();
    let error = items.next().await.unwrap().unwrap_err();
    assert!(error.is_retryable(), "{error}");
    line.mend();
    task.append_frame("log", "x", BTreeMap::new()).await.unwrap();
    assert!(matches!(items.next().await, Some(Ok(TailItem::Frame(_)))));
    task.complete(None).await.unwrap();
    ground.advance(ms(61_000)).await;
    while !ground.tick().await.applied.is_empty() {}
    assert_eq!(plain.describe(&id).await.unwrap(), None);
    let error = items.next().await.unwrap().unwrap_err();
    assert!(matches!(error.engine(), Some(EngineError::NotFound { .. })), "{error}");
    assert!(items.next().await.is_none());
}

/// A frame whose caller has given up may come late: it takes the place of no other.
#[tokio::test(start_paused = true)]
async fn a_frame_that_comes_late_takes_the_place_of_no_other() {
    let ground = Ground::memory();
    let line = ground.line();
    let brief = |config: &mut WorkerConfig| config.call_timeout_ms = 2_000;
    let worker = ground.worker_on(line.clone(), "w", brief).await;
    let client = ground.client().await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    line.slow_requests(ms(50), commits);
    let given_up = task.append_frame("log", "first", BTreeMap::new());
    assert!(tokio::time::timeout(ms(10), given_up).await.is_err(), "it is on its way");
    // A store that cannot be reached says nothing of the first.
    line.cut();
    let unsent = task.append_frame("log", "unsent", BTreeMap::new());
    assert!(unsent.await.unwrap_err().is_retryable());
    line.mend();
    line.slow_requests(ms(50), commits);
    let second = task.append_frame("log", "second", BTreeMap::new()).await.unwrap();
    let third = task.append_frame("log", "third", BTreeMap::new()).await.unwrap();
    assert_eq!((second, third), (2, 3));
    let page = client.read_stream(&id, AttemptIndex(0), Cursor::Start, 10, None).await.unwrap();
    let told: Vec<_> = page.frames.iter().map(|frame| frame.frame.payload.as_ref()).collect();
    assert_eq!(told, [b"first".as_ref(), b"second", b"third"]);
}
