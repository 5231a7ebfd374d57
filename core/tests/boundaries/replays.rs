//! Lives: replays, calls that are meant for another life, priority, and the end of retention.

use ff_core::error::Rejection;
use ff_core::execution::{
    AnyOutcome, AttemptKind, ChangePriority, DueKind, EventKind, Replayed, ValueEffect, ValueKind,
};
use ff_core::id::AttemptIndex;
use ff_core::policy::Priority;
use ff_core::score::Score;
use ff_core::state::LifecyclePhase;

use super::{due, nothing_due};
use crate::common::{
    Answer, Bench, START, Submission, at, call, call_for, cancel, complete, epoch, execution_id,
    fail, grant, ms, on_due, replay, revoke,
};

#[test]
fn a_replay_starts_afresh_but_for_epoch_and_attempts() {
    let mut bench = Bench::new(Submission::new().retries(1).deadline(START + 999_000));
    bench.take(1, START);
    bench.applied(revoke(call(1)), START);
    let fence = bench.take(2, START);
    bench.applied(complete(fence, Some(b"result")), START);
    let decision = bench.decision(replay(call(2)), START);
    assert_eq!(decision.values, [ValueEffect::Remove(ValueKind::Result)]);
    let replayed = AnyOutcome::Replay(Replayed { life: 1 });
    assert_eq!(bench.applied(replay(call(2)), START), replayed);
    let record = bench.record();
    let counts = (record.counts.retries, record.counts.reclaims, record.counts.replays);
    assert_eq!((counts, record.deadline), ((0, 0, 1), None));
    bench.take(3, START);
    assert_eq!(bench.record().epoch, epoch(3));
    let attempt = bench.active().attempt;
    assert_eq!((attempt.index, attempt.kind), (AttemptIndex(2), AttemptKind::Replay));
    assert_eq!(bench.repeated(replay(call(2)), START), replayed);
}

#[test]
fn the_eleventh_replay_is_refused() {
    let mut bench = Bench::new(Submission::new());
    for life in 0..=10 {
        assert_eq!(bench.record().counts.replays, life);
        let running = Rejection::ExecutionNotTerminal { lifecycle_phase: LifecyclePhase::Runnable };
        assert_eq!(bench.refused(replay(call(1_000)), START), running);
        bench.applied(cancel(call(u64::from(life))), START);
        let next = replay(call(100 + u64::from(life)));
        if life < 10 {
            bench.applied(next, START);
        } else {
            let exhausted = Rejection::MaxReplaysExhausted { replays: 10 };
            assert_eq!(bench.refused(next, START), exhausted);
        }
    }
    assert_eq!(bench.count(EventKind::Ended), 11);
}

#[test]
fn a_call_for_another_life_is_superseded() {
    let mut bench = Bench::new(Submission::new());
    bench.applied(cancel(call_for(1, 0)), START);
    bench.applied(replay(call_for(2, 0)), START);
    let superseded = Rejection::Superseded { asked: 0, current: 1 };
    assert_eq!(bench.refused(cancel(call_for(3, 0)), START), superseded);
    assert_eq!(bench.refused(revoke(call_for(3, 0)), START), superseded);
    assert_eq!(bench.refused(replay(call_for(3, 0)), START), superseded);
    // A repeat is recognised first, in whatever life.
    bench.repeated(cancel(call_for(1, 0)), START);
    bench.applied(cancel(call_for(3, 1)), START);
}

#[test]
fn the_last_eight_calls_of_operators_are_remembered() {
    let mut bench = Bench::new(Submission::new());
    let change = |number: u64| {
        let (execution_id, priority) = (execution_id(), Priority::clamped(number as i64));
        ChangePriority { execution_id, call: call(number), priority }
    };
    for number in 1..=8 {
        bench.applied(change(number), START);
    }
    let first = AnyOutcome::ChangePriority(Priority::clamped(1));
    assert_eq!(bench.repeated(change(1), START), first);
    bench.applied(change(9), START);
    bench.repeated(change(2), START);
    bench.applied(change(1), START);
}

#[test]
fn a_changed_priority_keeps_its_place_in_time() {
    let mut bench = Bench::new(Submission::new());
    let priority = Priority::clamped(7);
    let change = ChangePriority { execution_id: execution_id(), call: call(1), priority };
    bench.applied(grant(1), START);
    bench.applied(change, START + 500);
    assert_eq!(bench.entries().eligible, None);
    due(&mut bench, START + 20_000);
    assert_eq!(bench.entries().eligible, Some(Score::in_lane(at(START), 0, priority)));
}

#[test]
fn retention_removes_everything_in_one_step() {
    let submission = Submission::new().payload(b"payload").policy(|policy| {
        policy.retention_ms = ms(60_000);
    });
    let mut bench = Bench::new(submission);
    let fence = bench.take(1, START);
    bench.applied(complete(fence, Some(b"result")), START + 10);
    let end = START + 60_010;
    assert_eq!(bench.apply(on_due(), end - 1), Ok(Answer::Kept(nothing_due())));
    assert_eq!(bench.values.len(), 2);
    assert_eq!(due(&mut bench, end), [DueKind::Retention]);
    assert_eq!((bench.values.len(), bench.record.is_none()), (0, true));
    assert_eq!(bench.refused(replay(call(1)), end), Rejection::NotFound);
    assert_eq!(bench.count(EventKind::Removed), 1);
    assert_eq!(bench.refused(complete(fence, None), end), Rejection::NotFound);
}

#[test]
fn however_short_its_retention_is_a_record_is_kept_for_a_minute_from_its_creation() {
    let mut bench = Bench::new(Submission::new().policy(|policy| policy.retention_ms = ms(0)));
    let fence = bench.take(1, START);
    bench.applied(complete(fence, None), START + 10);
    let end = START + 60_000;
    assert_eq!(bench.apply(on_due(), end - 1), Ok(Answer::Kept(nothing_due())));
    assert_eq!(due(&mut bench, end), [DueKind::Retention]);
}

#[test]
fn a_failure_keeps_a_reason_of_bounded_length() {
    let mut bench = Bench::new(Submission::new().retries(0));
    let fence = bench.take(1, START);
    let mut long = fail(fence, "broken");
    long.reason = "ä".repeat(4_000);
    bench.applied(long, START);
    let failure = bench.terminal().outcome.failure().expect("a failure");
    assert_eq!(failure.reason.len(), 4_096);
}
