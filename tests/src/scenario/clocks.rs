//! Hosts whose idea of the store's clock is wrong (`docs/spec.md`, 2 and 4).

use ff_sdk::core::error::RejectionKind;
use ff_sdk::core::state::{OwnershipState, PublicState};
use ff_sdk::core::time::DurationMs;

use crate::ground::Ground;
use crate::kit::{asking, claim, grant, is_idle, kind, ms, secs, see, state, submit, work};

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// A client and workers that think it is an hour later (see `an_hour_off`).
pub async fn a_clock_an_hour_ahead_does_no_harm(ground: &Ground) {
    an_hour_off(ground, HOUR_MS).await;
}

/// A client and workers that think it is an hour earlier (see `an_hour_off`).
pub async fn a_clock_an_hour_behind_does_no_harm(ground: &Ground) {
    an_hour_off(ground, -HOUR_MS).await;
}

/// Whoever connects learns a time that is an hour off. What they decide on it the store refuses,
/// and they decide again on its own clock: nothing starts early, nothing is reclaimed early,
/// nothing completes late, nothing finished is thrown away, and work flows normally.
async fn an_hour_off(ground: &Ground, skew_ms: i64) {
    let line = ground.line();
    let truth = ground.client().await;
    line.skew(skew_ms);
    let client = ground.client_on(line.clone()).await;
    line.skew(0);
    let off = client.store_now().get().abs_diff(ground.now().await.get());
    assert_eq!(off, HOUR_MS.unsigned_abs(), "the client's estimate is wrong");
    let now = ground.now().await;
    let deadline = now.plus(DurationMs::from_secs(60));
    let id = submit(&client, work().deadline(deadline).delay(secs(10))).await;
    let created = see(&truth, &id).await;
    assert!(created.created_at.since(now) < DurationMs::from_secs(1), "by the store's clock");
    assert_eq!(created.state.public_state, PublicState::Delayed);
    assert_eq!(client.store_now(), ground.now().await, "a reply has corrected it");

    line.skew(skew_ms);
    let worker = ground.worker_on(line.clone(), "off", |_| {}).await;
    line.skew(0);
    assert!(is_idle(&worker).await, "nothing starts early");
    ground.advance(secs(10)).await;
    ground.tick().await;
    let task = claim(&worker).await;
    assert!(task.is_lease_healthy());
    let lease = see(&truth, &id).await.lease.unwrap();
    assert_eq!(lease.expires_at.since(lease.acquired_at), DurationMs::from_secs(30));

    // Another one who is off looks for work that was lost.
    line.skew(skew_ms);
    let thief = ground.worker_on(line.clone(), "thief", |config| config.timekeeper = true).await;
    line.skew(0);
    ground.advance(secs(5)).await;
    assert!(is_idle(&thief).await, "nothing is reclaimed early");
    assert_eq!(see(&truth, &id).await.state.ownership_state, OwnershipState::Leased);
    task.complete(Some(b"done".to_vec())).await.unwrap();
    assert_eq!(truth.result(&id).await.unwrap().bytes(), Some(&b"done"[..]));

    late_and_finished(ground, skew_ms).await;
}

/// A lease that ran out by the store's clock completes nothing, whatever its holder thinks; what is
/// finished stays until its retention is over by the store's clock.
async fn late_and_finished(ground: &Ground, skew_ms: i64) {
    let line = ground.line();
    let truth = ground.client().await;
    let holder = ground.worker("holder").await;
    let id = submit(&truth, work()).await;
    let task = claim(&holder).await;
    let fence = crate::kit::fence_of(&task);
    drop(task);
    ground.advance(secs(30)).await;
    line.skew(skew_ms);
    let client = ground.client_on(line.clone()).await;
    line.skew(0);
    let late = client.execute(crate::kit::complete(id, fence)).await;
    assert_eq!(kind(late), RejectionKind::LeaseExpired, "nothing completes late");

    ground.tick().await;
    let again = ground.worker("again").await;
    claim(&again).await.complete(None).await.unwrap();
    line.skew(skew_ms);
    let keeper = ground.worker_on(line.clone(), "keeper", |config| config.timekeeper = true).await;
    line.skew(0);
    ground.advance(secs(5)).await;
    assert_eq!(state(&truth, &id).await, PublicState::Completed, "nothing is thrown away");

    // A grant that a clock ahead would take for expired is used normally.
    let id = submit(&truth, work()).await;
    let granted = grant(&truth, &asking(ground, id, "keeper")).await.claim_grant();
    ground.advance(ms(1)).await;
    let task = keeper.claim_from_grant(&crate::ground::lane(), granted).await.unwrap();
    task.complete(None).await.unwrap();
}
