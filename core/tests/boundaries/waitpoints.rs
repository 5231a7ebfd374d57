//! Waitpoints: opened before a suspension, closed by time, by use and with their attempt.

use ff_core::condition::{Condition, CountKind, MAX_WAITPOINTS, ResumePolicy};
use ff_core::error::Rejection;
use ff_core::execution::{
    AnyCommand, AnyOutcome, CreatePendingWaitpoint, DueKind, EventKind, Fence, FenceParts,
    Situation, Suspend, SuspendOutcome, WaitpointState, next_due,
};
use ff_core::time::TimestampMs;
use ff_core::token::KEYRING_FOR;

use super::due;
use crate::common::suspending::{
    any_at, count, issued, key, pending, resume, signal_id, suspend, suspend_on, token_of,
    waitpoint_id,
};
use crate::common::{
    Answer, Bench, LEASE, START, Submission, at, call, cancel, complete, delay, fail, ms, on_due,
};

fn leased() -> (Bench, Fence) {
    let (bench, fence) = Bench::claimed();
    (bench, fence)
}

fn expiring(fence: Fence, number: u64, after: u64) -> CreatePendingWaitpoint {
    CreatePendingWaitpoint { expires_in: Some(ms(after)), ..pending(fence, number, "a") }
}

fn open(bench: &Bench) -> Vec<&str> {
    let waiting = bench.record().waiting.as_ref().unwrap();
    waiting.open.iter().map(|waitpoint| waitpoint.key.as_str()).collect()
}

#[test]
fn a_waitpoint_is_recognised_by_its_id_and_gives_the_same_token() {
    let (mut bench, fence) = leased();
    let outcome = bench.applied(pending(fence, 1, "a"), START);
    let [waitpoint] = &issued(outcome.clone())[..] else { panic!("one waitpoint") };
    assert_eq!((waitpoint.key.as_str(), waitpoint.created_at), ("a", at(START)));
    assert_eq!(waitpoint.token, token_of(bench.record.as_ref(), waitpoint_id(1)));
    assert_eq!(bench.repeated(pending(fence, 1, "a"), START + 5), outcome);
    assert_eq!(bench.count(EventKind::WaitpointCreated), 1);
    assert_eq!(bench.situation(START), Situation::Leased);
}

#[test]
fn only_the_holder_opens_one() {
    let (mut bench, fence) = leased();
    let missing = pending(FenceParts::MISSING, 1, "a");
    assert_eq!(bench.refused(missing, START), Rejection::FenceRequired);
    bench.applied(pending(fence, 1, "a"), START);
    let never = bench.refused(expiring(fence, 2, 0), START);
    assert!(matches!(never, Rejection::InvalidInput { field: "expires_in", .. }));
    for number in 2..=MAX_WAITPOINTS as u64 {
        bench.applied(pending(fence, number, &format!("w{number}")), START);
    }
    let too_many = bench.refused(pending(fence, 99, "z"), START);
    assert!(matches!(too_many, Rejection::InvalidInput { field: "waitpoints", .. }));
    let expired = bench.refused(pending(fence, 99, "z"), START + LEASE);
    assert!(matches!(expired, Rejection::LeaseExpired { .. }));
}

/// A handler that is called again in the same attempt finds what it had opened.
#[test]
fn a_name_that_is_open_is_handed_out_again() {
    let (mut bench, fence) = leased();
    let first = issued(bench.applied(pending(fence, 1, "a"), START));
    assert_eq!(issued(bench.repeated(pending(fence, 2, "a"), START + 5)), first);
    assert_eq!(issued(bench.repeated(expiring(fence, 3, 4_000), START + 5)), first);
    assert_eq!(bench.count(EventKind::WaitpointCreated), 1);
    bench.signalled(1, 1, "x", START + 6);
    // A suspension takes it by its name too, with what it has buffered.
    bench.applied(suspend(fence, 7, any_at("a")), START + 7);
    assert_eq!(bench.count(EventKind::AlreadySatisfied), 1);
}

/// If a suspension was not needed and kept its waitpoints open, the next one finds them by name.
#[test]
fn what_was_kept_open_unused_is_found_by_its_name() {
    let (mut bench, fence) = leased();
    bench.applied(pending(fence, 1, "inbox"), START);
    bench.signalled(1, 1, "x", START + 1);
    let either = count(1, CountKind::DistinctSignals, &["inbox", "stop"]);
    let policy = ResumePolicy { close_waitpoints: false, ..ResumePolicy::default() };
    for number in [2, 3] {
        bench.applied(Suspend { policy, ..suspend(fence, number, either.clone()) }, START + number);
    }
    assert_eq!(bench.count(EventKind::AlreadySatisfied), 1);
    assert_eq!(bench.situation(START + 3), Situation::Suspended);
    assert_eq!(open(&bench), ["inbox", "stop"]);
}

