//! Suspensions: conditions, timeouts, resumes, and the signals for the worker (`docs/spec.md`, 5).

use std::time::Duration;

use ff_sdk::core::error::{Rejection, RejectionKind};
use ff_sdk::core::execution::{AttemptEnd, AttemptKind, ResumedBy};
use ff_sdk::core::id::{AttemptIndex, ExecutionId};
use ff_sdk::core::policy::{Backoff, RetryPolicy};
use ff_sdk::core::state::{BlockingReason, PublicState};
use ff_sdk::core::time::{DurationMs, TimestampMs};
use ff_sdk::{
    ClaimedTask, Client, Condition, CountKind, IssuedWaitpoint, Signal, SignalEffect,
    SignalMatcher, SignalOutcome, SuspendOutcome, Suspension, SuspensionReason, TimeoutBehaviour,
};

use crate::fixture::Fixture;
use crate::kit::{
    claim, describe, endings, is_idle, kind, ms, nth_epoch, rejection, secs, send, send_from,
    state, submit, submitted, work,
};

/// Suspends a task with a condition that is not satisfied yet.
async fn suspend(task: ClaimedTask, suspension: Suspension) -> Vec<IssuedWaitpoint> {
    match task.suspend(suspension).await.expect("the store answers") {
        SuspendOutcome::Suspended { waitpoints, .. } => waitpoints,
        SuspendOutcome::AlreadySatisfied(_) => panic!("no signal was sent yet"),
    }
}

fn signal_named(waitpoint: &str, name: &str) -> Condition {
    Condition::signal(waitpoint.parse().expect("a key"), name.parse().expect("a name"))
}

fn any_signal(waitpoint: &str) -> Condition {
    Condition::any_signal(waitpoint.parse().expect("a key"))
}

/// The effect of a signal that was taken.
fn effect(outcome: SignalOutcome) -> SignalEffect {
    match outcome {
        SignalOutcome::Accepted { effect, .. } => effect,
        SignalOutcome::TriggeredResume { .. } => SignalEffect::Resumed,
        SignalOutcome::Duplicate { .. } => panic!("the signal was not taken: {outcome:?}"),
    }
}

/// A suspended execution shows its reason and releases its lease. After a signal it continues the
/// same attempt under the next epoch, with that signal.
pub async fn a_signal_resumes_the_same_attempt(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let task = claim(&worker).await;
    let attempt = task.attempt_id();
    let asked = Suspension::until_signal("approval").unwrap().reason(SuspensionReason::Approval);
    let waitpoints = suspend(task, asked).await;
    let seen = describe(&client, &id).await;
    assert_eq!(seen.state.public_state, PublicState::Suspended);
    assert_eq!(seen.state.blocking_reason, BlockingReason::WaitingForApproval);
    assert_eq!(seen.waitpoints.len(), 1);
    assert!(is_idle(&worker).await);

    let signal = send(&client, &id, &waitpoints[0], "approved").await;
    assert_eq!(effect(signal.unwrap()), SignalEffect::Resumed);
    assert_eq!(state(&client, &id).await, PublicState::Resumable);
    let task = claim(&worker).await;
    assert_eq!((task.attempt_id(), task.attempt_index()), (attempt, AttemptIndex(0)));
    assert_eq!(task.lease_epoch(), nth_epoch(&client, &id, 2).await);
    let signals = task.resume_signals().await.unwrap();
    assert_eq!(signals.len(), 1);
    assert_eq!(signals[0].name.as_str(), "approved");
    assert_eq!(signals[0].payload.as_deref(), Some(&b"approved"[..]));
    task.complete(None).await.unwrap();
}

/// A second suspension under the fence of the released lease is refused.
pub async fn a_second_suspension_is_refused(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let task = claim(&worker).await;
    let fence = crate::kit::fence_of(&task);
    suspend(task, Suspension::until_operator()).await;
    let again = crate::kit::suspend_command(fixture, id, fence, Condition::OperatorOnly);
    assert_eq!(kind(client.execute(again).await), RejectionKind::AlreadySuspended);
    assert_eq!(state(&client, &id).await, PublicState::Suspended);
}

