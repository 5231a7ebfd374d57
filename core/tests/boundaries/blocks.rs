//! Blocks: several reasons at the same time, capabilities that no worker has, and looking again.

use ff_core::error::Rejection;
use ff_core::execution::{
    Admit, AnyOutcome, Block, BlockKind, BlockOutcome, DueKind, EventKind, Offer, Offered,
    Situation, state_vector,
};
use ff_core::score::Score;
use ff_core::state::{BlockingReason, EligibilityState, LifecyclePhase, PublicState};

use super::due;
use crate::common::{
    Answer, Bench, START, Submission, at, block, call, capabilities, execution_id, grant, offer,
    offer_plain, reclaim_grant, revoke, take_new, unblock,
};

fn held_by(kind: Option<BlockKind>) -> BlockOutcome {
    BlockOutcome { held_by: kind }
}

#[test]
fn taking_one_reason_away_leaves_the_others() {
    let mut bench = Bench::new(Submission::new());
    for kind in BlockKind::ALL.into_iter().rev() {
        let outcome = AnyOutcome::Block(held_by(Some(kind)));
        assert_eq!(bench.applied(block(kind), START), outcome, "the first in order is shown");
    }
    bench.repeated(block(BlockKind::Lane), START);
    let shown = |bench: &Bench| state_vector(bench.record(), at(START)).eligibility_state;
    let states = [
        EligibilityState::BlockedByOperator,
        EligibilityState::BlockedByLaneState,
        EligibilityState::BlockedByDependencies,
        EligibilityState::BlockedByBudget,
        EligibilityState::BlockedByQuota,
        EligibilityState::BlockedByRoute,
    ];
    for (position, kind) in BlockKind::ALL.into_iter().enumerate() {
        assert_eq!(shown(&bench), states[position]);
        assert_eq!(bench.entries().eligible, None);
        let next = BlockKind::ALL.get(position + 1).copied();
        assert_eq!(bench.applied(unblock(kind), START), AnyOutcome::Unblock(held_by(next)));
        assert_eq!(bench.repeated(unblock(kind), START), AnyOutcome::Unblock(held_by(next)));
    }
    assert_eq!(shown(&bench), EligibilityState::EligibleNow);
    assert!(bench.entries().eligible.is_some());
}

#[test]
fn users_see_what_holds_an_execution_back() {
    let seen = |kind| {
        let mut bench = Bench::new(Submission::new());
        bench.applied(block(kind), START);
        let state = state_vector(bench.record(), at(START));
        (state.blocking_reason, state.public_state)
    };
    use BlockingReason as Reason;
    let expected = [
        (Reason::PausedByOperator, PublicState::Waiting),
        (Reason::PausedByPolicy, PublicState::Waiting),
        (Reason::WaitingForChildren, PublicState::WaitingChildren),
        (Reason::WaitingForBudget, PublicState::RateLimited),
        (Reason::WaitingForQuota, PublicState::RateLimited),
        (Reason::WaitingForCapableWorker, PublicState::Waiting),
    ];
    assert_eq!(BlockKind::ALL.map(seen), expected);
}

#[test]
fn one_worker_must_have_every_capability() {
    let mut bench = Bench::new(Submission::new().requires(&["gpu", "eu"]));
    let missing = Rejection::CapabilityMismatch { missing: vec!["eu".into(), "gpu".into()] };
    assert_eq!(
        bench.applied(offer_plain(1), START),
        AnyOutcome::Offer(Offered::BlockedByRoute(missing))
    );
    let entries = bench.entries();
    assert_eq!((entries.eligible, entries.blocked_route.is_some()), (None, true));
    let able = |number, tokens: &[&str]| Offer {
        capabilities: capabilities(tokens),
        ..offer_plain(number)
    };
    for half in ["gpu", "eu"] {
        let outcome = bench.repeated(able(2, &[half]), START);
        assert!(matches!(outcome, AnyOutcome::Offer(Offered::BlockedByRoute(_))), "{outcome:?}");
    }
    // Nor does one with all of them lift the block of an operator.
    bench.applied(block(BlockKind::Operator), START);
    let outcome = bench.apply(able(3, &["gpu", "eu"]), START);
    let Ok(Answer::Kept(AnyOutcome::Offer(Offered::GivenBack(_)))) = outcome else {
        panic!("{outcome:?}")
    };
    bench.applied(unblock(BlockKind::Operator), START);
    let before = bench.count(EventKind::Unblocked);
    let outcome = bench.applied(able(4, &["gpu", "eu", "more"]), START);
    assert!(matches!(outcome, AnyOutcome::Offer(Offered::Claimed(_))), "{outcome:?}");
    assert_eq!(bench.count(EventKind::Unblocked), before + 1, "in the same decision");
    assert_eq!(bench.entries().blocked_route, None);
}

