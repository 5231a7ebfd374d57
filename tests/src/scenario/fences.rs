//! Fences, repeats and the order of guards (`docs/spec.md`, 4).

use ff_sdk::core::error::{EngineError, Rejection, RejectionKind};
use ff_sdk::core::execution::{
    AnyOutcome, Command, Complete, DelayExecution, FailOutcome, FenceParts, MoveToWaitingChildren,
    UpdateProgress,
};
use ff_sdk::core::id::{AttemptId, ExecutionId, LeaseEpoch, LeaseId};
use ff_sdk::core::state::PublicState;
use ff_sdk::core::time::TimestampMs;

use crate::faulty_backend::commits;
use crate::fixture::Fixture;
use crate::kit::{
    claim, complete, describe, endings, events, fail, fence_of, kind, kind_of, rejection, renew,
    secs, state, submit, submitted, work,
};

/// A complete that is repeated under the same fence, by a caller or after a lost reply, succeeds,
/// keeps the first result, and has one terminal event (`docs/spec.md`, 4).
pub async fn a_repeated_complete_succeeds_with_one_terminal_event(fixture: &Fixture) {
    let client = fixture.client().await;
    let faulty = fixture.faulty();
    let worker = fixture.worker_on(faulty.clone(), "a", |_| {}).await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    let fence = fence_of(&task);
    faulty.lose_replies(1, commits);
    task.complete(Some(b"first".to_vec())).await.unwrap();
    let record = fixture.stored(&id).await;

    fixture.advance(secs(40)).await;
    let result = Some(b"second".to_vec().into());
    let again = Command::Complete(Complete { execution_id: id, fence, result });
    client.execute(again).await.unwrap();
    client.execute(complete(id, fence)).await.unwrap();
    assert_eq!(fixture.stored(&id).await, record);
    assert_eq!(client.result(&id).await.unwrap().bytes(), Some(&b"first"[..]));
    assert_eq!(endings(&client, &id).await, 1);
}

/// A complete after another holder has finished is an error, not a repeat (`docs/spec.md`, 4).
pub async fn a_late_complete_after_another_finished_is_an_error(fixture: &Fixture) {
    let client = fixture.client().await;
    let (a, b) = (fixture.worker("a").await, fixture.worker("b").await);
    let id = submit(&client, work()).await;
    let task = claim(&a).await;
    let fence = fence_of(&task);
    client.revoke_lease(&id).await.unwrap();
    claim(&b).await.complete(Some(b"b".to_vec())).await.unwrap();
    let record = fixture.stored(&id).await;
    assert_eq!(kind(task.complete(Some(b"a".to_vec())).await), RejectionKind::StaleLease);
    assert_eq!(kind(client.execute(fail(id, fence, "late")).await), RejectionKind::StaleLease);
    assert_eq!(fixture.stored(&id).await, record);
    assert_eq!(endings(&client, &id).await, 1);
}

/// A fail that is repeated after its retry was scheduled returns the same `delay_until` and
/// schedules no second retry; one that ended the life is recognised too (`docs/spec.md`, 4).
pub async fn a_repeated_fail_returns_the_same_retry(fixture: &Fixture) {
    let client = fixture.client().await;
    let faulty = fixture.faulty();
    let worker = fixture.worker_on(faulty.clone(), "a", |_| {}).await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    let fence = fence_of(&task);
    faulty.lose_replies(1, commits);
    let outcome = task.fail("it broke", "network").await.unwrap();
    let FailOutcome::RetryScheduled { delay_until } = outcome else { panic!("{outcome:?}") };
    assert_eq!(describe(&client, &id).await.delayed_until, Some(delay_until));

    let record = fixture.stored(&id).await;
    fixture.advance(secs(5)).await;
    let again = client.execute(fail(id, fence, "network")).await.unwrap();
    assert_eq!(again, AnyOutcome::Fail(outcome));
    assert_eq!(fixture.stored(&id).await, record);
    assert_eq!(describe(&client, &id).await.counts.retries, 1);

    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    let fence = fence_of(&task);
    task.fail_permanently("it broke", "network").await.unwrap();
    let again = client.execute(fail(id, fence, "network")).await.unwrap();
    assert_eq!(again, AnyOutcome::Fail(FailOutcome::TerminalFailed));
    assert_eq!(endings(&client, &id).await, 1);
}

/// Each call that releases a lease is recognised when it is repeated; a call of another kind under
/// the same fence is not (`docs/spec.md`, 4).
pub async fn a_repeated_release_of_any_kind_is_recognised(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker("a").await;
    let until = TimestampMs::ZERO;
    let reason = || "no".to_owned();
    let releases: [&dyn Fn(_, _) -> Command; 4] = [
        &|execution_id, fence| delay(execution_id, fence, until),
        &|execution_id, fence| wait(execution_id, fence),
        &|execution_id, fence| Command::CancelByHolder { execution_id, fence, reason: reason() },
        &|execution_id, fence| fail(execution_id, fence, "network"),
    ];
    for release in releases {
        let id = submit(&client, work()).await;
        let task = claim(&worker).await;
        let fence = fence_of(&task);
        let first = client.execute(release(id, fence)).await.unwrap();
        let (record, kinds) = (fixture.stored(&id).await, events(&client, &id).await);
        assert_eq!(client.execute(release(id, fence)).await.unwrap(), first);
        let other = client.execute(complete(id, fence)).await;
        assert_eq!(kind(other), RejectionKind::ExecutionNotActive);
        assert_eq!(fixture.stored(&id).await, record);
        assert_eq!(events(&client, &id).await, kinds);
        drop(task);
        let _ = client.cancel(&id, "over").await;
    }
}

