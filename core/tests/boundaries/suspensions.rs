//! Suspensions: conditions and what satisfies them, what is refused, and repeats.

use ff_core::condition::{
    Condition, CountKind, MAX_CONDITION_SIGNALS, MAX_WAITPOINTS, SignalMatcher, SuspensionReason,
    SuspensionTimeout, TimeoutAt, TimeoutBehaviour,
};
use ff_core::error::Rejection;
use ff_core::execution::{
    AnyOutcome, BindWaitpoint, Event, EventKind, Fence, FenceParts, LatestSuspension, SignalEffect,
    SignalOutcome, Situation, Suspend, SuspendOutcome, SuspendedHow, state_vector,
};
use ff_core::state::{BlockingReason, LifecyclePhase, PublicState, TerminalOutcome};
use ff_core::time::TimestampMs;

use super::not_active;
use crate::common::suspending::{
    Reads, all_of, any_at, any_of, count, from_source, issued, key, name, named, pending,
    signal_id, suspend, suspend_on, suspension_id, timeout, token_of, waitpoint_id,
};
use crate::common::{
    Answer, Bench, LEASE, START, at, call, complete, ms, on_due, renew, replay, revoke,
};

fn leased() -> (Bench, Fence) {
    let (bench, fence) = Bench::claimed();
    (bench, fence)
}

/// An execution that waits for this.
pub fn waiting_for(condition: Condition) -> Bench {
    let (mut bench, fence) = leased();
    bench.applied(suspend(fence, 1, condition), START);
    bench
}

/// The effects of signals at waitpoints of suspension 1, one after the other.
fn effects(bench: &mut Bench, signals: &[(u64, u64, &str, Option<&str>)]) -> Vec<SignalEffect> {
    let mut effects = Vec::new();
    for (waitpoint, number, said, source) in signals {
        let mut signal = bench.signal(*waitpoint, *number, said);
        if let Some(source) = source {
            signal = from_source(signal, source);
        }
        effects.push(match bench.applied(signal, START + 1) {
            AnyOutcome::DeliverSignal(SignalOutcome::TriggeredResume { .. }) => {
                SignalEffect::Resumed
            }
            AnyOutcome::DeliverSignal(SignalOutcome::Accepted { effect, .. }) => effect,
            other => panic!("a signal gave {other:?}"),
        });
    }
    effects
}

fn wrong(bench: &mut Bench, command: Suspend, field: &str) -> String {
    match bench.refused(command, START) {
        Rejection::InvalidInput { field: found, problem } if found == field => problem,
        other => panic!("refused with {other:?}"),
    }
}

#[test]
fn a_suspension_gives_the_lease_back_and_hands_out_a_token_for_each_waitpoint() {
    let (mut bench, fence) = leased();
    let command = suspend(fence, 1, all_of([any_at("a"), any_at("b")]));
    let reason = SuspensionReason::Approval;
    let outcome = bench.applied(Suspend { reason, ..command }, START);
    let waitpoints = issued(outcome);
    let keys: Vec<_> = waitpoints.iter().map(|issued| issued.key.as_str()).collect();
    assert_eq!(keys, ["a", "b"]);
    for waitpoint in &waitpoints {
        assert_eq!(waitpoint.token, token_of(bench.record.as_ref(), waitpoint.id));
        assert_eq!(waitpoint.created_at, at(START));
        let held = bench.record().waiting.as_ref().unwrap().waitpoint(waitpoint.id).unwrap().0;
        assert_eq!(held.fingerprint, waitpoint.token.fingerprint());
        assert_eq!(held.kid.as_str(), "k1");
    }
    assert_ne!(waitpoints[0].token, waitpoints[1].token);
    assert_eq!(bench.situation(START), Situation::Suspended);
    let state = state_vector(bench.record(), at(START));
    assert_eq!(state.public_state, PublicState::Suspended);
    assert_eq!(state.blocking_reason, BlockingReason::WaitingForApproval);
    assert_eq!((bench.entries().eligible, bench.entries().due), (None, None));
    let gone = not_active(&bench, TerminalOutcome::None, LifecyclePhase::Suspended);
    assert_eq!(bench.refused(renew(fence, LEASE), START + 1), gone);
    assert_eq!(bench.refused(complete(fence, None), START + 1), gone);
    bench.refused(revoke(call(1)), START);
    bench.refused(replay(call(2)), START);
}

