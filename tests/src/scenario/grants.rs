//! Grants and claims (`docs/spec.md`, 1 and 4).

use std::collections::BTreeSet;

use ff_sdk::core::agent::WorkerGrant;
use ff_sdk::core::capability::Capabilities;
use ff_sdk::core::error::{Rejection, RejectionKind};
use ff_sdk::core::execution::{Command, DelayExecution};
use ff_sdk::core::id::{LeaseEpoch, LeaseId, WorkerInstanceId};
use ff_sdk::core::state::{OwnershipState, PublicState};
use ff_sdk::core::store::IndexName;
use ff_sdk::core::time::{DurationMs, TimestampMs};
use ff_sdk::{ReclaimExecutionArgs, ReclaimExecutionOutcome, SdkError};

use crate::ground::{Ground, eligible, lane};
use crate::kit::{
    asking, claim, claimed, claiming, fence_of_claimed, grant, is_idle, kind, ms, rejection, secs,
    see, state, submit, work,
};
use crate::line::commits;

/// Another worker's claim is `InvalidClaimGrant` and costs the grant nothing; another instance of
/// the same worker may use it (`docs/spec.md`, 4).
pub async fn a_grant_is_bound_to_its_worker_and_not_to_an_instance(ground: &Ground) {
    let client = ground.client().await;
    let (thief, owner) = (ground.worker("thief").await, ground.worker("owner").await);
    let second = WorkerInstanceId::try_new("owner-2").unwrap();
    let twin = ground.worker_with("owner", |config| config.worker_instance_id = second).await;
    let id = submit(&client, work()).await;
    let granted = grant(&client, &asking(ground, id, "owner")).await.claim_grant();

    let refused = thief.claim_from_grant(&lane(), granted.clone()).await;
    assert_eq!(kind(refused), RejectionKind::InvalidClaimGrant);
    assert_eq!(state(&client, &id).await, PublicState::Waiting);
    let task = twin.claim_from_grant(&lane(), granted.clone()).await.unwrap();
    assert_eq!((task.execution_id(), task.lease_epoch()), (id, LeaseEpoch(1)));
    let again = owner.claim_from_grant(&lane(), granted).await;
    assert_eq!(kind(again), RejectionKind::InvalidClaimGrant);
}

/// While a grant is live another is `GrantAlreadyExists`, to its last millisecond; after it a new
/// one is issued and the old one is worth nothing (`docs/spec.md`, 4).
pub async fn one_grant_is_live_at_a_time(ground: &Ground) {
    let client = ground.client().await;
    let id = submit(&client, work()).await;
    let first = asking(ground, id, "w");
    let expires_at = grant(&client, &first).await.expires_at;
    let second = asking(ground, id, "w");
    let ask_again = Command::IssueClaimGrant(second.clone());
    ground.advance_to(expires_at.minus(DurationMs::new(1))).await;
    let refused = rejection(client.execute(ask_again.clone()).await);
    assert_eq!(refused, Rejection::GrantAlreadyExists { expires_at });

    ground.advance_to(expires_at).await;
    let late = client.execute(Command::Claim(claiming(ground, &first))).await;
    assert_eq!(rejection(late), Rejection::ClaimGrantExpired { expired_at: expires_at });
    let granted = grant(&client, &second).await;
    assert!(granted.expires_at > expires_at);
    let late = client.execute(Command::Claim(claiming(ground, &first))).await;
    assert_eq!(kind(late), RejectionKind::InvalidClaimGrant);
    let claim = claimed(client.execute(Command::Claim(claiming(ground, &second))).await);
    assert_eq!(claim.lease_epoch, LeaseEpoch(1));
}

/// A live grant takes the execution out of the eligible index; when it expires unused, the
/// execution goes back to its old place (`docs/spec.md`, 4).
pub async fn a_grant_that_ran_out_goes_back_to_its_old_place(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("w").await;
    let first = submit(&client, work().id(ground.id_in(0))).await;
    ground.advance(ms(5)).await;
    submit(&client, work().id(ground.id_in(0))).await;
    let place = ground.place(&first, eligible()).await;
    let expires_at = grant(&client, &asking(ground, first, "w")).await.expires_at;
    assert_eq!(ground.place(&first, eligible()).await, None);

    ground.advance_to(expires_at).await;
    ground.tick().await;
    assert_eq!(ground.place(&first, eligible()).await, place);
    assert_eq!(claim(&worker).await.execution_id(), first, "its place is before the other's");
}

