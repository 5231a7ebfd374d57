//! Keeping leases: renewal, health, loss.

use ff_sdk::core::error::RejectionKind;
use ff_sdk::core::execution::{Command, Purpose};
use ff_sdk::core::id::ExecutionId;
use ff_sdk::core::store::codec::{FORMAT, checksummed};
use ff_sdk::core::store::{Bytes, Commit, RecordKey, Request, Unit};
use ff_tests::Fixture;
use ff_tests::faulty_backend::commits;
use ff_tests::kit::{claim, describe, is_idle, kind, ms, nth_epoch, secs, submit, work};
use tokio::time::Instant;

/// A task that takes a hundred times the ttl keeps its lease, which is healthy all the time.
#[tokio::test(start_paused = true)]
async fn renewal_keeps_a_lease_over_many_ttls() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let worker = fixture.worker_with("w", |config| config.timekeeper = true).await;
    let other = fixture.worker("other").await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    for _ in 0..600 {
        fixture.advance(secs(5)).await;
        assert!(task.is_lease_healthy());
        assert!(is_idle(&other).await);
    }
    assert_eq!(task.consecutive_renewal_failures(), 0);
    task.complete(None).await.unwrap();
    assert_eq!(describe(&client, &id).await.lease_epoch, nth_epoch(&client, &id, 1).await);
}

/// The holder of a revoked lease or a cancelled execution learns it at its next renewal at the
/// latest.
#[tokio::test(start_paused = true)]
async fn a_revoked_or_cancelled_lease_is_lost_by_the_next_renewal() {
    for cancels in [false, true] {
        let fixture = Fixture::memory();
        let (client, worker) = (fixture.client().await, fixture.worker("w").await);
        let id = submit(&client, work()).await;
        let task = claim(&worker).await;
        let watch = task.lease_watch();
        fixture.advance(secs(1)).await;
        if cancels {
            client.cancel(&id, "no").await.unwrap();
        } else {
            client.revoke_lease(&id).await.unwrap();
        }
        let started = Instant::now();
        assert!(!watch.is_lost());
        task.lease_lost().await;
        assert!(started.elapsed() <= secs(10), "{:?}", started.elapsed());
        assert!(watch.is_lost() && !task.is_lease_healthy());
        watch.lost().await;
        let refused = kind(task.complete(None).await);
        let expected =
            if cancels { RejectionKind::ExecutionNotActive } else { RejectionKind::LeaseRevoked };
        assert_eq!(refused, expected);
    }
}

/// A worker that cannot reach the store treats its lease as lost before the lease expires.
#[tokio::test(start_paused = true)]
async fn without_the_store_a_lease_is_lost_before_it_expires() {
    let fixture = Fixture::memory();
    let (client, faulty) = (fixture.client().await, fixture.faulty());
    let worker = fixture.worker_on(faulty.clone(), "w", |_| {}).await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    let expires_at = describe(&client, &id).await.lease.unwrap().expires_at;
    faulty.disconnect();
    task.lease_lost().await;
    assert!(fixture.now().await < expires_at, "{} of {expires_at}", fixture.now().await);
    assert!(fixture.now().await.plus(secs(2).into()) > expires_at, "not much earlier");
    assert!(!task.is_lease_healthy());
}

/// Replaces the bytes of a record; returns those before.
async fn overwrite(fixture: &Fixture, id: &ExecutionId, bytes: Bytes) -> Bytes {
    let (version, before) = fixture.stored(id).await.expect("the record exists");
    let key = RecordKey::of(id);
    let (expect, put) = (vec![(key.clone(), version)], vec![(key, bytes)]);
    let unit = Unit { expect, put, ..Unit::new(Purpose::Admit, 1) };
    let commit = Commit { partition: id.partition(), units: vec![unit] };
    fixture.backend().call(Request::Commit(commit)).await.expect("the store answers");
    before
}

/// Three failed renewals in a row make a lease unhealthy, long before it expires; one that succeeds
/// makes it healthy again.
#[tokio::test(start_paused = true)]
async fn three_failed_renewals_make_a_lease_unhealthy() {
    let fixture = Fixture::memory();
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    // A record that the worker cannot read fails each renewal immediately.
    let readable = overwrite(&fixture, &id, checksummed(vec![FORMAT + 1]).into()).await;
    fixture.advance(ms(11_500)).await;
    assert_eq!((task.consecutive_renewal_failures(), task.is_lease_healthy()), (2, true));
    fixture.advance(ms(1_000)).await;
    assert_eq!((task.consecutive_renewal_failures(), task.is_lease_healthy()), (3, false));
    assert!(!task.lease_watch().is_lost(), "an unhealthy lease is not lost yet");
    overwrite(&fixture, &id, readable).await;
    fixture.advance(ms(1_000)).await;
    assert_eq!((task.consecutive_renewal_failures(), task.is_lease_healthy()), (0, true));
    task.complete(None).await.unwrap();
}

