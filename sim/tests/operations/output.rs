//! Reading the output of attempts: pages, their end, and what is not kept any more
//! (`docs/spec.md`, 6).

use std::sync::Arc;

use ff_core::error::{EngineError, Rejection};
use ff_core::execution::{AppendFrame, CloseReason, Fence, Frame, MAX_FRAME_PAYLOAD};
use ff_core::id::{AttemptIndex, FrameType};
use ff_core::op::{FramePage, ReadFrames};
use ff_core::store::Cursor;
use ff_core::store::bounds::MAX_FRAMES_BYTES;
use ff_sim::scripted::Scripted;

use super::{before_call, leased};
use crate::common::suspending::{any_at, append, suspend};
use crate::common::{START, complete, execution_id, offer};

fn read(
    world: &mut Scripted,
    from: Cursor,
    limit: u32,
    only: Option<&str>,
) -> Result<FramePage, EngineError> {
    let only = only.map(|text| FrameType::try_new(text).expect("a type"));
    let (id, attempt) = (execution_id(), AttemptIndex(0));
    let reading =
        ReadFrames::new(id, attempt, from, limit, Scripted::patience(10_000)).expect("a limit");
    world.drive(reading.only(only))
}

fn sequences(page: &FramePage) -> Vec<u64> {
    page.frames.iter().map(|stored| stored.frame.sequence).collect()
}

fn typed(fence: Fence, sequence: u64, text: &str) -> AppendFrame {
    let command = append(fence, sequence);
    let frame_type = FrameType::try_new(text).expect("a type");
    AppendFrame { frame: Frame { frame_type, ..command.frame }, ..command }
}

#[test]
fn a_page_of_output_is_empty_only_where_nothing_wanted_follows() {
    let mut world = Scripted::new();
    let fence = leased(&mut world);
    for sequence in 1..=30 {
        let text = if sequence == 25 { "progress" } else { "log" };
        world.transact(typed(fence, sequence, text)).expect("appended");
    }
    let page = read(&mut world, Cursor::Start, 10, Some("progress")).expect("read");
    assert_eq!((sequences(&page), page.gap, page.closed), (vec![25], false, None));
    let rest = read(&mut world, page.next, 10, Some("progress")).expect("read");
    assert_eq!((sequences(&rest), rest.closed), (vec![], None), "more may come");
    world.transact(typed(fence, 31, "progress")).expect("appended");
    let more = read(&mut world, rest.next, 10, Some("progress")).expect("read");
    assert_eq!(sequences(&more), [31]);

    let mut all = Vec::new();
    let mut from = Cursor::Start;
    loop {
        let page = read(&mut world, from, 7, None).expect("read");
        if page.frames.is_empty() {
            break;
        }
        all.extend(sequences(&page));
        from = page.next;
    }
    assert_eq!(all, (1..=31).collect::<Vec<_>>());
    for limit in [0, 10_001] {
        let (id, attempt) = (execution_id(), AttemptIndex(0));
        let refused = ReadFrames::new(id, attempt, Cursor::Start, limit, Scripted::patience(1));
        assert!(matches!(refused, Err(Rejection::InvalidInput { field: "limit", .. })));
    }
}

#[test]
fn a_reader_at_the_end_is_told_why_no_more_comes() {
    let (mut world, context) = (Scripted::new(), Scripted::context());
    let absent = read(&mut world, Cursor::Start, 10, None).expect_err("there is none");
    assert!(matches!(absent, EngineError::NotFound { .. }), "{absent:?}");
    let fence = leased(&mut world);
    world.transact(append(fence, 1)).expect("appended");
    let page = read(&mut world, Cursor::Start, 10, None).expect("read");
    let end = |world: &mut Scripted| read(world, page.next, 10, None).expect("read").closed;
    assert_eq!(end(&mut world), None);
    world.set(START + 50_000);
    assert_eq!(end(&mut world), Some(CloseReason::LeaseExpired));
    let offered = world.transact(offer(2)).expect("taken over").outcome;
    let fence = offered.claimed().expect("claimed").fence();
    assert_eq!(end(&mut world), Some(CloseReason::Reclaimed));
    world.carry(&context, suspend(fence, 1, any_at("a"))).expect("suspended");
    let reading = |attempt| {
        let attempt = AttemptIndex(attempt);
        ReadFrames::new(execution_id(), attempt, Cursor::Start, 10, Scripted::patience(10_000))
    };
    let closed =
        |world: &mut Scripted| world.drive(reading(1).expect("a limit")).expect("read").closed;
    assert_eq!(closed(&mut world), None, "it goes on when it is resumed");
    // All frames are read before the end is reported.
    let page = read(&mut world, Cursor::Start, 10, None).expect("read");
    assert_eq!((sequences(&page), page.closed), (vec![1], None));
}

#[test]
fn a_frame_that_comes_before_the_end_is_not_missed() {
    let mut world = Scripted::new();
    let fence = leased(&mut world);
    // The reader has seen the end of the output; then a frame comes, and the attempt is over.
    world.script.intervene = before_call(2, move |other| {
        other.transact(append(fence, 1)).expect("appended");
        other.transact(complete(fence, None)).expect("completed");
    });
    let page = read(&mut world, Cursor::Start, 10, None).expect("read");
    assert_eq!((sequences(&page), page.closed), (vec![1], None));
    let end = read(&mut world, page.next, 10, None).expect("read");
    assert_eq!((sequences(&end), end.closed), (vec![], Some(CloseReason::Success)));
}

#[test]
fn a_reader_that_is_behind_what_is_kept_is_told_of_the_gap() {
    let mut world = Scripted::new();
    let fence = leased(&mut world);
    let large = |sequence| {
        let command = append(fence, sequence);
        let payload = Arc::from(vec![0; MAX_FRAME_PAYLOAD]);
        AppendFrame { frame: Frame { payload, ..command.frame }, ..command }
    };
    world.transact(large(1)).expect("appended");
    let first = read(&mut world, Cursor::Start, 1, None).expect("read");
    let kept = (MAX_FRAMES_BYTES / MAX_FRAME_PAYLOAD) as u64;
    for sequence in 2..=kept + 2 {
        world.transact(large(sequence)).expect("appended");
    }
    let page = read(&mut world, first.next, 1, None).expect("read");
    assert!(page.gap && sequences(&page)[0] > 2, "{:?}", sequences(&page));
    let next = read(&mut world, page.next, 1, None).expect("read");
    assert!(!next.gap);
    assert_eq!(sequences(&next)[0], sequences(&page)[0] + 1);
}