#[test]
fn a_suspension_is_recognised_by_its_id_and_another_one_refused() {
    let (mut bench, fence) = leased();
    let first = suspend(fence, 1, any_at("a"));
    let outcome = bench.applied(first.clone(), START);
    assert_eq!(bench.repeated(first.clone(), START + 5_000), outcome);
    let second = suspend(fence, 2, any_at("b"));
    assert_eq!(bench.refused(second, START + 5_000), Rejection::AlreadySuspended);
    // Also once it was resumed, and the same tokens come back.
    bench.signalled(100, 1, "approved", START + 10);
    assert_eq!(bench.repeated(first.clone(), START + 20), outcome);
    let again = bench.take(2, START + 20);
    assert_eq!(bench.repeated(first, START + 20), outcome);
    bench.applied(suspend(again, 2, any_at("a")), START + 30);
    assert_eq!(bench.count(EventKind::Suspended), 2);
}

#[test]
fn only_the_holder_suspends() {
    let (mut bench, fence) = leased();
    let by = |fence| suspend(fence, 1, any_at("a"));
    assert_eq!(bench.refused(by(FenceParts::MISSING), START), Rejection::FenceRequired);
    let partial = FenceParts { lease_id: None, ..fence.into() };
    assert_eq!(bench.refused(by(partial), START), Rejection::PartialFenceTriple);
    let expired = Rejection::LeaseExpired { expired_at: at(START + LEASE) };
    assert_eq!(bench.refused(by(fence.into()), START + LEASE), expired);
    let decision = bench.decision(by(fence.into()), START + LEASE - 1);
    assert_eq!(decision.window.not_after, at(START + LEASE));
    bench.applied(on_due(), START + LEASE);
    bench.take(2, START + LEASE);
    let stale = bench.refused(by(fence.into()), START + LEASE);
    assert!(matches!(stale, Rejection::StaleLease { .. }));
}

#[test]
fn what_was_buffered_satisfies_at_once_and_the_lease_is_kept() {
    let (mut bench, fence) = leased();
    bench.applied(pending(fence, 50, "a"), START);
    let buffered = SignalOutcome::taken(signal_id(7), SignalEffect::Buffered);
    let outcome = bench.signalled(50, 7, "approved", START + 1);
    assert_eq!(outcome, AnyOutcome::DeliverSignal(buffered));
    let command = suspend_on(fence, 1, named("a", "approved"), &[50]);
    let satisfied = SuspendOutcome::AlreadySatisfied {
        suspension_id: suspension_id(1),
        signals: vec![signal_id(7)],
    };
    let outcome = bench.applied(command.clone(), START + 2);
    assert_eq!(outcome, AnyOutcome::Suspend(satisfied));
    assert_eq!(bench.situation(START + 2), Situation::Leased);
    assert_eq!(
        (bench.count(EventKind::Suspended), bench.count(EventKind::AlreadySatisfied)),
        (0, 1)
    );
    assert_eq!(bench.repeated(command, START + 3), outcome);
    let waiting = bench.record().waiting.as_ref().unwrap();
    assert_eq!(waiting.resumption.as_ref().unwrap().signals, [signal_id(7)]);
    assert!(waiting.open.is_empty(), "its waitpoint was used");
    bench.applied(complete(fence, None), START + 4);
}

#[test]
fn what_was_buffered_counts_and_more_may_be_needed() {
    let (mut bench, fence) = leased();
    bench.applied(pending(fence, 50, "a"), START);
    bench.signalled(50, 7, "approved", START + 1);
    bench.signalled(50, 8, "rejected", START + 1);
    let both = all_of([named("a", "approved"), any_at("b")]);
    let mut command = suspend_on(fence, 1, both, &[50]);
    command.waitpoints.push(BindWaitpoint::New { id: waitpoint_id(51), key: key("b") });
    bench.applied(command, START + 2);
    assert_eq!(bench.situation(START + 2), Situation::Suspended);
    assert_eq!(effects(&mut bench, &[(51, 9, "x", None)]), [SignalEffect::Resumed]);
    let resumption = bench.record().waiting.as_ref().unwrap().resumption.clone().unwrap();
    assert_eq!(resumption.signals, [signal_id(7), signal_id(9)]);
}

