//! Tails of output while it is written: their pace, gaps, errors, and frames in doubt.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ff_sdk::core::store::Cursor;
use ff_sdk::{
    AttemptIndex, DurationMs, EngineError, ExecutionPolicy, MemoryBackend, SdkError, TailItem,
    ValkeyBackend, WorkerConfig,
};
use ff_tests::Fixture;
use ff_tests::faulty_backend::{any, commits};
use ff_tests::kit::{claim, ms, submit, work};
use ff_tests::server::Server;
use futures_util::StreamExt;
use tokio::time::{Instant, timeout};

/// A tail that keeps up with its writer reads a limited number of times per second, however many
/// frames are written and however long a reply takes. A tail that lags behind reads immediately.
#[tokio::test(start_paused = true)]
async fn a_tail_reads_at_its_own_pace() {
    const FRAMES: u64 = 1_000;
    const REPLY: Duration = ms(2);
    let fixture = Fixture::memory();
    let (worker, faulty) = (fixture.worker("w").await, fixture.faulty());
    faulty.slow_replies(REPLY, any);
    let client = fixture.client_on(faulty.clone()).await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    let mut tail = client.tail(&id, None, Cursor::Start, None).await.unwrap();
    let before = faulty.calls();
    let write = async {
        for _ in 0..FRAMES {
            task.append_frame("log", "x", BTreeMap::new()).await.unwrap();
            fixture.advance(ms(1)).await;
        }
    };
    let read = async {
        for sequence in 1..=FRAMES {
            let item = tail.next().await.unwrap().unwrap();
            assert!(matches!(item, TailItem::Frame(frame) if frame.frame.sequence == sequence));
        }
    };
    tokio::join!(write, read);
    let calls = faulty.calls() - before;
    // A writer wakes its readers every 30 ms, and a reply takes 2 ms: no frame waits for longer.
    assert!((1_000 / 32..=250).contains(&calls), "{calls} calls for a second of frames");

    let (began, before) = (fixture.now().await, faulty.calls());
    let mut behind = client.tail(&id, None, Cursor::Start, None).await.unwrap();
    for _ in 0..FRAMES {
        behind.next().await.unwrap().unwrap();
    }
    let took = fixture.now().await.since(began).get();
    let calls = faulty.calls() - before;
    assert!(calls <= FRAMES / 50 + 2, "{calls} calls for pages of 50 frames");
    assert!(
        u128::from(took) <= REPLY.as_millis() * u128::from(calls),
        "{took} ms for {calls} calls, one after the other"
    );
}

/// Wake-ups that arrived while frames were read do not make a tail poll when no more are written.
#[tokio::test(start_paused = true)]
async fn a_tail_is_quiet_after_a_busy_time() {
    let fixture = Fixture::memory();
    let (worker, faulty) = (fixture.worker("w").await, fixture.faulty());
    let client = fixture.client_on(faulty.clone()).await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    let mut tail = client.tail(&id, None, Cursor::Start, None).await.unwrap();
    let write = async {
        for _ in 0..1_000 {
            task.append_frame("log", "x", BTreeMap::new()).await.unwrap();
            fixture.advance(ms(1)).await;
        }
    };
    let read = async {
        for _ in 0..1_000 {
            tail.next().await.unwrap().unwrap();
        }
    };
    tokio::join!(write, read);
    let before = faulty.calls();
    assert!(timeout(ms(3_000), tail.next()).await.is_err(), "there is no more output");
    // An empty read takes two calls, and there is one in a second.
    let calls = faulty.calls() - before;
    assert!(calls <= 20, "{calls} calls in three quiet seconds");
}

/// A call that waits for output gets a frame that woke no reader, since another frame had woken
/// them just before, as soon as a tail does.
#[tokio::test(start_paused = true)]
async fn a_waiting_call_gets_frames_that_wake_no_reader() {
    let fixture = Fixture::memory();
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
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
                fixture.advance(ms(wait)).await;
                append().await;
            });
        assert_eq!(next.unwrap().frames.len(), 1);
        let took = began.elapsed();
        assert!(took <= ms(wait) + ms(40), "{took:?} for a frame after {wait} ms");
        fixture.advance(ms(200)).await;
    }
}

