//! Output: each frame once and in order, by the owner alone, until its attempt ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use ff_core::error::Rejection;
use ff_core::execution::{
    AnyOutcome, AppendFrame, Appended, CloseReason, Decision, Fence, FenceParts, Frame,
    MAX_FRAME_METADATA, MAX_FRAME_PAYLOAD, output_closed,
};
use ff_core::id::AttemptIndex;

use crate::common::suspending::{any_at, append, frame, resume, suspend};
use crate::common::{
    Bench, LEASE, START, Submission, at, call, cancel, cancel_by_holder, complete, delay, fail,
    on_due, replay, revoke, wait_for_children,
};

fn leased() -> (Bench, Fence) {
    let (bench, fence) = Bench::claimed();
    (bench, fence)
}

fn appended(sequence: u64) -> AnyOutcome {
    AnyOutcome::AppendFrame(Appended { sequence })
}

fn closed(bench: &Bench, attempt: u32, now: u64) -> Option<CloseReason> {
    output_closed(bench.record(), AttemptIndex(attempt), at(now))
}

#[test]
fn each_frame_is_appended_once_and_in_order() {
    let (mut bench, fence) = leased();
    let gap = |expected, given| Rejection::SequenceGap { expected, given };
    assert_eq!(bench.refused(append(fence, 0), START), gap(1, 0));
    assert_eq!(bench.refused(append(fence, 2), START), gap(1, 2));
    for sequence in 1..=3 {
        assert_eq!(bench.applied(append(fence, sequence), START), appended(sequence));
    }
    for sequence in 1..=3 {
        assert_eq!(bench.repeated(append(fence, sequence), START + 1), appended(sequence));
    }
    assert_eq!(bench.refused(append(fence, 5), START), gap(4, 5));
    let sequences = |bench: &Bench| -> Vec<u64> {
        bench.frames[&AttemptIndex(0)].iter().map(|frame| frame.sequence).collect()
    };
    assert_eq!(sequences(&bench), [1, 2, 3]);
    assert_eq!((bench.active().attempt.frames, bench.record().framed), (3, 1));
    assert_eq!(bench.history.len(), 3, "no event: created, granted, claimed");
}

#[test]
fn a_copy_of_a_frame_is_recognised_when_the_attempt_is_over() {
    let (mut bench, fence) = leased();
    bench.applied(append(fence, 1), START);
    assert_eq!(bench.repeated(append(fence, 1), START + LEASE), appended(1), "or its lease");
    bench.applied(suspend(fence, 1, any_at("a")), START);
    assert_eq!(bench.repeated(append(fence, 1), START), appended(1));
    assert_eq!(bench.refused(append(fence, 2), START), Rejection::StreamClosed);
    bench.applied(resume(call(1)), START);
    assert_eq!(bench.refused(append(fence, 2), START), Rejection::StreamClosed);
    let next = bench.take(2, START);
    assert_eq!(bench.refused(append(fence, 1), START), Rejection::StaleOwnerCannotAppend);
    // The attempt goes on, and so does its output.
    assert_eq!(bench.repeated(append(next, 1), START), appended(1));
    bench.applied(append(next, 2), START);
    bench.applied(complete(next, None), START);
    assert_eq!(bench.repeated(append(next, 2), START), appended(2));
    assert_eq!(bench.refused(append(next, 3), START), Rejection::StreamClosed);
}

#[test]
fn only_the_owner_appends() {
    let (mut bench, fence) = leased();
    let stale = Rejection::StaleOwnerCannotAppend;
    let end = START + LEASE;
    assert_eq!(bench.refused(append(FenceParts::MISSING, 1), START), Rejection::FenceRequired);
    let partial = append(FenceParts { lease_id: None, ..fence.into() }, 1);
    assert_eq!(bench.refused(partial, START), Rejection::PartialFenceTriple);
    assert_eq!(bench.decision(append(fence, 1), end - 1).window.not_after, at(end));
    assert_eq!(bench.refused(append(fence, 1), end), stale);
    let mut revoked = bench.clone();
    revoked.applied(revoke(call(1)), START);
    assert_eq!(revoked.refused(append(fence, 1), START), stale);
    bench.applied(on_due(), end);
    assert_eq!(bench.refused(append(fence, 1), START), stale, "though the clock went back");
    let next = bench.take(2, end);
    assert_eq!(bench.refused(append(fence, 1), end), stale);
    bench.applied(append(next, 1), end);
    assert_eq!(bench.record().framed, 2);
    let mut absent = Bench::default();
    assert_eq!(absent.refused(append(fence, 1), START), Rejection::NotFound);
}

#[test]
fn no_frame_is_taken_while_the_attempt_waits() {
    for way in 0..3 {
        let (mut bench, fence) = leased();
        match way {
            0 => bench.applied(delay(fence, START + 5_000), START),
            1 => bench.applied(wait_for_children(fence), START),
            _ => bench.applied(suspend(fence, 1, any_at("a")), START),
        };
        assert_eq!(bench.refused(append(fence, 1), START), Rejection::StreamClosed);
        assert_eq!(closed(&bench, 0, START), None, "more may come");
    }
}