#[test]
fn a_grant_is_recognised_although_the_execution_was_blocked_since() {
    let mut bench = Bench::new(Submission::new());
    let admitted = bench.applied(Admit(grant(1)), START);
    bench.applied(block(BlockKind::Route), START);
    assert_eq!(bench.repeated(Admit(grant(1)), START), admitted);
}

#[test]
fn a_route_block_is_looked_at_again_after_one_second_doubling_to_a_minute() {
    let mut bench = Bench::new(Submission::new().requires(&["gpu"]));
    let mut now = START;
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        bench.applied(offer_plain(1), now);
        let recheck = now + seconds * 1_000;
        assert_eq!(bench.entries().due, Some(Score::at(at(recheck))));
        assert_eq!(due(&mut bench, recheck), [DueKind::Recheck(BlockKind::Route)]);
        assert_eq!(bench.situation(recheck), Situation::Waiting);
        now = recheck;
    }
    // A claim begins anew.
    let fence = bench.take(2, now);
    bench.applied(crate::common::delay(fence, now), now);
    bench.applied(offer_plain(3), now);
    assert_eq!(bench.entries().due, Some(Score::at(at(now + 1_000))));
}

#[test]
fn budgets_and_quotas_are_looked_at_when_they_reset_and_operators_never() {
    let mut bench = Bench::new(Submission::new());
    let (execution_id, recheck_at) = (execution_id(), Some(at(START + 90_000)));
    bench.applied(Block { execution_id, kind: BlockKind::Operator, recheck_at }, START);
    assert_eq!(bench.entries().due, None);
    bench.applied(Block { execution_id, kind: BlockKind::Budget, recheck_at }, START);
    assert_eq!(bench.entries().due, Some(Score::at(at(START + 90_000))));
    bench.applied(block(BlockKind::Quota), START);
    assert_eq!(bench.entries().due, Some(Score::at(at(START + 1_000))));
}

#[test]
fn only_a_missing_capability_holds_back_work_whose_lease_was_lost() {
    let mut bench = Bench::new(Submission::new().requires(&["gpu"]));
    bench.take(1, START);
    let running = Rejection::ExecutionNotRunnable { lifecycle_phase: LifecyclePhase::Active };
    assert_eq!(bench.refused(block(BlockKind::Route), START), running);
    bench.applied(revoke(call(1)), START);
    assert_eq!(bench.refused(block(BlockKind::Operator), START), running);
    bench.applied(offer_plain(2), START);
    let entries = bench.entries();
    assert_eq!((entries.eligible, entries.blocked_route.is_some()), (None, true));
    // A capable worker that comes for it directly lets go of the block.
    bench.applied(reclaim_grant(2), START);
    assert_eq!(bench.entries().blocked_route, None);
}

#[test]
fn a_block_that_comes_after_the_grant_still_holds() {
    let mut bench = Bench::new(Submission::new());
    bench.applied(grant(1), START);
    bench.applied(block(BlockKind::Operator), START);
    let runnable = LifecyclePhase::Runnable;
    let rejection = Rejection::ExecutionNotLeaseable { lifecycle_phase: runnable };
    assert_eq!(bench.refused(take_new(1), START), rejection);
    bench.applied(unblock(BlockKind::Operator), START);
    bench.applied(take_new(1), START);
}

#[test]
fn an_offer_that_cannot_be_taken_gives_the_execution_back() {
    let mut bench = Bench::new(Submission::new());
    bench.applied(block(BlockKind::Operator), START);
    let before = bench.clone();
    bench.apply(offer(1), START).unwrap();
    assert_eq!(bench, before);
    assert_eq!(bench.count(EventKind::Claimed), 0);
}

/// No command has marked the lease as lost, and a clock that goes back could give it back.
#[test]
fn a_lease_that_ran_out_unmarked_is_not_held_back_by_a_missing_capability() {
    let (mut bench, _) = Bench::claimed();
    let over = bench.active().lease.expires_at.get();
    let lifecycle_phase = LifecyclePhase::Active;
    let refused = Rejection::ExecutionNotRunnable { lifecycle_phase };
    assert_eq!(bench.refused(block(BlockKind::Route), over), refused);
    due(&mut bench, over);
    bench.applied(block(BlockKind::Route), over);
    assert_eq!(bench.entries().eligible, None);
}
