//! Leases: how they are kept, lost and taken over (`docs/spec.md`, 4 and 11).

use ff_sdk::core::error::{Rejection, RejectionKind};
use ff_sdk::core::execution::{AnyOutcome, Command, EventKind, Outcome};
use ff_sdk::core::id::{AttemptIndex, LeaseEpoch};
use ff_sdk::core::state::{LifecyclePhase, OwnershipState, TerminalOutcome};
use ff_sdk::core::store::IndexName;
use ff_sdk::core::time::DurationMs;

use crate::ground::{Ground, eligible};
use crate::kit::{
    asking, claim, claiming, complete, endings, events, fence_of, is_idle, kind, ms, rejection,
    renew, secs, see, submit, work,
};
use crate::line::commits;
use crate::line::writes_a_result;

/// A lease that ran out refuses its holder from its very millisecond on, though nobody has marked
/// or reclaimed it, and is seen as expired (`docs/spec.md`, 3 and 4).
pub async fn an_expired_lease_refuses_though_nobody_reclaimed(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("a").await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    let fence = fence_of(&task);
    let expired_at = see(&client, &id).await.lease.unwrap().expires_at;
    drop(task);
    ground.advance_to(expired_at).await;

    let record = ground.record(&id).await;
    let expired = Rejection::LeaseExpired { expired_at };
    assert_eq!(rejection(client.execute(complete(id, fence)).await), expired);
    assert_eq!(rejection(client.execute(renew(id, fence, 30_000)).await), expired);
    assert_eq!(ground.record(&id).await, record);
    let seen = see(&client, &id).await;
    assert_eq!(seen.state.ownership_state, OwnershipState::LeaseExpiredReclaimable);
    assert_eq!(seen.state.lifecycle_phase, LifecyclePhase::Active);
}

/// Once another worker has taken over, the former holder's complete and renew are `StaleLease` and
/// change nothing; the new holder finishes (`docs/spec.md`, 4).
pub async fn a_reclaimed_lease_is_stale_and_changes_nothing(ground: &Ground) {
    let client = ground.client().await;
    let (a, b) = (ground.worker("a").await, ground.worker("b").await);
    let id = submit(&client, work()).await;
    let task = claim(&a).await;
    let fence = fence_of(&task);
    drop(task);
    assert!(is_idle(&b).await);
    ground.advance(secs(30)).await;
    ground.tick().await;
    let taken = claim(&b).await;
    assert_eq!((taken.execution_id(), taken.lease_epoch()), (id, LeaseEpoch(2)));
    assert_eq!(taken.attempt_index(), AttemptIndex(1));

    let record = ground.record(&id).await;
    let stale = Rejection::StaleLease { lease_epoch: LeaseEpoch(2) };
    assert_eq!(rejection(client.execute(complete(id, fence)).await), stale);
    assert_eq!(rejection(client.execute(renew(id, fence, 30_000)).await), stale);
    assert_eq!(ground.record(&id).await, record);
    taken.complete(Some(b"b".to_vec())).await.unwrap();
    assert_eq!(client.result(&id).await.unwrap().bytes(), Some(&b"b"[..]));
}

/// A renewal one millisecond before the expiry keeps the lease, one at the expiry is
/// `LeaseExpired`; a renewed lease has the same id and epoch (`docs/spec.md`, 4).
pub async fn renewal_holds_up_to_the_millisecond_of_expiry(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("a").await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    let fence = fence_of(&task);
    drop(task);
    let lease = see(&client, &id).await.lease.unwrap();
    ground.advance_to(lease.expires_at.minus(DurationMs::new(1))).await;
    let renewed = client.execute(renew(id, fence, 5_000)).await.unwrap();
    let AnyOutcome::Renew(renewed) = renewed else { panic!("{renewed:?}") };
    assert_eq!(renewed.expires_at, ground.now().await.plus(DurationMs::from_secs(5)));
    let kept = see(&client, &id).await.lease.unwrap();
    assert_eq!((kept.lease_id, kept.expires_at), (lease.lease_id, renewed.expires_at));
    assert_eq!(see(&client, &id).await.lease_epoch, LeaseEpoch(1));

    ground.advance_to(renewed.expires_at).await;
    let expired = Rejection::LeaseExpired { expired_at: renewed.expires_at };
    assert_eq!(rejection(client.execute(renew(id, fence, 5_000)).await), expired);
}

/// A timekeeper that takes the entry of a lease which was renewed meanwhile changes no record and
/// leaves the entry where it belongs (`docs/spec.md`, 4).
pub async fn a_timekeeper_that_finds_a_renewed_lease_changes_nothing(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("a").await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    ground.advance(secs(12)).await;
    let renewed = task.renew_lease().await.unwrap();
    let (record, due) = (ground.stored(&id).await, ground.place(&id, IndexName::Due).await);
    assert_eq!(due.unwrap().instant(), renewed);

    // A taker that died has moved the entry: it is due early.
    ground.hold_due(&id).await;
    let moved = ground.place(&id, IndexName::Due).await.unwrap();
    assert!(moved < due.unwrap());
    ground.advance_to(moved.instant()).await;
    let report = ground.tick().await;
    assert!(report.applied.is_empty(), "{report:?}");
    assert_eq!(ground.stored(&id).await, record);
    assert_eq!(ground.place(&id, IndexName::Due).await, due);
    task.complete(None).await.unwrap();
}

