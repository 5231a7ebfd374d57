//! What a command tells the operation that carries it: the values that come with its reply, and the
//! life and the namespace that it is meant for.

use ff_core::error::Rejection;
use ff_core::execution::{
    AnyCommand, AnyOutcome, ChangePriority, Decide, InNamespace, Offered, ValueKind,
};
use ff_core::id::Namespace;
use ff_core::policy::Priority;

use crate::common::{
    Bench, START, Submission, at, call, cancel, cancel_by_holder, complete, execution_id, grant,
    offer, on_due, reclaim_grant, renew, replay, revoke, take_new, take_over, take_resumed,
};

fn change(number: u64) -> ChangePriority {
    let priority = Priority::clamped(1);
    ChangePriority { execution_id: execution_id(), call: call(number), priority }
}

#[test]
fn whoever_takes_work_is_given_its_payload_and_nobody_else() {
    let mut bench = Bench::new(Submission::new());
    let taking: [AnyCommand; 4] =
        [offer(1).into(), take_new(1).into(), take_resumed(1).into(), take_over(1).into()];
    for command in taking {
        assert_eq!(command.fetches(), [ValueKind::Payload], "{}", command.name());
    }
    let fence = bench.take(1, START);
    let others: [AnyCommand; 6] = [
        grant(1).into(),
        reclaim_grant(1).into(),
        renew(fence, 1_000).into(),
        complete(fence, None).into(),
        cancel(call(1)).into(),
        on_due().into(),
    ];
    for command in others {
        assert_eq!(command.fetches(), [], "{}", command.name());
    }
}

#[test]
fn an_offer_that_is_taken_hands_over_the_claim() {
    let mut bench = Bench::new(Submission::new());
    let AnyOutcome::Offer(offered) = bench.applied(offer(1), START) else {
        panic!("an offer is answered with what became of it")
    };
    assert_eq!(
        offered.claimed().map(|claimed| Some(claimed.fence())),
        Some(bench.record().last_fence)
    );
    let given_back = Offered::GivenBack(Rejection::ExecutionNotReclaimable);
    assert!(given_back.claimed().is_none());
}

/// A call that is sent again after another life began must not touch that life.
#[test]
fn an_operators_call_is_bound_to_the_life_that_it_met_first() {
    let mut calls: [AnyCommand; 4] =
        [cancel(call(6)).into(), revoke(call(7)).into(), replay(call(8)).into(), change(9).into()];
    let mut bench = Bench::new(Submission::new());
    for command in &mut calls {
        command.observe(bench.record());
    }
    bench.applied(cancel(call(1)), START);
    bench.applied(replay(call(2)), START);
    let superseded = Rejection::Superseded { asked: 0, current: 1 };
    for mut command in calls {
        command.observe(bench.record());
        assert_eq!(bench.refused(command, START), superseded);
    }
    // What a holder asks for is bound to its lease instead.
    let fence = bench.take(3, START);
    let mut by_holder: AnyCommand = cancel_by_holder(fence).into();
    by_holder.observe(bench.record());
    bench.applied(by_holder, START);
}

#[test]
fn what_is_in_another_namespace_is_not_there() {
    let bench = Bench::new(Submission::new());
    let ask = |name: &str| {
        let namespace = Namespace::try_new(name).expect("a namespace");
        let mut asked = InNamespace { namespace, command: change(1) };
        asked.observe(bench.record());
        let ruling = asked.decide(Some(bench.record()), at(START));
        (asked.command.call.life, ruling.err())
    };
    assert_eq!(ask("another"), (None, Some(Rejection::NotFound)));
    assert_eq!(ask("tenant"), (Some(0), None));
    let absent = InNamespace { namespace: bench.record().namespace.clone(), command: offer(1) };
    assert_eq!(absent.decide(None, at(START)).err(), Some(Rejection::NotFound));
    assert_eq!(absent.fetches(), offer(1).fetches());
}
