//! Grants and claims: who may use a grant, until when, and how often.

use ff_core::error::Rejection;
use ff_core::execution::{
    Admit, AnyCommand, AnyOutcome, ClaimKind, Decide, DueKind, EventKind, Facts, FirstSeen,
    GrantAudit, IssueClaimGrant, IssueReclaimGrant, ReleaseGrant,
};
use ff_core::id::LaneId;

use super::due;
use crate::common::{
    Bench, GRANT, START, Submission, at, call, epoch, grant, grant_id, instance, ms, offer,
    offer_plain, reclaim_grant, release, revoke, take_new, take_over, take_resumed,
    wait_for_children, worker,
};

#[test]
fn a_grant_is_good_for_any_instance_of_its_worker_and_for_no_other_worker() {
    let mut bench = Bench::new(Submission::new());
    bench.applied(grant(1), START);
    let mut other = take_new(1);
    other.0.worker = worker(2);
    assert_eq!(bench.refused(other, START), Rejection::InvalidClaimGrant);
    let mut sibling = take_new(1);
    sibling.0.instance = instance(9);
    bench.applied(sibling, START);
    assert_eq!(bench.active().lease.instance, instance(9));
}

/// An offer whose first try only applies a timer must not be refused for its own arguments when it
/// is tried again.
#[test]
fn an_offer_or_a_grant_with_wrong_arguments_is_refused_before_anything_changes() {
    let mut bench = Bench::new(Submission::new().requires(&["gpu"]));
    bench.applied(grant(1), START);
    let mut elsewhere = offer_plain(2);
    elsewhere.claim.lane = Some(LaneId::new("elsewhere"));
    let mut endless = offer_plain(2);
    endless.claim.lease_ttl = ms(u64::MAX);
    for now in [START, START + GRANT] {
        for wrong in [elsewhere.clone(), endless.clone()] {
            let refused = bench.refused(wrong, now);
            assert!(matches!(refused, Rejection::InvalidInput { .. }), "{refused:?}");
        }
        let mut request = grant(2);
        request.ttl = ms(u64::MAX);
        let refused = bench.refused(Admit(request), now);
        assert!(matches!(refused, Rejection::InvalidInput { .. }), "{refused:?}");
    }
}

/// A worker that took an entry is not given another execution that was created under its id since:
/// it may be of a kind that the worker does not serve.
#[test]
fn an_offer_is_for_the_execution_that_was_taken() {
    let taken = Bench::new(Submission::new());
    let created_again = Bench::new(Submission::new().creator(2));
    let seen = FirstSeen::noted(None, taken.record());
    for command in [AnyCommand::from(offer(1)), Admit(grant(1)).into()] {
        let ask = |bench: &Bench| {
            let first_seen = Some(seen);
            let facts = Facts { first_seen, ..Facts::of(bench.record.as_ref()) };
            command.decide(&facts, at(START)).map(|_| ())
        };
        assert_eq!(ask(&taken), Ok(()));
        assert_eq!(ask(&created_again), Err(Rejection::NotFound));
    }
}

#[test]
fn a_grant_is_good_until_its_expiry_and_then_another_can_be_issued() {
    let mut bench = Bench::new(Submission::new());
    let place = bench.entries().eligible;
    bench.applied(grant(1), START);
    assert_eq!(bench.entries().eligible, None);
    let end = START + GRANT;
    let live = Rejection::GrantAlreadyExists { expires_at: at(end) };
    assert_eq!(bench.refused(grant(2), end - 1), live);
    let expired = Rejection::ClaimGrantExpired { expired_at: at(end) };
    assert_eq!(bench.refused(take_new(1), end), expired);
    bench.clone().applied(take_new(1), end - 1);

    let mut swept = bench.clone();
    assert_eq!(due(&mut swept, end), [DueKind::GrantExpiry]);
    assert_eq!(swept.entries().eligible, place, "back in its old place");
    assert_eq!(swept.refused(take_new(1), end), Rejection::InvalidClaimGrant);

    bench.applied(grant(2), end);
    assert_eq!(bench.refused(take_new(1), end), Rejection::InvalidClaimGrant);
    bench.applied(take_new(2), end);
}

