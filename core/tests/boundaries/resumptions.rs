//! How suspensions end: by signals, by operators and by their timeout, and the resumption that the
//! next claim returns.

use ff_core::condition::{Condition, ResumePolicy, SuspensionTimeout, TimeoutAt, TimeoutBehaviour};
use ff_core::error::Rejection;
use ff_core::execution::{
    AnyOutcome, AttemptEnd, CloseReason, DelayExecution, DueKind, EventKind, Fence, FirstSeen,
    NotBefore, Offered, Outcome, Phase, ResumedBy, Resumption, SignalEffect, Situation, Suspend,
    next_due, output_closed, snapshot, state_vector,
};
use ff_core::id::AttemptIndex;
use ff_core::state::{BlockingReason, LifecyclePhase, PublicState, TerminalOutcome};
use ff_core::time::TimestampMs;

use super::due;
use crate::common::suspending::{
    Reads, any_at, pending, resume, signal_id, suspend, suspend_on, suspension_id, timeout,
};
use crate::common::{
    Bench, LEASE, START, Submission, at, call, call_for, cancel, complete, delay, fail, ms, offer,
    replay,
};

const OVER: u64 = START + 9_000;

fn leased() -> (Bench, Fence) {
    let (bench, fence) = Bench::claimed();
    (bench, fence)
}

/// An execution that waits for a signal at waitpoint 100 until [`OVER`].
fn waiting(behaviour: TimeoutBehaviour) -> Bench {
    waiting_under(behaviour, ResumePolicy::default())
}

fn waiting_under(behaviour: TimeoutBehaviour, policy: ResumePolicy) -> Bench {
    let (mut bench, fence) = leased();
    let timeout = timeout(OVER - START, behaviour);
    bench.applied(Suspend { timeout, policy, ..suspend(fence, 1, any_at("a")) }, START);
    bench
}

/// The resumption that the claim of that number returns.
#[track_caller]
fn told(bench: &mut Bench, number: u64, now: u64) -> Option<Resumption> {
    match bench.applied(offer(number), now) {
        AnyOutcome::Offer(Offered::Claimed(claimed)) => claimed.resumption,
        other => panic!("not claimed: {other:?}"),
    }
}

fn by(by: ResumedBy, signals: &[u64]) -> Resumption {
    let signals = signals.iter().map(|number| signal_id(*number)).collect();
    Resumption { suspension_id: suspension_id(1), by, signals }
}

#[test]
fn a_suspension_lasts_until_the_last_millisecond_of_its_timeout() {
    for behaviour in TimeoutBehaviour::ALL {
        let mut bench = waiting(behaviour);
        assert_eq!(next_due(bench.record()), Some((at(OVER), DueKind::SuspensionTimeout)));
        assert_eq!(bench.situation(OVER - 1), Situation::Suspended);
        bench.signalled(100, 1, "x", OVER - 1);
        assert_eq!(told(&mut bench, 2, OVER - 1), Some(by(ResumedBy::Signals, &[1])));
    }
}

#[test]
fn a_decision_on_a_signal_holds_no_longer_than_the_suspension() {
    for behaviour in TimeoutBehaviour::ALL {
        let bench = waiting(behaviour);
        let decision = bench.decision(bench.signal(100, 1, "x"), OVER - 1);
        assert_eq!(decision.window.not_after, at(OVER), "{behaviour:?}");
        let decision = bench.decision(resume(call(1)), OVER - 1);
        assert_eq!(decision.window.not_after, at(OVER), "{behaviour:?}");
    }
}

#[test]
fn a_timeout_that_ends_the_life_ends_it_once_and_for_good() {
    for (behaviour, outcome) in [
        (TimeoutBehaviour::Fail, TerminalOutcome::Failed),
        (TimeoutBehaviour::Cancel, TerminalOutcome::Cancelled),
        (TimeoutBehaviour::Expire, TerminalOutcome::Expired),
    ] {
        for late in [0, 1] {
            let mut bench = waiting(behaviour);
            // Unmarked it is over too.
            let signal = bench.signal(100, 1, "x");
            assert_eq!(bench.refused(signal.clone(), OVER + late), Rejection::WaitpointClosed);
            let lifecycle_phase = LifecyclePhase::Suspended;
            let not_suspended = Rejection::ExecutionNotSuspended { lifecycle_phase };
            assert_eq!(bench.refused(resume(call(1)), OVER + late), not_suspended);
            assert_eq!(due(&mut bench, OVER + late), [DueKind::SuspensionTimeout]);
            assert_eq!(bench.record().terminal_outcome(), outcome);
            assert_eq!(bench.refused(signal, OVER + late), Rejection::WaitpointClosed);
            let record = bench.record();
            assert_eq!(record.counts.retries, 0, "it is not tried again");
            let end = &record.past_attempts.last().unwrap().end;
            assert_eq!(*end, AttemptEnd::SuspensionTimedOut);
            let closed = output_closed(record, AttemptIndex(0), at(OVER));
            assert_eq!(closed, Some(CloseReason::SuspensionTimeout));
            if let Outcome::Failed(failure) = &bench.terminal().outcome {
                assert_eq!(failure.category.as_str(), "suspension_timeout");
            }
            assert_eq!((bench.count(EventKind::Ended), bench.count(EventKind::Resumed)), (1, 0));
        }
    }
}

