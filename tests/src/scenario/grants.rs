//! Grants and claims (`docs/spec.md`, 1 and 4).

use std::collections::BTreeSet;

use ff_sdk::core::agent::WorkerGrant;
use ff_sdk::core::capability::Capabilities;
use ff_sdk::core::error::{Rejection, RejectionKind};
use ff_sdk::core::execution::{Command, DelayExecution, EventKind, GrantAudit, WireGrantRequest};
use ff_sdk::core::id::{LaneId, LeaseId, Namespace, WorkerInstanceId};
use ff_sdk::core::state::{OwnershipState, PublicState};
use ff_sdk::core::store::IndexName;
use ff_sdk::core::time::{DurationMs, TimestampMs};
use ff_sdk::{ReclaimExecutionArgs, ReclaimExecutionOutcome, SdkError};

use crate::faulty_backend::commits;
use crate::fixture::{Fixture, eligible, lane};
use crate::kit::{
    ask, claim, claim_of, claimed, describe, events, fence_of_claimed, grant, grant_request,
    is_idle, kind, ms, nth_epoch, rejection, secs, state, submit, submitted, work,
};

/// Another worker's claim is `InvalidClaimGrant` and does not consume the grant; another instance
/// of the same worker may use it (`docs/spec.md`, 4).
pub async fn a_grant_is_bound_to_its_worker_and_not_to_an_instance(fixture: &Fixture) {
    let client = fixture.client().await;
    let (thief, owner) = (fixture.worker("thief").await, fixture.worker("owner").await);
    let second = WorkerInstanceId::try_new("owner-2").unwrap();
    let twin = fixture.worker_with("owner", |config| config.worker_instance_id = second).await;
    let id = submit(&client, work()).await;
    let granted = grant(&client, &grant_request(fixture, id, "owner")).await.claim_grant();

    let refused = thief.claim_from_grant(lane(), granted.clone()).await;
    assert_eq!(kind(refused), RejectionKind::InvalidClaimGrant);
    assert_eq!(state(&client, &id).await, PublicState::Waiting);
    let task = twin.claim_from_grant(lane(), granted.clone()).await.unwrap();
    assert_eq!((task.execution_id(), task.lease_epoch()), (id, nth_epoch(&client, &id, 1).await));
    let again = owner.claim_from_grant(lane(), granted).await;
    assert_eq!(kind(again), RejectionKind::InvalidClaimGrant);
}

/// While a grant is live, to its last millisecond, another is `GrantAlreadyExists`. After its
/// expiry a new one is issued, and the old one is invalid (`docs/spec.md`, 4).
pub async fn one_grant_is_live_at_a_time(fixture: &Fixture) {
    let client = fixture.client().await;
    let id = submit(&client, work()).await;
    let first = grant_request(fixture, id, "w");
    let expires_at = grant(&client, &first).await.expires_at;
    let second = grant_request(fixture, id, "w");
    let ask_again = Command::IssueClaimGrant(second.clone());
    fixture.advance_to(expires_at.minus(DurationMs::new(1))).await;
    let refused = rejection(client.execute(ask_again.clone()).await);
    assert_eq!(refused, Rejection::GrantAlreadyExists { expires_at });

    fixture.advance_to(expires_at).await;
    let late = client.execute(Command::Claim(claim_of(fixture, &first))).await;
    assert_eq!(rejection(late), Rejection::ClaimGrantExpired { expired_at: expires_at });
    let granted = grant(&client, &second).await;
    assert!(granted.expires_at > expires_at);
    let late = client.execute(Command::Claim(claim_of(fixture, &first))).await;
    assert_eq!(kind(late), RejectionKind::InvalidClaimGrant);
    let claim = claimed(client.execute(Command::Claim(claim_of(fixture, &second))).await);
    assert_eq!(claim.lease_epoch, nth_epoch(&client, &id, 1).await);
}

