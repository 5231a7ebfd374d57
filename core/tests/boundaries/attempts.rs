//! Attempts: retries, delays, reclaims and timeouts, and what they count.

use ff_core::error::Rejection;
use ff_core::execution::{
    Admit, Admitted, AnyOutcome, AttemptEnd, AttemptKind, ClaimKind, DueKind, EventKind, Fail,
    FailOutcome, LeaseFate, NextAttempt, Offered, Outcome, Phase, ReclaimGranted, RetryAdvice,
    Situation, state_vector,
};
use ff_core::id::AttemptIndex;
use ff_core::policy::{Backoff, ReclaimMode};
use ff_core::state::EligibilityState::{EligibleNow, NotEligibleUntilTime};
use ff_core::state::{LifecyclePhase, TerminalOutcome};
use ff_core::time::DurationMs;

use super::due;
use crate::common::{
    Answer, Bench, LEASE, START, Submission, at, attempt_id, call, cancel, category, complete,
    delay, epoch, fail, grant, lease_id, ms, offer, reclaim_grant, revoke, take_new, take_over,
    take_resumed,
};

/// A submission whose retries start immediately.
fn eager(max_retries: u32) -> Submission {
    Submission::new().retries(max_retries).policy(|policy| {
        policy.retry.backoff = Backoff::Fixed { delay_ms: ms(0) };
    })
}

#[test]
fn two_retries_are_three_attempts() {
    let mut bench = Bench::new(eager(2));
    for index in 0..3 {
        let fence = bench.take(u64::from(index), START);
        let attempt = bench.active().attempt;
        assert_eq!(attempt.index, AttemptIndex(index));
        let kind = if index == 0 { AttemptKind::Initial } else { AttemptKind::Retry };
        assert_eq!(attempt.kind, kind);
        bench.applied(fail(fence, "broken"), START);
    }
    assert_eq!(bench.record().terminal_outcome(), TerminalOutcome::Failed);
    assert_eq!((bench.record().attempts_total, bench.record().counts.retries), (3, 2));
}

#[test]
fn a_retry_of_a_reclaimed_attempt_counts_retries_and_not_attempts() {
    let mut bench = Bench::new(eager(1));
    bench.take(1, START);
    bench.applied(revoke(call(1)), START);
    let fence = bench.take(2, START);
    assert_eq!(bench.active().attempt.index, AttemptIndex(1));
    bench.applied(fail(fence, "broken"), START);
    let fence = bench.take(3, START);
    assert_eq!(bench.active().attempt.index, AttemptIndex(2));
    let outcome = bench.applied(fail(fence, "broken"), START);
    assert_eq!(outcome, AnyOutcome::Fail(FailOutcome::TerminalFailed));
}

#[test]
fn backoff_is_whole_milliseconds_capped_and_the_same_in_every_run() {
    let run = || {
        let mut bench = Bench::new(Submission::new().retries(9));
        let mut now = START;
        let mut waits = Vec::new();
        for number in 0..9 {
            let fence = bench.take(number, now);
            bench.applied(fail(fence, "broken"), now);
            let Phase::Runnable(runnable) = &bench.record().phase else { panic!("no retry") };
            let until = runnable.not_before.expect("a delay").until;
            waits.push(until.since(at(now)).get());
            now = until.get();
            due(&mut bench, now);
        }
        waits
    };
    let waits = run();
    assert_eq!(waits, run());
    let bases = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000];
    for (wait, base) in waits.iter().zip(bases) {
        assert!((base * 3 / 4..=base).contains(wait), "{wait} of {base}");
    }
}

#[test]
fn what_cannot_be_retried_fails_at_once() {
    let only_network = Submission::new().policy(|policy| {
        policy.retry.retryable_categories = vec![category("network")];
    });
    let after = RetryAdvice::After(DurationMs::new(5));
    for (submission, category, retry, retried) in [
        (Submission::new(), "anything", RetryAdvice::ByPolicy, true),
        (Submission::new(), "anything", RetryAdvice::Never, false),
        (Submission::new(), "anything", after, true),
        (only_network.clone(), "network", RetryAdvice::ByPolicy, true),
        (only_network.clone(), "disk", RetryAdvice::ByPolicy, false),
        (only_network.clone(), "disk", after, false),
        (only_network, "network", RetryAdvice::Never, false),
        (Submission::new().retries(0), "anything", RetryAdvice::ByPolicy, false),
        (Submission::new().retries(0), "anything", after, false),
    ] {
        let mut bench = Bench::new(submission);
        let fence = bench.take(1, START);
        let outcome = bench.applied(Fail { retry, ..fail(fence, category) }, START);
        let scheduled = matches!(outcome, AnyOutcome::Fail(FailOutcome::RetryScheduled { .. }));
        assert_eq!(scheduled, retried, "{category}, {retry:?}");
        assert_eq!(bench.count(EventKind::Ended), usize::from(!retried));
    }
}

