//! Leases: renewal, expiry, revocation and reclaims (`docs/spec.md`, 4 and 11).

use ff_sdk::core::error::{Rejection, RejectionKind};
use ff_sdk::core::execution::{AnyOutcome, Command, EventKind, Outcome};
use ff_sdk::core::id::AttemptIndex;
use ff_sdk::core::state::{LifecyclePhase, OwnershipState, TerminalOutcome};
use ff_sdk::core::store::IndexName;
use ff_sdk::core::time::DurationMs;

use crate::faulty_backend::{commits, writes_a_result};
use crate::fixture::{Fixture, eligible};
use crate::kit::{
    claim, claim_of, complete, describe, endings, events, fence_of, grant_request, is_idle, kind,
    ms, nth_epoch, rejection, renew, secs, submit, submitted, work,
};

/// From the millisecond of its expiry on, a lease is refused and shown as expired, although it is
/// neither marked nor reclaimed (`docs/spec.md`, 3 and 4).
pub async fn an_expired_lease_is_refused_before_any_reclaim(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let task = claim(&worker).await;
    let fence = fence_of(&task);
    let expired_at = describe(&client, &id).await.lease.unwrap().expires_at;
    drop(task);
    fixture.advance_to(expired_at).await;

    let record = fixture.record(&id).await;
    let expired = Rejection::LeaseExpired { expired_at };
    assert_eq!(rejection(client.execute(complete(id, fence)).await), expired);
    assert_eq!(rejection(client.execute(renew(id, fence, 30_000)).await), expired);
    assert_eq!(fixture.record(&id).await, record);
    let seen = describe(&client, &id).await;
    assert_eq!(seen.state.ownership_state, OwnershipState::LeaseExpiredReclaimable);
    assert_eq!(seen.state.lifecycle_phase, LifecyclePhase::Active);
}

/// After another worker has reclaimed the execution, the former holder's complete and renew are
/// `StaleLease` and change nothing; the new holder can finish (`docs/spec.md`, 4).
pub async fn a_reclaimed_lease_is_stale_and_changes_nothing(fixture: &Fixture) {
    let client = fixture.client().await;
    let (a, b) = (fixture.worker("a").await, fixture.worker("b").await);
    let id = submit(&client, work()).await;
    let task = claim(&a).await;
    let fence = fence_of(&task);
    drop(task);
    assert!(is_idle(&b).await);
    fixture.advance(secs(30)).await;
    fixture.tick().await;
    let taken = claim(&b).await;
    assert_eq!((taken.execution_id(), taken.lease_epoch()), (id, nth_epoch(&client, &id, 2).await));
    assert_eq!(taken.attempt_index(), AttemptIndex(1));

    let record = fixture.record(&id).await;
    let stale = Rejection::StaleLease { lease_epoch: nth_epoch(&client, &id, 2).await };
    assert_eq!(rejection(client.execute(complete(id, fence)).await), stale);
    assert_eq!(rejection(client.execute(renew(id, fence, 30_000)).await), stale);
    assert_eq!(fixture.record(&id).await, record);
    taken.complete(Some(b"b".to_vec())).await.unwrap();
    assert_eq!(client.result(&id).await.unwrap().bytes(), Some(&b"b"[..]));
}

/// A renewal one millisecond before the expiry keeps the lease, one at the expiry is
/// `LeaseExpired`; a renewed lease has the same id and epoch (`docs/spec.md`, 4).
pub async fn renewal_holds_up_to_the_millisecond_of_expiry(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let task = claim(&worker).await;
    let fence = fence_of(&task);
    drop(task);
    let lease = describe(&client, &id).await.lease.unwrap();
    fixture.advance_to(lease.expires_at.minus(DurationMs::new(1))).await;
    let renewed = client.execute(renew(id, fence, 5_000)).await.unwrap();
    let AnyOutcome::Renew(renewed) = renewed else { panic!("{renewed:?}") };
    assert_eq!(renewed.expires_at, fixture.now().await.plus(DurationMs::from_secs(5)));
    let kept = describe(&client, &id).await.lease.unwrap();
    assert_eq!((kept.lease_id, kept.expires_at), (lease.lease_id, renewed.expires_at));
    assert_eq!(describe(&client, &id).await.lease_epoch, nth_epoch(&client, &id, 1).await);

    fixture.advance_to(renewed.expires_at).await;
    let expired = Rejection::LeaseExpired { expired_at: renewed.expires_at };
    assert_eq!(rejection(client.execute(renew(id, fence, 5_000)).await), expired);
}