#[test]
fn all_of_two_resumes_at_the_second_one() {
    let mut bench = waiting_for(all_of([any_at("a"), any_at("b")]));
    let wanted = [SignalEffect::Counted, SignalEffect::Recorded, SignalEffect::Resumed];
    let signals = [(100, 1, "x", None), (100, 2, "x", None), (101, 3, "x", None)];
    assert_eq!(effects(&mut bench, &signals), wanted);
    let resumption = bench.record().waiting.as_ref().unwrap().resumption.clone().unwrap();
    assert_eq!(resumption.signals, [signal_id(1), signal_id(3)]);
}

#[test]
fn two_sources_are_needed_where_two_are_asked_for() {
    let mut bench = waiting_for(count(2, CountKind::DistinctSources, &["a"]));
    let (counted, recorded) = (SignalEffect::Counted, SignalEffect::Recorded);
    let signals = [
        (100, 1, "x", None),
        (100, 2, "x", Some("alice")),
        (100, 3, "x", Some("alice")),
        (100, 4, "x", Some("bob")),
    ];
    let wanted = [recorded, counted, recorded, SignalEffect::Resumed];
    assert_eq!(effects(&mut bench, &signals), wanted);
}

#[test]
fn waitpoints_and_signals_are_counted_by_themselves() {
    let (counted, recorded, resumed) =
        (SignalEffect::Counted, SignalEffect::Recorded, SignalEffect::Resumed);
    let signals = [(100, 1, "x", None), (100, 2, "x", None), (101, 3, "x", None)];
    let mut bench = waiting_for(count(2, CountKind::DistinctWaitpoints, &["a", "b"]));
    assert_eq!(effects(&mut bench, &signals), [counted, recorded, resumed]);
    let mut bench = waiting_for(count(2, CountKind::DistinctSignals, &["a", "b"]));
    assert_eq!(effects(&mut bench, &signals[..2]), [counted, resumed]);
    // Of a name only, at one of two waitpoints.
    let matcher = SignalMatcher::ByName(name("yes"));
    let (waitpoints, kind) = (vec![key("a"), key("b")], CountKind::DistinctSignals);
    let mut bench = waiting_for(Condition::Count { n: 2, kind, matcher, waitpoints });
    let signals = [(100, 1, "yes", None), (101, 2, "no", None), (101, 3, "yes", None)];
    assert_eq!(effects(&mut bench, &signals), [counted, recorded, resumed]);
}

#[test]
fn another_name_leaves_it_suspended_and_is_recorded() {
    let mut bench = waiting_for(named("a", "approved"));
    assert_eq!(effects(&mut bench, &[(100, 1, "rejected", None)]), [SignalEffect::Recorded]);
    assert_eq!(bench.situation(START + 1), Situation::Suspended);
    assert_eq!(bench.signals[&signal_id(1)].name, name("rejected"));
    assert_eq!(effects(&mut bench, &[(100, 2, "approved", None)]), [SignalEffect::Resumed]);
}

/// A condition in so many levels.
fn nested(depth: usize) -> Condition {
    (1..depth).fold(any_at("a"), |inner, _| all_of([inner]))
}

#[test]
fn conditions_are_nested_to_a_depth_of_four() {
    let mut bench = waiting_for(nested(4));
    assert_eq!(effects(&mut bench, &[(100, 1, "x", None)]), [SignalEffect::Resumed]);
    let (mut bench, fence) = leased();
    let problem = wrong(&mut bench, suspend(fence, 1, nested(5)), "condition");
    assert!(problem.contains("deeper than 4"), "{problem}");
}

#[test]
fn conditions_that_cannot_be_satisfied_are_refused() {
    let (mut bench, fence) = leased();
    let twice = count(1, CountKind::DistinctSignals, &["a", "a"]);
    let (signals, waitpoints) = (CountKind::DistinctSignals, CountKind::DistinctWaitpoints);
    for condition in [
        all_of([]),
        all_of([any_at("a"), all_of([])]),
        count(0, signals, &["a"]),
        count(1, signals, &[]),
        count(3, waitpoints, &["a", "b"]),
        count(65, signals, &["a"]),
        all_of([count(64, signals, &["a"]), any_at("a")]),
        all_of(vec![count(1, signals, &["a", "b", "c", "d", "e"]); 13]),
        all_of([any_at("a"), Condition::OperatorOnly]),
        all_of([Condition::TimeoutOnly]),
        twice,
    ] {
        wrong(&mut bench, suspend(fence, 1, condition), "condition");
    }
    assert_eq!(MAX_CONDITION_SIGNALS, 64);
    bench.applied(suspend(fence, 1, count(64, signals, &["a"])), START);
}