/// A live grant takes the execution out of the eligible index; when the grant expires unused, the
/// execution returns to its position (`docs/spec.md`, 4).
pub async fn an_expired_grant_returns_the_execution_to_its_position(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    let first = submit(&client, work().id(fixture.id_in(0))).await;
    fixture.advance(ms(5)).await;
    submit(&client, work().id(fixture.id_in(0))).await;
    let score = fixture.score(&first, eligible()).await;
    let expires_at = grant(&client, &grant_request(fixture, first, "w")).await.expires_at;
    assert_eq!(fixture.score(&first, eligible()).await, None);

    fixture.advance_to(expires_at).await;
    fixture.tick().await;
    assert_eq!(fixture.score(&first, eligible()).await, score);
    assert_eq!(claim(&worker).await.execution_id(), first, "it is before the other one");
}

/// A consumed grant is `InvalidClaimGrant` for a second lease, also after the first lease has ended
/// (`docs/spec.md`, 1).
pub async fn a_grant_is_consumed_once(fixture: &Fixture) {
    let client = fixture.client().await;
    let id = submit(&client, work()).await;
    let request = grant_request(fixture, id, "w");
    grant(&client, &request).await;
    let first = claimed(client.execute(Command::Claim(claim_of(fixture, &request))).await);
    for command in [Command::Claim, Command::ClaimResumed, Command::Reclaim] {
        let again = client.execute(command(claim_of(fixture, &request))).await;
        assert_eq!(kind(again), RejectionKind::InvalidClaimGrant);
    }
    let seen = describe(&client, &id).await;
    assert_eq!(seen.lease.unwrap().lease_id, first.lease_id);
    assert_eq!((seen.lease_epoch, seen.attempts_total), (nth_epoch(&client, &id, 1).await, 1));

    client.cancel(&id, "over").await.unwrap();
    let again = client.execute(Command::Claim(claim_of(fixture, &request))).await;
    assert_eq!(kind(again), RejectionKind::InvalidClaimGrant);
}

/// A grant that its worker gives back ends immediately: the execution returns to its position
/// and can be granted again. Another worker's call, and a repeat, change nothing
/// (`docs/spec.md`, 4).
pub async fn a_released_grant_can_be_issued_again(fixture: &Fixture) {
    let client = fixture.client().await;
    let (owner, other) = (fixture.worker("w").await, fixture.worker("other").await);
    let id = submit(&client, work()).await;
    let score = fixture.score(&id, eligible()).await;
    let granted = grant(&client, &grant_request(fixture, id, "w")).await.claim_grant();
    other.release_grant(granted.clone()).await.unwrap();
    assert_eq!(fixture.score(&id, eligible()).await, None);
    for _ in 0..2 {
        owner.release_grant(granted.clone()).await.unwrap();
        assert_eq!(fixture.score(&id, eligible()).await, score);
    }
    let late = owner.claim_from_grant(lane(), granted.clone()).await;
    assert_eq!(kind(late), RejectionKind::InvalidClaimGrant);
    let next = grant(&client, &grant_request(fixture, id, "w")).await.claim_grant();
    owner.release_grant(granted).await.unwrap();
    let task = owner.claim_from_grant(lane(), next.clone()).await.unwrap();
    owner.release_grant(next).await.unwrap();
    task.complete(None).await.unwrap();
    let released = EventKind::GrantReleased;
    assert_eq!(events(&client, &id).await.iter().filter(|kind| **kind == released).count(), 1);
}

/// A claim under a grant sees only executions of its worker's namespace and of the lane that it
/// names; a refused one does not consume the grant (`docs/spec.md`, 4).
pub async fn a_grant_is_for_its_lane_and_namespace(fixture: &Fixture) {
    let client = fixture.client().await;
    let id = submit(&client, work()).await;
    let elsewhere = LaneId::new("elsewhere");
    let lanes = vec![lane(), elsewhere.clone()];
    let worker = fixture.worker_with("w", |config| config.lanes = lanes).await;
    let foreign = Namespace::new("foreign");
    let stranger = fixture.worker_with("w", |config| config.namespace = foreign).await;
    let granted = grant(&client, &grant_request(fixture, id, "w")).await.claim_grant();

    let refused = stranger.claim_from_grant(lane(), granted.clone()).await;
    assert_eq!(kind(refused), RejectionKind::NotFound);
    let refused = stranger.release_grant(granted.clone()).await;
    assert_eq!(kind(refused), RejectionKind::NotFound);
    let refused = worker.claim_from_grant(elsewhere, granted.clone()).await;
    assert_eq!(kind(refused), RejectionKind::InvalidInput);
    let task = worker.claim_from_grant(lane(), granted).await.unwrap();
    task.complete(None).await.unwrap();
}

