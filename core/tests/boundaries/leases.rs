//! Leases and fences: renewing, losing, revoking, cancelling, and the order of guards.

use ff_core::error::Rejection;
use ff_core::execution::{
    CreatePendingWaitpoint, DEFAULT_PAYLOAD_LIMIT, DueKind, EventKind, Fence, FenceParts, Progress,
    Situation, UpdateProgress, ValueKind, state_vector,
};
use ff_core::id::LeaseEpoch;
use ff_core::score::Score;
use ff_core::state::{LifecyclePhase, OwnershipState, TerminalOutcome};

use super::{due, not_active, nothing_due};
use crate::common::suspending::pending;
use crate::common::{
    Answer, Bench, LEASE, START, Submission, at, attempt_id, call, cancel, complete, epoch,
    execution_id, fail, lease_id, ms, on_due, renew, revoke,
};

#[test]
fn an_expiry_is_believed_a_minute_beyond_the_ttl_and_no_further() {
    let (bench, _) = Bench::claimed();
    let end = at(START + LEASE);
    // The store's clock has stepped back since the lease was given.
    for (back, expires_at) in [(60_000, end), (60_001, at(START + LEASE - 60_001))] {
        assert_eq!(bench.active().expires_at(at(START - back)), expires_at);
    }
}

#[test]
fn renewing_at_the_expiry_is_too_late_and_one_millisecond_before_is_not() {
    let (mut bench, fence) = Bench::claimed();
    let end = START + LEASE;
    let expired = Rejection::LeaseExpired { expired_at: at(end) };
    assert_eq!(bench.refused(renew(fence, LEASE), end), expired);
    bench.applied(renew(fence, LEASE), end - 1);
    assert_eq!(bench.active().lease.expires_at, at(end - 1 + LEASE));
    assert_eq!(bench.record().last_fence, Some(fence));
    // The timekeeper finds a renewed lease and changes nothing.
    assert_eq!(bench.apply(on_due(), end), Ok(Answer::Kept(nothing_due())));
    assert_eq!(bench.entries().due, Some(Score::at(at(end - 1 + LEASE))));
}

#[test]
fn an_owner_that_lost_its_lease_can_do_nothing_more() {
    let (mut bench, first) = Bench::claimed();
    let end = START + LEASE;
    let expired = Rejection::LeaseExpired { expired_at: at(end) };
    assert_eq!(bench.refused(complete(first, None), end), expired);
    bench.applied(on_due(), end);
    assert_eq!(
        bench.refused(complete(first, None), end - 1),
        expired,
        "though the clock went back"
    );
    let second = bench.take(2, end);
    let stale = Rejection::StaleLease { lease_epoch: epoch(2) };
    assert_eq!(bench.refused(complete(first, None), end), stale);
    assert_eq!(bench.refused(renew(first, LEASE), end), stale);
    bench.applied(complete(second, None), end + 1);
    assert_eq!(bench.refused(complete(first, None), end + 2), stale, "in whatever phase");
}

#[test]
fn a_lease_is_seen_as_expired_the_moment_the_clock_passes_it() {
    let (mut bench, _) = Bench::claimed();
    let end = START + LEASE;
    let ownership = |bench: &Bench, now| state_vector(bench.record(), at(now)).ownership_state;
    assert_eq!(ownership(&bench, end - 1), OwnershipState::Leased);
    assert_eq!(ownership(&bench, end), OwnershipState::LeaseExpiredReclaimable);
    bench.applied(on_due(), end);
    assert_eq!(ownership(&bench, end - 1), OwnershipState::LeaseExpiredReclaimable);
}