/// A timekeeper that takes the entry of a lease which was renewed meanwhile changes no record, and
/// restores the score of the entry (`docs/spec.md`, 4).
pub async fn a_timekeeper_that_finds_a_renewed_lease_changes_nothing(fixture: &Fixture) {
    let (_client, worker, id) = submitted(fixture).await;
    let task = claim(&worker).await;
    fixture.advance(secs(12)).await;
    let renewed = task.renew_lease().await.unwrap();
    let (record, due) = (fixture.stored(&id).await, fixture.score(&id, IndexName::Due).await);
    assert_eq!(due.unwrap().instant(), renewed);

    // A timekeeper that crashed after its take has moved the entry: it is due early.
    fixture.hold_due(&id).await;
    let moved = fixture.score(&id, IndexName::Due).await.unwrap();
    assert!(moved < due.unwrap());
    fixture.advance_to(moved.instant()).await;
    let report = fixture.tick().await;
    assert!(report.applied.is_empty(), "{report:?}");
    assert_eq!(fixture.stored(&id).await, record);
    assert_eq!(fixture.score(&id, IndexName::Due).await, due);
    task.complete(None).await.unwrap();
}

/// An operator cancels an active execution: the holder's next call fails with the outcome in the
/// error, no grant and no eligible entry remains, and only retention is due (`docs/spec.md`, 4).
pub async fn cancelling_an_active_execution_ends_its_lease(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let task = claim(&worker).await;
    let attempt = task.attempt_id();
    client.cancel(&id, "not wanted").await.unwrap();

    let not_active = Rejection::ExecutionNotActive {
        terminal_outcome: TerminalOutcome::Cancelled,
        lease_epoch: nth_epoch(&client, &id, 1).await,
        lifecycle_phase: LifecyclePhase::Terminal,
        attempt_id: Some(attempt),
    };
    assert_eq!(rejection(task.update_progress(5, None).await), not_active);
    assert_eq!(rejection(task.complete(None).await), not_active);
    let seen = describe(&client, &id).await;
    assert_eq!(seen.outcome, Some(Outcome::Cancelled { reason: "not wanted".to_owned() }));
    assert_eq!(fixture.score(&id, eligible()).await, None);
    let retention = seen.ended_at.unwrap().plus(seen.policy.retention_ms);
    assert_eq!(fixture.score(&id, IndexName::Due).await, None);
    assert_eq!(fixture.score(&id, IndexName::Retention).await.unwrap().instant(), retention);
    let asked = client.execute(Command::IssueReclaimGrant(grant_request(fixture, id, "b"))).await;
    assert_eq!(kind(asked), RejectionKind::ExecutionNotReclaimable);
    assert_eq!(kind(client.cancel(&id, "again").await), RejectionKind::ExecutionNotActive);
    assert!(is_idle(&fixture.worker("b").await).await);
}

