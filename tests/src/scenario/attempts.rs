//! Attempts: retries, reclaims, replays, timeouts, retention (`docs/spec.md`, 1 and 4).

use ff_sdk::core::error::{EngineError, Rejection, RejectionKind};
use ff_sdk::core::execution::{
    AttemptEnd, AttemptKind, Command, EventKind, FailOutcome, FenceParts, Outcome, ValueKind,
};
use ff_sdk::core::id::{AttemptIndex, ExecutionId, FailureCategory, LeaseEpoch};
use ff_sdk::core::policy::{Backoff, ExecutionPolicy, ReclaimMode, RetryPolicy};
use ff_sdk::core::state::{AttemptState, LifecyclePhase, PublicState, TerminalOutcome};
use ff_sdk::core::store::IndexName;
use ff_sdk::core::time::{DurationMs, TimestampMs};
use ff_sdk::{Client, ReclaimExecutionArgs, ReclaimExecutionOutcome};

use crate::ground::{Ground, eligible, namespace};
use crate::kit::{
    asking, claim, claiming, endings, events, fence_of, is_idle, kind, ms, rejection, secs, see,
    state, submit, work,
};

/// Retries at once, that often.
fn at_once(max_retries: u32) -> RetryPolicy {
    let backoff = Backoff::Fixed { delay_ms: DurationMs::ZERO };
    RetryPolicy { max_retries, backoff, retryable_categories: Vec::new() }
}

/// With two retries there are attempts 0, 1 and 2, then the life has failed. A reclaim between
/// them is an attempt and no retry (`docs/spec.md`, 4).
pub async fn retries_count_up_to_the_limit(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("w").await;
    let id = submit(&client, work().retry(at_once(2))).await;
    for retry in 0..3 {
        let task = claim(&worker).await;
        assert_eq!((task.attempt_index(), task.retry_count()), (AttemptIndex(retry), retry));
        let expected = if retry == 0 { AttemptKind::Initial } else { AttemptKind::Retry };
        assert_eq!(task.attempt_kind(), expected);
        let outcome = task.fail("it broke", "network").await.unwrap();
        let retried = matches!(outcome, FailOutcome::RetryScheduled { .. });
        assert_eq!(retried, retry < 2);
    }
    let seen = see(&client, &id).await;
    assert_eq!(seen.state.terminal_outcome, TerminalOutcome::Failed);
    assert_eq!((seen.attempts_total, seen.counts.retries), (3, 2));
    let failed = |end: &AttemptEnd| matches!(end, AttemptEnd::Failed(_));
    assert!(seen.past_attempts.iter().all(|past| failed(&past.end)));

    let id = submit(&client, work().retry(at_once(2))).await;
    claim(&worker).await.fail("it broke", "network").await.unwrap();
    drop(claim(&worker).await);
    client.revoke_lease(&id).await.unwrap();
    let task = claim(&worker).await;
    assert_eq!((task.attempt_index(), task.retry_count()), (AttemptIndex(2), 1));
    let outcome = task.fail("it broke", "network").await.unwrap();
    assert!(matches!(outcome, FailOutcome::RetryScheduled { .. }), "the reclaim cost no retry");
    let task = claim(&worker).await;
    assert_eq!((task.attempt_index(), task.retry_count()), (AttemptIndex(3), 2));
    let outcome = task.fail("it broke", "network").await.unwrap();
    assert_eq!(outcome, FailOutcome::TerminalFailed);
}

/// The backoff is whole milliseconds, doubles up to its cap, and has a jitter that depends on
/// nothing but the execution and the attempt (`docs/spec.md`, 4).
pub async fn backoff_is_whole_capped_and_reproducible(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("w").await;
    let (initial_ms, max_ms) = (DurationMs::new(1_001), DurationMs::new(5_000));
    let backoff = Backoff::Exponential { initial_ms, multiplier: 2, max_ms };
    let retry = RetryPolicy { max_retries: 5, backoff, retryable_categories: Vec::new() };
    let id = submit(&client, work().retry(retry)).await;
    for (attempt, base) in [1_001, 2_002, 4_004, 5_000, 5_000].into_iter().enumerate() {
        let task = claim(&worker).await;
        let now = ground.now().await;
        let outcome = task.fail("it broke", "network").await.unwrap();
        let FailOutcome::RetryScheduled { delay_until } = outcome else { panic!("{outcome:?}") };
        let wait = delay_until.since(now);
        let again = backoff.delay(attempt as u32, &id, AttemptIndex(attempt as u32));
        assert_eq!(wait, again, "a replay of the run waits as long");
        assert!(wait.get() <= base && wait.get() >= base - base / 4, "{wait} of {base}");
        assert_eq!(see(&client, &id).await.state.attempt_state.as_str(), "pending_retry_attempt");
        assert!(is_idle(&worker).await);
        ground.advance_to(delay_until.minus(DurationMs::new(1))).await;
        ground.tick().await;
        assert!(is_idle(&worker).await, "not a millisecond early");
        ground.advance(ms(1)).await;
        ground.tick().await;
    }
}