/// The data that was stored with a grant is shown until the grant is used (`docs/spec.md`, 4).
pub async fn the_audit_data_of_a_grant_is_kept(fixture: &Fixture) {
    let client = fixture.client().await;
    let id = submit(&client, work()).await;
    let request = WireGrantRequest {
        worker_instance_id: Some("w-1".to_owned()),
        capability_hash: Some("00ff".to_owned()),
        route_snapshot_json: Some("{}".to_owned()),
        admission_summary: Some("first of two".to_owned()),
        ..grant_request(fixture, id, "w")
    };
    let too_long = Some("x".repeat(GrantAudit::ADMISSION_SUMMARY_MAX_BYTES + 1));
    let refused = WireGrantRequest { admission_summary: too_long, ..request.clone() };
    let refused = client.execute(Command::IssueClaimGrant(refused)).await;
    assert_eq!(kind(refused), RejectionKind::InvalidInput);
    let expires_at = grant(&client, &request).await.expires_at;
    let shown = describe(&client, &id).await.grant.unwrap();
    assert_eq!((shown.worker_id.as_str(), shown.expires_at), ("w", expires_at));
    assert_eq!(shown.grant_id.to_string(), request.grant_key);
    assert_eq!(shown.audit.instance, Some(WorkerInstanceId::new("w-1")));
    assert_eq!(shown.audit.capability_hash, request.capability_hash);
    assert_eq!(shown.audit.route_snapshot_json, request.route_snapshot_json);
    assert_eq!(shown.audit.admission_summary, request.admission_summary);
    claimed(client.execute(Command::Claim(claim_of(fixture, &request))).await);
    assert_eq!(describe(&client, &id).await.grant, None);
}

/// The same claim, by its lease id, returns the same lease however often it is sent: for all three
/// kinds of claims, and for a worker whose replies are lost (`docs/spec.md`, 4).
pub async fn a_claim_repeated_after_a_lost_reply_returns_the_same_lease(fixture: &Fixture) {
    let client = fixture.client().await;
    let id = submit(&client, work()).await;
    let request = grant_request(fixture, id, "w");
    grant(&client, &request).await;
    let command = Command::Claim(claim_of(fixture, &request));
    let first = claimed(client.execute(command.clone()).await);
    fixture.advance(secs(1)).await;
    assert_eq!(claimed(client.execute(command).await), first);

    let (execution_id, fence) = (id, fence_of_claimed(&first));
    let until = TimestampMs::ZERO;
    let delay = DelayExecution { execution_id, fence, until, keeps_resumption: false };
    client.execute(Command::DelayExecution(delay)).await.unwrap();
    let request = grant_request(fixture, id, "w");
    grant(&client, &request).await;
    let command = Command::ClaimResumed(claim_of(fixture, &request));
    let resumed = claimed(client.execute(command.clone()).await);
    assert_eq!(
        (resumed.lease_epoch, resumed.attempt.id),
        (nth_epoch(&client, &id, 2).await, first.attempt.id)
    );
    assert_eq!(claimed(client.execute(command).await), resumed);
    client.revoke_lease(&id).await.unwrap();
    let request = grant_request(fixture, id, "w");
    client.execute(Command::IssueReclaimGrant(request.clone())).await.unwrap();
    let command = Command::Reclaim(claim_of(fixture, &request));
    let reclaimed = claimed(client.execute(command.clone()).await);
    assert_eq!(reclaimed.lease_epoch, nth_epoch(&client, &id, 3).await);
    assert_eq!(claimed(client.execute(command).await), reclaimed);
    client.cancel(&id, "over").await.unwrap();
    through_a_worker(fixture).await;
}

