//! The background tasks of a worker: how they end, what they survive, and the hints to the
//! timekeeper.

use ff_sdk::core::policy::{Backoff, ExecutionPolicy};
use ff_sdk::core::time::DurationMs;
use ff_tests::Fixture;
use ff_tests::kit::{claim, is_idle, ms, secs, submit, work};

/// A worker that is dropped with its tasks leaves nothing behind that calls the store.
#[tokio::test(start_paused = true)]
async fn a_dropped_worker_calls_the_store_no_more() {
    let fixture = Fixture::memory();
    let (client, faulty) = (fixture.client().await, fixture.faulty());
    let worker = fixture.worker_on(faulty.clone(), "w", |config| config.timekeeper = true).await;
    submit(&client, work()).await;
    let task = claim(&worker).await;
    fixture.advance(secs(60)).await;
    assert!(faulty.calls() > 60, "a timekeeper polls each second");
    drop((worker, task));
    fixture.advance(secs(1)).await;
    let calls = faulty.calls();
    fixture.advance(secs(300)).await;
    assert_eq!(faulty.calls(), calls);
}

/// A timekeeper goes on after the store did not answer it for a time.
#[tokio::test(start_paused = true)]
async fn a_timekeeper_survives_a_store_that_does_not_answer() {
    let fixture = Fixture::memory();
    let (client, faulty) = (fixture.client().await, fixture.faulty());
    let _timekeeper =
        fixture.worker_on(faulty.clone(), "keeper", |config| config.timekeeper = true).await;
    let worker = fixture.worker("w").await;
    submit(&client, work().delay(secs(90))).await;
    faulty.disconnect();
    fixture.advance(secs(60)).await;
    faulty.heal();
    assert!(is_idle(&worker).await);
    fixture.advance(secs(40)).await;
    claim(&worker).await.complete(None).await.unwrap();
}

/// A worker passes the end of a short delay to its timekeeper, which applies it in time instead of
/// at its next poll.
#[tokio::test(start_paused = true)]
async fn the_timekeeper_of_a_worker_knows_the_delays_of_its_tasks() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let worker = fixture.worker_with("w", |config| config.timekeeper = true).await;
    let mut policy = ExecutionPolicy::default();
    policy.retry.max_retries = 10;
    policy.retry.backoff = Backoff::Fixed { delay_ms: DurationMs::new(100) };
    submit(&client, work().policy(policy)).await;
    for _ in 0..10 {
        claim(&worker).await.fail("not yet", "later").await.unwrap();
        fixture.advance(ms(110)).await;
    }
    claim(&worker).await.complete(None).await.unwrap();
}