/// In another history a tail yields one gap and continues with the kept frames; a tail from the
/// cursor after the gap does not yield it again.
#[tokio::test]
async fn a_gap_is_yielded_once_also_from_the_cursor_after_it() {
    let memory = MemoryBackend::new();
    let fixture = Fixture::on(Arc::new(memory.clone()));
    let mut server = Server::valkey_with(&["--appendonly", "yes"]);
    let on_server = Fixture::on(Arc::new(ValkeyBackend::connect(&server.url()).await.unwrap()));
    for (number, fixture) in [fixture, on_server].iter().enumerate() {
        let (client, worker) = (fixture.client().await, fixture.worker("w").await);
        let id = submit(&client, work()).await;
        let task = claim(&worker).await;
        let mut tail = client.tail(&id, None, Cursor::Start, None).await.unwrap();
        for sequence in 1..=3 {
            task.append_frame("log", "x", BTreeMap::new()).await.unwrap();
            assert_eq!(sequence_of(tail.next().await), Some(sequence));
        }
        let before = tail.cursor();
        match number {
            0 => memory.with_store(|store| store.set_history(4_711)),
            _ => server.restart(),
        }
        assert_eq!(sequence_of(tail.next().await), None);
        let gap = tail.cursor();
        let page = client.read_stream(&id, tail.attempt(), before, 10, None).await.unwrap();
        assert!(page.gap && page.begins() == gap && gap != before, "{page:?}");
        let mut again = client.tail(&id, None, gap, None).await.unwrap();
        for tail in [&mut tail, &mut again] {
            for sequence in 1..=3 {
                assert_eq!(sequence_of(tail.next().await), Some(sequence));
            }
            assert!(timeout(ms(300), tail.next()).await.is_err(), "nothing else is yielded");
        }
    }
}

/// The sequence of a frame; `None` for a gap.
fn sequence_of(item: Option<Result<TailItem, SdkError>>) -> Option<u64> {
    match item {
        Some(Ok(TailItem::Frame(stored))) => Some(stored.frame.sequence),
        Some(Ok(TailItem::Gap)) => None,
        other => panic!("{other:?}"),
    }
}

/// A consumer of the stream that skips errors continues after a store was unreachable, and does not
/// loop forever for an execution that was removed.
#[tokio::test(start_paused = true)]
async fn a_stream_of_output_ends_with_an_error_that_is_not_retryable() {
    let fixture = Fixture::memory();
    let (plain, worker, faulty) =
        (fixture.client().await, fixture.worker("w").await, fixture.faulty());
    let client = fixture.client_on(faulty.clone()).await;
    let retention_ms = DurationMs::from_secs(60);
    let brief = ExecutionPolicy { retention_ms, ..Default::default() };
    let id = submit(&client, work().policy(brief)).await;
    let task = claim(&worker).await;
    let tail = client.tail(&id, None, Cursor::Start, None).await.unwrap();
    let mut items = std::pin::pin!(tail.into_stream());
    faulty.disconnect();
    let error = items.next().await.unwrap().unwrap_err();
    assert!(error.is_retryable(), "{error}");
    faulty.heal();
    task.append_frame("log", "x", BTreeMap::new()).await.unwrap();
    assert!(matches!(items.next().await, Some(Ok(TailItem::Frame(_)))));
    task.complete(None).await.unwrap();
    fixture.advance(ms(61_000)).await;
    while !fixture.tick().await.applied.is_empty() {}
    assert_eq!(plain.describe(&id).await.unwrap(), None);
    let error = items.next().await.unwrap().unwrap_err();
    assert!(matches!(error.engine(), Some(EngineError::NotFound { .. })), "{error}");
    assert!(items.next().await.is_none());
}

/// A frame whose caller gave up may arrive late. It does not take the sequence of another frame.
#[tokio::test(start_paused = true)]
async fn a_late_frame_does_not_take_the_sequence_of_another() {
    let fixture = Fixture::memory();
    let faulty = fixture.faulty();
    let brief = |config: &mut WorkerConfig| config.call_timeout = Duration::from_millis(2_000);
    let worker = fixture.worker_on(faulty.clone(), "w", brief).await;
    let client = fixture.client().await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    faulty.slow_requests(ms(50), commits);
    let given_up = task.append_frame("log", "first", BTreeMap::new());
    assert!(tokio::time::timeout(ms(10), given_up).await.is_err(), "it is in flight");
    // While the store is unreachable, the first frame stays in doubt.
    faulty.disconnect();
    let unsent = task.append_frame("log", "unsent", BTreeMap::new());
    assert!(unsent.await.unwrap_err().is_retryable());
    faulty.heal();
    faulty.slow_requests(ms(50), commits);
    let second = task.append_frame("log", "second", BTreeMap::new()).await.unwrap();
    let third = task.append_frame("log", "third", BTreeMap::new()).await.unwrap();
    assert_eq!((second, third), (2, 3));
    let page = client.read_stream(&id, AttemptIndex(0), Cursor::Start, 10, None).await.unwrap();
    let payloads: Vec<_> = page.frames.iter().map(|frame| frame.frame.payload.as_ref()).collect();
    assert_eq!(payloads, [b"first".as_ref(), b"second", b"third"]);
}