/// The same for the claims of a worker whose replies are lost.
async fn through_a_worker(fixture: &Fixture) {
    let (client, faulty) = (fixture.client().await, fixture.faulty());
    let worker = fixture.worker_on(faulty.clone(), "w", |_| {}).await;
    let id = submit(&client, work()).await;
    faulty.lose_replies(1, commits);
    let task = claim(&worker).await;
    let lease = describe(&client, &id).await.lease.unwrap();
    assert_eq!(
        (lease.lease_id, task.lease_epoch()),
        (task.lease_id(), nth_epoch(&client, &id, 1).await)
    );
    task.complete(None).await.unwrap();

    let id = submit(&client, work()).await;
    let granted = grant(&client, &grant_request(fixture, id, "w")).await.claim_grant();
    faulty.lose_replies(1, commits);
    let task = worker.claim_from_grant(lane(), granted).await.unwrap();
    let seen = describe(&client, &id).await;
    assert_eq!(seen.lease.unwrap().lease_id, task.lease_id());
    assert_eq!((seen.lease_epoch, seen.attempts_total), (nth_epoch(&client, &id, 1).await, 1));
    task.complete(None).await.unwrap();
}

/// The same request for a grant, by its key, returns the same grant while it is live and after it
/// was consumed (`docs/spec.md`, 4).
pub async fn a_repeated_grant_request_returns_the_same_grant(fixture: &Fixture) {
    let client = fixture.client().await;
    let id = submit(&client, work()).await;
    let request = grant_request(fixture, id, "w");
    let first = grant(&client, &request).await;
    fixture.advance(ms(100)).await;
    assert_eq!(grant(&client, &request).await, first);
    claimed(client.execute(Command::Claim(claim_of(fixture, &request))).await);
    assert_eq!(grant(&client, &request).await, first);

    client.revoke_lease(&id).await.unwrap();
    let request = grant_request(fixture, id, "w");
    let reclaim = Command::IssueReclaimGrant(request);
    let first = client.execute(reclaim.clone()).await.unwrap();
    assert_eq!(client.execute(reclaim).await.unwrap(), first);
}

/// A worker without a free slot claims nothing: before anything is sent, it returns no task, or
/// `WorkerAtCapacity` for a claim with a grant. Another instance can use the grant
/// (`docs/spec.md`, 11).
pub async fn a_saturated_worker_leaves_the_grant_to_another_instance(fixture: &Fixture) {
    let client = fixture.client().await;
    let faulty = fixture.faulty();
    let worker = fixture.worker_on(faulty.clone(), "w", |_| {}).await;
    let twin = fixture.worker("w").await;
    submit(&client, work()).await;
    let busy = claim(&worker).await;
    let id = submit(&client, work()).await;
    let granted = grant(&client, &grant_request(fixture, id, "w")).await.claim_grant();
    let before = faulty.calls();

    let refused = worker.claim_from_grant(lane(), granted.clone()).await.unwrap_err();
    assert!(matches!(refused, SdkError::WorkerAtCapacity { slots: 1 }) && refused.is_retryable());
    assert!(worker.claim_next().await.unwrap().is_none(), "there is no free slot");
    let admin = fixture.admin().await;
    let refused = worker.claim_via_server(&admin, &lane(), 1_000).await.unwrap_err();
    assert!(matches!(refused, SdkError::WorkerAtCapacity { .. }));
    assert_eq!(faulty.calls(), before, "nothing was sent");
    let task = twin.claim_from_grant(lane(), granted).await.unwrap();
    assert_eq!(task.execution_id(), id);
    busy.complete(None).await.unwrap();
    assert_eq!(worker.free_slots(), 1);
}

