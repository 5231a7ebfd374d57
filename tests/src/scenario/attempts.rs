//! Attempts: retries, reclaims, replays, timeouts, retention (`docs/spec.md`, 1 and 4).

use ff_sdk::core::error::{EngineError, Rejection, RejectionKind};
use ff_sdk::core::execution::{
    AttemptEnd, AttemptKind, Command, EventKind, FailOutcome, FenceParts, Outcome, ValueKind,
};
use ff_sdk::core::id::{AttemptIndex, ExecutionId, FailureCategory};
use ff_sdk::core::policy::{Backoff, ExecutionPolicy, ReclaimMode, RetryPolicy};
use ff_sdk::core::state::{AttemptState, LifecyclePhase, PublicState, TerminalOutcome};
use ff_sdk::core::store::IndexName;
use ff_sdk::core::time::{DurationMs, TimestampMs};
use ff_sdk::{Client, CountedState, ReclaimExecutionArgs, ReclaimExecutionOutcome};

use crate::fixture::{Fixture, eligible, namespace};
use crate::kit::{
    ask_to_reclaim, claim, claim_of, describe, endings, events, fence_of, grant_request, is_idle,
    kind, ms, nth_epoch, rejection, secs, state, submit, submitted, work,
};

/// A policy of this many retries without a backoff.
fn immediate(max_retries: u32) -> RetryPolicy {
    let backoff = Backoff::Fixed { delay_ms: DurationMs::ZERO };
    RetryPolicy { max_retries, backoff, retryable_categories: Vec::new() }
}

/// With two retries there are attempts 0, 1 and 2, and then the life has failed. A reclaim between
/// them is an attempt but not a retry (`docs/spec.md`, 4).
pub async fn retries_count_up_to_the_limit(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    let id = submit(&client, work().retry(immediate(2))).await;
    for retry in 0..3 {
        let task = claim(&worker).await;
        assert_eq!((task.attempt_index(), task.retry_count()), (AttemptIndex(retry), retry));
        let expected = if retry == 0 { AttemptKind::Initial } else { AttemptKind::Retry };
        assert_eq!(task.attempt_kind(), expected);
        let outcome = task.fail("it broke", "network").await.unwrap();
        let retried = matches!(outcome, FailOutcome::RetryScheduled { .. });
        assert_eq!(retried, retry < 2);
    }
    let seen = describe(&client, &id).await;
    assert_eq!(seen.state.terminal_outcome, TerminalOutcome::Failed);
    assert_eq!((seen.attempts_total, seen.counts.retries), (3, 2));
    let failed = |end: &AttemptEnd| matches!(end, AttemptEnd::Failed(_));
    assert!(seen.past_attempts.iter().all(|past| failed(&past.end)));

    let id = submit(&client, work().retry(immediate(2))).await;
    claim(&worker).await.fail("it broke", "network").await.unwrap();
    drop(claim(&worker).await);
    client.revoke_lease(&id).await.unwrap();
    let task = claim(&worker).await;
    assert_eq!((task.attempt_index(), task.retry_count()), (AttemptIndex(2), 1));
    let outcome = task.fail("it broke", "network").await.unwrap();
    let retried = matches!(outcome, FailOutcome::RetryScheduled { .. });
    assert!(retried, "the reclaim did not count as a retry");
    let task = claim(&worker).await;
    assert_eq!((task.attempt_index(), task.retry_count()), (AttemptIndex(3), 2));
    let outcome = task.fail("it broke", "network").await.unwrap();
    assert_eq!(outcome, FailOutcome::TerminalFailed);
}