#[test]
fn a_delayed_attempt_goes_on_under_a_new_epoch() {
    let (mut bench, fence) = Bench::claimed();
    let attempt = bench.active().attempt;
    bench.applied(delay(fence, START + 100), START);
    assert_eq!(bench.situation(START + 99), Situation::Delayed);
    assert_eq!(bench.situation(START + 100), Situation::Interrupted);
    bench.repeated(delay(fence, START + 100), START + 100);
    bench.applied(grant(2), START + 100);
    bench.applied(take_resumed(2), START + 100);
    assert_eq!(bench.active().attempt, attempt, "the same id and index");
    let resumed = bench.record().last_fence.unwrap();
    assert_eq!((resumed.lease_id, resumed.lease_epoch), (lease_id(2), epoch(2)));
    assert_eq!(resumed.attempt_id, attempt_id(1));
    assert_eq!(bench.record().attempts_total, 1);
}

#[test]
fn a_delay_that_is_over_must_be_over_by_the_clock_of_the_store() {
    let (mut bench, fence) = Bench::claimed();
    let window = bench.decision(delay(fence, START + 50), START + 50).window;
    assert_eq!((window.not_before, window.not_after), (at(START + 50), at(START + LEASE)));
    let window = bench.decision(delay(fence, START + 51), START + 50).window;
    assert!(window.contains(at(START)), "a delay that is still ahead can be stored at any time");
    bench.applied(delay(fence, START + 50), START + 50);
    assert_eq!(bench.situation(START + 50), Situation::Interrupted);
}

#[test]
fn a_reclaim_is_a_new_attempt_and_no_retry() {
    let (mut bench, _) = Bench::claimed();
    let end = START + LEASE;
    assert_eq!(bench.refused(reclaim_grant(2), end - 1), Rejection::ExecutionNotReclaimable);
    bench.applied(reclaim_grant(2), end);
    assert_eq!(bench.active().fate, LeaseFate::Expired, "marked, for a clock that goes back");
    bench.applied(take_over(2), end);
    let record = bench.record();
    assert_eq!((record.epoch, record.attempts_total), (epoch(2), 2));
    assert_eq!((record.counts.reclaims, record.counts.retries), (1, 0));
    assert_eq!(record.past_attempts[0].end, AttemptEnd::Interrupted);
    assert_eq!(bench.active().attempt.kind, AttemptKind::Reclaim);
    assert_eq!(bench.active().lease.how, ClaimKind::Reclaimed);
}

#[test]
fn a_reclaim_holds_only_from_the_expiry_on() {
    let (bench, _) = Bench::claimed();
    let end = START + LEASE;
    let window = bench.decision(offer(2), end + 700).window;
    assert_eq!(window.not_before, at(end));
}

#[test]
fn nothing_is_taken_over_once_its_deadline_has_passed() {
    let end = START + LEASE;
    let mut bench = Bench::new(Submission::new().deadline(end + 100));
    bench.take(1, START);
    bench.applied(reclaim_grant(2), end);
    let lifecycle_phase = LifecyclePhase::Active;
    let refused = Rejection::ExecutionNotLeaseable { lifecycle_phase };
    assert_eq!(bench.refused(take_over(2), end + 100), refused);
    bench.applied(take_over(2), end + 99);
}

#[test]
fn the_reclaim_over_the_cap_fails_the_execution_once() {
    let mut bench = Bench::new(Submission::new().policy(|policy| policy.max_reclaim_count = 2));
    for number in 0..3 {
        bench.take(number, START);
        bench.applied(revoke(call(number)), START);
    }
    let exceeded = AnyOutcome::IssueReclaimGrant(ReclaimGranted::CapExceeded { reclaims: 2 });
    let mut offered = bench.clone();
    assert_eq!(bench.applied(reclaim_grant(9), START), exceeded);
    let failure = bench.terminal().outcome.failure().expect("a failure");
    assert_eq!(failure.reason, "max_reclaims_exceeded");
    assert_eq!((bench.count(EventKind::Ended), bench.record().grant()), (1, None));
    assert_eq!(bench.repeated(reclaim_grant(9), START), exceeded);
    let outcome = AnyOutcome::Offer(Offered::CapExceeded { reclaims: 2 });
    assert_eq!(offered.applied(offer(9), START), outcome);
    assert_eq!(offered.count(EventKind::Ended), 1);
}

#[test]
fn what_is_reclaimed_on_request_is_never_offered() {
    let on_request = |policy: &mut ff_core::policy::ExecutionPolicy| {
        policy.reclaim_mode = ReclaimMode::OnRequest;
    };
    let mut bench = Bench::new(Submission::new().policy(on_request));
    bench.take(1, START);
    bench.applied(revoke(call(1)), START);
    assert_eq!(bench.entries().eligible, None);
    let given_back = Offered::GivenBack(Rejection::ExecutionNotReclaimable);
    assert_eq!(bench.apply(offer(2), START), Ok(Answer::Kept(AnyOutcome::Offer(given_back))));
    bench.applied(reclaim_grant(2), START);
    bench.applied(take_over(2), START);
}