/// Every lease-bound call needs a complete fence: it is refused with `FenceRequired` without one,
/// and with `PartialFenceTriple` with a part of one (`docs/spec.md`, 4).
pub async fn a_fence_is_required_in_full(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let task = claim(&worker).await;
    let full = fence_of(&task);
    let record = fixture.stored(&id).await;
    let none = FenceParts::default();
    let partial = [
        FenceParts { lease_id: None, ..full },
        FenceParts { lease_epoch: None, ..full },
        FenceParts { attempt_id: None, ..full },
        FenceParts { lease_epoch: full.lease_epoch, ..none },
    ];
    for command in bound_calls(id) {
        assert_eq!(kind(client.execute(command(none)).await), RejectionKind::FenceRequired);
        for fence in partial {
            let refused = client.execute(command(fence)).await.unwrap_err();
            assert_eq!(kind_of(&refused), RejectionKind::PartialFenceTriple);
            assert!(matches!(refused.engine(), Some(EngineError::Validation { .. })));
        }
    }
    assert_eq!(fixture.stored(&id).await, record);
    task.complete(None).await.unwrap();
}

fn delay(execution_id: ExecutionId, fence: FenceParts, until: TimestampMs) -> Command {
    let keeps_resumption = false;
    Command::DelayExecution(DelayExecution { execution_id, fence, until, keeps_resumption })
}

fn wait(execution_id: ExecutionId, fence: FenceParts) -> Command {
    Command::MoveToWaitingChildren(MoveToWaitingChildren { execution_id, fence })
}

/// All lease-bound calls on an execution, as functions of the fence.
fn bound_calls(execution_id: ExecutionId) -> Vec<Box<dyn Fn(FenceParts) -> Command>> {
    let until = TimestampMs::ZERO;
    vec![
        Box::new(move |fence| renew(execution_id, fence, 1_000)),
        Box::new(move |fence| complete(execution_id, fence)),
        Box::new(move |fence| fail(execution_id, fence, "network")),
        Box::new(move |fence| delay(execution_id, fence, until)),
        Box::new(move |fence| wait(execution_id, fence)),
        Box::new(move |fence| {
            let message = None;
            Command::UpdateProgress(UpdateProgress { execution_id, fence, percent: 5, message })
        }),
        Box::new(move |fence| {
            let reason = "no".to_owned();
            Command::CancelByHolder { execution_id, fence, reason }
        }),
    ]
}

/// Calls with a fence that differs from the latest one in any part are `StaleLease` and change
/// nothing; the holder can continue (`docs/spec.md`, 4).
pub async fn a_refused_command_changes_nothing(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let task = claim(&worker).await;
    let full = fence_of(&task);
    let mut entropy = fixture.entropy();
    let wrong = [
        FenceParts { lease_id: Some(LeaseId::random(&mut entropy)), ..full },
        FenceParts { lease_epoch: Some(task.lease_epoch().next()), ..full },
        FenceParts { lease_epoch: Some(LeaseEpoch(0)), ..full },
        FenceParts { attempt_id: Some(AttemptId::random(&mut entropy)), ..full },
    ];
    let (record, kinds) = (fixture.stored(&id).await, events(&client, &id).await);
    for command in bound_calls(id) {
        for fence in wrong {
            let stale = Rejection::StaleLease { lease_epoch: task.lease_epoch() };
            assert_eq!(rejection(client.execute(command(fence)).await), stale);
        }
    }
    assert_eq!((fixture.stored(&id).await, events(&client, &id).await), (record, kinds));
    task.complete(None).await.unwrap();
    assert_eq!(state(&client, &id).await, PublicState::Completed);
}

/// Guards fail in one order: the execution exists, the fence is complete, the fence is the latest,
/// the phase fits, not revoked, not expired (`docs/spec.md`, 4).
pub async fn guards_fail_in_the_specified_order(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker("a").await;
    let unknown = fixture.id_in(1);
    for command in bound_calls(unknown) {
        let refused = client.execute(command(FenceParts::default())).await;
        assert_eq!(kind(refused), RejectionKind::NotFound, "existence comes before the fence");
    }
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    let fence = fence_of(&task);
    let stale = FenceParts { lease_epoch: Some(LeaseEpoch(9)), ..fence };
    drop(task);
    client.revoke_lease(&id).await.unwrap();
    fixture.advance(secs(60)).await;
    let refused = client.execute(renew(id, fence, 1_000)).await;
    assert_eq!(kind(refused), RejectionKind::LeaseRevoked, "revoked comes before expired");
    let refused = client.execute(renew(id, stale, 1_000)).await;
    assert_eq!(kind(refused), RejectionKind::StaleLease, "stale comes before revoked");
    let refused = client.execute(renew(id, fence, 0)).await;
    assert_eq!(kind(refused), RejectionKind::LeaseRevoked, "the lease comes before arguments");
    client.cancel(&id, "over").await.unwrap();
    let refused = client.execute(renew(id, stale, 1_000)).await;
    assert_eq!(kind(refused), RejectionKind::StaleLease, "stale comes before the phase");
    let refused = client.execute(renew(id, FenceParts::default(), 1_000)).await;
    assert_eq!(kind(refused), RejectionKind::FenceRequired, "the fence comes before the phase");
    let refused = client.execute(renew(id, fence, 1_000)).await;
    assert_eq!(kind(refused), RejectionKind::ExecutionNotActive);
}