/// A category that is not retried, or a permanent failure, ends the life at the first failure
/// (`docs/spec.md`, 4).
pub async fn failures_that_are_not_retried_end_the_life_at_once(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("w").await;
    let network = FailureCategory::try_new("network").unwrap();
    let retry = RetryPolicy { retryable_categories: vec![network], ..at_once(3) };
    let id = submit(&client, work().retry(retry.clone())).await;
    let outcome = claim(&worker).await.fail("it broke", "bad_input").await.unwrap();
    assert_eq!(outcome, FailOutcome::TerminalFailed);
    let Some(Outcome::Failed(failure)) = see(&client, &id).await.outcome else { panic!() };
    assert_eq!((failure.category.as_str(), &*failure.reason), ("bad_input", "it broke"));

    submit(&client, work().retry(retry.clone())).await;
    let outcome = claim(&worker).await.fail_permanently("it broke", "network").await.unwrap();
    assert_eq!(outcome, FailOutcome::TerminalFailed);

    submit(&client, work().retry(retry)).await;
    let outcome = claim(&worker).await.fail("it broke", "network").await.unwrap();
    assert!(matches!(outcome, FailOutcome::RetryScheduled { .. }));
}

/// Work that its worker delayed goes on as the same attempt, index and id, under the next epoch
/// (`docs/spec.md`, 1 and 4).
pub async fn a_delayed_attempt_goes_on_as_the_same_attempt(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("w").await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    let (attempt, lease) = (task.attempt_id(), task.lease_id());
    let until = ground.now().await.plus(DurationMs::from_secs(7));
    task.delay_execution(until).await.unwrap();
    let seen = see(&client, &id).await;
    assert_eq!(seen.state.public_state, PublicState::Delayed);
    assert_eq!(seen.state.attempt_state, AttemptState::AttemptInterrupted);
    ground.advance_to(until.minus(DurationMs::new(1))).await;
    ground.tick().await;
    assert!(is_idle(&worker).await);
    ground.advance(ms(1)).await;
    ground.tick().await;

    let task = claim(&worker).await;
    assert_eq!((task.attempt_index(), task.attempt_id()), (AttemptIndex(0), attempt));
    assert_eq!(task.lease_epoch(), LeaseEpoch(2));
    assert_ne!(task.lease_id(), lease);
    task.complete(None).await.unwrap();
    let seen = see(&client, &id).await;
    assert_eq!((seen.attempts_total, seen.past_attempts.len()), (1, 1));
}

/// After a crash the next worker starts a new attempt: index, epoch and reclaim count grow by one,
/// the retry count stays, the old attempt reads interrupted (`docs/spec.md`, 1 and 4).
pub async fn a_crash_costs_a_reclaim_and_no_retry(ground: &Ground) {
    let client = ground.client().await;
    let (a, b) = (ground.worker("a").await, ground.worker("b").await);
    let id = submit(&client, work()).await;
    let crashed = claim(&a).await;
    let attempt = crashed.attempt_id();
    drop(crashed);
    ground.advance(secs(30)).await;
    ground.tick().await;
    let task = claim(&b).await;
    assert_eq!((task.attempt_index(), task.lease_epoch()), (AttemptIndex(1), LeaseEpoch(2)));
    assert_eq!((task.retry_count(), task.reclaim_count()), (0, 1));
    assert_eq!(task.attempt_kind(), AttemptKind::Reclaim);
    let seen = see(&client, &id).await;
    assert_eq!((seen.counts.retries, seen.counts.reclaims), (0, 1));
    let [past] = &seen.past_attempts[..] else { panic!("{:?}", seen.past_attempts) };
    assert_eq!((past.attempt.id, &past.end), (attempt, &AttemptEnd::Interrupted));

    // The same by a reclaim grant, which is the only way on request.
    let policy = ExecutionPolicy { reclaim_mode: ReclaimMode::OnRequest, ..Default::default() };
    let id = submit(&client, work().policy(policy)).await;
    drop(claim(&a).await);
    ground.advance(secs(30)).await;
    ground.tick().await;
    assert!(is_idle(&a).await, "nobody takes over unasked");
    let admin = ground.admin().await;
    drop(task);
    let granted = admin.issue_reclaim_grant(&id, b.config(), 1_000).await.unwrap();
    let args = ReclaimExecutionArgs::new().lease_ttl_ms(5_000);
    let ReclaimExecutionOutcome::Claimed(task) =
        b.claim_from_reclaim_grant(granted.clone(), args).await.unwrap()
    else {
        panic!("it is reclaimable")
    };
    assert_eq!((task.attempt_index(), task.reclaim_count()), (AttemptIndex(1), 1));
    drop(task);
    let again = b.claim_from_reclaim_grant(granted, ReclaimExecutionArgs::new()).await.unwrap();
    assert!(matches!(again, ReclaimExecutionOutcome::GrantNotFound), "{again:?}");
}