/// An interrupted attempt is continued by `claim_next`, by `claim_from_grant` with a claim grant,
/// with its resume grant, and through a server; it is the same attempt each time (`docs/spec.md`, 4
/// and 11).
pub async fn resumed_work_is_claimed_through_any_entry_point(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    let admin = fixture.admin().await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    let attempt = task.attempt_id();
    task.delay_execution(TimestampMs::ZERO).await.unwrap();

    let task = claim(&worker).await;
    assert_eq!(
        (task.attempt_id(), task.lease_epoch()),
        (attempt, nth_epoch(&client, &id, 2).await)
    );
    task.delay_execution(TimestampMs::ZERO).await.unwrap();

    let granted = grant(&client, &grant_request(fixture, id, "w")).await;
    assert!(granted.resumes);
    let task = worker.claim_from_grant(lane(), granted.claim_grant()).await.unwrap();
    assert_eq!(
        (task.attempt_id(), task.lease_epoch()),
        (attempt, nth_epoch(&client, &id, 3).await)
    );
    task.delay_execution(TimestampMs::ZERO).await.unwrap();

    let granted = grant(&client, &grant_request(fixture, id, "w")).await;
    let task = worker.claim_from_resume_grant(granted.resume_grant()).await.unwrap();
    assert_eq!(
        (task.attempt_id(), task.lease_epoch()),
        (attempt, nth_epoch(&client, &id, 4).await)
    );
    task.move_to_waiting_children().await.unwrap();

    let task = worker.claim_via_server(&admin, &lane(), 1_000).await.unwrap().unwrap();
    assert_eq!(
        (task.attempt_id(), task.lease_epoch()),
        (attempt, nth_epoch(&client, &id, 5).await)
    );
    task.complete(None).await.unwrap();
    assert_eq!(describe(&client, &id).await.attempts_total, 1);
}

/// A claim in wire form of the wrong kind is refused, with `UseClaimResumedExecution` for an
/// interrupted attempt and `NotAResumedExecution` for a new one; the grant is still usable
/// (`docs/spec.md`, 4).
pub async fn claims_in_wire_form_distinguish_new_from_resumed_work(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let request = grant_request(fixture, id, "w");
    let granted = grant(&client, &request).await;
    let resumed = client.execute(Command::ClaimResumed(claim_of(fixture, &request))).await;
    assert_eq!(kind(resumed), RejectionKind::NotAResumedExecution);
    let refused = worker.claim_from_resume_grant(granted.resume_grant()).await;
    assert_eq!(kind(refused), RejectionKind::NotAResumedExecution);

    let task = worker.claim_from_grant(lane(), granted.claim_grant()).await.unwrap();
    task.delay_execution(TimestampMs::ZERO).await.unwrap();
    let request = grant_request(fixture, id, "w");
    grant(&client, &request).await;
    let new = client.execute(Command::Claim(claim_of(fixture, &request))).await;
    assert_eq!(kind(new), RejectionKind::UseClaimResumedExecution);
    let claim = claimed(client.execute(Command::ClaimResumed(claim_of(fixture, &request))).await);
    assert_eq!(claim.lease_epoch, nth_epoch(&client, &id, 2).await);
}

/// 64 workers that claim at the same time from one partition get 64 different executions, each once
/// (`docs/spec.md`, 4).
pub async fn many_claimers_claim_each_execution_once(fixture: &Fixture) {
    let client = fixture.client().await;
    let faulty = fixture.faulty();
    let submissions: Vec<_> = (0..64).map(|_| work().id(fixture.id_in(3))).collect();
    let submitted: BTreeSet<_> =
        client.submit_many(submissions).await.into_iter().map(|one| one.unwrap().id()).collect();
    assert_eq!(submitted.len(), 64);
    let mut workers = Vec::new();
    for number in 0..64 {
        workers.push(fixture.worker_on(faulty.clone(), &format!("w{number}"), |_| {}).await);
    }
    faulty.slow_requests(ms(3), |_| true);
    faulty.slow_replies(ms(2), |_| true);

    let claims: Vec<_> = workers
        .iter()
        .map(|worker| {
            let worker = worker.clone();
            tokio::spawn(async move { claim(&worker).await })
        })
        .collect();
    let mut tasks = Vec::new();
    for claim in claims {
        tasks.push(claim.await.unwrap());
    }
    let taken: BTreeSet<_> = tasks.iter().map(|task| task.execution_id()).collect();
    let leases: BTreeSet<LeaseId> = tasks.iter().map(|task| task.lease_id()).collect();
    assert_eq!((taken, leases.len()), (submitted, 64));
    for task in &tasks {
        assert_eq!(task.lease_epoch(), nth_epoch(&client, &task.execution_id(), 1).await);
    }
    let late = fixture.worker("late").await;
    assert!(is_idle(&late).await);
}

