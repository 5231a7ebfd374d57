//! Output of attempts: appended once, fenced, read in pages and as it comes (`docs/spec.md`, 6).

use std::collections::BTreeMap;

use ff_sdk::core::error::RejectionKind;
use ff_sdk::core::id::{AttemptIndex, ExecutionId};
use ff_sdk::core::store::Cursor;
use ff_sdk::{ClaimedTask, Client, CloseReason, Suspension, Tail, TailItem};
use tokio::time::timeout;

use crate::ground::Ground;
use crate::kit::{append_frame, claim, fence_of, kind, ms, secs, see, submit, work};
use crate::line::commits;

const FIRST: AttemptIndex = AttemptIndex(0);

async fn append(task: &ClaimedTask, frame_type: &str, payload: &str) -> u64 {
    task.append_frame(frame_type, payload, BTreeMap::new()).await.expect("the frame is taken")
}

/// The payloads of an attempt's output.
async fn output(client: &Client, id: &ExecutionId, attempt: AttemptIndex) -> Vec<String> {
    let page = client.read_stream(id, attempt, Cursor::Start, 10_000, None).await.unwrap();
    let text = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
    page.frames.iter().map(|stored| text(&stored.frame.payload)).collect()
}

async fn next(tail: &mut Tail) -> TailItem {
    tail.next().await.expect("the output is open").expect("the store answers")
}

/// A frame appended twice with one sequence is there once, also when a reply was lost; a gap is
/// refused, and so is a stale owner.
pub async fn a_frame_is_appended_once_and_by_its_owner(ground: &Ground) {
    let line = ground.line();
    let client = ground.client().await;
    let lossy = ground.worker_on(line.clone(), "lossy", |_| {}).await;
    let id = submit(&client, work()).await;
    let task = claim(&lossy).await;
    assert_eq!(append(&task, "log", "one").await, 1);
    line.lose_replies(1, commits);
    assert_eq!(append(&task, "log", "two").await, 2);
    let frame = |sequence, text| append_frame(id, fence_of(&task), sequence, text);
    client.execute(frame(2, "two")).await.unwrap();
    assert_eq!(kind(client.execute(frame(4, "four")).await), RejectionKind::SequenceGap);
    assert_eq!(output(&client, &id, FIRST).await, ["one", "two"]);

    client.revoke_lease(&id).await.unwrap();
    let stale = client.execute(frame(3, "three")).await;
    assert_eq!(kind(stale), RejectionKind::StaleOwnerCannotAppend);
    let other = ground.worker("other").await;
    let taken_over = claim(&other).await;
    let stale = client.execute(frame(3, "three")).await;
    assert_eq!(kind(stale), RejectionKind::StaleOwnerCannotAppend);
    assert_eq!(append(&taken_over, "log", "anew").await, 1);
    assert_eq!(output(&client, &id, FIRST).await, ["one", "two"]);
    assert_eq!(output(&client, &id, AttemptIndex(1)).await, ["anew"]);
    let fence = fence_of(&taken_over);
    taken_over.complete(None).await.unwrap();
    let late = append_frame(id, fence, 2, "late");
    assert_eq!(kind(client.execute(late).await), RejectionKind::StreamClosed);
}

/// An attempt that was suspended goes on with its output.
pub async fn output_goes_on_after_a_suspension(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("w").await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    append(&task, "log", "one").await;
    drop(task.suspend(Suspension::until_operator()).await.unwrap());
    let page = client.read_stream(&id, FIRST, Cursor::Start, 10, None).await.unwrap();
    let open = client.read_stream(&id, FIRST, page.next, 10, None).await.unwrap();
    assert!(open.frames.is_empty() && open.closed.is_none());
    client.resume(&id).await.unwrap();
    let task = claim(&worker).await;
    assert_eq!(append(&task, "log", "two").await, 2);
    task.complete(None).await.unwrap();
    assert_eq!(output(&client, &id, FIRST).await, ["one", "two"]);
}

/// Pages follow a cursor; a filter gives no empty page while a wanted frame follows; limits outside
/// of 1 to 10,000 are refused.
pub async fn pages_are_never_empty_while_frames_follow(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("w").await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    for number in 0..40 {
        append(&task, if number % 20 == 19 { "mark" } else { "log" }, &number.to_string()).await;
    }
    let mut from = Cursor::Start;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let only = Some("mark".parse().unwrap());
        let page = client.read_stream(&id, FIRST, from, 3, only).await.unwrap();
        assert_eq!(page.frames.len(), 1, "a wanted frame follows");
        seen.push(page.frames[0].frame.sequence);
        from = page.next;
    }
    assert_eq!(seen, [20, 40]);
    let end = client.read_stream(&id, FIRST, from, 3, None).await.unwrap();
    assert!(end.frames.is_empty() && end.closed.is_none());
    for limit in [0, 10_001] {
        let refused = client.read_stream(&id, FIRST, Cursor::Start, limit, None).await;
        assert_eq!(kind(refused), RejectionKind::InvalidInput);
    }
    let over = task.append_frame("log", vec![0; (64 << 10) + 1], BTreeMap::new()).await;
    assert_eq!(kind(over), RejectionKind::PayloadTooLarge);
    assert_eq!(append(&task, "log", "after").await, 41);
}