/// The backoff is whole milliseconds, doubles up to its cap, and has a jitter that depends only on
/// the execution and the attempt (`docs/spec.md`, 4).
pub async fn backoff_is_whole_capped_and_reproducible(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    let (initial_ms, max_ms) = (DurationMs::new(1_001), DurationMs::new(5_000));
    let backoff = Backoff::Exponential { initial_ms, multiplier: 2, max_ms };
    let retry = RetryPolicy { max_retries: 5, backoff, retryable_categories: Vec::new() };
    let id = submit(&client, work().retry(retry)).await;
    for (attempt, base) in [1_001, 2_002, 4_004, 5_000, 5_000].into_iter().enumerate() {
        let task = claim(&worker).await;
        let now = fixture.now().await;
        let outcome = task.fail("it broke", "network").await.unwrap();
        let FailOutcome::RetryScheduled { delay_until } = outcome else { panic!("{outcome:?}") };
        let wait = delay_until.since(now);
        let again = backoff.delay(attempt as u32, &id, AttemptIndex(attempt as u32));
        assert_eq!(wait, again, "the jitter is reproducible");
        assert!(wait.get() <= base && wait.get() >= base - base / 4, "{wait} of {base}");
        assert_eq!(
            describe(&client, &id).await.state.attempt_state.as_str(),
            "pending_retry_attempt"
        );
        assert!(is_idle(&worker).await);
        fixture.advance_to(delay_until.minus(DurationMs::new(1))).await;
        fixture.tick().await;
        assert!(is_idle(&worker).await, "a millisecond early");
        fixture.advance(ms(1)).await;
        fixture.tick().await;
    }
}

/// A failure of a category that is not retried, and a permanent failure, end the life immediately
/// (`docs/spec.md`, 4).
pub async fn failures_that_are_not_retried_end_the_life_immediately(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    let network = FailureCategory::try_new("network").unwrap();
    let retry = RetryPolicy { retryable_categories: vec![network], ..immediate(3) };
    let id = submit(&client, work().retry(retry.clone())).await;
    let outcome = claim(&worker).await.fail("it broke", "bad_input").await.unwrap();
    assert_eq!(outcome, FailOutcome::TerminalFailed);
    let Some(Outcome::Failed(failure)) = describe(&client, &id).await.outcome else { panic!() };
    assert_eq!((failure.category.as_str(), &*failure.reason), ("bad_input", "it broke"));

    submit(&client, work().retry(retry.clone())).await;
    let outcome = claim(&worker).await.fail_permanently("it broke", "network").await.unwrap();
    assert_eq!(outcome, FailOutcome::TerminalFailed);

    submit(&client, work().retry(retry)).await;
    let outcome = claim(&worker).await.fail("it broke", "network").await.unwrap();
    assert!(matches!(outcome, FailOutcome::RetryScheduled { .. }));
}

/// A time that the worker gives for the retry replaces the backoff of the policy
/// (`docs/spec.md`, 4).
pub async fn a_retry_starts_after_the_time_that_the_worker_gives(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    let id = submit(&client, work().retry(immediate(1))).await;
    let failed = claim(&worker).await.fail_and_retry_after("busy", "busy", secs(90)).await;
    let FailOutcome::RetryScheduled { delay_until } = failed.unwrap() else { panic!() };
    let seen = describe(&client, &id).await;
    assert_eq!(seen.delayed_until, Some(delay_until));
    assert_eq!(delay_until, seen.updated_at.plus(DurationMs::from_secs(90)));
    fixture.advance_to(delay_until.minus(DurationMs::new(1))).await;
    fixture.tick().await;
    assert!(is_idle(&worker).await);
    fixture.advance(ms(1)).await;
    fixture.tick().await;
    assert_eq!(claim(&worker).await.attempt_index(), AttemptIndex(1));
}

/// An execution that its worker delayed continues the same attempt, by index and id, under the next
/// epoch (`docs/spec.md`, 1 and 4).
pub async fn a_delayed_execution_continues_the_same_attempt(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let task = claim(&worker).await;
    let (attempt, lease) = (task.attempt_id(), task.lease_id());
    let until = fixture.now().await.plus(DurationMs::from_secs(7));
    task.delay_execution(until).await.unwrap();
    let seen = describe(&client, &id).await;
    assert_eq!(seen.state.public_state, PublicState::Delayed);
    assert_eq!(seen.state.attempt_state, AttemptState::AttemptInterrupted);
    fixture.advance_to(until.minus(DurationMs::new(1))).await;
    fixture.tick().await;
    assert!(is_idle(&worker).await);
    fixture.advance(ms(1)).await;
    fixture.tick().await;

    let task = claim(&worker).await;
    assert_eq!((task.attempt_index(), task.attempt_id()), (AttemptIndex(0), attempt));
    assert_eq!(task.lease_epoch(), nth_epoch(&client, &id, 2).await);
    assert_ne!(task.lease_id(), lease);
    task.complete(None).await.unwrap();
    let seen = describe(&client, &id).await;
    assert_eq!((seen.attempts_total, seen.past_attempts.len()), (1, 1));
}

