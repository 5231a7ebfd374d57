//! Submissions: identity, bounds, delays, deadlines, payloads (`docs/spec.md`, 2 and 4).

use std::sync::Arc;

use ff_sdk::Submission;
use ff_sdk::core::backend::EngineBackend;
use ff_sdk::core::error::{EngineError, Rejection, RejectionKind};
use ff_sdk::core::execution::{Command, Complete, CreateOutcome, Outcome, ValueKind};
use ff_sdk::core::policy::ExecutionPolicy;
use ff_sdk::core::state::{EligibilityState, PublicState, TerminalOutcome};
use ff_sdk::core::time::DurationMs;

use crate::faulty_backend::{any, commits};
use crate::fixture::{Fixture, eligible};
use crate::kit::{
    claim, describe, endings, kind, kind_of, ms, rejection, secs, state, submit, work,
};

/// A second submission of an id is a `Duplicate`, whatever its arguments, even if they are invalid;
/// the stored values are the first ones (`docs/spec.md`, 4).
pub async fn same_id_created_twice_keeps_the_first_values(fixture: &Fixture) {
    let (client, other) = (fixture.client().await, fixture.client().await);
    let id = fixture.id_in(1);
    let first = work().id(id).payload("first").priority(5).tag("team.name", "red");
    assert_eq!(client.submit(first).await.unwrap(), CreateOutcome::Created(id));
    let (before, record) = (describe(&client, &id).await, fixture.stored(&id).await);

    fixture.advance(ms(10)).await;
    let too_large = vec![0; (1 << 20) + 1];
    let late = fixture.now().await;
    for second in [
        Submission::new("other").id(id).payload("second").priority(9).lane("else").delay(secs(9)),
        work().id(id).payload(too_large),
        work().id(id).deadline(late),
    ] {
        assert_eq!(other.submit(second).await.unwrap(), CreateOutcome::Duplicate(id));
    }
    let many = other.submit_many([work().id(id), work().id(id)]).await;
    for outcome in many {
        assert_eq!(outcome.unwrap(), CreateOutcome::Duplicate(id));
    }
    assert_eq!(describe(&client, &id).await, before);
    assert_eq!(fixture.stored(&id).await, record);
    assert_eq!(
        client.value(&id, ValueKind::Payload).await.unwrap().as_deref(),
        Some(&b"first"[..])
    );
}

/// Two processes that submit the same content under one key at the same time create one execution,
/// and both get its id (`docs/spec.md`, 2 and 4).
pub async fn one_key_and_content_from_two_processes_is_one_execution(fixture: &Fixture) {
    let (faulty, other_faulty) = (fixture.faulty(), fixture.faulty());
    let client = fixture.client_on(faulty.clone()).await;
    let other = fixture.client_on(other_faulty.clone()).await;
    faulty.slow_requests(ms(50), any);
    other_faulty.slow_requests(ms(50), any);
    let keyed = || work().payload("same").tag("team.name", "red").idempotency_key("order-17");

    let (one, two) = tokio::join!(client.submit(keyed()), other.submit(keyed()));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.id(), two.id());
    let created = [one, two].iter().filter(|out| matches!(out, CreateOutcome::Created(_))).count();
    assert_eq!(created, 1, "{one:?} {two:?}");
    assert_eq!(client.submit(keyed()).await.unwrap(), CreateOutcome::Duplicate(one.id()));
    let page = client.list(Default::default(), None, 10).await.unwrap();
    assert_eq!(page.executions.len(), 1);
}

/// A key stands for its content: lane, kind, payload, priority, policy, capabilities, tags, delay
/// (`docs/spec.md`, 2). Another namespace's key is another key.
pub async fn other_content_under_a_key_is_refused(fixture: &Fixture) {
    let client = fixture.client().await;
    let keyed = || work().payload("same").idempotency_key("k");
    let id = submit(&client, keyed()).await;
    let record = fixture.stored(&id).await;
    let policy = ExecutionPolicy { max_replay_count: 1, ..Default::default() };
    for other in [
        keyed().payload("other"),
        work().idempotency_key("k"),
        Submission::new("other").payload("same").idempotency_key("k"),
        keyed().lane("other"),
        keyed().priority(1),
        keyed().requires(["gpu"]),
        keyed().tag("team.name", "red"),
        keyed().delay(secs(1)),
        keyed().policy(policy),
    ] {
        let refused = rejection(client.submit(other).await);
        assert_eq!(refused, Rejection::IdempotencyMismatch { existing: id });
    }
    assert_eq!(fixture.stored(&id).await, record);
    let elsewhere = fixture.client_of("elsewhere", fixture.backend()).await;
    let other = elsewhere.submit(work().idempotency_key("k")).await.unwrap();
    assert!(matches!(other, CreateOutcome::Created(_)) && other.id() != id);
}