/// A revoked lease refuses its holder with `LeaseRevoked`, and the execution is reclaimable
/// immediately. Revoking again returns the same outcome; with the same request id also after a
/// reclaim (`docs/spec.md`, 4).
pub async fn a_revoked_lease_is_reclaimable_immediately(fixture: &Fixture) {
    let client = fixture.client().await;
    let (a, b) = (fixture.worker("a").await, fixture.worker("b").await);
    let id = submit(&client, work()).await;
    let task = claim(&a).await;
    let request_id = "revoke-1".to_owned();
    let revoke = Command::RevokeLease { execution_id: id, request_id };
    let first = client.execute(revoke.clone()).await.unwrap();
    let again = client.revoke_lease(&id).await.unwrap();
    assert_eq!(first, AnyOutcome::RevokeLease(again));
    assert_eq!(again.lease_epoch, nth_epoch(&client, &id, 1).await);

    assert_eq!(kind(task.renew_lease().await), RejectionKind::LeaseRevoked);
    assert_eq!(kind(task.complete(None).await), RejectionKind::LeaseRevoked);
    let seen = describe(&client, &id).await;
    assert_eq!(seen.state.ownership_state, OwnershipState::LeaseRevoked);
    let taken = claim(&b).await;
    assert_eq!((taken.execution_id(), taken.lease_epoch()), (id, nth_epoch(&client, &id, 2).await));
    assert_eq!(client.execute(revoke).await.unwrap(), first, "a late copy");
    taken.renew_lease().await.unwrap();
    let kinds = events(&client, &id).await;
    assert_eq!(kinds.iter().filter(|kind| **kind == EventKind::LeaseRevoked).count(), 1);

    drop(taken);
    fixture.advance(secs(30)).await;
    assert_eq!(kind(client.revoke_lease(&id).await), RejectionKind::LeaseExpired);
}

/// The lease is renewed while a complete or its reply is in flight for longer than the ttl; no
/// renewal is sent after the reply (`docs/spec.md`, 11).
pub async fn renewal_continues_during_a_slow_complete_and_stops_after_it(fixture: &Fixture) {
    let client = fixture.client().await;
    let faulty = fixture.faulty();
    let worker = fixture.worker_on(faulty.clone(), "a", |config| config.lease_ttl = secs(3)).await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    faulty.slow_requests(secs(10), writes_a_result);
    let completing = tokio::spawn(task.complete(Some(b"done".to_vec())));
    fixture.advance(secs(8)).await;
    let seen = describe(&client, &id).await;
    assert_eq!(seen.state.ownership_state, OwnershipState::Leased);
    assert!(faulty.commits() >= 1 + 1 + 5, "a renewal each second: {}", faulty.commits());
    // The renewals have changed the record, so the complete is decided again.
    faulty.slow_requests(ms(10), writes_a_result);
    completing.await.unwrap().unwrap();
    assert_eq!(client.result(&id).await.unwrap().bytes(), Some(&b"done"[..]));
    let sent = faulty.commits();
    fixture.advance(secs(10)).await;
    assert_eq!(faulty.commits(), sent, "no renewal is sent after the complete");

    faulty.heal();
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    faulty.slow_replies(secs(10), writes_a_result);
    task.complete(Some(b"done".to_vec())).await.unwrap();
    assert_eq!(client.result(&id).await.unwrap().bytes(), Some(&b"done"[..]));
    assert_eq!(endings(&client, &id).await, 1);
}

/// A lease is renewed in time although every call of the store is slow (`docs/spec.md`, 11).
pub async fn renewal_keeps_up_with_slow_calls(fixture: &Fixture) {
    let client = fixture.client().await;
    let faulty = fixture.faulty();
    let worker = fixture.worker_on(faulty.clone(), "a", |config| config.lease_ttl = secs(6)).await;
    let id = submit(&client, work()).await;
    faulty.slow_requests(ms(20), |_| true);
    faulty.slow_replies(ms(30), commits);
    let task = claim(&worker).await;
    let watch = task.lease_watch();
    for _ in 0..20 {
        fixture.advance(secs(3)).await;
        assert!(task.is_lease_healthy() && !watch.is_lost());
    }
    assert_eq!(describe(&client, &id).await.lease_epoch, nth_epoch(&client, &id, 1).await);
    task.complete(None).await.unwrap();
    let request = grant_request(fixture, id, "a");
    let late = client.execute(Command::Claim(claim_of(fixture, &request))).await;
    assert_eq!(kind(late), RejectionKind::InvalidClaimGrant);
}