#[test]
fn an_admission_is_recognised_while_the_lease_of_its_grant_lasts() {
    for mode in [ReclaimMode::Automatic, ReclaimMode::OnRequest] {
        let submission = Submission::new().policy(|policy| policy.reclaim_mode = mode);
        let mut bench = Bench::new(submission);
        bench.applied(Admit(grant(1)), START);
        bench.applied(take_new(1), START);
        let again = bench.repeated(Admit(grant(1)), START + 1);
        assert!(matches!(again, AnyOutcome::Admit(Admitted::ReclaimGranted(_))), "{again:?}");
    }
}

#[test]
fn an_attempt_timeout_is_a_failure_and_is_armed_anew() {
    let mut bench = Bench::new(eager(1).attempt_timeout(10_000));
    let first = bench.take(1, START);
    assert_eq!(due(&mut bench, START + 10_000), [DueKind::AttemptTimeout]);
    assert!(matches!(&bench.record().phase,
        Phase::Runnable(runnable) if runnable.next == NextAttempt::Retry));
    let AttemptEnd::Failed(failure) = &bench.record().past_attempts[0].end else {
        panic!("the attempt has not failed")
    };
    assert_eq!(failure.category, category("attempt_timeout"));
    assert!(bench.refused(complete(first, None), START).kind().row().name.contains("NotActive"));
    bench.take(2, START + 10_000);
    assert_eq!(bench.active().lease.expires_at, at(START + 20_000));
    assert_eq!(due(&mut bench, START + 20_000), [DueKind::AttemptTimeout]);
    assert_eq!(bench.record().terminal_outcome(), TerminalOutcome::Failed);
}

#[test]
fn an_attempt_timeout_runs_only_under_a_lease_and_starts_again_when_resumed() {
    let mut bench = Bench::new(Submission::new().attempt_timeout(10_000));
    let fence = bench.take(1, START);
    bench.applied(delay(fence, START + 60_000), START + 9_000);
    assert_eq!(due(&mut bench, START + 60_000), [DueKind::DelayOver]);
    let fence = bench.take(2, START + 60_000);
    assert_eq!(bench.record().counts.retries, 0);
    bench.applied(complete(fence, None), START + 69_999);
}

#[test]
fn an_attempt_whose_time_is_over_is_not_taken_over() {
    let mut bench = Bench::new(eager(1).attempt_timeout(LEASE));
    bench.take(1, START);
    let end = START + LEASE;
    assert_eq!(bench.refused(reclaim_grant(2), end), Rejection::ExecutionNotReclaimable);
    // A claimer that meets it gives it back, and its timeout is applied on the way.
    let given_back = Offered::GivenBack(Rejection::ExecutionNotReclaimable);
    assert_eq!(bench.applied(offer(2), end), AnyOutcome::Offer(given_back));
    assert_eq!((bench.record().counts.retries, bench.record().counts.reclaims), (1, 0));
    bench.applied(grant(3), end);
    bench.applied(take_new(3), end);
    assert_eq!(bench.active().attempt.kind, AttemptKind::Retry);
}

#[test]
fn a_cancelled_attempt_ends_with_its_execution() {
    let (mut bench, fence) = Bench::claimed();
    bench.applied(delay(fence, START + 100), START);
    bench.applied(cancel(call(1)), START);
    assert_eq!(bench.record().past_attempts[0].end, AttemptEnd::Cancelled);
    let cancelled = Outcome::Cancelled { reason: "not needed".to_owned() };
    assert_eq!(bench.terminal().outcome, cancelled);
}

#[test]
fn a_worker_that_uses_the_category_of_too_many_reclaims_is_not_taken_for_one() {
    let mut bench = Bench::new(Submission::new().retries(0));
    let fence = bench.take(1, START);
    bench.applied(fail(fence, "max_reclaims_exceeded"), START);
    assert_eq!(bench.refused(reclaim_grant(2), START), Rejection::ExecutionNotReclaimable);
    assert_eq!(bench.refused(take_over(2), START), Rejection::InvalidClaimGrant);
}

/// The worker's time for a retry replaces the backoff of the policy, without jitter, and counts as
/// a retry.
#[test]
fn a_retry_starts_after_the_time_that_the_worker_gives() {
    for wait in [0, 1, 250, 86_400_000, u64::MAX] {
        let mut bench = Bench::new(Submission::new());
        let fence = bench.take(1, START);
        let retry = RetryAdvice::After(DurationMs::new(wait));
        let outcome = bench.applied(Fail { retry, ..fail(fence, "busy") }, START);
        let until = at(START).plus(DurationMs::new(wait));
        assert_eq!(outcome, AnyOutcome::Fail(FailOutcome::RetryScheduled { delay_until: until }));
        assert_eq!(bench.record().counts.retries, 1);
        let state = state_vector(bench.record(), at(START)).eligibility_state;
        let waits = if wait == 0 { EligibleNow } else { NotEligibleUntilTime };
        assert_eq!(state, waits, "{wait} ms");
    }
}