#[test]
fn a_repeated_completion_succeeds_and_ends_the_life_once() {
    let (mut bench, fence) = Bench::claimed();
    bench.applied(complete(fence, Some(b"")), START);
    assert_eq!(bench.values[&ValueKind::Result][..], b""[..], "empty is not absent");
    bench.repeated(complete(fence, Some(b"")), START + LEASE);
    assert_eq!(bench.count(EventKind::Ended), 1);
    let over = not_active(&bench, TerminalOutcome::Success, LifecyclePhase::Terminal);
    assert_eq!(bench.refused(fail(fence, "broken"), START), over, "another kind of call");
}

#[test]
fn a_result_may_be_as_long_as_the_limit() {
    let (mut bench, fence) = Bench::claimed();
    let mut result = vec![7; DEFAULT_PAYLOAD_LIMIT + 1];
    let too_large =
        Rejection::PayloadTooLarge { bytes: result.len(), limit: DEFAULT_PAYLOAD_LIMIT };
    assert_eq!(bench.refused(complete(fence, Some(&result)), START), too_large);
    result.pop();
    bench.applied(complete(fence, Some(&result)), START);
    assert_eq!(bench.values[&ValueKind::Result][..], result[..]);
}

#[test]
fn a_repeated_failure_gives_the_same_time_and_no_second_retry() {
    let (mut bench, fence) = Bench::claimed();
    let first = bench.applied(fail(fence, "broken"), START + 10);
    assert_eq!(bench.repeated(fail(fence, "broken"), START + 900), first);
    assert_eq!(bench.record().counts.retries, 1);
    // Also once the next attempt runs.
    bench.take(2, START + 1_010);
    assert_eq!(bench.repeated(fail(fence, "broken"), START + 2_000), first);
}

#[test]
fn guards_come_in_their_order() {
    let mut absent = Bench::default();
    assert_eq!(absent.refused(complete(FenceParts::MISSING, None), START), Rejection::NotFound);
    let (mut bench, fence) = Bench::claimed();
    bench.applied(revoke(call(1)), START);
    let missing = complete(FenceParts::MISSING, None);
    assert_eq!(bench.refused(missing, START), Rejection::FenceRequired);
    let partial = FenceParts { lease_epoch: None, ..fence.into() };
    assert_eq!(bench.refused(complete(partial, None), START), Rejection::PartialFenceTriple);
    for stale in [
        Fence { lease_id: lease_id(2), ..fence },
        Fence { lease_epoch: LeaseEpoch(0), ..fence },
        Fence { attempt_id: attempt_id(2), ..fence },
    ] {
        let rejection = Rejection::StaleLease { lease_epoch: epoch(1) };
        assert_eq!(bench.refused(complete(stale, None), START), rejection);
    }
    let end = START + LEASE;
    assert_eq!(bench.refused(renew(fence, 0), end), Rejection::LeaseRevoked, "before expiry");
    bench.applied(cancel(call(2)), end);
    let over = not_active(&bench, TerminalOutcome::Cancelled, LifecyclePhase::Terminal);
    assert_eq!(bench.refused(renew(fence, 0), end), over, "phase before revocation");
}

#[test]
fn a_cancelled_holder_finds_out_and_only_retention_remains() {
    let (mut bench, fence) = Bench::claimed();
    bench.applied(cancel(call(1)), START + 5);
    let over = not_active(&bench, TerminalOutcome::Cancelled, LifecyclePhase::Terminal);
    assert_eq!(bench.refused(renew(fence, LEASE), START + 6), over);
    let entries = bench.entries();
    assert_eq!((entries.eligible, entries.blocked_route), (None, None));
    let retention = Some(Score::at(at(START + 5 + 86_400_000)));
    assert_eq!((entries.due, entries.retention), (None, retention));
    bench.repeated(cancel(call(1)), START + 7);
    assert_eq!(bench.refused(cancel(call(2)), START + 7), over);
}