/// A grant that was consumed is `InvalidClaimGrant` for a second lease, also after the first one
/// ended (`docs/spec.md`, 1).
pub async fn a_grant_is_consumed_once(ground: &Ground) {
    let client = ground.client().await;
    let id = submit(&client, work()).await;
    let request = asking(ground, id, "w");
    grant(&client, &request).await;
    let first = claimed(client.execute(Command::Claim(claiming(ground, &request))).await);
    for command in [Command::Claim, Command::ClaimResumed, Command::Reclaim] {
        let again = client.execute(command(claiming(ground, &request))).await;
        assert_eq!(kind(again), RejectionKind::InvalidClaimGrant);
    }
    let seen = see(&client, &id).await;
    assert_eq!(seen.lease.unwrap().lease_id, first.lease_id);
    assert_eq!((seen.lease_epoch, seen.attempts_total), (LeaseEpoch(1), 1));

    client.cancel(&id, "over").await.unwrap();
    let again = client.execute(Command::Claim(claiming(ground, &request))).await;
    assert_eq!(kind(again), RejectionKind::InvalidClaimGrant);
}

/// The same claim, by its lease id, gives the same lease however often it is sent, in all three
/// ways of claiming, and through a worker whose replies are lost (`docs/spec.md`, 4).
pub async fn a_claim_repeated_after_a_lost_reply_gives_the_same_lease(ground: &Ground) {
    let client = ground.client().await;
    let id = submit(&client, work()).await;
    let request = asking(ground, id, "w");
    grant(&client, &request).await;
    let command = Command::Claim(claiming(ground, &request));
    let first = claimed(client.execute(command.clone()).await);
    ground.advance(secs(1)).await;
    assert_eq!(claimed(client.execute(command).await), first);

    let (execution_id, fence) = (id, fence_of_claimed(&first));
    let until = TimestampMs::ZERO;
    let delay = DelayExecution { execution_id, fence, until, keeps_resumption: false };
    client.execute(Command::DelayExecution(delay)).await.unwrap();
    let request = asking(ground, id, "w");
    grant(&client, &request).await;
    let command = Command::ClaimResumed(claiming(ground, &request));
    let resumed = claimed(client.execute(command.clone()).await);
    assert_eq!((resumed.lease_epoch, resumed.attempt.id), (LeaseEpoch(2), first.attempt.id));
    assert_eq!(claimed(client.execute(command).await), resumed);
    client.revoke_lease(&id).await.unwrap();
    let request = asking(ground, id, "w");
    client.execute(Command::IssueReclaimGrant(request.clone())).await.unwrap();
    let command = Command::Reclaim(claiming(ground, &request));
    let reclaimed = claimed(client.execute(command.clone()).await);
    assert_eq!(reclaimed.lease_epoch, LeaseEpoch(3));
    assert_eq!(claimed(client.execute(command).await), reclaimed);
    client.cancel(&id, "over").await.unwrap();
    through_a_worker(ground).await;
}

/// The same through a worker's own claims, whose replies are lost.
async fn through_a_worker(ground: &Ground) {
    let (client, line) = (ground.client().await, ground.line());
    let worker = ground.worker_on(line.clone(), "w", |_| {}).await;
    let id = submit(&client, work()).await;
    line.lose_replies(1, commits);
    let task = claim(&worker).await;
    let lease = see(&client, &id).await.lease.unwrap();
    assert_eq!((lease.lease_id, task.lease_epoch()), (task.lease_id(), LeaseEpoch(1)));
    task.complete(None).await.unwrap();

    let id = submit(&client, work()).await;
    let granted = grant(&client, &asking(ground, id, "w")).await.claim_grant();
    line.lose_replies(1, commits);
    let task = worker.claim_from_grant(&lane(), granted).await.unwrap();
    let seen = see(&client, &id).await;
    assert_eq!(seen.lease.unwrap().lease_id, task.lease_id());
    assert_eq!((seen.lease_epoch, seen.attempts_total), (LeaseEpoch(1), 1));
    task.complete(None).await.unwrap();
}

/// The same request for a grant, by its key, gives the same grant while it is out and after it was
/// consumed (`docs/spec.md`, 4).
pub async fn a_request_for_a_grant_repeated_gives_the_same_grant(ground: &Ground) {
    let client = ground.client().await;
    let id = submit(&client, work()).await;
    let request = asking(ground, id, "w");
    let first = grant(&client, &request).await;
    ground.advance(ms(100)).await;
    assert_eq!(grant(&client, &request).await, first);
    claimed(client.execute(Command::Claim(claiming(ground, &request))).await);
    assert_eq!(grant(&client, &request).await, first);

    client.revoke_lease(&id).await.unwrap();
    let request = asking(ground, id, "w");
    let reclaim = Command::IssueReclaimGrant(request);
    let first = client.execute(reclaim.clone()).await.unwrap();
    assert_eq!(client.execute(reclaim).await.unwrap(), first);
}

