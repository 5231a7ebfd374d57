//! The states that users see of an execution, in every dimension (`docs/spec.md`, 3).

use ff_core::execution::{BlockKind, Fence, Outcome, Start, snapshot, state_vector};
use ff_core::state::StateVector;

use super::due;
use crate::common::{
    Bench, LEASE, START, Submission, at, block, call, cancel, complete, delay, fail, offer_plain,
    replay, revoke, wait_for_children,
};

/// The dimensions in the order of the specification, as words.
fn seen(bench: &Bench, now: u64) -> String {
    let StateVector {
        lifecycle_phase,
        ownership_state,
        eligibility_state,
        blocking_reason,
        terminal_outcome,
        attempt_state,
        public_state,
    } = state_vector(bench.record(), at(now));
    format!(
        "{lifecycle_phase} {ownership_state} {eligibility_state} {blocking_reason} \
         {terminal_outcome} {attempt_state} {public_state}"
    )
}

/// A claimed execution.
fn taken(submission: Submission) -> (Bench, Fence) {
    let mut bench = Bench::new(submission);
    let fence = bench.take(1, START);
    (bench, fence)
}

#[test]
fn what_waits_is_seen_with_its_reason() {
    let waiting = "runnable unowned eligible_now waiting_for_worker none";
    let later = "runnable unowned not_eligible_until_time";
    let bench = Bench::new(Submission::new().start(Start::At(at(START + 1))));
    let delayed = format!("{later} waiting_for_delay none pending_first_attempt delayed");
    assert_eq!(seen(&bench, START), delayed);
    assert_eq!(seen(&bench, START + 1), format!("{waiting} pending_first_attempt waiting"));

    let (mut bench, fence) = taken(Submission::new());
    bench.applied(fail(fence, "broken"), START);
    let retried = format!("{later} waiting_for_retry_backoff none pending_retry_attempt delayed");
    assert_eq!(seen(&bench, START), retried);
    assert_eq!(seen(&bench, START + 1_000), format!("{waiting} pending_retry_attempt waiting"));

    let (mut bench, fence) = taken(Submission::new());
    bench.applied(delay(fence, START + 9), START);
    let delayed = format!("{later} waiting_for_delay none attempt_interrupted delayed");
    assert_eq!(seen(&bench, START + 8), delayed);
    assert_eq!(seen(&bench, START + 9), format!("{waiting} attempt_interrupted waiting"));
    // What holds back longer than time is shown first.
    bench.applied(block(BlockKind::Operator), START);
    let paused = "runnable unowned blocked_by_operator paused_by_operator none \
                  attempt_interrupted waiting";
    assert_eq!(seen(&bench, START), paused);

    let (mut bench, fence) = taken(Submission::new());
    bench.applied(wait_for_children(fence), START);
    let alone = format!("{waiting} attempt_interrupted waiting");
    assert_eq!(seen(&bench, START), alone, "no member of a flow, so no child is open");
}

#[test]
fn what_was_claimed_is_seen_with_what_became_of_its_lease() {
    let (mut bench, _) = taken(Submission::new().requires(&["gpu"]));
    let leased = "active leased not_applicable none none running_attempt active";
    assert_eq!(seen(&bench, START + LEASE - 1), leased);
    let expired = "active lease_expired_reclaimable not_applicable waiting_for_worker none \
                   attempt_interrupted active";
    assert_eq!(seen(&bench, START + LEASE), expired);
    due(&mut bench, START + LEASE);
    assert_eq!(seen(&bench, START), expired, "it stays expired when the clock goes back");

    let (mut bench, _) = taken(Submission::new().requires(&["gpu"]));
    bench.applied(revoke(call(1)), START);
    let revoked = "active lease_revoked not_applicable";
    let open = format!("{revoked} waiting_for_worker none attempt_interrupted active");
    assert_eq!(seen(&bench, START), open);
    bench.applied(offer_plain(2), START);
    let routed = format!("{revoked} waiting_for_capable_worker none attempt_interrupted active");
    assert_eq!(seen(&bench, START), routed);
}

#[test]
fn what_is_over_is_seen_with_its_outcome() {
    let over = "terminal unowned not_applicable none";
    let (mut bench, fence) = taken(Submission::new());
    bench.applied(complete(fence, None), START);
    assert_eq!(seen(&bench, START), format!("{over} success attempt_terminal completed"));
    bench.applied(replay(call(1)), START);
    let again = "runnable unowned eligible_now waiting_for_worker none pending_replay_attempt \
                 waiting";
    assert_eq!(seen(&bench, START), again);

    let (mut bench, fence) = taken(Submission::new().retries(0));
    bench.applied(fail(fence, "broken"), START);
    assert_eq!(seen(&bench, START), format!("{over} failed attempt_terminal failed"));

    let mut bench = Bench::new(Submission::new());
    bench.applied(cancel(call(1)), START);
    assert_eq!(seen(&bench, START), format!("{over} cancelled none cancelled"));

    let mut bench = Bench::new(Submission::new().deadline(START + 1));
    due(&mut bench, START + 1);
    assert_eq!(seen(&bench, START + 1), format!("{over} expired none expired"));
}

#[test]
fn an_outcome_is_told_with_the_reason_that_was_given() {
    let (mut bench, fence) = taken(Submission::new().retries(0));
    bench.applied(fail(fence, "broken"), START);
    assert_eq!(bench.terminal().outcome.to_string(), "failed (broken: it broke)");
    let cancelled = |reason: &str| Outcome::Cancelled { reason: reason.to_owned() }.to_string();
    assert_eq!(cancelled("too late"), "cancelled (too late)");
    assert_eq!(cancelled(""), "cancelled");
    assert_eq!(Outcome::Success.to_string(), "success");
    assert_eq!(Outcome::Expired.to_string(), "expired");
}

#[test]
fn a_snapshot_shows_a_delay_only_while_it_lasts_and_a_lease_only_while_there_is_an_owner() {
    let shown = |bench: &Bench, now: u64| snapshot(bench.record(), at(now));
    let mut bench = Bench::new(Submission::new().start(Start::At(at(START + 5))));
    assert_eq!(shown(&bench, START + 4).delayed_until, Some(at(START + 5)));
    assert_eq!(shown(&bench, START + 5).delayed_until, None);
    due(&mut bench, START + 5);
    let fence = bench.take(1, START + 5);
    let held = shown(&bench, START + 6);
    let lease = held.lease.expect("it is leased");
    assert_eq!((lease.lease_id, lease.acquired_at), (fence.lease_id, at(START + 5)));
    assert_eq!((held.ended_at, held.outcome), (None, None));
    bench.applied(complete(fence, None), START + 7);
    let over = shown(&bench, START + 8);
    assert_eq!((over.ended_at, over.outcome), (Some(at(START + 7)), Some(Outcome::Success)));
    assert_eq!(over.lease, None);
}