/// Of several signals that were buffered a suspension uses up those that it needs.
#[test]
fn each_buffered_signal_is_for_one_suspension() {
    let (mut bench, fence) = leased();
    bench.applied(pending(fence, 1, "a"), START);
    for number in 1..=3 {
        bench.signalled(1, number, "x", START + number);
    }
    let policy = ResumePolicy { close_waitpoints: false, ..ResumePolicy::default() };
    for number in 1..=3 {
        let next = Suspend { policy, ..suspend(fence, number, any_at("a")) };
        let outcome = bench.applied(next, START + 3 + number);
        let AnyOutcome::Suspend(SuspendOutcome::AlreadySatisfied { signals, .. }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(signals, [signal_id(number)]);
    }
    bench.applied(Suspend { policy, ..suspend(fence, 4, any_at("a")) }, START + 9);
    assert_eq!(bench.situation(START + 9), Situation::Suspended);
}

/// A waitpoint whose time is over holds neither its name nor its place, marked or not.
#[test]
fn an_expired_waitpoint_makes_room() {
    let end = START + 4_000;
    for suspends in [false, true] {
        let (mut bench, fence) = leased();
        bench.applied(expiring(fence, 1, 4_000), START);
        for number in 2..=MAX_WAITPOINTS as u64 {
            bench.applied(pending(fence, number, &format!("w{number}")), START);
        }
        let too_many: AnyCommand = pending(fence, 99, "z").into();
        assert!(matches!(bench.refused(too_many, end - 1), Rejection::InvalidInput { .. }));
        let again: AnyCommand = match suspends {
            false => pending(fence, 99, "a").into(),
            true => suspend(fence, 99, any_at("a")).into(),
        };
        assert_eq!(bench.decision(again.clone(), end).window.not_before, at(end));
        bench.applied(again, end);
        assert_eq!(bench.count(EventKind::WaitpointExpired), 1);
        assert_eq!(open(&bench).len(), MAX_WAITPOINTS);
        assert_eq!(
            next_due(bench.record()).map(|(_, kind)| kind),
            match suspends {
                false => Some(DueKind::LeaseExpiry),
                true => None,
            }
        );
    }
}

/// No decision that returns tokens holds for longer than the secrets may be gone by.
#[test]
fn tokens_are_handed_out_while_their_secret_is_known() {
    let (bench, fence) = leased();
    let known_until = START + 1_000 + KEYRING_FOR.get();
    let decisions: [AnyCommand; 2] =
        [pending(fence, 1, "a").into(), suspend(fence, 1, any_at("a")).into()];
    for command in decisions {
        let decision = bench.decision(command, START + 1_000);
        assert_eq!(decision.window.not_after, at(known_until));
    }
    let without = suspend(fence, 1, Condition::OperatorOnly);
    assert_eq!(bench.decision(without, START + 1_000).window.not_after, at(START + LEASE));
}

#[test]
fn a_waitpoint_takes_signals_to_its_last_millisecond() {
    for marked in [false, true] {
        let (mut bench, fence) = leased();
        bench.applied(expiring(fence, 1, 4_000), START);
        assert_eq!(next_due(bench.record()), Some((at(START + 4_000), DueKind::WaitpointExpiry)));
        let decision = bench.decision(bench.signal(1, 1, "x"), START + 3_999);
        assert_eq!(decision.window.not_after, at(START + 4_000), "and no decision holds longer");
        let early = suspend_on(fence, 1, any_at("a"), &[1]);
        assert_eq!(bench.decision(early, START + 3_999).window.not_after, at(START + 4_000));
        bench.signalled(1, 1, "x", START + 3_999);
        if marked {
            assert_eq!(due(&mut bench, START + 4_000), [DueKind::WaitpointExpiry]);
            assert_eq!(bench.count(EventKind::WaitpointExpired), 1);
        }
        let late = bench.signal(1, 2, "x");
        assert_eq!(bench.refused(late, START + 4_000), Rejection::WaitpointClosed);
        let late = suspend_on(fence, 1, any_at("a"), &[1]);
        assert_eq!(bench.refused(late, START + 4_000), Rejection::WaitpointClosed);
        assert_eq!(bench.situation(START + 4_000), Situation::Leased);
    }
}

#[test]
fn a_waitpoint_that_a_suspension_uses_does_not_expire() {
    let (mut bench, fence) = leased();
    bench.applied(expiring(fence, 1, 4_000), START);
    bench.applied(suspend_on(fence, 1, any_at("a"), &[1]), START + 3_999);
    assert_eq!(next_due(bench.record()), None);
    assert!(matches!(bench.apply(on_due(), START + 90_000), Ok(Answer::Kept(_))));
    bench.signalled(1, 1, "x", START + 90_000);
    assert_eq!(bench.situation(START + 90_000), Situation::Interrupted);
}

#[test]
fn the_longest_time_of_a_waitpoint_saturates() {
    let (mut bench, fence) = leased();
    bench.applied(expiring(fence, 1, u64::MAX), START);
    let waiting = bench.record().waiting.as_ref().unwrap();
    assert_eq!(waiting.open[0].expires_at(), Some(TimestampMs::MAX));
}

#[test]
fn waitpoints_close_with_their_attempt_and_not_before() {
    let (mut bench, fence) = leased();
    bench.applied(pending(fence, 1, "a"), START);
    bench.applied(delay(fence, START + 10), START);
    bench.signalled(1, 1, "x", START + 5);
    let fence = bench.take(2, START + 10);
    assert_eq!(open(&bench), ["a"], "the same attempt goes on");
    bench.applied(fail(fence, "broken"), START + 11);
    let late = bench.signal(1, 2, "x");
    assert_eq!(bench.refused(late.clone(), START + 12), Rejection::WaitpointClosed);
    bench.take(3, START + 2_000);
    assert_eq!(bench.refused(late, START + 2_000), Rejection::WaitpointClosed);

    for ends in [0, 1, 2] {
        let (mut bench, fence) = leased();
        bench.applied(pending(fence, 1, "a"), START);
        let now = START + 1 + if ends == 2 { LEASE } else { 0 };
        match ends {
            0 => bench.applied(complete(fence, None), now),
            1 => bench.applied(cancel(call(1)), now),
            _ => {
                // Taken over by another attempt.
                bench.take(2, now);
                bench.applied(cancel(call(1)), now)
            }
        };
        let late = bench.signal(1, 1, "x");
        assert_eq!(bench.refused(late, now), Rejection::WaitpointClosed);
        assert_eq!(open(&bench), [""; 0]);
    }
}

#[test]
fn a_lost_lease_leaves_waitpoints_open_until_another_takes_over() {
    let (mut bench, fence) = leased();
    bench.applied(pending(fence, 1, "a"), START);
    bench.signalled(1, 1, "x", START + LEASE);
    bench.applied(on_due(), START + LEASE);
    bench.signalled(1, 2, "x", START + LEASE);
    bench.take(2, START + LEASE);
    let late = bench.signal(1, 3, "x");
    assert_eq!(bench.refused(late, START + LEASE), Rejection::WaitpointClosed);
}

#[test]
fn a_deadline_closes_waitpoints_marked_or_not() {
    let mut bench = Bench::new(Submission::new().deadline(START + 5_000));
    let fence = bench.take(1, START);
    bench.applied(pending(fence, 1, "a"), START);
    let decision = bench.decision(bench.signal(1, 1, "x"), START + 4_999);
    assert_eq!(decision.window.not_after, at(START + 5_000));
    let late = bench.signal(1, 1, "x");
    assert_eq!(bench.refused(late, START + 5_000), Rejection::WaitpointClosed);
}

/// The waitpoint of a suspension that keeps it open, which a signal has resumed.
fn kept_open(consume_signals: bool) -> (Bench, Fence) {
    let (mut bench, fence) = leased();
    let policy =
        ResumePolicy { close_waitpoints: false, consume_signals, ..ResumePolicy::default() };
    bench.applied(Suspend { policy, ..suspend(fence, 1, any_at("a")) }, START);
    bench.signalled(100, 1, "first", START + 1);
    let fence = bench.take(2, START + 2);
    (bench, fence)
}

#[test]
fn a_waitpoint_that_is_kept_takes_signals_under_the_same_token() {
    let (mut bench, fence) = kept_open(true);
    let waiting = bench.record().waiting.as_ref().unwrap();
    assert_eq!(waiting.open[0].state, WaitpointState::Pending { expires_at: None });
    // What resumed does not count again.
    bench.applied(suspend_on(fence, 2, any_at("a"), &[100]), START + 3);
    assert_eq!(bench.situation(START + 3), Situation::Suspended);
    bench.signalled(100, 2, "second", START + 4);
    assert_eq!(bench.situation(START + 4), Situation::Interrupted);
}

#[test]
fn signals_that_are_not_consumed_count_again() {
    let (mut bench, fence) = kept_open(false);
    bench.applied(suspend_on(fence, 2, any_at("a"), &[100]), START + 3);
    assert_eq!(bench.count(EventKind::AlreadySatisfied), 1);
    assert_eq!(bench.situation(START + 3), Situation::Leased);
}

#[test]
fn a_signal_between_two_suspensions_counts_whether_others_were_consumed_or_not() {
    for consume in [true, false] {
        let (mut bench, fence) = kept_open(consume);
        bench.signalled(100, 2, "second", START + 3);
        let condition = Condition::signal(key("a"), crate::common::suspending::name("second"));
        bench.applied(suspend_on(fence, 2, condition, &[100]), START + 4);
        assert_eq!(bench.count(EventKind::AlreadySatisfied), 1);
    }
}

#[test]
fn waitpoints_of_a_suspension_close_with_it_unless_they_are_kept() {
    for (close_waitpoints, wanted) in [(true, &[][..]), (false, &["a"])] {
        let (mut bench, fence) = leased();
        let policy = ResumePolicy { close_waitpoints, ..ResumePolicy::default() };
        bench.applied(pending(fence, 9, "other"), START);
        bench.applied(Suspend { policy, ..suspend(fence, 1, any_at("a")) }, START);
        bench.applied(resume(call(1)), START + 1);
        let kept: Vec<&str> = open(&bench).into_iter().filter(|key| *key != "other").collect();
        assert_eq!(kept, wanted);
        assert!(open(&bench).contains(&"other"), "one that it did not use stays");
    }
}