/// With all of {a, b}, the signals a, a, b resume at b (`docs/spec.md`, 5).
pub async fn all_of_two_waitpoints_waits_for_both(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let both = Condition::AllOf { members: vec![any_signal("a"), any_signal("b")] };
    let waitpoints = suspend(claim(&worker).await, Suspension::until(both)).await;
    let at = |key: &str| waitpoints.iter().find(|at| at.key.as_str() == key).unwrap();
    let first = send(&client, &id, at("a"), "one").await.unwrap();
    let second = send(&client, &id, at("a"), "two").await.unwrap();
    assert_eq!(effect(first), SignalEffect::Counted);
    assert_eq!(effect(second), SignalEffect::Recorded);
    assert_eq!(state(&client, &id).await, PublicState::Suspended);
    assert_eq!(effect(send(&client, &id, at("b"), "three").await.unwrap()), SignalEffect::Resumed);
    let signals = claim(&worker).await.resume_signals().await.unwrap();
    let names: Vec<_> = signals.iter().map(|signal| signal.name.as_str()).collect();
    assert_eq!(names, ["one", "three"]);
}

/// With any of {a, 2 at b}, one signal at b only counts, and one at a resumes; the worker gets that
/// one alone (`docs/spec.md`, 5).
pub async fn any_of_two_waitpoints_waits_for_one(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let twice_b = Condition::Count {
        n: 2,
        kind: CountKind::DistinctSignals,
        matcher: SignalMatcher::Wildcard,
        waitpoints: vec!["b".parse().unwrap()],
    };
    let either = Condition::AnyOf { members: vec![any_signal("a"), twice_b] };
    let waitpoints = suspend(claim(&worker).await, Suspension::until(either)).await;
    let at = |key: &str| waitpoints.iter().find(|at| at.key.as_str() == key).unwrap();
    let counted = send(&client, &id, at("b"), "one").await.unwrap();
    assert_eq!(effect(counted), SignalEffect::Counted);
    assert_eq!(state(&client, &id).await, PublicState::Suspended);
    let last = send(&client, &id, at("a"), "two").await.unwrap();
    assert_eq!(effect(last), SignalEffect::Resumed);
    let signals = claim(&worker).await.resume_signals().await.unwrap();
    let names: Vec<_> = signals.iter().map(|signal| signal.name.as_str()).collect();
    assert_eq!(names, ["two"]);
}

/// The context that a sender gives a signal reaches the worker.
pub async fn the_context_of_a_signal_reaches_its_worker(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let asked = Suspension::until_signal("approval").unwrap();
    let waitpoint = suspend(claim(&worker).await, asked).await.into_iter().next().unwrap();
    let signal = Signal::new("approved", waitpoint.token.clone()).unwrap();
    let signal = signal.category("approval").unwrap().source_type("user").unwrap();
    let signal = signal.correlation_id("order-17").unwrap();
    let outcome = client.deliver_signal(&id, &waitpoint.id, signal).await.unwrap();
    let [received] = claim(&worker).await.resume_signals().await.unwrap().try_into().unwrap();
    assert_eq!(received.signal_id, Some(outcome.signal_id()));
    let context = received.context;
    assert_eq!(context.category.unwrap().as_str(), "approval");
    assert_eq!(context.source_type.unwrap().as_str(), "user");
    assert_eq!(context.correlation_id.unwrap().as_str(), "order-17");
}

