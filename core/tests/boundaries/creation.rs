//! Creating: duplicates, delays, deadlines and limits.

use ff_core::error::{Missing, Rejection, RejectionKind};
use ff_core::execution::{
    AnyCommand, AnyOutcome, CreateOutcome, DueKind, Outcome, Situation, Start, ValueKind, Verdict,
};
use ff_core::id::LeaseEpoch;
use ff_core::lane::{LaneState, Lanes, SetLane};
use ff_core::resource::{Change, Changed, Facts, NextResource};

use super::{due, nothing_due};
use crate::common::suspending::Reads;
use crate::common::{
    Answer, Bench, START, Submission, at, complete, delay, epoch, execution_id, grant, ms, on_due,
};

#[test]
fn the_same_id_again_is_a_duplicate_and_keeps_the_first_values() {
    let mut bench = Bench::new(Submission::new().payload(b"first"));
    let before = bench.clone();
    let other = Submission::new().creator(2).payload(b"second").deadline(START);
    let duplicate = AnyOutcome::Create(CreateOutcome::Duplicate(execution_id()));
    assert_eq!(bench.repeated(other, START), duplicate);
    let created = AnyOutcome::Create(CreateOutcome::Created(execution_id()));
    assert_eq!(bench.repeated(Submission::new(), START + 1), created);
    assert_eq!(bench, before);
}

#[test]
fn an_idempotency_key_stands_for_one_content() {
    let mut bench = Bench::new(Submission::new().payload(b"same").idempotent());
    let again = Submission::new().payload(b"same").creator(2).idempotent();
    let duplicate = AnyOutcome::Create(CreateOutcome::Duplicate(execution_id()));
    assert_eq!(bench.repeated(again, START), duplicate);
    let other = Submission::new().payload(b"other").creator(2).idempotent();
    let mismatch = Rejection::IdempotencyMismatch { existing: execution_id() };
    assert_eq!(bench.refused(other, START), mismatch);
}

#[test]
fn a_lane_that_accepts_nothing_refuses_new_submissions_and_recognises_repeats() {
    let submission: AnyCommand = Submission::new().into();
    let AnyCommand::Create(create) = &submission else { unreachable!("it is a submission") };
    let bench = Bench::new(Submission::new());
    for (state, refusal) in [
        (LaneState::Active, None),
        (LaneState::Paused, None),
        (LaneState::Draining, Some(RejectionKind::LaneDraining)),
        (LaneState::Disabled, Some(RejectionKind::LaneDisabled)),
    ] {
        let set = SetLane {
            namespace: create.namespace.clone(),
            lane: create.lane.clone(),
            state,
            reason: None,
            by: None,
        };
        let lanes = match set.decide(&Facts { record: None, beside: &[], late: 0 }, at(START)) {
            Ok(Changed { next: NextResource::Put(lanes), .. }) => lanes,
            _ => Lanes::new(create.namespace.clone()),
        };
        let reads = Reads { lanes: Some(lanes), ..Reads::default() };
        let refused = reads.decide(&submission, None, at(START)).err();
        assert_eq!(refused.map(|rejection| rejection.kind()), refusal, "{state}");
        let repeated = reads.decide(&submission, bench.record.as_ref(), at(START));
        assert!(matches!(repeated, Ok(Verdict::Repeat(_))), "{state}: {repeated:?}");
    }
    let unread = Reads::default().decide(&submission, None, at(START)).err();
    assert_eq!(unread, Some(Rejection::Unread { what: Missing::Lanes }));
}

#[test]
fn one_millisecond_ahead_is_delayed_and_now_is_waiting() {
    for (until, situation) in [
        (START - 1, Situation::Waiting),
        (START, Situation::Waiting),
        (START + 1, Situation::Delayed),
    ] {
        let bench = Bench::new(Submission::new().start(Start::At(at(until))));
        assert_eq!(bench.situation(START), situation, "until {until}");
        assert_eq!(bench.entries().eligible.is_some(), situation == Situation::Waiting);
    }
}

#[test]
fn a_delay_ends_at_its_instant_and_not_before() {
    let mut bench = Bench::new(Submission::new().start(Start::After(ms(500))));
    let early = bench.refused(grant(1), START + 499);
    assert!(matches!(early, Rejection::ExecutionNotEligible { .. }));
    assert_eq!(bench.apply(on_due(), START + 499), Ok(Answer::Kept(nothing_due())));
    assert_eq!(due(&mut bench, START + 500), [DueKind::DelayOver]);
    bench.applied(grant(1), START + 500);
}

#[test]
fn a_deadline_is_after_now_and_ends_what_waits_too() {
    let mut empty = Bench::default();
    let refused = empty.refused(Submission::new().deadline(START), START);
    assert_eq!(refused, Rejection::DeadlineNotInFuture { deadline: at(START), now: at(START) });
    let mut bench = Bench::new(Submission::new().deadline(START + 1));
    assert_eq!(due(&mut bench, START + 1), [DueKind::Deadline]);
    assert_eq!(bench.terminal().outcome, Outcome::Expired);
}

#[test]
fn of_two_deadlines_the_earlier_one_holds() {
    for (absolute, by_policy, expected) in
        [(None, 900, 900), (Some(500), 900, 500), (Some(900), 500, 500)]
    {
        let mut submission = Submission::new()
            .policy(|policy| policy.timeout.execution_deadline_ms = Some(ms(by_policy)));
        submission.0.deadline = absolute.map(|after| at(START + after));
        let bench = Bench::new(submission);
        assert_eq!(bench.record().deadline, Some(at(START + expected)));
    }
}

#[test]
fn a_payload_may_be_as_long_as_its_limit() {
    let mut small = Submission::new().payload(b"1234");
    small.0.payload_limit = 4;
    assert_eq!(Bench::new(small.clone()).values[&ValueKind::Payload][..], b"1234"[..]);
    small.0.payload_limit = 3;
    let too_large = Rejection::PayloadTooLarge { bytes: 4, limit: 3 };
    assert_eq!(Bench::default().refused(small, START), too_large);
}

/// The epochs of an execution are above those of an earlier one with the same id, even if that one
/// was leased more often than once in a millisecond, and is removed as early as possible.
/// \[INV-EPOCH-1\]
#[test]
fn epochs_rise_from_a_removed_execution_to_the_next_of_its_id() {
    const LEASES: u64 = 70_000;
    let submission = Submission::new().policy(|policy| policy.retention_ms = ms(0)).idempotent();
    let mut bench = Bench::new(submission.clone());
    assert_eq!(bench.record().epoch, LeaseEpoch(0));
    let mut fence = bench.take(1, START);
    assert_eq!(fence.lease_epoch, epoch(1));
    for number in 2..=LEASES {
        bench.applied(delay(fence, START), START);
        fence = bench.take(number, START);
    }
    assert_eq!(fence.lease_epoch, epoch(LEASES));
    bench.applied(complete(fence, None), START);

    let removed = START + LEASES + 30_000;
    assert_eq!(bench.apply(on_due(), removed - 1), Ok(Answer::Kept(nothing_due())));
    while bench.record.is_some() {
        bench.applied(on_due(), removed);
    }
    // A submission notes its time at most 30 s before its commit.
    bench.applied(submission.creator(2), removed - 29_999);
    let again = bench.take(LEASES + 1, removed);
    assert!(again.lease_epoch > fence.lease_epoch, "{again:?} after {fence:?}");
}