#[test]
fn a_frame_has_its_bounds() {
    let (mut bench, fence) = leased();
    let with = |payload: usize, metadata: &[(usize, usize)]| {
        let text = |bytes: usize, letter: char| letter.to_string().repeat(bytes);
        let pair = |(place, (key, value)): (usize, &(usize, usize))| {
            (text(*key, char::from(b'a' + place as u8)), text(*value, 'v'))
        };
        let metadata: BTreeMap<_, _> = metadata.iter().enumerate().map(pair).collect();
        let payload = Arc::from(vec![0; payload]);
        let command = append(fence, 1);
        AppendFrame { frame: Frame { payload, metadata, ..frame(1) }, ..command }
    };
    let too_large = bench.refused(with((64 << 10) + 1, &[]), START);
    let (bytes, limit) = (MAX_FRAME_PAYLOAD + 1, MAX_FRAME_PAYLOAD);
    assert_eq!(too_large, Rejection::PayloadTooLarge { bytes, limit });
    let half = MAX_FRAME_METADATA / 2;
    assert_eq!(half, 2_048);
    let too_much = bench.refused(with(0, &[(8, half - 8), (9, half - 8)]), START);
    assert!(matches!(too_much, Rejection::InvalidInput { field: "metadata", .. }));
    bench.applied(with(64 << 10, &[(8, half - 8), (8, half - 8)]), START);
}

#[test]
fn readers_are_woken_when_the_writer_says_so() {
    let (bench, fence) = leased();
    for rings in [true, false] {
        let decision: Decision<AnyOutcome> =
            bench.decision(AppendFrame { rings, ..append(fence, 1) }, START);
        assert_eq!(decision.side_effects.unwrap().rings_readers, rings);
    }
}

#[test]
fn output_is_open_while_more_may_come_and_closed_by_each_end() {
    let (mut bench, fence) = leased();
    assert_eq!(closed(&bench, 0, START), None);
    assert_eq!(closed(&bench, 1, START), None, "an attempt that is yet to come");
    assert_eq!(closed(&bench, 0, START + LEASE - 1), None);
    assert_eq!(closed(&bench, 0, START + LEASE), Some(CloseReason::LeaseExpired));
    bench.applied(complete(fence, None), START);
    assert_eq!(closed(&bench, 0, START), Some(CloseReason::Success));

    let (mut bench, fence) = leased();
    bench.applied(fail(fence, "broken"), START);
    assert_eq!(closed(&bench, 0, START), Some(CloseReason::Failure));
    assert_eq!(closed(&bench, 1, START), None);

    for by_holder in [true, false] {
        let (mut bench, fence) = leased();
        match by_holder {
            true => bench.applied(cancel_by_holder(fence), START),
            false => bench.applied(cancel(call(1)), START),
        };
        assert_eq!(closed(&bench, 0, START), Some(CloseReason::Cancelled));
    }

    let (mut bench, _) = leased();
    bench.applied(revoke(call(1)), START);
    assert_eq!(closed(&bench, 0, START), Some(CloseReason::LeaseExpired));
    bench.take(2, START);
    assert_eq!(closed(&bench, 0, START), Some(CloseReason::Reclaimed));
    assert_eq!(closed(&bench, 1, START), None);

    let mut bench = Bench::new(Submission::new().deadline(START + 10));
    bench.take(1, START);
    bench.applied(on_due(), START + 10);
    assert_eq!(closed(&bench, 0, START + 10), Some(CloseReason::Expired));
}

/// Goal: who waits for an attempt that never comes learns how the life has ended; in another life
/// it may come.
#[test]
fn output_of_an_attempt_that_never_began_is_closed_by_the_end_of_the_life() {
    let mut bench = Bench::new(Submission::new());
    assert_eq!(closed(&bench, 0, START), None);
    bench.applied(cancel(call(1)), START);
    assert_eq!(closed(&bench, 0, START), Some(CloseReason::Cancelled));
    bench.applied(replay(call(2)), START);
    assert_eq!(closed(&bench, 0, START), None);

    let mut bench = Bench::new(Submission::new().deadline(START + 10));
    bench.applied(on_due(), START + 10);
    assert_eq!(closed(&bench, 0, START + 10), Some(CloseReason::Expired));

    // A retry that will not start any more, and an attempt after the last one.
    let (mut bench, fence) = leased();
    bench.applied(fail(fence, "broken"), START);
    bench.applied(cancel(call(1)), START);
    assert_eq!(closed(&bench, 0, START), Some(CloseReason::Failure));
    assert_eq!(closed(&bench, 1, START), Some(CloseReason::Cancelled));
    let (mut bench, fence) = leased();
    bench.applied(complete(fence, None), START);
    assert_eq!(closed(&bench, 1, START), Some(CloseReason::Success));
}

#[test]
fn output_of_an_attempt_that_is_not_remembered_is_closed() {
    let mut bench = Bench::new(Submission::new().retries(20));
    let mut now = START;
    for number in 1..=10 {
        let fence = bench.take(number, now);
        bench.applied(fail(fence, "broken"), now);
        now += 3_600_000;
    }
    assert_eq!(bench.record().past_attempts[0].attempt.index, AttemptIndex(2));
    assert_eq!(closed(&bench, 1, now), Some(CloseReason::Superseded));
    assert_eq!(closed(&bench, 2, now), Some(CloseReason::Failure));
}

#[test]
fn attempts_of_another_life_begin_anew_and_keep_what_was() {
    let (mut bench, fence) = leased();
    bench.applied(append(fence, 1), START);
    bench.applied(complete(fence, None), START);
    bench.applied(replay(call(1)), START);
    let next = bench.take(2, START);
    bench.applied(append(next, 1), START);
    assert_eq!((bench.frames.len(), bench.record().framed), (2, 2));
    assert_eq!(closed(&bench, 0, START), Some(CloseReason::Success));
}