#[test]
fn a_timeout_that_resumes_hands_over_no_signal() {
    for (behaviour, signal) in [
        (TimeoutBehaviour::AutoResume, false),
        (TimeoutBehaviour::AutoResumeWithTimeoutSignal, true),
    ] {
        let mut bench = waiting(behaviour);
        assert_eq!(due(&mut bench, OVER + 7), [DueKind::SuspensionTimeout]);
        assert_eq!(bench.situation(OVER + 7), Situation::Interrupted);
        let wanted = by(ResumedBy::Timeout { signal, at: at(OVER) }, &[]);
        assert_eq!(told(&mut bench, 2, OVER + 8), Some(wanted));
        assert_eq!(bench.active().attempt.index, AttemptIndex(0), "the same attempt goes on");
    }
}

#[test]
fn a_signal_at_the_timeout_does_not_resume() {
    for behaviour in [TimeoutBehaviour::AutoResume, TimeoutBehaviour::AutoResumeWithTimeoutSignal] {
        // Closed by the timeout, whether that is marked or not.
        let mut bench = waiting(behaviour);
        let signal = bench.signal(100, 1, "x");
        assert_eq!(bench.refused(signal.clone(), OVER), Rejection::WaitpointClosed);
        due(&mut bench, OVER);
        assert_eq!(bench.refused(signal, OVER), Rejection::WaitpointClosed);

        // Buffered where the waitpoint stays open.
        let keeps = ResumePolicy { close_waitpoints: false, ..ResumePolicy::default() };
        for marked in [false, true] {
            let mut bench = waiting_under(behaviour, keeps);
            if marked {
                due(&mut bench, OVER);
            } else {
                let decision = bench.decision(bench.signal(100, 1, "x"), OVER);
                assert_eq!(decision.window.not_before, at(OVER));
            }
            bench.signalled(100, 1, "x", OVER);
            assert_eq!(bench.signals[&signal_id(1)].effect, SignalEffect::Buffered);
            assert_eq!(bench.count(EventKind::Resumed), 1);
            let signal = behaviour == TimeoutBehaviour::AutoResumeWithTimeoutSignal;
            let wanted = by(ResumedBy::Timeout { signal, at: at(OVER) }, &[]);
            assert_eq!(told(&mut bench, 2, OVER), Some(wanted));
            // It was not consumed by the timeout.
            let fence = bench.record().last_fence.unwrap();
            bench.applied(suspend_on(fence, 2, any_at("a"), &[100]), OVER);
            assert_eq!(bench.situation(OVER), Situation::Leased);
        }
    }
}

#[test]
fn what_is_escalated_stays_signalable() {
    for marked in [false, true] {
        let mut bench = waiting(TimeoutBehaviour::Escalate);
        if marked {
            assert_eq!(due(&mut bench, OVER + 5), [DueKind::SuspensionTimeout]);
            assert_eq!(bench.count(EventKind::Escalated), 1);
            assert_eq!(bench.suspension().escalated_at, Some(at(OVER)));
            assert_eq!((bench.suspension().timeout, next_due(bench.record())), (None, None));
        }
        assert_eq!(bench.situation(OVER + 5), Situation::Suspended);
        let signal = bench.signal(100, 1, "x");
        let from = if marked { TimestampMs::ZERO } else { at(OVER) };
        for decision in
            [bench.decision(signal.clone(), OVER + 5), bench.decision(resume(call(1)), OVER + 5)]
        {
            assert_eq!(decision.window.not_before, from);
            let told = decision.events.iter().filter(|event| event.kind() == EventKind::Escalated);
            assert_eq!(told.count(), usize::from(!marked), "the journal reports it");
        }
        bench.applied(signal, OVER + 5);
        assert_eq!(bench.count(EventKind::Escalated), 1, "the journal reports it");
        assert_eq!(told(&mut bench, 2, OVER + 6), Some(by(ResumedBy::Signals, &[1])));
    }
}