/// A key is remembered until the retention of its execution ends, through replays; then it is free
/// for any content (`docs/spec.md`, 2).
pub async fn a_key_is_free_again_after_retention(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    let retention_ms = DurationMs::from_secs(60);
    let policy = ExecutionPolicy { retention_ms, ..Default::default() };
    let keyed = || work().policy(policy.clone()).idempotency_key("k");
    let id = submit(&client, keyed()).await;
    for _ in 0..2 {
        claim(&worker).await.complete(None).await.unwrap();
        assert_eq!(client.submit(keyed()).await.unwrap(), CreateOutcome::Duplicate(id));
        client.replay(&id).await.unwrap();
    }
    claim(&worker).await.complete(None).await.unwrap();
    fixture.advance(ms(59_999)).await;
    fixture.tick().await;
    assert_eq!(client.submit(keyed()).await.unwrap(), CreateOutcome::Duplicate(id));
    fixture.advance(ms(1)).await;
    while !fixture.tick().await.applied.is_empty() {}
    let other = client.submit(keyed().payload("other")).await.unwrap();
    assert_eq!(other, CreateOutcome::Created(id));
}

/// A submission whose reply was lost is applied once and answered as `Created`: a client does not
/// get its own submission as a duplicate (`docs/spec.md`, 4).
pub async fn a_submission_repeated_after_a_lost_reply_is_recognised(fixture: &Fixture) {
    let faulty = fixture.faulty();
    let client = fixture.client_on(faulty.clone()).await;
    for submission in [work(), work().idempotency_key("k")] {
        faulty.lose_replies(1, commits);
        let outcome = client.submit(submission).await.unwrap();
        assert!(matches!(outcome, CreateOutcome::Created(_)));
    }
    faulty.lose_replies(1, commits);
    let many = client.submit_many([work().id(fixture.id_in(0)), work().id(fixture.id_in(0))]).await;
    for outcome in many {
        assert!(matches!(outcome.unwrap(), CreateOutcome::Created(_)));
    }
    let page = client.list(Default::default(), None, 10).await.unwrap();
    assert_eq!(page.executions.len(), 4);
}

/// Priorities are stored within 0..=9000 (`docs/spec.md`, 4).
pub async fn priority_is_clamped(fixture: &Fixture) {
    let client = fixture.client().await;
    for (asked, stored) in [(99_999, 9_000), (-5, 0), (9_000, 9_000), (17, 17), (i64::MAX, 9_000)] {
        let id = submit(&client, work().priority(asked)).await;
        assert_eq!(describe(&client, &id).await.priority.get(), stored);
        assert_eq!(client.change_priority(&id, asked).await.unwrap().get(), stored);
    }
}

/// `delay_until` one millisecond ahead delays the execution until exactly that millisecond; equal
/// to now, it is waiting immediately (`docs/spec.md`, 4).
pub async fn a_future_start_is_delayed_and_one_until_now_is_not(fixture: &Fixture) {
    let client = fixture.client().await;
    let now = fixture.now().await;
    let ahead = submit(&client, work().delay_until(now.plus(DurationMs::new(1)))).await;
    let equal = submit(&client, work().delay_until(now)).await;
    let after = submit(&client, work().delay(ms(1))).await;
    assert_eq!(state(&client, &ahead).await, PublicState::Delayed);
    assert_eq!(state(&client, &after).await, PublicState::Delayed);
    assert_eq!(state(&client, &equal).await, PublicState::Waiting);
    let seen = describe(&client, &ahead).await;
    assert_eq!(seen.state.eligibility_state, EligibilityState::NotEligibleUntilTime);
    assert_eq!(seen.delayed_until, Some(now.plus(DurationMs::new(1))));
    assert_eq!(fixture.score(&ahead, eligible()).await, None);

    fixture.advance(ms(1)).await;
    assert_eq!(state(&client, &ahead).await, PublicState::Waiting, "before a timekeeper marks it");
    fixture.tick().await;
    for id in [&ahead, &equal, &after] {
        assert!(fixture.score(id, eligible()).await.is_some());
    }
}