/// A worker without a free slot says `WorkerAtCapacity` before anything is sent, whatever kind of
/// grant it was given; another instance can use the grant (`docs/spec.md`, 11).
pub async fn a_saturated_worker_leaves_the_grant_to_another_instance(ground: &Ground) {
    let client = ground.client().await;
    let line = ground.line();
    let worker = ground.worker_on(line.clone(), "w", |_| {}).await;
    let twin = ground.worker("w").await;
    submit(&client, work()).await;
    let busy = claim(&worker).await;
    let id = submit(&client, work()).await;
    let granted = grant(&client, &asking(ground, id, "w")).await.claim_grant();
    // The worker's first sweep is over before calls are counted.
    ground.advance(ms(1)).await;
    let before = line.calls();

    let refused = worker.claim_from_grant(&lane(), granted.clone()).await.unwrap_err();
    assert!(matches!(refused, SdkError::WorkerAtCapacity { slots: 1 }) && refused.is_retryable());
    let refused = worker.claim_next().await.unwrap_err();
    assert!(matches!(refused, SdkError::WorkerAtCapacity { .. }));
    let admin = ground.admin().await;
    let refused = worker.claim_via_server(&admin, &lane(), 1_000).await.unwrap_err();
    assert!(matches!(refused, SdkError::WorkerAtCapacity { .. }));
    assert_eq!(line.calls(), before, "nothing was sent");
    let task = twin.claim_from_grant(&lane(), granted).await.unwrap();
    assert_eq!(task.execution_id(), id);
    busy.complete(None).await.unwrap();
    assert_eq!(worker.free_slots(), 1);
}

/// Work that was interrupted is claimed by `claim_next`, by `claim_from_grant` with a claim grant,
/// by its resume grant and through a server, and it is the same attempt each time
/// (`docs/spec.md`, 4 and 11).
pub async fn resumed_work_is_claimed_through_any_entry_point(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("w").await;
    let admin = ground.admin().await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    let attempt = task.attempt_id();
    task.delay_execution(TimestampMs::ZERO).await.unwrap();

    let task = claim(&worker).await;
    assert_eq!((task.attempt_id(), task.lease_epoch()), (attempt, LeaseEpoch(2)));
    task.delay_execution(TimestampMs::ZERO).await.unwrap();

    let granted = grant(&client, &asking(ground, id, "w")).await;
    assert!(granted.resumes);
    let task = worker.claim_from_grant(&lane(), granted.claim_grant()).await.unwrap();
    assert_eq!((task.attempt_id(), task.lease_epoch()), (attempt, LeaseEpoch(3)));
    task.delay_execution(TimestampMs::ZERO).await.unwrap();

    let granted = grant(&client, &asking(ground, id, "w")).await;
    let task = worker.claim_from_resume_grant(granted.resume_grant()).await.unwrap();
    assert_eq!((task.attempt_id(), task.lease_epoch()), (attempt, LeaseEpoch(4)));
    task.move_to_waiting_children().await.unwrap();

    let task = worker.claim_via_server(&admin, &lane(), 1_000).await.unwrap().unwrap();
    assert_eq!((task.attempt_id(), task.lease_epoch()), (attempt, LeaseEpoch(5)));
    task.complete(None).await.unwrap();
    assert_eq!(see(&client, &id).await.attempts_total, 1);
}

/// The low-level claims say which of them is meant: `UseClaimResumedExecution` for an interrupted
/// attempt, `NotAResumedExecution` for a new one; the grant stays good (`docs/spec.md`, 4).
pub async fn the_low_level_claims_tell_new_from_resumed_work(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("w").await;
    let id = submit(&client, work()).await;
    let request = asking(ground, id, "w");
    let granted = grant(&client, &request).await;
    let resumed = client.execute(Command::ClaimResumed(claiming(ground, &request))).await;
    assert_eq!(kind(resumed), RejectionKind::NotAResumedExecution);
    let refused = worker.claim_from_resume_grant(granted.resume_grant()).await;
    assert_eq!(kind(refused), RejectionKind::NotAResumedExecution);

    let task = worker.claim_from_grant(&lane(), granted.claim_grant()).await.unwrap();
    task.delay_execution(TimestampMs::ZERO).await.unwrap();
    let request = asking(ground, id, "w");
    grant(&client, &request).await;
    let new = client.execute(Command::Claim(claiming(ground, &request))).await;
    assert_eq!(kind(new), RejectionKind::UseClaimResumedExecution);
    let claim = claimed(client.execute(Command::ClaimResumed(claiming(ground, &request))).await);
    assert_eq!(claim.lease_epoch, LeaseEpoch(2));
}

