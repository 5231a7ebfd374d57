//! The data that a command gives to the operation that carries it: the values that arrive with its
//! reply, and the life and the namespace that it is meant for.

use ff_core::error::Rejection;
use ff_core::execution::{
    AnyCommand, AnyOutcome, ChangePriority, Decide, Facts, FenceParts, FirstSeen, InNamespace,
    Offered, ValueKind,
};
use ff_core::id::Namespace;
use ff_core::policy::Priority;
use ff_core::token::WaitpointToken;

use crate::common::suspending::{Reads, any_at, deliver, suspend};
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
        assert_eq!(command.spec().fetches, [ValueKind::Payload], "{}", command.name());
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
        assert_eq!(command.spec().fetches, [], "{}", command.name());
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
    let calls: [AnyCommand; 4] =
        [cancel(call(6)).into(), revoke(call(7)).into(), replay(call(8)).into(), change(9).into()];
    let mut bench = Bench::new(Submission::new());
    let seen = FirstSeen::noted(None, bench.record());
    bench.applied(cancel(call(1)), START);
    bench.applied(replay(call(2)), START);
    assert_eq!(FirstSeen::noted(Some(seen), bench.record()), seen, "the first one stays");
    let reads = Reads { first_seen: Some(seen), ..Reads::default() };
    let superseded = Rejection::Superseded { asked: 0, current: 1 };
    for command in calls {
        assert_eq!(bench.apply_with(&command, &reads, START), Err(superseded.clone()));
    }
    // The call of a holder is bound to its lease instead.
    let fence = bench.take(3, START);
    let by_holder = cancel_by_holder(fence).into();
    assert!(bench.apply_with(&by_holder, &reads, START).is_ok());
}

#[test]
fn what_is_in_another_namespace_is_not_there() {
    let bench = Bench::new(Submission::new());
    let first_seen = Some(FirstSeen { life: 7, suspension: None, origin: None });
    let ask = |name: &str, first_seen| {
        let namespace = Namespace::try_new(name).expect("a namespace");
        let asked = InNamespace { namespace, command: change(1) };
        let facts = Facts { first_seen, ..Facts::of(bench.record.as_ref()) };
        asked.decide(&facts, at(START)).err()
    };
    assert_eq!(ask("another", None), Some(Rejection::NotFound));
    assert_eq!(ask("another", first_seen), Some(Rejection::NotFound));
    assert_eq!(ask("tenant", None), None);
    let superseded = Rejection::Superseded { asked: 7, current: 0 };
    assert_eq!(ask("tenant", first_seen), Some(superseded));
    let absent = InNamespace { namespace: bench.record().namespace.clone(), command: offer(1) };
    assert_eq!(absent.decide(&Facts::default(), at(START)).err(), Some(Rejection::NotFound));
}

/// The spec of a command does not depend on the namespace of its caller.
#[test]
fn a_command_in_a_namespace_is_carried_as_the_command_itself() {
    let namespace = Namespace::try_new("tenant").expect("a namespace");
    let token = WaitpointToken::new("k1:00");
    let commands: [AnyCommand; 4] = [
        Submission::new().into(),
        offer(1).into(),
        deliver(1, &token, 1, "x").into(),
        suspend(FenceParts::MISSING, 1, any_at("a")).into(),
    ];
    for command in commands {
        let spec = command.spec();
        assert_eq!(InNamespace { namespace: namespace.clone(), command }.spec(), spec);
    }
}