/// With 2 distinct sources, signals of alice, alice, bob resume at bob's.
pub async fn distinct_sources_are_counted_by_source(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let two = Condition::Count {
        n: 2,
        kind: CountKind::DistinctSources,
        matcher: SignalMatcher::Wildcard,
        waitpoints: vec!["approval".parse().unwrap()],
    };
    let waitpoints = suspend(claim(&worker).await, Suspension::until(two)).await;
    let sent = async |source: &str| {
        send_from(&client, &id, &waitpoints[0], "approved", source).await.unwrap()
    };
    assert_eq!(effect(sent("alice").await), SignalEffect::Counted);
    assert_eq!(effect(sent("alice").await), SignalEffect::Recorded);
    assert_eq!(effect(sent("bob").await), SignalEffect::Resumed);
    let signals = claim(&worker).await.resume_signals().await.unwrap();
    let sources: Vec<_> = signals.iter().filter_map(|signal| signal.source.clone()).collect();
    let sources: Vec<_> = sources.iter().map(|source| source.as_str()).collect();
    assert_eq!(sources, ["alice", "bob"]);
}

/// A condition on the name "approved" is not satisfied by "rejected"; that signal is recorded.
pub async fn a_signal_of_another_name_does_not_count(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let asked = Suspension::until(signal_named("approval", "approved"));
    let waitpoints = suspend(claim(&worker).await, asked).await;
    let sent = send(&client, &id, &waitpoints[0], "rejected").await.unwrap();
    assert_eq!(effect(sent), SignalEffect::Recorded);
    let seen = describe(&client, &id).await;
    assert_eq!(seen.state.public_state, PublicState::Suspended);
    assert_eq!((seen.signals, seen.waitpoints[0].signals), (1, 1));
    assert_eq!(
        effect(send(&client, &id, &waitpoints[0], "approved").await.unwrap()),
        SignalEffect::Resumed
    );
}

/// An invalid condition is refused before anything is written.
pub async fn invalid_conditions_are_refused(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker_with("w", |config| config.max_concurrent_tasks = 20).await;
    let count = |n: u32, keys: &[&str]| Condition::Count {
        n,
        kind: CountKind::DistinctWaitpoints,
        matcher: SignalMatcher::Wildcard,
        waitpoints: keys.iter().map(|key| key.parse().unwrap()).collect(),
    };
    let nested = |depth: usize| {
        (1..depth).fold(any_signal("a"), |inner, _| Condition::AllOf { members: vec![inner] })
    };
    let wrong = [
        Suspension::until(Condition::AllOf { members: Vec::new() }),
        Suspension::until(count(0, &["a"])),
        Suspension::until(count(3, &["a", "b"])),
        Suspension::until(nested(5)),
        Suspension::until(Condition::TimeoutOnly),
        Suspension::until_operator().timeout_at(fixture.now().await, TimeoutBehaviour::Fail),
    ];
    for suspension in wrong {
        let id = submit(&client, work()).await;
        let refused = claim(&worker).await.suspend(suspension).await;
        assert_eq!(kind(refused), RejectionKind::InvalidInput);
        let seen = describe(&client, &id).await;
        assert_eq!(seen.state.public_state, PublicState::Active);
        let epoch = nth_epoch(&client, &id, 1).await;
        assert_eq!((seen.lease_epoch, seen.waitpoints.len()), (epoch, 0));
    }
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    let open = task.create_pending_waitpoint("other", None).await.unwrap();
    let unreferenced = Suspension::until(any_signal("a")).open(&open);
    assert_eq!(kind(task.suspend(unreferenced).await), RejectionKind::InvalidInput);
    assert_eq!(describe(&client, &id).await.waitpoints.len(), 1);
    submit(&client, work()).await;
    suspend(claim(&worker).await, Suspension::until(nested(4))).await;
}

/// Suspends with a timeout of ten seconds; returns the execution, its waitpoint and the time of the
/// timeout.
async fn with_timeout(
    fixture: &Fixture,
    client: &Client,
    behaviour: TimeoutBehaviour,
) -> (ExecutionId, IssuedWaitpoint, TimestampMs) {
    let worker = fixture.worker("suspender").await;
    let id = submit(client, work()).await;
    let asked = Suspension::until_signal("approval").unwrap().timeout(secs(10), behaviour);
    let at = fixture.now().await.plus(DurationMs::from_secs(10));
    let waitpoints = suspend(claim(&worker).await, asked).await;
    (id, waitpoints.into_iter().next().unwrap(), at)
}