/// A deadline that is not in the future is refused, and nothing is written (`docs/spec.md`, 4).
pub async fn a_deadline_in_the_past_is_refused(fixture: &Fixture) {
    let client = fixture.client().await;
    let now = fixture.now().await;
    for deadline in [now, now.minus(DurationMs::new(1))] {
        let id = fixture.id_in(2);
        let refused = client.submit(work().id(id).deadline(deadline)).await;
        let error = refused.unwrap_err();
        assert_eq!(kind_of(&error), RejectionKind::DeadlineNotInFuture);
        assert!(matches!(error.engine(), Some(EngineError::Validation { .. })));
        assert_eq!(fixture.record(&id).await, None);
    }
    submit(&client, work().deadline(now.plus(DurationMs::new(1)))).await;
}

/// A deadline applies in every phase: waiting, delayed and active executions expire at exactly that
/// millisecond, with one terminal event (`docs/spec.md`, 4).
pub async fn a_deadline_fires_in_every_phase(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    let deadline = fixture.now().await.plus(DurationMs::from_secs(60));
    let soon = || work().deadline(deadline);
    let active = submit(&client, soon()).await;
    let task = claim(&worker).await;
    let waiting = submit(&client, soon()).await;
    let delayed = submit(&client, soon().delay(secs(3_600))).await;

    fixture.advance_to(deadline.minus(DurationMs::new(1))).await;
    fixture.tick().await;
    assert_eq!(state(&client, &waiting).await, PublicState::Waiting);
    assert_eq!(state(&client, &active).await, PublicState::Active);
    fixture.advance(ms(1)).await;
    fixture.tick().await;
    for id in [&active, &waiting, &delayed] {
        let seen = describe(&client, id).await;
        assert_eq!(seen.state.terminal_outcome, TerminalOutcome::Expired);
        assert_eq!(seen.outcome, Some(Outcome::Expired));
        assert_eq!(endings(&client, id).await, 1);
        assert_eq!(fixture.score(id, eligible()).await, None);
    }
    assert_eq!(kind(task.complete(None).await), RejectionKind::ExecutionNotActive);
}

/// Payload and result are bytes, not text, and are stored unchanged (`docs/spec.md`, 4).
pub async fn payload_and_result_keep_every_byte(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    let every: Vec<u8> = (0..=255).chain([0xff, 0xfe, 0xc0, 0x00]).collect();
    let id = submit(&client, work().payload(&every)).await;
    assert_eq!(client.value(&id, ValueKind::Payload).await.unwrap().as_deref(), Some(&every[..]));
    let task = claim(&worker).await;
    assert_eq!(task.input_payload(), Some(&every[..]));
    task.complete(Some(every.clone())).await.unwrap();
    assert_eq!(client.result(&id).await.unwrap().bytes(), Some(&every[..]));
}

/// A payload and a result of 1 MiB are accepted, and one byte more is `PayloadTooLarge`. After a
/// refused result, the execution is still held (`docs/spec.md`, 4).
pub async fn a_payload_at_the_limit_is_accepted_and_one_byte_more_is_refused(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    let (full, over) = (vec![7; 1 << 20], vec![7; (1 << 20) + 1]);
    let refused = fixture.id_in(0);
    let result = client.submit(work().id(refused).payload(&over)).await;
    assert_eq!(kind(result), RejectionKind::PayloadTooLarge);
    assert_eq!(fixture.record(&refused).await, None);

    let id = submit(&client, work().payload(&full)).await;
    let task = claim(&worker).await;
    assert_eq!(task.input_payload().map(<[u8]>::len), Some(1 << 20));
    let fence = crate::kit::fence_of(&task);
    let result = Some(over.into());
    let too_large = Command::Complete(Complete { execution_id: id, fence, result });
    assert_eq!(kind(client.execute(too_large).await), RejectionKind::PayloadTooLarge);
    task.complete(Some(full.clone())).await.unwrap();
    assert_eq!(client.result(&id).await.unwrap().bytes(), Some(&full[..]));
}

/// No payload and an empty payload are different, and so are no result and an empty result
/// (`docs/spec.md`, 4).
pub async fn no_result_and_an_empty_one_are_different(fixture: &Fixture) {
    let backend: Arc<dyn EngineBackend> = fixture.backend();
    let client = fixture.client_on(backend).await;
    let worker = fixture.worker("w").await;
    let (none, empty) = (None::<Vec<u8>>, Some(Vec::new()));
    for result in [none, empty] {
        let submission = if result.is_some() { work().payload("") } else { work() };
        let id = submit(&client, submission).await;
        let task = claim(&worker).await;
        assert_eq!(task.input_payload().map(<[u8]>::to_vec), result);
        task.complete(result.clone()).await.unwrap();
        let found = client.result(&id).await.unwrap();
        assert_eq!(found.bytes().map(<[u8]>::to_vec), result);
    }
}