/// An operator cancels active work: the holder's next call fails with the outcome in the error,
/// there is no grant and no eligible entry, and only retention remains due (`docs/spec.md`, 4).
pub async fn cancelling_active_work_takes_it_from_its_holder(ground: &Ground) {
    let client = ground.client().await;
    let worker = ground.worker("a").await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    let attempt = task.attempt_id();
    client.cancel(&id, "not wanted").await.unwrap();

    let not_active = Rejection::ExecutionNotActive {
        terminal_outcome: TerminalOutcome::Cancelled,
        lease_epoch: LeaseEpoch(1),
        lifecycle_phase: LifecyclePhase::Terminal,
        attempt_id: Some(attempt),
    };
    assert_eq!(rejection(task.update_progress(5, None).await), not_active);
    assert_eq!(rejection(task.complete(None).await), not_active);
    let seen = see(&client, &id).await;
    assert_eq!(seen.outcome, Some(Outcome::Cancelled { reason: "not wanted".to_owned() }));
    assert_eq!(ground.place(&id, eligible()).await, None);
    let retention = seen.ended_at.unwrap().plus(seen.policy.retention_ms);
    assert_eq!(ground.place(&id, IndexName::Due).await.unwrap().instant(), retention);
    let asked = client.execute(Command::IssueReclaimGrant(asking(ground, id, "b"))).await;
    assert_eq!(kind(asked), RejectionKind::ExecutionNotReclaimable);
    assert_eq!(kind(client.cancel(&id, "again").await), RejectionKind::ExecutionNotActive);
    assert!(is_idle(&ground.worker("b").await).await);
}

/// A revoked lease refuses its holder with `LeaseRevoked`, the work is reclaimable at once, and
/// revoking again answers the same, by request id also after somebody took over
/// (`docs/spec.md`, 4).
pub async fn a_revoked_lease_is_reclaimable_at_once(ground: &Ground) {
    let client = ground.client().await;
    let (a, b) = (ground.worker("a").await, ground.worker("b").await);
    let id = submit(&client, work()).await;
    let task = claim(&a).await;
    let request_id = "revoke-1".to_owned();
    let revoke = Command::RevokeLease { execution_id: id, request_id };
    let first = client.execute(revoke.clone()).await.unwrap();
    let again = client.revoke_lease(&id).await.unwrap();
    assert_eq!(first, AnyOutcome::RevokeLease(again));
    assert_eq!(again.lease_epoch, LeaseEpoch(1));

    assert_eq!(kind(task.renew_lease().await), RejectionKind::LeaseRevoked);
    assert_eq!(kind(task.complete(None).await), RejectionKind::LeaseRevoked);
    let seen = see(&client, &id).await;
    assert_eq!(seen.state.ownership_state, OwnershipState::LeaseRevoked);
    let taken = claim(&b).await;
    assert_eq!((taken.execution_id(), taken.lease_epoch()), (id, LeaseEpoch(2)));
    assert_eq!(client.execute(revoke).await.unwrap(), first, "a late copy");
    taken.renew_lease().await.unwrap();
    let kinds = events(&client, &id).await;
    assert_eq!(kinds.iter().filter(|kind| **kind == EventKind::LeaseRevoked).count(), 1);

    drop(taken);
    ground.advance(secs(30)).await;
    assert_eq!(kind(client.revoke_lease(&id).await), RejectionKind::LeaseExpired);
}

/// The lease is renewed while a complete is on its way to the store, or its reply on the way back,
/// for longer than the ttl; no renewal is sent after the reply (`docs/spec.md`, 11).
pub async fn renewal_goes_on_during_a_slow_complete_and_stops_after(ground: &Ground) {
    let client = ground.client().await;
    let line = ground.line();
    let worker = ground.worker_on(line.clone(), "a", |config| config.lease_ttl_ms = 3_000).await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    line.slow_requests(secs(10), writes_a_result);
    let completing = tokio::spawn(task.complete(Some(b"done".to_vec())));
    ground.advance(secs(8)).await;
    let seen = see(&client, &id).await;
    assert_eq!(seen.state.ownership_state, OwnershipState::Leased);
    assert!(line.commits() >= 1 + 1 + 5, "a renewal each second: {}", line.commits());
    // The renewals have changed the record, so that the complete is decided once more.
    line.slow_requests(ms(10), writes_a_result);
    completing.await.unwrap().unwrap();
    assert_eq!(client.result(&id).await.unwrap().bytes(), Some(&b"done"[..]));
    let sent = line.commits();
    ground.advance(secs(10)).await;
    assert_eq!(line.commits(), sent, "nothing is renewed any more");

    line.mend();
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    line.slow_replies(secs(10), writes_a_result);
    task.complete(Some(b"done".to_vec())).await.unwrap();
    assert_eq!(client.result(&id).await.unwrap().bytes(), Some(&b"done"[..]));
    assert_eq!(endings(&client, &id).await, 1);
}

/// A lease is renewed again and again over a store that takes its time with every call
/// (`docs/spec.md`, 11).
pub async fn renewal_outlives_the_time_that_a_call_takes(ground: &Ground) {
    let client = ground.client().await;
    let line = ground.line();
    let worker = ground.worker_on(line.clone(), "a", |config| config.lease_ttl_ms = 6_000).await;
    let id = submit(&client, work()).await;
    line.slow_requests(ms(20), |_| true);
    line.slow_replies(ms(30), commits);
    let task = claim(&worker).await;
    let watch = task.lease_watch();
    for _ in 0..20 {
        ground.advance(secs(3)).await;
        assert!(task.is_lease_healthy() && !watch.is_lost());
    }
    assert_eq!(see(&client, &id).await.lease_epoch, LeaseEpoch(1));
    task.complete(None).await.unwrap();
    let request = asking(ground, id, "a");
    let late = client.execute(Command::Claim(claiming(ground, &request))).await;
    assert_eq!(kind(late), RejectionKind::InvalidClaimGrant);
}
