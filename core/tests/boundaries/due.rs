//! The effects of time: what is due first, ties, and what happens when nothing is.

use ff_core::execution::{BlockKind, DueKind, EventKind, Next, Outcome, due_times, next_due};
use ff_core::state::TerminalOutcome;

use super::{due, nothing_due};
use crate::common::{
    Answer, Bench, LEASE, START, Submission, at, block, fail, grant, ms, on_due, renew,
};

#[test]
fn nothing_due_keeps_the_record_and_its_version() {
    let mut bench = Bench::new(Submission::new());
    let decision = bench.decision(on_due(), START);
    assert_eq!((decision.next, decision.events, decision.values), (Next::Keep, vec![], vec![]));
    assert_eq!(bench.apply(on_due(), START), Ok(Answer::Kept(nothing_due())));
}

#[test]
fn on_a_tie_the_deadline_is_first_then_the_attempt_timeout_then_the_lease() {
    let timeout = Submission::new().attempt_timeout(LEASE);
    let mut bench = Bench::new(timeout.clone().deadline(START + LEASE));
    bench.take(1, START);
    let mut order: Vec<_> = due_times(bench.record()).collect();
    order.sort();
    let kinds = [DueKind::Deadline, DueKind::AttemptTimeout, DueKind::LeaseExpiry];
    assert_eq!(order, kinds.map(|kind| (at(START + LEASE), kind)));
    assert_eq!(due(&mut bench, START + LEASE), [DueKind::Deadline]);
    assert_eq!(bench.terminal().outcome, Outcome::Expired);

    let mut bench = Bench::new(timeout);
    bench.take(1, START);
    assert_eq!(due(&mut bench, START + LEASE), [DueKind::AttemptTimeout]);
    assert_eq!(bench.count(EventKind::LeaseExpired), 0);
}

#[test]
fn what_is_due_is_applied_in_the_order_of_time() {
    let mut bench = Bench::new(Submission::new().deadline(START + LEASE + 5));
    bench.take(1, START);
    let applied = due(&mut bench, START + LEASE + 9);
    assert_eq!(applied, [DueKind::LeaseExpiry, DueKind::Deadline]);
    assert_eq!((bench.count(EventKind::LeaseExpired), bench.count(EventKind::Ended)), (1, 1));
}

#[test]
fn a_lost_lease_stops_the_attempt_timeout() {
    let mut bench = Bench::new(Submission::new().attempt_timeout(LEASE + 5));
    bench.take(1, START);
    assert_eq!(due(&mut bench, START + LEASE + 9), [DueKind::LeaseExpiry]);
    assert_eq!(next_due(bench.record()), None);
}

#[test]
fn what_follows_from_what_was_due_is_applied_in_the_same_go() {
    let submission = Submission::new().policy(|policy| policy.retention_ms = ms(0));
    let mut bench = Bench::new(submission.deadline(START + 60_000));
    assert_eq!(due(&mut bench, START + 60_000), [DueKind::Deadline, DueKind::Retention]);
    // The end of the life and the removal are two commits, each with its event.
    due(&mut bench, START + 60_000);
    assert_eq!(bench.record, None);
    assert_eq!((bench.count(EventKind::Ended), bench.count(EventKind::Removed)), (1, 1));
}

#[test]
fn the_decision_holds_from_the_latest_thing_that_was_due() {
    let mut bench = Bench::new(Submission::new());
    bench.applied(grant(1), START);
    bench.applied(block(BlockKind::Budget), START);
    let decision = bench.decision(on_due(), START + 90_000);
    assert_eq!(decision.window.not_before, at(START + 20_000));
    let applied = due(&mut bench, START + 90_000);
    assert_eq!(applied, [DueKind::Recheck(BlockKind::Budget), DueKind::GrantExpiry]);
}

#[test]
fn a_deadline_passes_in_every_phase_but_the_last() {
    let mut delayed = Bench::new(Submission::new().deadline(START + 500));
    let fence = delayed.take(1, START);
    delayed.applied(fail(fence, "broken"), START);
    assert_eq!(due(&mut delayed, START + 500), [DueKind::Deadline]);
    assert_eq!(delayed.record().terminal_outcome(), TerminalOutcome::Expired);
    assert!(delayed.terminal().attempt.is_some(), "the last attempt is known");

    let mut leased = Bench::new(Submission::new().deadline(START + 500));
    let fence = leased.take(1, START);
    assert_eq!(due(&mut leased, START + 500), [DueKind::Deadline]);
    leased.refused(renew(fence, LEASE), START + 500);
}
