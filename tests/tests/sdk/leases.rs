//! Keeping leases: renewal, health, loss.

use ff_sdk::core::error::RejectionKind;
use ff_sdk::core::execution::Command;
use ff_sdk::core::id::LeaseEpoch;
use ff_tests::Ground;
use ff_tests::kit::{claim, is_idle, kind, ms, secs, see, submit, work};
use ff_tests::line::{any, commits};
use tokio::time::Instant;

/// A handler that takes a hundred times the ttl keeps its lease, healthy at every instant.
#[tokio::test(start_paused = true)]
async fn renewal_keeps_a_lease_over_many_ttls() {
    let ground = Ground::memory();
    let client = ground.client().await;
    let worker = ground.worker_with("w", |config| config.timekeeper = true).await;
    let other = ground.worker("other").await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    for _ in 0..600 {
        ground.advance(secs(5)).await;
        assert!(task.is_lease_healthy());
        assert!(is_idle(&other).await);
    }
    assert_eq!(task.consecutive_renewal_failures(), 0);
    task.complete(None).await.unwrap();
    assert_eq!(see(&client, &id).await.lease_epoch, LeaseEpoch(1));
}

/// The holder of revoked or cancelled work learns it at its next renewal at the latest.
#[tokio::test(start_paused = true)]
async fn a_revoked_or_cancelled_lease_is_lost_by_the_next_renewal() {
    for cancels in [false, true] {
        let ground = Ground::memory();
        let (client, worker) = (ground.client().await, ground.worker("w").await);
        let id = submit(&client, work()).await;
        let task = claim(&worker).await;
        let watch = task.lease_watch();
        ground.advance(secs(1)).await;
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

/// A worker that cannot reach the store stops to believe in its lease before the store does.
#[tokio::test(start_paused = true)]
async fn without_the_store_a_lease_is_lost_before_it_expires() {
    let ground = Ground::memory();
    let (client, line) = (ground.client().await, ground.line());
    let worker = ground.worker_on(line.clone(), "w", |_| {}).await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    let expires_at = see(&client, &id).await.lease.unwrap().expires_at;
    line.cut();
    task.lease_lost().await;
    assert!(ground.now().await < expires_at, "{} of {expires_at}", ground.now().await);
    assert!(ground.now().await.plus(secs(2).into()) > expires_at, "not much too early");
    assert!(!task.is_lease_healthy());
}

/// Three renewals that fail in a row make a lease unhealthy, long before it runs out; one that
/// succeeds makes it healthy again.
#[tokio::test(start_paused = true)]
async fn three_failed_renewals_make_a_lease_unhealthy() {
    let ground = Ground::memory();
    let (client, line) = (ground.client().await, ground.line());
    let worker = ground.worker_on(line.clone(), "w", |_| {}).await;
    submit(&client, work()).await;
    let task = claim(&worker).await;
    line.garble(any);
    ground.advance(ms(11_500)).await;
    assert_eq!((task.consecutive_renewal_failures(), task.is_lease_healthy()), (2, true));
    ground.advance(ms(1_000)).await;
    assert_eq!((task.consecutive_renewal_failures(), task.is_lease_healthy()), (3, false));
    assert!(!task.lease_watch().is_lost(), "nobody says that it is lost");
    line.mend();
    ground.advance(ms(1_000)).await;
    assert_eq!((task.consecutive_renewal_failures(), task.is_lease_healthy()), (0, true));
    task.complete(None).await.unwrap();
}

/// A dropped task is renewed no more: its lease runs out, and a worker that waits gets the work.
#[tokio::test(start_paused = true)]
async fn a_dropped_task_is_reclaimed_when_its_lease_has_run_out() {
    let ground = Ground::memory();
    let (client, line) = (ground.client().await, ground.line());
    let worker = ground.worker_on(line.clone(), "w", |_| {}).await;
    let other = ground.worker_with("other", |config| config.timekeeper = true).await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    ground.advance(secs(15)).await;
    drop(task);
    let (sent, ends) = (line.commits(), see(&client, &id).await.lease.unwrap().expires_at);
    let task = loop {
        other.wait_for_work().await;
        if let Some(task) = other.claim_next().await.unwrap() {
            break task;
        }
    };
    let late = ground.now().await.since(ends).get();
    assert!(ground.now().await >= ends && late < 1_500, "{late} ms");
    assert_eq!((task.execution_id(), task.reclaim_count()), (id, 1));
    assert_eq!(line.commits(), sent, "nothing was renewed");
    assert_eq!(worker.free_slots(), 1);
}

/// A renewal whose reply is lost is done again; the lease lives.
#[tokio::test(start_paused = true)]
async fn renewals_survive_lost_replies() {
    let ground = Ground::memory();
    let (client, line) = (ground.client().await, ground.line());
    let worker = ground.worker_on(line.clone(), "w", |_| {}).await;
    submit(&client, work()).await;
    let task = claim(&worker).await;
    for _ in 0..10 {
        line.lose_replies(2, commits);
        ground.advance(secs(10)).await;
        assert!(task.is_lease_healthy());
    }
    task.complete(None).await.unwrap();
}

/// An attempt timeout ends the lease whatever is renewed, and the holder learns it in time.
#[tokio::test(start_paused = true)]
async fn an_attempt_timeout_ends_the_lease_for_its_holder() {
    let ground = Ground::memory();
    let (client, line) = (ground.client().await, ground.line());
    let worker = ground.worker_on(line.clone(), "w", |config| config.timekeeper = true).await;
    let id = submit(&client, work().attempt_timeout(secs(45))).await;
    let task = claim(&worker).await;
    let started = Instant::now();
    task.lease_lost().await;
    assert!(started.elapsed() > secs(43) && started.elapsed() < secs(45));
    ground.advance(secs(3)).await;
    let seen = see(&client, &id).await;
    assert_eq!((seen.counts.retries, seen.counts.reclaims), (1, 0));
    assert_eq!(kind(task.complete(None).await), RejectionKind::ExecutionNotActive);
}

/// A renewal by hand is one more renewal; progress is shown, last one wins, and over 100 percent is
/// refused.
#[tokio::test(start_paused = true)]
async fn a_task_renews_and_reports_by_hand() {
    let ground = Ground::memory();
    let (client, worker) = (ground.client().await, ground.worker("w").await);
    let id = submit(&client, work().tag("team.name", "red")).await;
    let task = claim(&worker).await;
    ground.advance(secs(2)).await;
    let expires_at = task.renew_lease().await.unwrap();
    assert_eq!(expires_at, ground.now().await.plus(secs(30).into()));
    task.update_progress(10, Some("begun")).await.unwrap();
    task.update_progress(50, None).await.unwrap();
    let progress = see(&client, &id).await.progress.unwrap();
    assert_eq!((progress.percent, progress.message), (50, None));
    assert_eq!(kind(task.update_progress(101, None).await), RejectionKind::InvalidInput);
    assert_eq!(task.tags().get("team.name"), Some("red"));
    let request_id = "r".to_owned();
    let revoke = Command::RevokeLease { execution_id: id, request_id };
    client.execute(revoke).await.unwrap();
    assert_eq!(kind(task.renew_lease().await), RejectionKind::LeaseRevoked);
}