#[test]
fn an_operator_resumes_whatever_it_waits_for_and_without_signals() {
    for condition in [any_at("a"), Condition::OperatorOnly, Condition::TimeoutOnly] {
        let (mut bench, fence) = leased();
        let timeout = timeout(9_000, TimeoutBehaviour::Fail);
        bench.applied(Suspend { timeout, ..suspend(fence, 1, condition) }, START);
        let first = bench.applied(resume(call(1)), START + 5);
        assert_eq!(bench.repeated(resume(call(1)), START + 6), first);
        let lifecycle_phase = LifecyclePhase::Runnable;
        let refused = bench.refused(resume(call(2)), START + 6);
        assert_eq!(refused, Rejection::ExecutionNotSuspended { lifecycle_phase });
        assert_eq!(
            state_vector(bench.record(), at(START + 6)).public_state,
            PublicState::Resumable
        );
        assert_eq!(told(&mut bench, 2, START + 7), Some(by(ResumedBy::Operator, &[])));
        assert_eq!(bench.repeated(resume(call(1)), START + 8), first);
    }
}

/// A call that was long under way does not resume what its operator has never seen.
#[test]
fn an_operators_resume_is_meant_for_the_suspension_that_it_saw_first() {
    let mut bench = waiting(TimeoutBehaviour::Fail);
    let early = resume(call(1)).into();
    let seen = FirstSeen::noted(None, bench.record());
    bench.signalled(100, 1, "x", START + 1);
    let fence = bench.take(2, START + 2);
    bench.applied(suspend(fence, 2, any_at("b")), START + 3);
    let reads = Reads {
        first_seen: Some(FirstSeen::noted(Some(seen), bench.record())),
        ..Reads::default()
    };
    let lifecycle_phase = LifecyclePhase::Suspended;
    let refused = bench.apply_with(&early, &reads, START + 4);
    assert_eq!(refused, Err(Rejection::ExecutionNotSuspended { lifecycle_phase }));
    bench.applied(resume(call(2)), START + 5);
}

#[test]
fn an_operators_resume_is_meant_for_one_life() {
    let mut bench = waiting(TimeoutBehaviour::Cancel);
    let superseded = Rejection::Superseded { asked: 1, current: 0 };
    assert_eq!(bench.refused(resume(call_for(1, 1)), START), superseded);
    bench.applied(resume(call_for(1, 0)), START);
    let mut bench = Bench::default();
    assert_eq!(bench.refused(resume(call(1)), START), Rejection::NotFound);
}

#[test]
fn signals_counted_before_a_resume_by_others_are_not_handed_over() {
    let (mut bench, fence) = leased();
    let both = crate::common::suspending::all_of([any_at("a"), any_at("b")]);
    let timeout = timeout(9_000, TimeoutBehaviour::AutoResume);
    bench.applied(Suspend { timeout, ..suspend(fence, 1, both) }, START);
    bench.signalled(100, 1, "x", START + 1);
    let mut other = bench.clone();
    other.applied(resume(call(1)), START + 2);
    assert_eq!(told(&mut other, 2, START + 3), Some(by(ResumedBy::Operator, &[])));
    due(&mut bench, OVER);
    let wanted = by(ResumedBy::Timeout { signal: false, at: at(OVER) }, &[]);
    assert_eq!(told(&mut bench, 2, OVER), Some(wanted));
}

#[test]
fn what_is_resumed_waits_for_its_delay_and_no_longer() {
    let policy = ResumePolicy { resume_delay_ms: ms(2_500), ..ResumePolicy::default() };
    for way in 0..3 {
        let mut bench = waiting_under(TimeoutBehaviour::AutoResume, policy);
        let now = match way {
            0 => {
                bench.signalled(100, 1, "x", START + 5);
                START + 5
            }
            1 => {
                bench.applied(resume(call(1)), START + 5);
                START + 5
            }
            _ => {
                due(&mut bench, OVER);
                OVER
            }
        };
        let Phase::Runnable(runnable) = &bench.record().phase else { panic!("not runnable") };
        let NotBefore { until, .. } = runnable.not_before.unwrap();
        assert_eq!(until, at(now + 2_500));
        let state = state_vector(bench.record(), at(now));
        assert_eq!(state.blocking_reason, BlockingReason::WaitingForResumeDelay);
        assert_eq!(bench.situation(now + 2_499), Situation::Delayed);
        assert_eq!(bench.situation(now + 2_500), Situation::Interrupted);
        assert!(told(&mut bench, 2, now + 2_500).is_some());
    }
}

/// An execution that a signal has resumed and a worker has taken.
fn resumed() -> (Bench, Fence) {
    let mut bench = waiting(TimeoutBehaviour::Fail);
    bench.signalled(100, 1, "x", START + 1);
    let fence = bench.take(2, START + 2);
    (bench, fence)
}

