//! Hosts with a wrong estimate of the store's clock (`docs/spec.md`, 2 and 4).

use ff_sdk::core::error::RejectionKind;
use ff_sdk::core::state::{OwnershipState, PublicState};
use ff_sdk::core::time::DurationMs;

use crate::fixture::Fixture;
use crate::kit::{
    claim, describe, grant, grant_request, is_idle, kind, ms, secs, state, submit, work,
};

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// A client and workers whose estimate is an hour ahead (see `an_hour_off`).
pub async fn a_clock_an_hour_ahead_does_no_harm(fixture: &Fixture) {
    an_hour_off(fixture, HOUR_MS).await;
}

/// A client and workers whose estimate is an hour behind (see `an_hour_off`).
pub async fn a_clock_an_hour_behind_does_no_harm(fixture: &Fixture) {
    an_hour_off(fixture, -HOUR_MS).await;
}

/// Every client and worker that connects learns a time that is an hour off. The store refuses
/// decisions for that time, and they decide again by its clock: nothing starts early, nothing is
/// reclaimed early, nothing completes late, no finished execution is removed, and work proceeds.
async fn an_hour_off(fixture: &Fixture, skew_ms: i64) {
    let faulty = fixture.faulty();
    let truth = fixture.client().await;
    faulty.skew(skew_ms);
    let client = fixture.client_on(faulty.clone()).await;
    faulty.skew(0);
    let off = client.store_now().get().abs_diff(fixture.now().await.get());
    assert_eq!(off, HOUR_MS.unsigned_abs(), "the client's estimate is wrong");
    let now = fixture.now().await;
    let deadline = now.plus(DurationMs::from_secs(60));
    let id = submit(&client, work().deadline(deadline).delay(secs(10))).await;
    let created = describe(&truth, &id).await;
    assert!(created.created_at.since(now) < DurationMs::from_secs(1), "by the store's clock");
    assert_eq!(created.state.public_state, PublicState::Delayed);
    assert_eq!(client.store_now(), fixture.now().await, "a reply has corrected the estimate");

    faulty.skew(skew_ms);
    let worker = fixture.worker_on(faulty.clone(), "off", |_| {}).await;
    faulty.skew(0);
    assert!(is_idle(&worker).await, "nothing starts early");
    fixture.advance(secs(10)).await;
    fixture.tick().await;
    let task = claim(&worker).await;
    assert!(task.is_lease_healthy());
    let lease = describe(&truth, &id).await.lease.unwrap();
    assert_eq!(lease.expires_at.since(lease.acquired_at), DurationMs::from_secs(30));

    // Another worker with a wrong estimate tries to reclaim it.
    faulty.skew(skew_ms);
    let other = fixture.worker_on(faulty.clone(), "other", |config| config.timekeeper = true).await;
    faulty.skew(0);
    fixture.advance(secs(5)).await;
    assert!(is_idle(&other).await, "nothing is reclaimed early");
    assert_eq!(describe(&truth, &id).await.state.ownership_state, OwnershipState::Leased);
    task.complete(Some(b"done".to_vec())).await.unwrap();
    assert_eq!(truth.result(&id).await.unwrap().bytes(), Some(&b"done"[..]));

    late_calls_and_retention(fixture, skew_ms).await;
}

/// A lease that has expired by the store's clock completes nothing, whatever its holder estimates;
/// a finished execution is kept until its retention ends by the store's clock.
async fn late_calls_and_retention(fixture: &Fixture, skew_ms: i64) {
    let faulty = fixture.faulty();
    let truth = fixture.client().await;
    let holder = fixture.worker("holder").await;
    let id = submit(&truth, work()).await;
    let task = claim(&holder).await;
    let fence = crate::kit::fence_of(&task);
    drop(task);
    fixture.advance(secs(30)).await;
    faulty.skew(skew_ms);
    let client = fixture.client_on(faulty.clone()).await;
    faulty.skew(0);
    let late = client.execute(crate::kit::complete(id, fence)).await;
    assert_eq!(kind(late), RejectionKind::LeaseExpired, "nothing completes late");

    fixture.tick().await;
    let again = fixture.worker("again").await;
    claim(&again).await.complete(None).await.unwrap();
    faulty.skew(skew_ms);
    let keeper =
        fixture.worker_on(faulty.clone(), "keeper", |config| config.timekeeper = true).await;
    faulty.skew(0);
    fixture.advance(secs(5)).await;
    assert_eq!(state(&truth, &id).await, PublicState::Completed, "it is not removed early");

    // A grant that has expired by an estimate that is ahead can be used.
    let id = submit(&truth, work()).await;
    let granted = grant(&truth, &grant_request(fixture, id, "keeper")).await.claim_grant();
    fixture.advance(ms(1)).await;
    let task = keeper.claim_from_grant(crate::fixture::lane(), granted).await.unwrap();
    task.complete(None).await.unwrap();
}