#[test]
fn a_grant_that_ran_out_is_not_replaced_by_a_clock_that_is_ahead() {
    let mut bench = Bench::new(Submission::new().requires(&["gpu"]));
    bench.applied(grant(1), START);
    let mut lost = Bench::new(Submission::new().requires(&["gpu"]));
    lost.take(1, START);
    lost.applied(revoke(call(1)), START);
    lost.applied(reclaim_grant(2), START);
    let end = START + GRANT;
    let commands: [(&Bench, AnyCommand); 6] = [
        (&bench, grant(3).into()),
        (&bench, offer(3).into()),
        (&bench, offer_plain(3).into()),
        (&lost, reclaim_grant(3).into()),
        (&lost, offer(3).into()),
        (&lost, offer_plain(3).into()),
    ];
    for (bench, command) in commands {
        assert_eq!(bench.decision(command, end).window.not_before, at(end));
    }
}

#[test]
fn a_grant_is_consumed_once_and_a_repeated_claim_gives_the_same_lease() {
    let mut bench = Bench::new(Submission::new());
    bench.applied(grant(1), START);
    let first = bench.applied(take_new(1), START);
    assert_eq!(bench.repeated(take_new(1), START + 5), first);
    let mut again = take_new(2);
    again.0.grant_id = grant_id(1);
    assert_eq!(bench.refused(again, START + 5), Rejection::InvalidClaimGrant);
    assert_eq!(bench.record().epoch, epoch(1));
}

#[test]
fn interrupted_work_wants_a_resumed_claim_and_other_work_does_not() {
    let mut bench = Bench::new(Submission::new());
    bench.applied(grant(1), START);
    assert_eq!(bench.refused(take_resumed(1), START), Rejection::NotAResumedExecution);
    bench.applied(take_new(1), START);
    assert!(!resumes(bench.repeated(grant(1), START)));
    let fence = bench.record().last_fence.unwrap();
    bench.applied(wait_for_children(fence), START);
    assert!(resumes(bench.applied(grant(2), START)));
    assert_eq!(bench.refused(take_new(2), START), Rejection::UseClaimResumedExecution);
    bench.applied(take_resumed(2), START);
    assert_eq!(bench.active().lease.how, ClaimKind::Resumed);
    assert!(resumes(bench.repeated(grant(2), START)), "a repeat says what it said first");
}

/// Whether the grant says that its claim resumes an attempt.
fn resumes(outcome: AnyOutcome) -> bool {
    match outcome {
        AnyOutcome::IssueClaimGrant(granted) => granted.resumes,
        other => panic!("no grant: {other:?}"),
    }
}

#[test]
fn ttls_have_bounds() {
    let mut bench = Bench::new(Submission::new());
    for (ttl, good) in [(0, false), (1, true), (60_000, true), (60_001, false)] {
        let mut request = grant(1);
        request.ttl = ms(ttl);
        assert_eq!(bench.clone().apply(request, START).is_ok(), good, "grant of {ttl}");
    }
    bench.applied(grant(1), START);
    for (ttl, good) in [(0, false), (1, true), (86_400_000, true), (86_400_001, false)] {
        let mut command = take_new(1);
        command.0.lease_ttl = ms(ttl);
        assert_eq!(bench.clone().apply(command, START).is_ok(), good, "lease of {ttl}");
    }
}