/// After a crash the next worker starts a new attempt: index, epoch and reclaim count grow by one,
/// the retry count stays, and the old attempt is interrupted (`docs/spec.md`, 1 and 4).
pub async fn a_crash_counts_as_a_reclaim_and_not_as_a_retry(fixture: &Fixture) {
    let client = fixture.client().await;
    let (a, b) = (fixture.worker("a").await, fixture.worker("b").await);
    let id = submit(&client, work()).await;
    let crashed = claim(&a).await;
    let attempt = crashed.attempt_id();
    drop(crashed);
    fixture.advance(secs(30)).await;
    fixture.tick().await;
    let task = claim(&b).await;
    assert_eq!(
        (task.attempt_index(), task.lease_epoch()),
        (AttemptIndex(1), nth_epoch(&client, &id, 2).await)
    );
    assert_eq!((task.retry_count(), task.reclaim_count()), (0, 1));
    assert_eq!(task.attempt_kind(), AttemptKind::Reclaim);
    let seen = describe(&client, &id).await;
    assert_eq!((seen.counts.retries, seen.counts.reclaims), (0, 1));
    let [past] = &seen.past_attempts[..] else { panic!("{:?}", seen.past_attempts) };
    assert_eq!((past.attempt.id, &past.end), (attempt, &AttemptEnd::Interrupted));

    // With `ReclaimMode::OnRequest`, only a reclaim grant can reclaim.
    let policy = ExecutionPolicy { reclaim_mode: ReclaimMode::OnRequest, ..Default::default() };
    let id = submit(&client, work().policy(policy)).await;
    drop(claim(&a).await);
    fixture.advance(secs(30)).await;
    fixture.tick().await;
    assert!(is_idle(&a).await, "it is not reclaimed without a request");
    let admin = fixture.admin().await;
    drop(task);
    let granted = ask_to_reclaim(&admin, &b, &id).await.unwrap();
    let args = ReclaimExecutionArgs::new().lease_ttl(secs(5));
    let ReclaimExecutionOutcome::Claimed(task) =
        b.claim_from_reclaim_grant(granted.clone(), args).await.unwrap()
    else {
        panic!("the execution is not reclaimed")
    };
    assert_eq!((task.attempt_index(), task.reclaim_count()), (AttemptIndex(1), 1));
    drop(task);
    let again = b.claim_from_reclaim_grant(granted, ReclaimExecutionArgs::new()).await.unwrap();
    assert!(matches!(again, ReclaimExecutionOutcome::GrantNotFound), "{again:?}");
}

/// One reclaim above the limit fails the execution with reason `max_reclaims_exceeded`, by a
/// request for a grant and by a claim: one terminal event, and no grant remains (`docs/spec.md`,
/// 4).
pub async fn too_many_reclaims_fail_the_execution(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    let admin = fixture.admin().await;
    let policy = ExecutionPolicy { max_reclaim_count: 1, ..Default::default() };
    let mut ids = Vec::new();
    for _ in 0..2 {
        let id = submit(&client, work().policy(policy.clone())).await;
        drop(claim(&worker).await);
        client.revoke_lease(&id).await.unwrap();
        drop(claim(&worker).await);
        client.revoke_lease(&id).await.unwrap();
        ids.push(id);
        if ids.len() == 1 {
            let capped = Rejection::ReclaimCapExceeded { reclaims: 1 };
            let refused = ask_to_reclaim(&admin, &worker, &id).await;
            assert_eq!(rejection(refused), capped);
            let again = ask_to_reclaim(&admin, &worker, &id).await;
            assert_eq!(rejection(again), capped, "a repeat returns the same rejection");
        } else {
            assert!(is_idle(&worker).await);
        }
    }
    for id in &ids {
        let seen = describe(&client, id).await;
        let Some(Outcome::Failed(failure)) = seen.outcome else { panic!("{:?}", seen.outcome) };
        assert_eq!(failure.reason, "max_reclaims_exceeded");
        assert_eq!(endings(&client, id).await, 1);
        assert_eq!(fixture.score(id, eligible()).await, None);
        let request = grant_request(fixture, *id, "w");
        let late = client.execute(Command::Reclaim(claim_of(fixture, &request))).await;
        assert_eq!(kind(late), RejectionKind::ReclaimCapExceeded);
        let last = &seen.past_attempts.last().unwrap().end;
        assert_eq!(last, &AttemptEnd::Interrupted);
    }
}