/// If a holder gives an attempt back as it was, the next claim takes it as it was, with its
/// signals.
#[test]
fn whoever_takes_what_was_given_back_has_its_signals() {
    let (mut bench, fence) = resumed();
    for number in 3..=4 {
        let fence = if number == 3 { fence } else { bench.record().last_fence.unwrap() };
        let back = DelayExecution { keeps_resumption: true, ..delay(fence, START + number) };
        bench.applied(back, START + number);
        assert_eq!(bench.situation(START + number), Situation::Interrupted);
        let found = told(&mut bench, number, START + number);
        assert_eq!(found, Some(by(ResumedBy::Signals, &[1])));
    }
    // Without a suspension there is nothing to keep.
    let (mut bench, fence) = Bench::claimed();
    bench.applied(DelayExecution { keeps_resumption: true, ..delay(fence, START) }, START);
    assert_eq!(told(&mut bench, 2, START), None);
}

#[test]
fn only_the_claim_that_was_resumed_is_told_of_it() {
    // A repeat of the claim returns the same.
    let (mut bench, fence) = resumed();
    let again = bench.repeated(offer(2), START + 3);
    let AnyOutcome::Offer(Offered::Claimed(claimed)) = again else { panic!("{again:?}") };
    assert_eq!(claimed.resumption, Some(by(ResumedBy::Signals, &[1])));
    // The same attempt, after a delay.
    bench.applied(delay(fence, START + 4), START + 3);
    assert_eq!(told(&mut bench, 3, START + 4), None);

    // A later attempt.
    let (mut bench, fence) = resumed();
    bench.applied(fail(fence, "broken"), START + 3);
    assert_eq!(told(&mut bench, 3, START + 90_000), None);

    // A takeover.
    let (mut bench, _) = resumed();
    assert_eq!(told(&mut bench, 3, START + 2 + LEASE), None);

    // Another life.
    let (mut bench, fence) = resumed();
    bench.applied(complete(fence, None), START + 3);
    bench.applied(replay(call(1)), START + 4);
    assert_eq!(told(&mut bench, 3, START + 4), None);

    // After a second suspension, the claim reports that one.
    let (mut bench, fence) = resumed();
    bench.applied(suspend(fence, 2, any_at("a")), START + 3);
    bench.signalled(200, 2, "x", START + 4);
    let told = told(&mut bench, 3, START + 5).unwrap();
    assert_eq!((told.suspension_id, told.signals), (suspension_id(2), vec![signal_id(2)]));
}

#[test]
fn the_timeout_may_be_an_instant() {
    let (mut bench, fence) = leased();
    let when = TimeoutAt::At(at(OVER));
    let timeout = Some(SuspensionTimeout { when, behaviour: TimeoutBehaviour::Expire });
    bench.applied(Suspend { timeout, ..suspend(fence, 1, any_at("a")) }, START);
    assert_eq!(due(&mut bench, OVER), [DueKind::SuspensionTimeout]);
    assert_eq!(bench.terminal().outcome, Outcome::Expired);
}

#[test]
fn a_deadline_and_an_operator_end_what_is_suspended() {
    let mut bench = Bench::new(Submission::new().deadline(START + 5_000));
    let fence = bench.take(1, START);
    bench.applied(pending(fence, 9, "b"), START);
    bench.applied(suspend(fence, 1, any_at("a")), START);
    assert_eq!(bench.decision(resume(call(1)), START).window.not_after, at(START + 5_000));
    let late = bench.signal(100, 1, "x");
    assert_eq!(bench.refused(late, START + 5_000), Rejection::WaitpointClosed);
    let refused = bench.refused(resume(call(1)), START + 5_000);
    assert!(matches!(refused, Rejection::ExecutionNotSuspended { .. }));
    let mut cancelled = bench.clone();
    assert_eq!(due(&mut bench, START + 5_000), [DueKind::Deadline]);
    assert_eq!(bench.record().terminal_outcome(), TerminalOutcome::Expired);
    cancelled.applied(cancel(call(1)), START + 1);
    for bench in [&bench, &cancelled] {
        assert!(bench.record().waiting.as_ref().unwrap().open.is_empty());
        assert_eq!(bench.terminal().attempt.unwrap().index, AttemptIndex(0));
    }
}

#[test]
fn a_suspended_execution_is_not_timed_out_as_an_attempt() {
    let mut bench = Bench::new(Submission::new().attempt_timeout(1_000));
    let fence = bench.take(1, START);
    bench.applied(suspend(fence, 1, any_at("a")), START + 999);
    assert_eq!(next_due(bench.record()), None);
    bench.signalled(100, 1, "x", START + 50_000);
    bench.take(2, START + 50_000);
    assert_eq!(bench.active().lease.expires_at, at(START + 51_000));
}

#[test]
fn a_snapshot_shows_what_is_waited_for() {
    let bench = waiting(TimeoutBehaviour::Fail);
    let shown = snapshot(bench.record(), at(START));
    let suspension = shown.suspension.expect("it is suspended");
    assert_eq!(suspension.suspension_id, suspension_id(1));
    let keys: Vec<&str> = shown.waitpoints.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys, ["a"]);
}