#[test]
fn as_many_waitpoints_are_counted_as_there_are() {
    let (mut bench, fence) = leased();
    bench.applied(suspend(fence, 1, count(2, CountKind::DistinctWaitpoints, &["a", "b"])), START);
}

#[test]
fn waitpoints_are_those_of_the_condition() {
    let (mut bench, fence) = leased();
    let new = |number, text| BindWaitpoint::New { id: waitpoint_id(number), key: key(text) };
    let with = |waitpoints: Vec<BindWaitpoint>| Suspend {
        waitpoints,
        ..suspend(fence, 1, all_of([any_at("a"), any_at("b")]))
    };
    wrong(&mut bench, with(vec![new(1, "a")]), "waitpoints");
    wrong(&mut bench, with(vec![new(1, "a"), new(2, "b"), new(3, "c")]), "waitpoints");
    wrong(&mut bench, with(vec![new(1, "a"), new(1, "b")]), "waitpoints");
    wrong(&mut bench, with(vec![new(1, "a"), new(2, "a")]), "waitpoints");
    for condition in [Condition::OperatorOnly, Condition::TimeoutOnly] {
        let timeout = timeout(5, TimeoutBehaviour::Fail);
        let waitpoints = vec![new(1, "a")];
        let command = Suspend { waitpoints, timeout, ..suspend(fence, 1, condition) };
        wrong(&mut bench, command, "waitpoints");
    }
    // One that is open already and stands twice.
    bench.applied(pending(fence, 9, "a"), START);
    wrong(&mut bench, suspend_on(fence, 1, any_at("a"), &[9, 9]), "waitpoints");
    let unknown = suspend_on(fence, 1, any_at("a"), &[8]);
    assert_eq!(bench.refused(unknown, START), Rejection::WaitpointClosed);
    bench.applied(with(vec![BindWaitpoint::Open { id: waitpoint_id(9) }, new(2, "b")]), START);
}

#[test]
fn sixteen_waitpoints_are_possible_and_no_more() {
    let keys: Vec<String> = (0..=MAX_WAITPOINTS).map(|number| format!("w{number:02}")).collect();
    let on = |count: usize| all_of(keys[..count].iter().map(|key| any_at(key)).collect::<Vec<_>>());
    let (mut bench, fence) = leased();
    wrong(&mut bench, suspend(fence, 1, on(MAX_WAITPOINTS + 1)), "waitpoints");
    bench.applied(suspend(fence, 1, on(MAX_WAITPOINTS)), START);
    assert_eq!(bench.record().waiting.as_ref().unwrap().open.len(), MAX_WAITPOINTS);
}

#[test]
fn a_timeout_is_in_the_future_and_needed_where_nothing_else_resumes() {
    let (mut bench, fence) = leased();
    let problem = wrong(&mut bench, suspend(fence, 1, Condition::TimeoutOnly), "timeout");
    assert!(problem.contains("needed"), "{problem}");
    let with = |when| {
        let timeout = Some(SuspensionTimeout { when, behaviour: TimeoutBehaviour::Fail });
        Suspend { timeout, ..suspend(fence, 1, any_at("a")) }
    };
    wrong(&mut bench, with(TimeoutAt::At(at(START))), "timeout");
    wrong(&mut bench, with(TimeoutAt::At(at(START - 1))), "timeout");
    wrong(&mut bench, with(TimeoutAt::After(ms(0))), "timeout");
    bench.applied(with(TimeoutAt::At(at(START + 1))), START);
    assert_eq!(bench.suspension().timeout.unwrap().at, at(START + 1));
    let latest = bench.record().waiting.as_ref().unwrap().latest.clone().unwrap();
    let LatestSuspension { outcome, .. } = latest;
    assert_eq!(outcome, SuspendedHow::Suspended(Some(at(START + 1))));
}