/// An attempt that runs too long fails with category `attempt_timeout` and is retried by policy.
/// The timeout starts again at a retry and at a resumed claim, and no lease outlasts it
/// (`docs/spec.md`, 4).
pub async fn an_attempt_timeout_fails_the_attempt_and_starts_again(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    let submission = work().attempt_timeout(secs(20)).retry(immediate(1));
    let id = submit(&client, submission).await;
    for attempt in 0..2 {
        let task = claim(&worker).await;
        assert_eq!(task.attempt_index(), AttemptIndex(attempt));
        let started = fixture.now().await;
        fixture.advance(secs(5)).await;
        task.delay_execution(TimestampMs::ZERO).await.unwrap();
        let task = claim(&worker).await;
        let resumed = fixture.now().await;
        let times_out = resumed.plus(DurationMs::from_secs(20));
        assert!(times_out > started.plus(DurationMs::from_secs(20)));
        assert_eq!(describe(&client, &id).await.lease.unwrap().expires_at, times_out);
        fixture.advance_to(times_out.minus(DurationMs::new(1))).await;
        assert_eq!(task.renew_lease().await.unwrap(), times_out);
        fixture.tick().await;
        assert_eq!(state(&client, &id).await, PublicState::Active);
        fixture.advance(ms(1)).await;
        let late = task.complete(None).await;
        assert_eq!(kind(late), RejectionKind::LeaseExpired);
        fixture.tick().await;
        let seen = describe(&client, &id).await;
        assert_eq!(seen.counts.retries, 1);
        let AttemptEnd::Failed(failure) = &seen.past_attempts.last().unwrap().end else {
            panic!("{:?}", seen.past_attempts)
        };
        assert_eq!(failure.category.as_str(), "attempt_timeout");
    }
    assert_eq!(state(&client, &id).await, PublicState::Failed);
    assert_eq!(endings(&client, &id).await, 1);
}

/// A replay starts a new life: result, failure and counters are cleared, while epochs and attempt
/// indexes keep rising; a repeat of the call returns the same outcome (`docs/spec.md`, 4).
pub async fn a_replay_is_a_new_life(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    let deadline = fixture.now().await.plus(DurationMs::from_secs(600));
    let id = submit(&client, work().payload("in").retry(immediate(1)).deadline(deadline)).await;
    claim(&worker).await.fail("it broke", "network").await.unwrap();
    claim(&worker).await.complete(Some(b"out".to_vec())).await.unwrap();

    let request_id = "replay-1".to_owned();
    let replay = Command::Replay { execution_id: id, request_id };
    let first = client.execute(replay.clone()).await.unwrap();
    assert_eq!(client.execute(replay).await.unwrap(), first);
    let seen = describe(&client, &id).await;
    assert_eq!(seen.state.attempt_state, AttemptState::PendingReplayAttempt);
    assert_eq!((seen.outcome, seen.deadline, seen.ended_at), (None, None, None));
    assert_eq!((seen.counts.retries, seen.counts.reclaims, seen.counts.replays), (0, 0, 1));
    assert_eq!(seen.lease_epoch, nth_epoch(&client, &id, 2).await);

    let task = claim(&worker).await;
    assert_eq!(
        (task.attempt_index(), task.lease_epoch()),
        (AttemptIndex(2), nth_epoch(&client, &id, 3).await)
    );
    assert_eq!(task.attempt_kind(), AttemptKind::Replay);
    assert_eq!(task.input_payload(), Some(&b"in"[..]));
    task.complete(None).await.unwrap();
    let result = client.result(&id).await.unwrap();
    assert_eq!(result.bytes(), None, "the result of the first life is removed");
    assert_eq!(endings(&client, &id).await, 2);
    assert!(events(&client, &id).await.contains(&EventKind::Replayed));
}