/// At its timeout, a suspension ends by its timeout behaviour.
pub async fn a_timeout_follows_its_behaviour(fixture: &Fixture) {
    use TimeoutBehaviour::{AutoResume, AutoResumeWithTimeoutSignal, Cancel, Expire, Fail};
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    for (behaviour, ends) in [
        (Fail, PublicState::Failed),
        (Cancel, PublicState::Cancelled),
        (Expire, PublicState::Expired),
    ] {
        let (id, _, at) = with_timeout(fixture, &client, behaviour).await;
        fixture.advance_to(at.minus(DurationMs::new(1))).await;
        fixture.tick().await;
        assert_eq!(state(&client, &id).await, PublicState::Suspended, "{behaviour:?}");
        fixture.advance(ms(1)).await;
        fixture.tick().await;
        let seen = describe(&client, &id).await;
        assert_eq!(seen.state.public_state, ends);
        assert_eq!(seen.past_attempts[0].end, AttemptEnd::SuspensionTimedOut);
        assert_eq!(endings(&client, &id).await, 1);
    }
    for (behaviour, names) in [(AutoResume, vec![]), (AutoResumeWithTimeoutSignal, vec!["timeout"])]
    {
        let (id, _, at) = with_timeout(fixture, &client, behaviour).await;
        fixture.advance_to(at).await;
        fixture.tick().await;
        assert_eq!(state(&client, &id).await, PublicState::Resumable);
        let task = claim(&worker).await;
        assert!(matches!(task.resumption().unwrap().by, ResumedBy::Timeout { .. }));
        let signals = task.resume_signals().await.unwrap();
        let seen: Vec<_> = signals.iter().map(|signal| signal.name.as_str()).collect();
        assert_eq!(seen, names, "{behaviour:?}");
        task.complete(None).await.unwrap();
    }
    let (id, waitpoint, at) = with_timeout(fixture, &client, TimeoutBehaviour::Escalate).await;
    fixture.advance_to(at).await;
    fixture.tick().await;
    let seen = describe(&client, &id).await;
    assert_eq!(seen.suspension.unwrap().escalated_at, Some(at));
    assert_eq!(
        effect(send(&client, &id, &waitpoint, "late").await.unwrap()),
        SignalEffect::Resumed
    );
}

/// A signal at the timeout or later does not resume, even if no timekeeper has marked it yet; one
/// that arrives a millisecond earlier does.
pub async fn a_signal_after_the_timeout_does_not_resume(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    let (id, waitpoint, at) = with_timeout(fixture, &client, TimeoutBehaviour::Fail).await;
    fixture.advance_to(at.plus(DurationMs::new(1))).await;
    let late = send(&client, &id, &waitpoint, "approved").await;
    assert_eq!(kind(late), RejectionKind::WaitpointClosed);
    fixture.tick().await;
    assert_eq!(state(&client, &id).await, PublicState::Failed);

    let (id, waitpoint, at) = with_timeout(fixture, &client, TimeoutBehaviour::AutoResume).await;
    fixture.advance_to(at).await;
    let late = send(&client, &id, &waitpoint, "approved").await;
    assert_eq!(kind(late), RejectionKind::WaitpointClosed);
    fixture.tick().await;
    let task = claim(&worker).await;
    assert!(task.resume_signals().await.unwrap().is_empty());
    task.complete(None).await.unwrap();

    let (id, waitpoint, at) = with_timeout(fixture, &client, TimeoutBehaviour::Fail).await;
    fixture.advance_to(at.minus(DurationMs::new(1))).await;
    assert_eq!(
        effect(send(&client, &id, &waitpoint, "approved").await.unwrap()),
        SignalEffect::Resumed
    );
    claim(&worker).await.complete(None).await.unwrap();

    let (id, waitpoint, at) = with_timeout(fixture, &client, TimeoutBehaviour::Escalate).await;
    fixture.advance_to(at.plus(DurationMs::new(1))).await;
    assert_eq!(
        effect(send(&client, &id, &waitpoint, "approved").await.unwrap()),
        SignalEffect::Resumed
    );
}