#[test]
fn a_grant_that_is_given_back_leaves_the_execution_in_its_place() {
    let mut bench = Bench::new(Submission::new());
    let place = bench.entries().eligible;
    bench.applied(grant(1), START);
    for wrong in [
        ReleaseGrant { grant_id: grant_id(2), ..release(1) },
        ReleaseGrant { worker: worker(2), ..release(1) },
    ] {
        bench.repeated(wrong, START);
        assert_eq!(bench.entries().eligible, None);
    }
    bench.repeated(release(1), START + GRANT);
    let decision = bench.decision(release(1), START + 1);
    assert_eq!(decision.window.not_after, at(START + GRANT));
    bench.applied(release(1), START + 1);
    assert_eq!(bench.entries().eligible, place);
    bench.repeated(release(1), START + 1);
    assert_eq!(bench.refused(take_new(1), START + 1), Rejection::InvalidClaimGrant);

    bench.applied(grant(2), START + 1);
    bench.repeated(release(1), START + 1);
    bench.applied(take_new(2), START + 1);
    bench.repeated(release(2), START + 1);
    assert!(bench.active().is_leased(at(START + 1)), "a grant that was used is not given back");
    assert_eq!(bench.count(EventKind::GrantReleased), 1);
}

#[test]
fn a_reclaim_grant_that_is_given_back_can_be_issued_again() {
    let mut bench = Bench::new(Submission::new());
    bench.take(1, START);
    bench.applied(revoke(call(1)), START);
    bench.applied(reclaim_grant(2), START);
    bench.applied(release(2), START);
    bench.applied(reclaim_grant(3), START);
    bench.applied(take_over(3), START);
}

#[test]
fn a_request_for_a_grant_names_the_lane_that_it_expects() {
    let waiting = Bench::new(Submission::new());
    let mut lost = waiting.clone();
    lost.take(1, START);
    lost.applied(revoke(call(1)), START);
    let right = Some(waiting.record().lane.clone());
    let wrong = IssueClaimGrant { lane: Some(LaneId::new("elsewhere")), ..grant(2) };
    let right = IssueClaimGrant { lane: right, ..grant(2) };
    for refused in [
        waiting.clone().refused(wrong.clone(), START),
        waiting.clone().refused(Admit(wrong.clone()), START),
        lost.clone().refused(IssueReclaimGrant(wrong), START),
    ] {
        assert!(matches!(refused, Rejection::InvalidInput { field: "lane", .. }), "{refused}");
    }
    waiting.clone().applied(right.clone(), START);
    lost.applied(IssueReclaimGrant(right), START);
}

#[test]
fn a_claim_names_the_lane_that_it_expects() {
    let mut bench = Bench::new(Submission::new());
    bench.applied(grant(1), START);
    let (lane, mut wrong) = (bench.record().lane.clone(), take_new(1));
    wrong.0.lane = Some(LaneId::new("elsewhere"));
    let refused = bench.refused(wrong.clone(), START);
    assert!(matches!(refused, Rejection::InvalidInput { field: "lane", .. }), "{refused}");
    let mut right = take_new(1);
    right.0.lane = Some(lane);
    bench.applied(right, START);
    // A repeat gets the same answer, whatever it names.
    bench.repeated(wrong, START);
}

#[test]
fn the_audit_data_of_a_grant_is_bounded() {
    let long = |bytes: usize| Some("x".repeat(bytes));
    let audits = |over: usize| {
        [
            GrantAudit { capability_hash: long(128 + over), ..GrantAudit::default() },
            GrantAudit { route_snapshot_json: long(4_096 + over), ..GrantAudit::default() },
            GrantAudit { admission_summary: long(1_024 + over), ..GrantAudit::default() },
        ]
    };
    let mut lost = Bench::new(Submission::new());
    lost.take(1, START);
    lost.applied(revoke(call(1)), START);
    for (over, good) in [(0, true), (1, false)] {
        for audit in audits(over) {
            let request = IssueClaimGrant { audit: audit.clone(), ..grant(2) };
            let mut bench = Bench::new(Submission::new());
            assert_eq!(bench.apply(request.clone(), START).is_ok(), good, "{audit:?}");
            assert_eq!(lost.clone().apply(IssueReclaimGrant(request), START).is_ok(), good);
        }
    }
}