#[test]
fn the_longest_timeout_saturates() {
    let (mut bench, fence) = leased();
    let longest = timeout(u64::MAX, TimeoutBehaviour::Fail);
    let command = Suspend { timeout: longest, ..suspend(fence, 1, any_at("a")) };
    let AnyOutcome::Suspend(SuspendOutcome::Suspended { timeout_at, .. }) =
        bench.applied(command, START)
    else {
        panic!("not suspended")
    };
    assert_eq!(timeout_at, Some(TimestampMs::MAX));
    let suspended = bench
        .history
        .iter()
        .any(|event| matches!(event, Event::Suspended { timeout_at: Some(TimestampMs::MAX), .. }));
    assert!(suspended);
    bench.signalled(100, 1, "x", START + 1);
}

/// A timeout that is shorter than a commit takes is kept, and may be over immediately. The decision
/// still holds for long enough to be committed.
#[test]
fn a_short_timeout_can_be_committed() {
    for (after, holds) in [(1, 3_000), (2_999, 3_000), (60_000, 60_000)] {
        let (bench, fence) = leased();
        let mut command = suspend(fence, 1, any_at("a"));
        command.timeout = timeout(after, TimeoutBehaviour::AutoResume);
        let decision = bench.decision(command, START);
        assert_eq!(decision.stores_ttl.map(|ttl| ttl.get()), Some(holds), "{after} ms");
        let AnyOutcome::Suspend(SuspendOutcome::Suspended { timeout_at, .. }) = decision.outcome
        else {
            panic!("it is suspended");
        };
        assert_eq!(timeout_at, Some(at(START + after)));
    }
}

/// A signal that an operation has read and that the store has lost since satisfies nothing.
#[test]
fn a_signal_that_was_lost_satisfies_nothing() {
    let (mut bench, fence) = leased();
    bench.applied(pending(fence, 9, "a"), START);
    let command = suspend_on(fence, 1, any_at("a"), &[9]).into();
    let mut read = bench.clone();
    read.signalled(9, 1, "go", START);
    let reads = Reads { buffered: Some(read.buffered()), ..bench.reads(&command, at(START)) };
    match bench.apply_with(&command, &reads, START) {
        Ok(Answer::Applied(AnyOutcome::Suspend(SuspendOutcome::Suspended { .. }))) => {}
        other => panic!("{other:?}"),
    }
}

/// One member of `any_of` is enough, and the worker gets only the signals of satisfied members.
#[test]
fn any_of_takes_the_first_member_that_is_satisfied() {
    use SignalEffect::{Counted, Recorded, Resumed};
    let twice_b = count(2, CountKind::DistinctSignals, &["b"]);
    let either = any_of([named("a", "yes"), twice_b]);
    let resumed = |bench: &Bench| {
        let resumption = bench.record().waiting.as_ref().unwrap().resumption.clone();
        resumption.map(|resumption| resumption.signals)
    };

    // At a: one signal at b has counted in vain.
    let mut bench = waiting_for(either.clone());
    let signals = [(100, 1, "no", None), (101, 2, "x", None), (100, 3, "yes", None)];
    assert_eq!(effects(&mut bench, &signals), [Recorded, Counted, Resumed]);
    assert_eq!(resumed(&bench), Some(vec![signal_id(3)]));

    // At b, twice.
    let mut bench = waiting_for(either.clone());
    let signals = [(101, 1, "x", None), (101, 2, "x", None)];
    assert_eq!(effects(&mut bench, &signals), [Counted, Resumed]);
    assert_eq!(resumed(&bench), Some(vec![signal_id(1), signal_id(2)]));

    // Within all_of, and with an all_of within.
    let mut bench = waiting_for(all_of([any_at("c"), either]));
    let signals = [(101, 1, "x", None), (102, 2, "x", None), (100, 3, "yes", None)];
    assert_eq!(effects(&mut bench, &signals), [Counted, Counted, Resumed]);
    assert_eq!(resumed(&bench), Some(vec![signal_id(2), signal_id(3)]));
    let nested = any_of([all_of([any_at("a"), any_at("b")]), any_at("c")]);
    for (signals, satisfying) in [
        (vec![(100, 1, "x", None), (101, 2, "x", None)], vec![signal_id(1), signal_id(2)]),
        (vec![(101, 1, "x", None), (102, 2, "x", None)], vec![signal_id(2)]),
    ] {
        let mut bench = waiting_for(nested.clone());
        assert_eq!(effects(&mut bench, &signals), [Counted, Resumed]);
        assert_eq!(resumed(&bench), Some(satisfying));
    }
}
