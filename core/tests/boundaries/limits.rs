//! Budgets and quotas: a grant needs their answer, and an execution that they hold back is blocked
//! until it is looked at again.

use std::time::Duration;

use ff_core::error::{Missing, Rejection};
use ff_core::execution::{
    Admit, Admitted, AnyCommand, AnyOutcome, BlockKind, CheckSlot, Decide, DueKind, EventKind,
    IssueClaimGrant, Judgement, LimitState, Offer, Offered, Reason, SlotCheck, judge, slot_of,
};
use ff_core::id::{BudgetId, Dimension, SlotId};
use ff_core::quota::{Holder, QuotaLimits, QuotaUse};

use super::due;
use crate::common::limits::{Limit, admission, held_grant_id, quota, slot_id};
use crate::common::suspending::{Reads, decide};
use crate::common::{
    Answer, Bench, START, Submission, at, call, cancel, claim, complete, execution_id, grant,
    offer, reclaim_grant, release, replay, revoke, take_new,
};

fn limited() -> Bench {
    Bench::new(Submission::new().limited())
}

fn held_grant(limit: Limit) -> IssueClaimGrant {
    IssueClaimGrant { grant_id: held_grant_id(1, limit), ..grant(1) }
}

fn held_offer(limit: Limit) -> Offer {
    let mut held = offer(1);
    held.claim.grant_id = held_grant_id(1, limit);
    held
}

fn check(slot: SlotId) -> CheckSlot {
    CheckSlot { execution_id: execution_id(), slot }
}

/// Each command that may give a grant asks the limits first, and only for its own grant.
/// \[INV-QUOTA-1\]
#[test]
fn a_grant_needs_the_admission_of_its_limits() {
    let commands: [AnyCommand; 3] = [grant(1).into(), Admit(grant(1)).into(), offer(1).into()];
    let unread = Rejection::Unread { what: Missing::Limits };
    for command in commands {
        let mut bench = limited();
        let refused = decide(&command, bench.record.as_ref(), at(START)).map(|_| ());
        assert_eq!(refused, Err(unread.clone()), "{}", command.name());
        let other = admission(&grant(2).into(), bench.record.as_ref());
        let reads = Reads { admission: other, ..Reads::nothing(&command) };
        let refused = reads.decide(&command, bench.record.as_ref(), at(START)).map(|_| ());
        assert_eq!(refused, Err(unread.clone()), "{}", command.name());
        bench.applied(command, START);
        assert_eq!(slot_of(bench.record()), Some(slot_id(1)));
    }
    let mut lost = limited();
    lost.take(1, START);
    lost.applied(revoke(call(1)), START);
    let command = reclaim_grant(2).into();
    let refused = decide(&command, lost.record.as_ref(), at(START)).map(|_| ());
    assert_eq!(refused, Err(unread));
    lost.applied(command, START);
    assert_eq!(slot_of(lost.record()), Some(slot_id(2)));
}

#[test]
fn an_execution_without_limits_needs_none_and_takes_no_slot() {
    let mut bench = Bench::new(Submission::new());
    assert!(decide(&offer(1).into(), bench.record.as_ref(), at(START)).is_ok());
    bench.take(1, START);
    assert_eq!(slot_of(bench.record()), None);
}

/// An offer and an admission block the execution until its limit may allow it; a request for a
/// grant is refused.
#[test]
fn an_execution_that_is_held_back_is_looked_at_again_in_time() {
    let wait = |limit| match limit {
        // The first wait of a block is 1 s, and a budget that resets later is checked before.
        Limit::Budget | Limit::NoQuota | Limit::Concurrency => 1_000,
        Limit::Rate => 1_500,
    };
    for limit in Limit::ALL {
        let mut bench = limited();
        let place = bench.entries().eligible;
        assert_eq!(bench.refused(held_grant(limit), START), limit.rejection());
        let mut admitted = bench.clone();
        let outcome = Admitted::HeldByLimit(limit.rejection());
        assert_eq!(admitted.applied(Admit(held_grant(limit)), START), AnyOutcome::Admit(outcome));
        let outcome = Offered::HeldByLimit(limit.rejection());
        assert_eq!(bench.applied(held_offer(limit), START), AnyOutcome::Offer(outcome));
        assert_eq!(admitted, bench);
        let block = bench.record().blocks().and_then(|blocks| blocks.get(limit.kind())).copied();
        let recheck_at = block.and_then(|block| block.recheck_at);
        assert_eq!(recheck_at, Some(at(START + wait(limit))), "{limit:?}");
        assert_eq!((bench.entries().eligible, slot_of(bench.record())), (None, None));
        assert_eq!(bench.count(EventKind::Blocked), 1);
        let awaited = bench.record().limits.as_ref().and_then(|limited| limited.awaited());
        assert_eq!(awaited.is_some(), limit == Limit::Concurrency);
        assert_eq!(
            due(&mut bench, START + wait(limit)),
            [DueKind::Recheck(limit.kind())],
            "{limit:?}"
        );
        assert_eq!(bench.entries().eligible, place, "back in its old place");
    }
}

fn use_of(admitted: u32, holders: usize) -> LimitState {
    let limits = QuotaLimits::new().concurrency(1).rate(2, Duration::from_secs(1));
    let mut usage = QuotaUse::shown(quota(), limits, None, at(START));
    let holder = Holder {
        execution: execution_id(),
        slot: slot_id(9),
        since: at(START),
        check_at: at(START + 10_000),
    };
    (usage.admitted, usage.holders) = (admitted, vec![holder; holders]);
    LimitState::of_quota(quota(), Some(usage))
}