/// The lease of a dropped task is not renewed: it expires, and a waiting worker reclaims the
/// execution.
#[tokio::test(start_paused = true)]
async fn a_dropped_task_is_reclaimed_when_its_lease_has_expired() {
    let fixture = Fixture::memory();
    let (client, faulty) = (fixture.client().await, fixture.faulty());
    let worker = fixture.worker_on(faulty.clone(), "w", |_| {}).await;
    let other = fixture.worker_with("other", |config| config.timekeeper = true).await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    fixture.advance(secs(15)).await;
    drop(task);
    let (sent, ends) = (faulty.commits(), describe(&client, &id).await.lease.unwrap().expires_at);
    let task = loop {
        other.wait_for_work().await;
        if let Some(task) = other.claim_next().await.unwrap() {
            break task;
        }
    };
    let late = fixture.now().await.since(ends).get();
    assert!(fixture.now().await >= ends && late < 1_500, "{late} ms");
    assert_eq!((task.execution_id(), task.reclaim_count()), (id, 1));
    assert_eq!(faulty.commits(), sent, "nothing was renewed");
    assert_eq!(worker.free_slots(), 1);
}

/// A renewal whose reply is lost is repeated, and the lease is kept.
#[tokio::test(start_paused = true)]
async fn renewals_survive_lost_replies() {
    let fixture = Fixture::memory();
    let (client, faulty) = (fixture.client().await, fixture.faulty());
    let worker = fixture.worker_on(faulty.clone(), "w", |_| {}).await;
    submit(&client, work()).await;
    let task = claim(&worker).await;
    for _ in 0..10 {
        faulty.lose_replies(2, commits);
        fixture.advance(secs(10)).await;
        assert!(task.is_lease_healthy());
    }
    task.complete(None).await.unwrap();
}

/// An attempt timeout ends the lease in spite of renewals, and the holder learns it in time.
#[tokio::test(start_paused = true)]
async fn an_attempt_timeout_ends_the_lease_for_its_holder() {
    let fixture = Fixture::memory();
    let (client, faulty) = (fixture.client().await, fixture.faulty());
    let worker = fixture.worker_on(faulty.clone(), "w", |config| config.timekeeper = true).await;
    let id = submit(&client, work().attempt_timeout(secs(45))).await;
    let task = claim(&worker).await;
    let started = Instant::now();
    task.lease_lost().await;
    assert!(started.elapsed() > secs(43) && started.elapsed() < secs(45));
    fixture.advance(secs(3)).await;
    let seen = describe(&client, &id).await;
    assert_eq!((seen.counts.retries, seen.counts.reclaims), (1, 0));
    assert_eq!(kind(task.complete(None).await), RejectionKind::ExecutionNotActive);
}

/// A lease can be renewed by a call. Progress is shown; the last report wins, and more than 100
/// percent is refused.
#[tokio::test(start_paused = true)]
async fn a_task_can_renew_its_lease_and_report_progress() {
    let fixture = Fixture::memory();
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let id = submit(&client, work().tag("team.name", "red")).await;
    let task = claim(&worker).await;
    fixture.advance(secs(2)).await;
    let expires_at = task.renew_lease().await.unwrap();
    assert_eq!(expires_at, fixture.now().await.plus(secs(30).into()));
    task.update_progress(10, Some("started")).await.unwrap();
    task.update_progress(50, None).await.unwrap();
    let progress = describe(&client, &id).await.progress.unwrap();
    assert_eq!((progress.percent, progress.message), (50, None));
    assert_eq!(kind(task.update_progress(101, None).await), RejectionKind::InvalidInput);
    assert_eq!(task.tags().get("team.name"), Some("red"));
    let request_id = "r".to_owned();
    let revoke = Command::RevokeLease { execution_id: id, request_id };
    client.execute(revoke).await.unwrap();
    assert_eq!(kind(task.renew_lease().await), RejectionKind::LeaseRevoked);
}