/// An execution that is resumed with a delay can be claimed when the delay ends.
pub async fn a_resume_delay_postpones_the_claim(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let asked = Suspension::until_signal("a").unwrap().resume_delay(secs(5));
    let waitpoints = suspend(claim(&worker).await, asked).await;
    let now = fixture.now().await;
    assert_eq!(
        effect(send(&client, &id, &waitpoints[0], "go").await.unwrap()),
        SignalEffect::Resumed
    );
    let seen = describe(&client, &id).await;
    assert_eq!(seen.state.blocking_reason, BlockingReason::WaitingForResumeDelay);
    fixture.advance_to(now.plus(DurationMs::new(4_999))).await;
    fixture.tick().await;
    assert!(is_idle(&worker).await);
    fixture.advance(ms(1)).await;
    fixture.tick().await;
    assert_eq!(claim(&worker).await.resume_signals().await.unwrap().len(), 1);
}

/// A task that is given back keeps its signals for the next worker, and its waitpoints, which can
/// be opened again by their names.
pub async fn an_execution_given_back_keeps_its_signals(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let task = claim(&worker).await;
    let opened = task.create_pending_waitpoint("inbox", None).await.unwrap();
    task.give_back().await.unwrap();
    let task = claim(&worker).await;
    assert!(task.resumption().is_none(), "it was not suspended");
    let again = task.create_pending_waitpoint("inbox", None).await.unwrap();
    assert_eq!((again.id, &again.token), (opened.id, &opened.token));
    // A suspension uses the waitpoint that is open under the name, and keeps it open.
    let next = || Suspension::until_signal("inbox").unwrap().keep_waitpoints(false);
    let waitpoints = suspend(task, next()).await;
    assert_eq!(waitpoints[0].id, opened.id);
    for name in ["one", "two", "three"] {
        send(&client, &id, &opened, name).await.unwrap();
    }
    let task = claim(&worker).await;
    task.give_back().await.unwrap();
    let mut task = claim(&worker).await;
    for name in ["one", "two", "three"] {
        let signals = task.resume_signals().await.unwrap();
        let names: Vec<_> = signals.iter().map(|signal| signal.name.as_str()).collect();
        assert_eq!(names, [name]);
        task = match task.suspend(next()).await.unwrap() {
            SuspendOutcome::AlreadySatisfied(task) => *task,
            SuspendOutcome::Suspended { .. } => {
                assert_eq!(name, "three", "each signal satisfied one suspension");
                return;
            }
        };
    }
    panic!("three signals satisfied four suspensions");
}

/// Signals are for the claim that resumes from their suspension: not after an operator's resume,
/// not for a retry, not for a reclaim, not after a delay.
pub async fn signals_are_for_the_resumed_claim_only(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    let backoff = Backoff::Fixed { delay_ms: DurationMs::ZERO };
    let retry = RetryPolicy { max_retries: 2, backoff, retryable_categories: Vec::new() };
    let id = submit(&client, work().retry(retry)).await;
    suspend(claim(&worker).await, Suspension::until_signal("a").unwrap()).await;
    client.resume(&id).await.unwrap();
    let task = claim(&worker).await;
    assert_eq!(task.resumption().unwrap().by, ResumedBy::Operator);
    assert!(task.resume_signals().await.unwrap().is_empty());

    let waitpoints = suspend(task, Suspension::until_signal("b").unwrap()).await;
    send(&client, &id, &waitpoints[0], "go").await.unwrap();
    let task = claim(&worker).await;
    assert_eq!(task.resume_signals().await.unwrap().len(), 1);
    let now = fixture.now().await;
    task.delay_execution(now).await.unwrap();
    let task = claim(&worker).await;
    assert!(task.resumption().is_none(), "a delay has no signals");

    let waitpoints = suspend(task, Suspension::until_signal("c").unwrap()).await;
    send(&client, &id, &waitpoints[0], "go").await.unwrap();
    claim(&worker).await.fail("it broke", "network").await.unwrap();
    let task = claim(&worker).await;
    assert_eq!(task.attempt_kind(), AttemptKind::Retry);
    assert!(task.resume_signals().await.unwrap().is_empty(), "a retry has no signals");

    let waitpoints = suspend(task, Suspension::until_signal("d").unwrap()).await;
    send(&client, &id, &waitpoints[0], "go").await.unwrap();
    drop(claim(&worker).await);
    client.revoke_lease(&id).await.unwrap();
    let task = claim(&worker).await;
    assert_eq!(task.attempt_kind(), AttemptKind::Reclaim);
    assert!(task.resume_signals().await.unwrap().is_empty(), "a reclaim has no signals");
}