/// An execution that was reclaimed as often as it may fails with reason `max_reclaims_exceeded`, by
/// the request for a grant and by the offer to a claimer alike: one terminal event, no grant left
/// (`docs/spec.md`, 4).
pub async fn too_many_reclaims_fail_the_execution(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("w").await;
    let admin = ground.admin().await;
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
            let refused = admin.issue_reclaim_grant(&id, worker.config(), 1_000).await;
            assert_eq!(rejection(refused), capped);
            let again = admin.issue_reclaim_grant(&id, worker.config(), 1_000).await;
            assert_eq!(rejection(again), capped, "a repeat answers the same");
        } else {
            assert!(is_idle(&worker).await);
        }
    }
    for id in &ids {
        let seen = see(&client, id).await;
        let Some(Outcome::Failed(failure)) = seen.outcome else { panic!("{:?}", seen.outcome) };
        assert_eq!(failure.reason, "max_reclaims_exceeded");
        assert_eq!(endings(&client, id).await, 1);
        assert_eq!(ground.place(id, eligible()).await, None);
        let request = asking(ground, *id, "w");
        let late = client.execute(Command::Reclaim(claiming(ground, &request))).await;
        assert_eq!(kind(late), RejectionKind::ReclaimCapExceeded);
        let last = &seen.past_attempts.last().unwrap().end;
        assert_eq!(last, &AttemptEnd::Interrupted);
    }
}

/// An attempt that runs too long has failed, with category `attempt_timeout`, is retried by policy,
/// and has all its time again; a resumed claim has too. No lease outlasts it (`docs/spec.md`, 4).
pub async fn an_attempt_timeout_is_a_failed_attempt_and_is_armed_anew(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("w").await;
    let submission = work().attempt_timeout(secs(20)).retry(at_once(1));
    let id = submit(&client, submission).await;
    for attempt in 0..2 {
        let task = claim(&worker).await;
        assert_eq!(task.attempt_index(), AttemptIndex(attempt));
        let started = ground.now().await;
        ground.advance(secs(5)).await;
        task.delay_execution(TimestampMs::ZERO).await.unwrap();
        let task = claim(&worker).await;
        let resumed = ground.now().await;
        let times_out = resumed.plus(DurationMs::from_secs(20));
        assert!(times_out > started.plus(DurationMs::from_secs(20)));
        assert_eq!(see(&client, &id).await.lease.unwrap().expires_at, times_out);
        ground.advance_to(times_out.minus(DurationMs::new(1))).await;
        assert_eq!(task.renew_lease().await.unwrap(), times_out);
        ground.tick().await;
        assert_eq!(state(&client, &id).await, PublicState::Active);
        ground.advance(ms(1)).await;
        let late = task.complete(None).await;
        assert_eq!(kind(late), RejectionKind::LeaseExpired);
        ground.tick().await;
        let seen = see(&client, &id).await;
        assert_eq!(seen.counts.retries, 1);
        let AttemptEnd::Failed(failure) = &seen.past_attempts.last().unwrap().end else {
            panic!("{:?}", seen.past_attempts)
        };
        assert_eq!(failure.category.as_str(), "attempt_timeout");
    }
    assert_eq!(state(&client, &id).await, PublicState::Failed);
    assert_eq!(endings(&client, &id).await, 1);
}