/// `judge` reports a limit by its state until a worker has met it, and by the block from then on.
/// An execution with a grant has been admitted. \[INV-WHY-1\]
#[test]
fn limits_are_told_before_and_after_a_worker_has_met_them() {
    let budget = BudgetId::new("llm");
    let exhausted = LimitState::BudgetExhausted {
        budget: budget.clone(),
        dimension: Dimension::new("tokens"),
        limit: 10,
        resets_at: None,
    };
    let missing = LimitState::of_budget(budget.clone(), None, at(START));
    let free = [LimitState::Budget { budget }, use_of(1, 0)];
    let told = |bench: &Bench, limit: &LimitState| {
        let limits = [&free[..], std::slice::from_ref(limit)].concat();
        match judge(bench.record(), None, None, &limits, at(START)) {
            Judgement::Wait(reasons) => reasons,
            Judgement::Admit => Vec::new(),
        }
    };
    let mut granted = limited();
    granted.applied(grant(1), START);
    for (by, limit) in [
        (Limit::Budget, exhausted),
        (Limit::Budget, missing),
        (Limit::NoQuota, LimitState::of_quota(quota(), None)),
        (Limit::Concurrency, use_of(0, 1)),
        (Limit::Rate, use_of(2, 0)),
    ] {
        let reason = |recheck_at| match by.kind() {
            BlockKind::Budget => Reason::BlockedByBudget { recheck_at },
            _ => Reason::BlockedByQuota { recheck_at },
        };
        let mut bench = limited();
        assert_eq!(told(&bench, &free[0]), []);
        assert_eq!(told(&bench, &limit), [reason(None)]);
        bench.applied(held_offer(by), START);
        let block = bench.record().blocks().and_then(|blocks| blocks.get(by.kind())).copied();
        let recheck_at = block.and_then(|block| block.recheck_at);
        assert!(recheck_at.is_some());
        assert_eq!(told(&bench, &limit), [reason(recheck_at)]);
        assert_eq!(told(&bench, &free[0]), [reason(recheck_at)], "until it is looked at again");
        assert!(matches!(told(&granted, &limit)[..], [Reason::Granted { .. }]));
    }
}

/// One that waits for a rate keeps its turn while other limits hold it back, until it starts.
#[test]
fn a_turn_is_kept_until_the_start() {
    let mut bench = limited();
    let turn = |bench: &Bench| bench.record().limits.as_ref().and_then(|limited| limited.turn);
    bench.applied(held_offer(Limit::Rate), START);
    let given = turn(&bench).expect("a turn");
    due(&mut bench, START + 1_500);
    bench.applied(held_offer(Limit::Concurrency), START + 1_500);
    assert_eq!(turn(&bench), Some(given));
    due(&mut bench, START + 3_500);
    bench.take(1, START + 3_500);
    assert_eq!(turn(&bench), None);
}

/// One that is replayed waits like one that asks for the first time.
#[test]
fn a_turn_ends_with_the_life_of_an_execution() {
    let mut bench = limited();
    let turn = |bench: &Bench| bench.record().limits.as_ref().and_then(|limited| limited.turn);
    bench.applied(held_offer(Limit::Rate), START);
    bench.applied(cancel(call(1)), START);
    bench.applied(replay(call(2)), START);
    assert_eq!(turn(&bench), None);
}

/// A slot is held from the grant to the end of the lease, and a check of any other slot fences
/// commits that would still give it.
#[test]
fn a_slot_is_held_while_its_grant_or_lease_is_out() {
    let mut bench = limited();
    let free = AnyOutcome::CheckSlot(SlotCheck::Free);
    let held = AnyOutcome::CheckSlot(SlotCheck::Held);
    let before = bench.record().clone();
    assert_eq!(bench.applied(check(slot_id(1)), START), free);
    assert_eq!(*bench.record(), before, "a new version with the same content");
    bench.applied(grant(1), START);
    assert_eq!(bench.repeated(check(slot_id(1)), START), held);
    assert_eq!(bench.applied(check(slot_id(2)), START), free);
    let mut given_back = bench.clone();
    given_back.applied(release(1), START);
    assert_eq!(given_back.applied(check(slot_id(1)), START), free);
    bench.applied(take_new(1), START);
    assert_eq!(bench.repeated(check(slot_id(1)), START), held);
    let fence = bench.record().last_fence.unwrap();
    bench.applied(complete(fence, None), START);
    assert_eq!(bench.applied(check(slot_id(1)), START), free);
}

/// A lost lease has no slot, and who takes it over needs one.
#[test]
fn a_takeover_that_a_quota_does_not_allow_is_refused() {
    let limit = Limit::Concurrency;
    let mut bench = limited();
    bench.take(1, START);
    bench.applied(revoke(call(1)), START);
    assert_eq!(slot_of(bench.record()), None);
    let mut reclaim = reclaim_grant(1);
    reclaim.0.grant_id = held_grant_id(1, limit);
    assert_eq!(bench.refused(reclaim, START), limit.rejection());
    let mut again = held_offer(limit);
    again.claim = claim(2);
    again.claim.grant_id = held_grant_id(2, limit);
    let outcome = Offered::HeldByLimit(limit.rejection());
    assert_eq!(bench.applied(again, START), AnyOutcome::Offer(outcome));
    assert!(bench.active().blocks.get(BlockKind::Quota).is_some());
    assert!(matches!(bench.apply(offer(3), START), Ok(Answer::Kept(_))));
    due(&mut bench, START + 1_000);
    bench.take(3, START + 1_000);
    assert_eq!(slot_of(bench.record()), Some(slot_id(3)));
}