/// An operator can resume a suspension with any condition, once; an execution that is not suspended
/// is refused.
pub async fn an_operator_can_resume(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    assert_eq!(kind(client.resume(&id).await), RejectionKind::ExecutionNotSuspended);
    suspend(claim(&worker).await, Suspension::until_operator()).await;
    let seen = describe(&client, &id).await;
    assert_eq!(seen.state.blocking_reason, BlockingReason::PausedByOperator);
    let suspension = seen.suspension.unwrap().suspension_id;
    assert_eq!(client.resume(&id).await.unwrap().suspension_id, suspension);
    let again = rejection(client.resume(&id).await);
    assert!(matches!(again, Rejection::ExecutionNotSuspended { .. }), "{again}");
    claim(&worker).await.complete(None).await.unwrap();
}

/// The expiry of a waitpoint and a timeout with the longest possible duration saturate.
pub async fn the_longest_durations_saturate(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let task = claim(&worker).await;
    let open = task.create_pending_waitpoint("a", Some(Duration::MAX)).await.unwrap();
    let asked = Suspension::until(any_signal("a"))
        .open(&open)
        .timeout(Duration::MAX, TimeoutBehaviour::Fail)
        .resume_delay(Duration::ZERO);
    suspend(task, asked).await;
    let timeout = describe(&client, &id).await.suspension.unwrap().timeout.unwrap();
    assert_eq!(timeout.at, TimestampMs::MAX);
    fixture.advance(secs(1_000)).await;
    fixture.tick().await;
    assert_eq!(state(&client, &id).await, PublicState::Suspended);
    assert_eq!(effect(send(&client, &id, &open, "go").await.unwrap()), SignalEffect::Resumed);
}

/// Waitpoints that stay open accept signals for a later suspension, under the same token.
pub async fn waitpoints_that_stay_open_count_for_a_later_suspension(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let keep = || Suspension::until_signal("chat").unwrap().keep_waitpoints(false);
    let chat = suspend(claim(&worker).await, keep()).await.into_iter().next().unwrap();
    assert_eq!(effect(send(&client, &id, &chat, "one").await.unwrap()), SignalEffect::Resumed);
    let task = claim(&worker).await;
    // A signal that resumed the execution does not resume it again.
    suspend(task, keep().open(&chat)).await;
    assert_eq!(effect(send(&client, &id, &chat, "two").await.unwrap()), SignalEffect::Resumed);
    let task = claim(&worker).await;
    assert_eq!(task.resume_signals().await.unwrap()[0].name.as_str(), "two");
    let buffered = send(&client, &id, &chat, "three").await.unwrap();
    assert_eq!(effect(buffered), SignalEffect::Buffered);
    let SuspendOutcome::AlreadySatisfied(task) = task.suspend(keep().open(&chat)).await.unwrap()
    else {
        panic!("the third signal was received before the suspension");
    };
    assert_eq!(task.resume_signals().await.unwrap()[0].name.as_str(), "three");
    task.complete(None).await.unwrap();
    let late = send(&client, &id, &chat, "four").await;
    assert_eq!(kind(late), RejectionKind::WaitpointClosed);
}