/// 64 workers that claim at the same time from one partition take 64 different executions, each
/// once (`docs/spec.md`, 4).
pub async fn many_claimers_take_each_execution_once(ground: &Ground) {
    let client = ground.client().await;
    let line = ground.line();
    let submissions: Vec<_> = (0..64).map(|_| work().id(ground.id_in(3))).collect();
    let submitted: BTreeSet<_> =
        client.submit_many(submissions).await.into_iter().map(|one| one.unwrap().id()).collect();
    assert_eq!(submitted.len(), 64);
    let mut workers = Vec::new();
    for number in 0..64 {
        workers.push(ground.worker_on(line.clone(), &format!("w{number}"), |_| {}).await);
    }
    line.slow_requests(ms(3), |_| true);
    line.slow_replies(ms(2), |_| true);

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
    assert!(tasks.iter().all(|task| task.lease_epoch() == LeaseEpoch(1)));
    let late = ground.worker("late").await;
    assert!(is_idle(&late).await);
}

/// A record that does not decode at the head of a lane is put into quarantine, and those behind it
/// are claimed by the same call, by workers and through a server (`docs/spec.md`, 4).
pub async fn a_corrupt_entry_at_the_head_of_a_lane_blocks_nobody(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("w").await;
    let other = ground.worker("other").await;
    let admin = ground.admin().await;
    let corrupt = [ground.id_in(1), ground.id_in(1)];
    let mut good = BTreeSet::new();
    for id in [ground.id_in(1), ground.id_in(1)] {
        good.insert(submit(&client, work().id(id)).await);
    }
    ground.put_corrupt_head(&corrupt[0]).await;
    let first = claim(&worker).await.execution_id();
    ground.put_corrupt_head(&corrupt[1]).await;
    let second = other.claim_via_server(&admin, &lane(), 1_000).await.unwrap().unwrap();
    assert_eq!(BTreeSet::from([first, second.execution_id()]), good);
    for id in &corrupt {
        assert!(ground.place(id, IndexName::Quarantine).await.is_some());
        assert_eq!(ground.place(id, eligible()).await, None);
    }
    ground.advance(secs(10)).await;
    ground.tick().await;
    for id in &corrupt {
        assert_eq!(ground.place(id, IndexName::Due).await, None, "nobody looks at it again");
    }
    let page = client.list(Default::default(), None, 10).await.unwrap();
    assert_eq!(page.executions.len(), 2);
}

/// An entry that a worker may not take, for a capability or because its deadline passed unmarked,
/// stands aside and those behind it are claimed by the same call (`docs/spec.md`, 4).
pub async fn an_entry_that_cannot_be_claimed_blocks_nobody(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("w").await;
    let first = |priority: i64| work().id(ground.id_in(1)).priority(priority);
    let deadline = ground.now().await.plus(DurationMs::from_secs(1));
    let over = submit(&client, first(9).deadline(deadline)).await;
    let needy = submit(&client, first(8).requires(["gpu"])).await;
    let good = submit(&client, first(0)).await;
    ground.advance_to(deadline).await;
    assert_eq!(claim(&worker).await.execution_id(), good);
    assert_eq!(state(&client, &over).await, PublicState::Expired);
    let reason = see(&client, &needy).await.state.blocking_reason;
    assert_eq!(reason.as_str(), "waiting_for_capable_worker");

    // The same holds for work whose lease was lost.
    let able = Capabilities::try_new(["gpu"]).unwrap();
    let able = ground.worker_with("able", |config| config.capabilities = able).await;
    ground.advance(ms(2)).await;
    let task = claim(&able).await;
    assert_eq!(task.execution_id(), needy);
    client.revoke_lease(&needy).await.unwrap();
    let behind = submit(&client, first(0)).await;
    let unable = ground.worker("unable").await;
    assert_eq!(claim(&unable).await.execution_id(), behind);
    let admin = ground.admin().await;
    // The sweep of the worker that is able unblocks it, once a slot is free.
    drop(task);
    ground.advance(secs(3)).await;
    let granted = admin.claim_for_worker(able.config(), &lane(), 1_000).await.unwrap();
    let Some(WorkerGrant::Reclaim(granted)) = granted else { panic!("{granted:?}") };
    let args = ReclaimExecutionArgs::new();
    let outcome = able.claim_from_reclaim_grant(granted, args).await.unwrap();
    assert!(matches!(outcome, ReclaimExecutionOutcome::Claimed(_)));
    assert_eq!(see(&client, &needy).await.state.ownership_state, OwnershipState::Leased);
}