#[test]
fn a_revoked_lease_can_be_reclaimed_at_once_and_revoking_again_answers_the_same() {
    let (mut bench, fence) = Bench::claimed();
    let first = bench.applied(revoke(call(1)), START);
    assert_eq!(bench.refused(complete(fence, None), START), Rejection::LeaseRevoked);
    assert_eq!(bench.repeated(revoke(call(1)), START), first);
    assert_eq!(bench.applied(revoke(call(2)), START), first);
    assert_eq!(bench.count(EventKind::LeaseRevoked), 1);
    bench.take(2, START);
    // Late copies of either call leave the new owner alone.
    assert_eq!(bench.repeated(revoke(call(1)), START), first);
    assert_eq!(bench.repeated(revoke(call(2)), START), first);
    assert_eq!(bench.situation(START), Situation::Leased);
}

#[test]
fn an_expired_lease_is_not_revoked() {
    let (mut bench, _) = Bench::claimed();
    let expired = Rejection::LeaseExpired { expired_at: at(START + LEASE) };
    assert_eq!(bench.refused(revoke(call(1)), START + LEASE), expired);
    bench.applied(revoke(call(1)), START + LEASE - 1);
}

#[test]
fn no_lease_ends_after_the_attempt_timeout_or_the_deadline() {
    let mut bench = Bench::new(Submission::new().attempt_timeout(40_000).deadline(START + 35_000));
    let fence = bench.take(1, START);
    assert_eq!(bench.active().lease.expires_at, at(START + LEASE));
    bench.applied(renew(fence, LEASE), START + 20_000);
    assert_eq!(bench.active().lease.expires_at, at(START + 35_000));
    let mut bench = Bench::new(Submission::new().attempt_timeout(40_000));
    let fence = bench.take(1, START);
    bench.applied(renew(fence, LEASE), START + 20_000);
    assert_eq!(bench.active().lease.expires_at, at(START + 40_000));
}

/// The step that anchors the lease again also applies the other timers that are due then.
#[test]
fn a_lease_is_anchored_again_with_what_is_due() {
    let (mut bench, fence) = Bench::claimed();
    let back = START - 100_000;
    let waitpoint =
        CreatePendingWaitpoint { expires_in: Some(ms(3_000)), ..pending(fence, 1, "a") };
    bench.applied(waitpoint, back);
    let now = back + 4_000;
    assert_eq!(due(&mut bench, now), [DueKind::WaitpointExpiry]);
    assert_eq!(bench.active().lease.expires_at, at(now + LEASE));
    assert_eq!(bench.apply(on_due(), now), Ok(Answer::Kept(nothing_due())));
}

#[test]
fn a_lease_is_anchored_again_when_the_clock_has_stepped_back_by_more_than_a_minute() {
    let (mut bench, fence) = Bench::claimed();
    let back = START - 60_000;
    assert_eq!(bench.apply(on_due(), back), Ok(Answer::Kept(nothing_due())), "a minute is fine");
    let decision = bench.decision(on_due(), back - 1);
    assert_eq!(decision.window.not_after, at(back), "no use to a clock that is merely behind");
    bench.applied(on_due(), back - 1);
    assert_eq!(bench.active().lease.expires_at, at(back - 1 + LEASE));
    assert_eq!(bench.record().last_fence, Some(fence));
    bench.applied(complete(fence, None), back - 1);
}

#[test]
fn progress_is_the_last_report_and_no_event() {
    let (mut bench, fence) = Bench::claimed();
    let fence = FenceParts::from(fence);
    let report = |percent| UpdateProgress {
        execution_id: execution_id(),
        fence,
        percent,
        message: Some("m".repeat(1_025)),
    };
    let events = bench.history.len();
    bench.applied(report(100), START);
    bench.applied(report(0), START);
    let message = Some("m".repeat(Progress::MESSAGE_MAX_BYTES));
    assert_eq!(bench.record().progress, Some(Progress { percent: 0, message }));
    assert_eq!(bench.history.len(), events);
    let refused = bench.refused(report(101), START);
    assert!(matches!(refused, Rejection::InvalidInput { field: "percent", .. }));
}