/// An undecodable record at the head of a lane is put into quarantine, and the same call claims an
/// execution after it, by workers and through a server (`docs/spec.md`, 4).
pub async fn a_corrupt_entry_at_the_head_of_a_lane_does_not_block_it(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    let other = fixture.worker("other").await;
    let admin = fixture.admin().await;
    let corrupt = [fixture.id_in(1), fixture.id_in(1)];
    let mut good = BTreeSet::new();
    for id in [fixture.id_in(1), fixture.id_in(1)] {
        good.insert(submit(&client, work().id(id)).await);
    }
    fixture.put_corrupt_head(&corrupt[0]).await;
    let first = claim(&worker).await.execution_id();
    fixture.put_corrupt_head(&corrupt[1]).await;
    let second = other.claim_via_server(&admin, &lane(), 1_000).await.unwrap().unwrap();
    assert_eq!(BTreeSet::from([first, second.execution_id()]), good);
    for id in &corrupt {
        assert!(fixture.score(id, IndexName::Quarantine).await.is_some());
        assert_eq!(fixture.score(id, eligible()).await, None);
    }
    fixture.advance(secs(10)).await;
    fixture.tick().await;
    for id in &corrupt {
        assert_eq!(fixture.score(id, IndexName::Due).await, None, "it is not due again");
    }
    let page = client.list(Default::default(), None, 10).await.unwrap();
    assert_eq!(page.executions.len(), 2);
}

/// An entry that a worker cannot claim, since it lacks a capability or the deadline has passed, is
/// set aside, and the same call claims an execution after it (`docs/spec.md`, 4).
pub async fn an_entry_that_cannot_be_claimed_does_not_block_the_lane(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    let first = |priority: i64| work().id(fixture.id_in(1)).priority(priority);
    let deadline = fixture.now().await.plus(DurationMs::from_secs(1));
    let over = submit(&client, first(9).deadline(deadline)).await;
    let needy = submit(&client, first(8).requires(["gpu"])).await;
    let good = submit(&client, first(0)).await;
    fixture.advance_to(deadline).await;
    assert_eq!(claim(&worker).await.execution_id(), good);
    assert_eq!(state(&client, &over).await, PublicState::Expired);
    let reason = describe(&client, &needy).await.state.blocking_reason;
    assert_eq!(reason.as_str(), "waiting_for_capable_worker");

    // The same holds for an execution whose lease was lost.
    let able = Capabilities::try_new(["gpu"]).unwrap();
    let able = fixture.worker_with("able", |config| config.capabilities = able).await;
    let task = claim(&able).await;
    assert_eq!(task.execution_id(), needy);
    client.revoke_lease(&needy).await.unwrap();
    let next = submit(&client, first(0)).await;
    let unable = fixture.worker("unable").await;
    assert_eq!(claim(&unable).await.execution_id(), next);
    let admin = fixture.admin().await;
    drop(task);
    let granted = ask(&admin, &able, 1_000).await.unwrap();
    let Some(WorkerGrant::Reclaim(granted)) = granted else { panic!("{granted:?}") };
    let args = ReclaimExecutionArgs::new();
    let outcome = able.claim_from_reclaim_grant(granted, args).await.unwrap();
    assert!(matches!(outcome, ReclaimExecutionOutcome::Claimed(_)));
    assert_eq!(describe(&client, &needy).await.state.ownership_state, OwnershipState::Leased);
}
