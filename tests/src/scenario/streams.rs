//! Output of attempts: appends, fencing, pages and tails (`docs/spec.md`, 6).

use std::collections::BTreeMap;

use ff_sdk::core::error::RejectionKind;
use ff_sdk::core::id::{AttemptIndex, ExecutionId};
use ff_sdk::core::store::Cursor;
use ff_sdk::{ClaimedTask, Client, CloseReason, Suspension, Tail, TailItem};
use tokio::time::timeout;

use crate::faulty_backend::commits;
use crate::fixture::Fixture;
use crate::kit::{
    append_frame, claim, describe, fence_of, kind, ms, secs, submit, submitted, work,
};

const FIRST: AttemptIndex = AttemptIndex(0);

async fn append(task: &ClaimedTask, frame_type: &str, payload: &str) -> u64 {
    task.append_frame(frame_type, payload, BTreeMap::new()).await.expect("the frame is appended")
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

/// A frame that is appended twice with one sequence is stored once, also after a lost reply; a gap
/// is refused, and so is a stale owner.
pub async fn a_frame_is_appended_once_and_by_its_owner(fixture: &Fixture) {
    let faulty = fixture.faulty();
    let client = fixture.client().await;
    let lossy = fixture.worker_on(faulty.clone(), "lossy", |_| {}).await;
    let id = submit(&client, work()).await;
    let task = claim(&lossy).await;
    assert_eq!(append(&task, "log", "one").await, 1);
    faulty.lose_replies(1, commits);
    assert_eq!(append(&task, "log", "two").await, 2);
    let frame = |sequence, text| append_frame(id, fence_of(&task), sequence, text);
    client.execute(frame(2, "two")).await.unwrap();
    assert_eq!(kind(client.execute(frame(4, "four")).await), RejectionKind::SequenceGap);
    assert_eq!(output(&client, &id, FIRST).await, ["one", "two"]);

    client.revoke_lease(&id).await.unwrap();
    let stale = client.execute(frame(3, "three")).await;
    assert_eq!(kind(stale), RejectionKind::StaleOwnerCannotAppend);
    let other = fixture.worker("other").await;
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

/// An attempt that was suspended continues its output.
pub async fn output_continues_after_a_suspension(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
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

/// Pages follow a cursor; with a filter, no page is empty while a matching frame follows; limits
/// outside of 1 to 10,000 are refused.
pub async fn pages_are_never_empty_while_frames_follow(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let task = claim(&worker).await;
    for number in 0..40 {
        append(&task, if number % 20 == 19 { "mark" } else { "log" }, &number.to_string()).await;
    }
    let mut from = Cursor::Start;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let only = Some("mark".parse().unwrap());
        let page = client.read_stream(&id, FIRST, from, 3, only).await.unwrap();
        assert_eq!(page.frames.len(), 1, "a matching frame follows");
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

/// A tail yields frames as they are appended, and ends when the attempt does.
pub async fn a_tail_follows_and_ends_with_its_attempt(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let task = claim(&worker).await;
    append(&task, "log", "one").await;
    let mut tail = client.tail(&id, None, Cursor::Start, None).await.unwrap();
    assert!(matches!(next(&mut tail).await, TailItem::Frame(frame) if frame.frame.sequence == 1));
    let (item, _) = tokio::join!(next(&mut tail), async {
        fixture.advance(secs(3)).await;
        append(&task, "log", "two").await
    });
    assert!(matches!(item, TailItem::Frame(frame) if frame.frame.sequence == 2));
    let cursor = tail.cursor();
    let (item, _) = tokio::join!(next(&mut tail), async {
        fixture.advance(secs(3)).await;
        task.fail_permanently("it broke", "network").await
    });
    assert_eq!(item, TailItem::Closed(CloseReason::Failure));
    assert!(tail.next().await.is_none());
    let mut again = client.tail(&id, Some(FIRST), cursor, None).await.unwrap();
    assert_eq!(next(&mut again).await, TailItem::Closed(CloseReason::Failure));
}

/// A tail ends when the lease expires, without a reclaim.
pub async fn a_tail_ends_when_the_lease_expires(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker_with("w", |config| config.lease_ttl = secs(5)).await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    append(&task, "log", "one").await;
    drop(task);
    let mut tail = client.tail(&id, None, Cursor::Start, None).await.unwrap();
    assert!(matches!(next(&mut tail).await, TailItem::Frame(_)));
    let before = fixture.now().await;
    assert_eq!(next(&mut tail).await, TailItem::Closed(CloseReason::LeaseExpired));
    let waited = fixture.now().await.since(before).get();
    assert!(waited <= 7_000, "{waited} ms for a lease of 5 s");
}

/// A tail ends with an execution that no worker has claimed, and does not wait for its retention.
pub async fn a_tail_ends_although_no_attempt_ran(fixture: &Fixture) {
    let client = fixture.client().await;
    let id = submit(&client, work()).await;
    let mut tail = client.tail(&id, None, Cursor::Start, None).await.unwrap();
    let (item, _) = tokio::join!(timeout(secs(10), next(&mut tail)), async {
        fixture.advance(secs(3)).await;
        client.cancel(&id, "no").await
    });
    assert_eq!(item.expect("it ends"), TailItem::Closed(CloseReason::Cancelled));
    assert!(tail.next().await.is_none());
    let page = client.read_stream(&id, FIRST, Cursor::Start, 10, None).await.unwrap();
    assert_eq!(page.closed, Some(CloseReason::Cancelled));
}

/// A tail of the latest attempt reads the one that started last, also while the next one is
/// pending: before a retry, and after a replay.
pub async fn the_latest_attempt_is_the_last_one_that_started(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
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
        let seen = describe(&client, &id).await;
        assert_eq!(
            (seen.attempt_index, seen.latest_attempt()),
            (None, Some(AttemptIndex(attempt)))
        );
        let mut tail = client.tail(&id, None, Cursor::Start, None).await.unwrap();
        assert_eq!(tail.attempt(), AttemptIndex(attempt));
        assert!(matches!(next(&mut tail).await, TailItem::Frame(_)));
        fixture.advance(secs(60)).await;
        fixture.tick().await;
    }
}

/// A reader that waits 30 s never delays an append.
pub async fn a_waiting_reader_does_not_delay_a_writer(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let task = claim(&worker).await;
    append(&task, "log", "one").await;
    let page = client.read_stream(&id, FIRST, Cursor::Start, 10, None).await.unwrap();
    let other = AttemptIndex(7);
    let (waited, took) =
        tokio::join!(client.tail_stream(&id, other, Cursor::Start, 10, secs(60)), async {
            fixture.advance(ms(100)).await;
            let before = fixture.now().await;
            for _ in 0..20 {
                append(&task, "log", "more").await;
            }
            fixture.now().await.since(before).get()
        });
    assert!(waited.unwrap().frames.is_empty(), "that attempt has no output within 30 s");
    assert!(took < 1_000, "{took} ms for 20 frames while a reader waits");
    let more = client.tail_stream(&id, FIRST, page.next, 10, secs(30)).await.unwrap();
    assert_eq!(more.frames.len(), 10);
}