/// A replay starts a new life: result and failure are gone, counters fresh, epochs and attempt
/// indexes go on rising; a repeat of the call answers the same (`docs/spec.md`, 4).
pub async fn a_replay_is_a_new_life(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("w").await;
    let deadline = ground.now().await.plus(DurationMs::from_secs(600));
    let id = submit(&client, work().payload("in").retry(at_once(1)).deadline(deadline)).await;
    claim(&worker).await.fail("it broke", "network").await.unwrap();
    claim(&worker).await.complete(Some(b"out".to_vec())).await.unwrap();

    let request_id = "replay-1".to_owned();
    let replay = Command::Replay { execution_id: id, request_id };
    let first = client.execute(replay.clone()).await.unwrap();
    assert_eq!(client.execute(replay).await.unwrap(), first);
    let seen = see(&client, &id).await;
    assert_eq!(seen.state.attempt_state, AttemptState::PendingReplayAttempt);
    assert_eq!((seen.outcome, seen.deadline, seen.ended_at), (None, None, None));
    assert_eq!((seen.counts.retries, seen.counts.reclaims, seen.counts.replays), (0, 0, 1));
    assert_eq!(seen.lease_epoch, LeaseEpoch(2));

    let task = claim(&worker).await;
    assert_eq!((task.attempt_index(), task.lease_epoch()), (AttemptIndex(2), LeaseEpoch(3)));
    assert_eq!(task.attempt_kind(), AttemptKind::Replay);
    assert_eq!(task.input_payload(), Some(&b"in"[..]));
    task.complete(None).await.unwrap();
    let result = client.result(&id).await.unwrap();
    assert_eq!(result.bytes(), None, "the result of the first life is gone");
    assert_eq!(endings(&client, &id).await, 2);
    assert!(events(&client, &id).await.contains(&EventKind::Replayed));
}

/// The eleventh replay is `MaxReplaysExhausted`, and work that is not over is
/// `ExecutionNotTerminal` (`docs/spec.md`, 4).
pub async fn replays_end_at_their_limit_and_need_an_end(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("w").await;
    let id = submit(&client, work()).await;
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
    assert_eq!(see(&client, &id).await.lease_epoch, LeaseEpoch(11));
}

/// Retention over: record, payload, result and index entries are gone, at that very millisecond
/// and not before; other executions keep theirs, and the id can be used again
/// (`docs/spec.md`, 2 and 4).
pub async fn retention_removes_everything_of_its_own_and_nothing_else(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("w").await;
    let retention_ms = DurationMs::from_secs(60);
    let brief = ExecutionPolicy { retention_ms, ..Default::default() };
    let (id, other) = (ground.id_in(1), ground.id_in(1));
    let full = |id| work().id(id).payload("in");
    submit(&client, full(id).policy(brief)).await;
    submit(&client, full(other)).await;
    for _ in 0..2 {
        claim(&worker).await.complete(Some(b"out".to_vec())).await.unwrap();
    }
    let over = ground.now().await.plus(retention_ms);
    ground.advance_to(over.minus(DurationMs::new(1))).await;
    ground.tick().await;
    assert!(has_everything(ground, &client, &id).await);
    ground.advance(ms(1)).await;
    while !ground.tick().await.applied.is_empty() {}

    assert_eq!(client.describe(&id).await.unwrap(), None);
    for error in [
        client.result(&id).await.unwrap_err(),
        client.value(&id, ValueKind::Payload).await.unwrap_err(),
    ] {
        assert!(matches!(error.engine(), Some(EngineError::NotFound { .. })));
    }
    assert_eq!(ground.values(&id).await, [false, false]);
    for index in [IndexName::Due, eligible(), IndexName::All { namespace: namespace() }] {
        assert_eq!(ground.place(&id, index).await, None);
    }
    assert!(has_everything(ground, &client, &other).await, "nothing else is gone");
    let fence = FenceParts::default();
    let late = client.execute(crate::kit::complete(id, fence)).await;
    assert_eq!(kind(late), RejectionKind::NotFound);
    submit(&client, full(id)).await;
    let task = claim(&worker).await;
    assert_eq!(task.lease_epoch(), LeaseEpoch(1), "it is another execution");
    assert!(fence_of(&task).lease_id.is_some());
}

async fn has_everything(ground: &Ground, client: &Client, id: &ExecutionId) -> bool {
    let all = IndexName::All { namespace: namespace() };
    client.describe(id).await.unwrap().is_some()
        && ground.values(id).await == [true, true]
        && ground.place(id, IndexName::Due).await.is_some()
        && ground.place(id, all).await.is_some()
}