/// A tail yields frames as they come, and ends when the attempt does.
pub async fn a_tail_follows_and_ends_with_its_attempt(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("w").await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    append(&task, "log", "one").await;
    let mut tail = client.tail(&id, None, Cursor::Start, None).await.unwrap();
    assert!(matches!(next(&mut tail).await, TailItem::Frame(frame) if frame.frame.sequence == 1));
    let (item, _) = tokio::join!(next(&mut tail), async {
        ground.advance(secs(3)).await;
        append(&task, "log", "two").await
    });
    assert!(matches!(item, TailItem::Frame(frame) if frame.frame.sequence == 2));
    let cursor = tail.cursor();
    let (item, _) = tokio::join!(next(&mut tail), async {
        ground.advance(secs(3)).await;
        task.fail_permanently("it broke", "network").await
    });
    assert_eq!(item, TailItem::Closed(CloseReason::Failure));
    assert!(tail.next().await.is_none());
    let mut again = client.tail(&id, Some(FIRST), cursor, None).await.unwrap();
    assert_eq!(next(&mut again).await, TailItem::Closed(CloseReason::Failure));
}

/// A tail ends on lease expiry with nobody reclaiming.
pub async fn a_tail_ends_when_the_lease_runs_out(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker_with("w", |config| config.lease_ttl_ms = 5_000).await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    append(&task, "log", "one").await;
    drop(task);
    let mut tail = client.tail(&id, None, Cursor::Start, None).await.unwrap();
    assert!(matches!(next(&mut tail).await, TailItem::Frame(_)));
    let before = ground.now().await;
    assert_eq!(next(&mut tail).await, TailItem::Closed(CloseReason::LeaseExpired));
    let waited = ground.now().await.since(before).get();
    assert!(waited <= 7_000, "{waited} ms for a lease of 5 s");
}

/// A tail ends with an execution that nobody has worked on, and does not wait for its retention.
pub async fn a_tail_ends_though_no_attempt_ran(ground: &Ground) {
    let client = ground.client().await;
    let id = submit(&client, work()).await;
    let mut tail = client.tail(&id, None, Cursor::Start, None).await.unwrap();
    let (item, _) = tokio::join!(timeout(secs(10), next(&mut tail)), async {
        ground.advance(secs(3)).await;
        client.cancel(&id, "no").await
    });
    assert_eq!(item.expect("it ends"), TailItem::Closed(CloseReason::Cancelled));
    assert!(tail.next().await.is_none());
    let page = client.read_stream(&id, FIRST, Cursor::Start, 10, None).await.unwrap();
    assert_eq!(page.closed, Some(CloseReason::Cancelled));
}

/// A tail of the latest attempt reads the latest one that there was, also while the next one is
/// awaited: before it is tried again, and after a replay.
pub async fn the_latest_attempt_is_the_latest_that_there_was(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("w").await;
    let id = submit(&client, work()).await;
    assert_eq!(client.tail(&id, None, Cursor::Start, None).await.unwrap().attempt(), FIRST);
    for attempt in 0..3 {
        let task = claim(&worker).await;
        append(&task, "log", "one").await;
        assert_eq!(task.attempt_index(), AttemptIndex(attempt));
        match attempt {
            2 => task.complete(None).await.unwrap(),
            _ => drop(task.fail("it broke", "network").await.unwrap()),
        }
        if attempt == 2 {
            client.replay(&id).await.unwrap();
        }
        let seen = see(&client, &id).await;
        assert_eq!(
            (seen.attempt_index, seen.latest_attempt()),
            (None, Some(AttemptIndex(attempt)))
        );
        let mut tail = client.tail(&id, None, Cursor::Start, None).await.unwrap();
        assert_eq!(tail.attempt(), AttemptIndex(attempt));
        assert!(matches!(next(&mut tail).await, TailItem::Frame(_)));
        ground.advance(secs(60)).await;
        ground.tick().await;
    }
}

/// A reader that waits 30 s never delays an append.
pub async fn a_waiting_reader_delays_no_writer(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("w").await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    append(&task, "log", "one").await;
    let page = client.read_stream(&id, FIRST, Cursor::Start, 10, None).await.unwrap();
    let other = AttemptIndex(7);
    let (waited, took) =
        tokio::join!(client.tail_stream(&id, other, Cursor::Start, 10, secs(60)), async {
            ground.advance(ms(100)).await;
            let before = ground.now().await;
            for _ in 0..20 {
                append(&task, "log", "more").await;
            }
            ground.now().await.since(before).get()
        });
    assert!(waited.unwrap().frames.is_empty(), "nothing came to that attempt in 30 s");
    assert!(took < 1_000, "{took} ms for 20 frames beside a reader that waits");
    let more = client.tail_stream(&id, FIRST, page.next, 10, secs(30)).await.unwrap();
    assert_eq!(more.frames.len(), 10);
}