/// The eleventh replay is `MaxReplaysExhausted`, and the replay of an execution that has not ended
/// is `ExecutionNotTerminal` (`docs/spec.md`, 4).
pub async fn replays_are_limited_and_need_a_terminal_execution(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let not_over = |lifecycle_phase| Rejection::ExecutionNotTerminal { lifecycle_phase };
    let refused = rejection(client.replay(&id).await);
    assert_eq!(refused, not_over(LifecyclePhase::Runnable));
    for life in 1..=10 {
        let task = claim(&worker).await;
        let refused = rejection(client.replay(&id).await);
        assert_eq!(refused, not_over(LifecyclePhase::Active));
        task.complete(None).await.unwrap();
        assert_eq!(client.replay(&id).await.unwrap().life, life);
    }
    claim(&worker).await.complete(None).await.unwrap();
    let refused = rejection(client.replay(&id).await);
    assert_eq!(refused, Rejection::MaxReplaysExhausted { replays: 10 });
    assert_eq!(describe(&client, &id).await.lease_epoch, nth_epoch(&client, &id, 11).await);
}

/// At the end of the retention, and not a millisecond before, record, payload, result and index
/// entries are removed; other executions keep theirs. The id can be used again, and the epochs rise
/// (`docs/spec.md`, 2 and 4).
pub async fn retention_removes_only_the_data_of_its_execution(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    let retention_ms = DurationMs::from_secs(60);
    let brief = ExecutionPolicy { retention_ms, ..Default::default() };
    let (id, other) = (fixture.id_in(1), fixture.id_in(1));
    let full = |id| work().id(id).payload("in");
    submit(&client, full(id).policy(brief)).await;
    submit(&client, full(other)).await;
    for _ in 0..2 {
        claim(&worker).await.complete(Some(b"out".to_vec())).await.unwrap();
    }
    let end = fixture.now().await.plus(retention_ms);
    fixture.advance_to(end.minus(DurationMs::new(1))).await;
    fixture.tick().await;
    assert!(has_everything(fixture, &client, &id).await);
    let earlier = describe(&client, &id).await.lease_epoch;
    fixture.advance(ms(1)).await;
    while !fixture.tick().await.applied.is_empty() {}

    assert_eq!(client.describe(&id).await.unwrap(), None);
    let [counts] = &client.stats().await.unwrap().lanes[..] else { panic!("one lane") };
    assert_eq!(counts.states().collect::<Vec<_>>(), [(CountedState::Completed, 1)]);
    for error in [
        client.result(&id).await.unwrap_err(),
        client.value(&id, ValueKind::Payload).await.unwrap_err(),
    ] {
        assert!(matches!(error.engine(), Some(EngineError::NotFound { .. })));
    }
    assert_eq!(fixture.values(&id).await, [false, false]);
    let all = IndexName::All { namespace: namespace() };
    for index in [IndexName::Due, IndexName::Retention, eligible(), all] {
        assert_eq!(fixture.score(&id, index).await, None);
    }
    assert!(has_everything(fixture, &client, &other).await, "nothing else is removed");
    let fence = FenceParts::default();
    let late = client.execute(crate::kit::complete(id, fence)).await;
    assert_eq!(kind(late), RejectionKind::NotFound);
    submit(&client, full(id)).await;
    let task = claim(&worker).await;
    assert_eq!(task.lease_epoch(), nth_epoch(&client, &id, 1).await, "it is another execution");
    assert!(task.lease_epoch() > earlier);
    assert!(fence_of(&task).lease_id.is_some());
}

async fn has_everything(fixture: &Fixture, client: &Client, id: &ExecutionId) -> bool {
    let all = IndexName::All { namespace: namespace() };
    client.describe(id).await.unwrap().is_some()
        && fixture.values(id).await == [true, true]
        && fixture.score(id, IndexName::Retention).await.is_some()
        && fixture.score(id, all).await.is_some()
}
