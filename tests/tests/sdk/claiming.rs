//! Claims: order, fairness, lanes, wake-ups, and grants of another process.

use std::time::Duration;

use ff_sdk::core::execution::EventKind;
use ff_sdk::core::grant::{ClaimGrant, ReclaimGrant, ResumeGrant};
use ff_sdk::core::id::{ExecutionId, LaneId};
use ff_sdk::core::partition::{Partition, PartitionKey};
use ff_sdk::core::time::{DurationMs, TimestampMs};
use ff_sdk::{FlowFabricWorker, ReclaimExecutionArgs, SdkError};
use ff_tests::Fixture;
use ff_tests::faulty_backend::commits;
use ff_tests::fixture::lane;
use ff_tests::kit::{
    claim, events, grant, grant_request, is_idle, ms, nth_epoch, secs, submit, work,
};
use tokio::time::Instant;

fn other_lane() -> LaneId {
    LaneId::try_new("other").unwrap()
}

/// Claims and completes all executions; returns them in order.
async fn drain(worker: &FlowFabricWorker) -> Vec<ExecutionId> {
    let mut order = Vec::new();
    while let Some(task) = worker.claim_next().await.unwrap() {
        order.push(task.execution_id());
        task.complete(None).await.unwrap();
    }
    order
}

#[tokio::test(start_paused = true)]
async fn within_a_partition_and_client_first_in_is_first_out() {
    let fixture = Fixture::memory();
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let mut submitted = Vec::new();
    for _ in 0..5 {
        submitted.push(submit(&client, work().id(fixture.id_in(1))).await);
    }
    let many: Vec<_> = (0..100).map(|_| work().id(fixture.id_in(1))).collect();
    for outcome in client.submit_many(many).await {
        submitted.push(outcome.unwrap().id());
    }
    submitted.push(submit(&client, work().id(fixture.id_in(1))).await);
    assert_eq!(drain(&worker).await, submitted, "all have the same creation time");
}

/// Completions that are ready in the same moment are gathered before the first one is sent.
#[tokio::test(start_paused = true)]
async fn slots_that_finish_together_travel_in_one_call() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let faulty = fixture.faulty();
    let set_up = |config: &mut ff_sdk::WorkerConfig| config.max_concurrent_tasks = 64;
    let worker = fixture.worker_on(faulty.clone(), "w", set_up).await;
    let many: Vec<_> = (0..64).map(|_| work().id(fixture.id_in(1))).collect();
    let ids: Vec<_> =
        client.submit_many(many).await.into_iter().map(|one| one.unwrap().id()).collect();
    let tasks = worker.claim_many(64).await.unwrap();
    assert_eq!(tasks.len(), 64);
    faulty.slow_replies(ms(20), commits);
    let before = faulty.commits();
    let mut running = tokio::task::JoinSet::new();
    for task in tasks {
        running.spawn(task.complete(Some(b"done".to_vec())));
    }
    while let Some(done) = running.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(faulty.commits() - before, 1, "one for all 64");
    for id in ids {
        let result = client.result(&id).await.unwrap();
        assert_eq!((result.is_success(), result.bytes()), (true, Some(&b"done"[..])));
    }
}

/// Completions that wait for the first one are sent although the first one's caller gave up.
#[tokio::test(start_paused = true)]
async fn a_dropped_completion_does_not_hold_up_the_others() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let faulty = fixture.faulty();
    let set_up = |config: &mut ff_sdk::WorkerConfig| config.max_concurrent_tasks = 2;
    let worker = fixture.worker_on(faulty.clone(), "w", set_up).await;
    let many: Vec<_> = (0..2).map(|_| work().id(fixture.id_in(1))).collect();
    client.submit_many(many).await;
    let mut tasks = worker.claim_many(2).await.unwrap();
    let (first, second) = (tasks.remove(0), tasks.remove(0));
    let waits = second.execution_id();
    faulty.slow_requests(secs(60), commits);
    let first = tokio::spawn(first.complete(None));
    tokio::task::yield_now().await;
    let second = tokio::spawn(second.complete(None));
    tokio::task::yield_now().await;
    faulty.heal();
    first.abort();
    second.await.unwrap().unwrap();
    assert!(client.result(&waits).await.unwrap().is_success());
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_a_thousand_keeps_its_order() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let worker = fixture.worker_with("w", |config| config.max_concurrent_tasks = 64).await;
    let many: Vec<_> = (0..1_000).map(|_| work().id(fixture.id_in(1))).collect();
    let submitted = client.submit_many(many).await;
    let mut order = Vec::new();
    while order.len() < submitted.len() {
        for task in worker.claim_many(64).await.unwrap() {
            order.push(task.execution_id());
            task.complete(None).await.unwrap();
        }
    }
    let first_wrong = submitted
        .into_iter()
        .map(|outcome| outcome.unwrap().id())
        .zip(order)
        .position(|(one, other)| one != other);
    assert_eq!(first_wrong, None);
}

#[tokio::test(start_paused = true)]
async fn higher_priority_is_claimed_first_and_a_changed_one_keeps_its_creation_time() {
    let fixture = Fixture::memory();
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let mut ids = Vec::new();
    for priority in [0, 5, 9_000, 5, 0] {
        ids.push(submit(&client, work().id(fixture.id_in(1)).priority(priority)).await);
        fixture.advance(ms(10)).await;
    }
    client.change_priority(&ids[4], 5).await.unwrap();
    assert_eq!(drain(&worker).await, [ids[2], ids[1], ids[3], ids[4], ids[0]]);
}

#[tokio::test(start_paused = true)]
async fn claim_many_is_limited_by_the_free_slots() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let worker = fixture.worker_with("w", |config| config.max_concurrent_tasks = 3).await;
    for _ in 0..5 {
        submit(&client, work().id(fixture.id_in(1))).await;
    }
    let tasks = worker.claim_many(10).await.unwrap();
    assert_eq!((tasks.len(), worker.free_slots()), (3, 0));
    assert!(worker.claim_many(1).await.unwrap().is_empty(), "there is no free slot");
    drop(tasks);
    assert_eq!(worker.free_slots(), 3);
    assert_eq!(worker.claim_many(3).await.unwrap().len(), 2);
    assert_eq!(worker.free_slots(), 3, "dropped tasks and unused slots are free");
}

/// A lane, and a partition of it.
type Route = (&'static str, u16);

/// A partition of a lane that is never empty does not keep a worker from another one for more than
/// a few tasks, whether tasks are short or take longer than the interval of polls.
async fn is_not_starved(busy: Route, waiting: Route, task_takes: Duration) {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let lanes = vec![lane(), other_lane()];
    let worker = fixture.worker_with("w", |config| config.lanes = lanes).await;
    let work_in = |(lane, partition)| work().lane(lane).id(fixture.id_in(partition));
    submit(&client, work_in(busy)).await;
    submit(&client, work_in(busy)).await;
    let first = claim(&worker).await;
    let waits = submit(&client, work_in(waiting)).await;
    first.complete(None).await.unwrap();
    for _ in 0..60 {
        submit(&client, work_in(busy)).await;
        let task = claim(&worker).await;
        if task.execution_id() == waits {
            return;
        }
        fixture.advance(task_takes).await;
        task.complete(None).await.unwrap();
    }
    panic!("{busy:?} starves {waiting:?} with tasks of {task_takes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_lane_does_not_starve_another() {
    for task_takes in [ms(100), ms(2_000)] {
        is_not_starved(("default", 0), ("other", 0), task_takes).await;
        is_not_starved(("other", 0), ("default", 0), task_takes).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_partition_does_not_starve_another() {
    for task_takes in [ms(100), ms(2_000)] {
        is_not_starved(("default", 0), ("default", 3), task_takes).await;
        is_not_starved(("default", 3), ("default", 0), task_takes).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_claims_only_from_its_own_lanes() {
    let fixture = Fixture::memory();
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let id = submit(&client, work().lane("other")).await;
    assert!(is_idle(&worker).await);
    let lanes = vec![other_lane()];
    let other = fixture.worker_with("other", |config| config.lanes = lanes).await;
    assert_eq!(claim(&other).await.execution_id(), id);
}

/// An idle worker claims an execution as soon as it is eligible, however long its poll interval is:
/// a new one, one whose delay has ended, one with a revoked lease, and one that was released.
#[tokio::test(start_paused = true)]
async fn an_idle_worker_is_woken_by_new_work() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let interval_ms = 3_600_000;
    let worker = fixture
        .worker_with("w", |config| config.claim_poll_interval = Duration::from_millis(interval_ms))
        .await;
    let other = fixture.worker("other").await;
    let _timekeeper = fixture.timekeeper().await;
    let started = Instant::now();
    let waiting = |worker: &FlowFabricWorker| {
        let worker = worker.clone();
        tokio::spawn(async move {
            loop {
                if let Some(task) = worker.claim_next().await.unwrap() {
                    return task;
                }
                worker.wait_for_work().await;
            }
        })
    };
    let woken = waiting(&worker);
    fixture.advance(secs(5)).await;
    let id = submit(&client, work()).await;
    let task = woken.await.unwrap();
    assert_eq!((task.execution_id(), started.elapsed()), (id, secs(5)));

    let woken_by_release = waiting(&other);
    task.delay_execution(TimestampMs::ZERO).await.unwrap();
    let task = woken_by_release.await.unwrap();
    assert_eq!(
        (task.lease_epoch(), started.elapsed()),
        (nth_epoch(&client, &id, 2).await, secs(5))
    );
    let woken_by_revoke = waiting(&worker);
    client.revoke_lease(&id).await.unwrap();
    let taken = woken_by_revoke.await.unwrap();
    assert_eq!(
        (taken.lease_epoch(), started.elapsed()),
        (nth_epoch(&client, &id, 3).await, secs(5))
    );
    taken.complete(None).await.unwrap();

    let woken_by_time = waiting(&worker);
    submit(&client, work().delay(secs(10))).await;
    woken_by_time.await.unwrap().complete(None).await.unwrap();
    let late = started.elapsed() - secs(15);
    assert!(late < Duration::from_millis(1_300), "a timekeeper polls every second: {late:?}");
    drop(task);
}

#[tokio::test(start_paused = true)]
async fn without_a_wake_up_the_wait_ends_after_the_poll_interval() {
    let fixture = Fixture::memory();
    let worker = fixture.worker("w").await;
    let started = Instant::now();
    worker.wait_for_work().await;
    assert_eq!(started.elapsed(), secs(1));
}

/// A worker does not ask a server for a grant that it could not use.
#[tokio::test(start_paused = true)]
async fn a_server_is_not_asked_for_a_grant_that_the_worker_cannot_use() {
    let fixture = Fixture::memory();
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let admin = fixture.admin().await;
    let id = submit(&client, work().lane(other_lane().as_str())).await;
    let refused = worker.claim_via_server(&admin, &other_lane(), 10_000).await.unwrap_err();
    assert!(matches!(refused, SdkError::Config { field: "lane", .. }));
    assert_eq!(events(&client, &id).await, [EventKind::Created]);

    let held = submit(&client, work()).await;
    let task = claim(&worker).await;
    assert_eq!(task.execution_id(), held);
    let waiting = submit(&client, work()).await;
    let refused = worker.claim_via_server(&admin, &lane(), 10_000).await.unwrap_err();
    assert!(matches!(refused, SdkError::WorkerAtCapacity { slots: 1 }));
    assert_eq!(events(&client, &waiting).await, [EventKind::Created]);
}

/// A grant that contradicts itself or the worker, or has expired, is refused before any call, with
/// the field's name.
#[tokio::test(start_paused = true)]
async fn a_grant_that_does_not_match_is_refused_before_any_call() {
    let fixture = Fixture::memory();
    let (client, faulty) = (fixture.client().await, fixture.faulty());
    let worker = fixture.worker_on(faulty.clone(), "w", |_| {}).await;
    let id = submit(&client, work().id(fixture.id_in(1))).await;
    let granted = grant(&client, &grant_request(&fixture, id, "w")).await;
    fixture.advance(ms(1)).await;
    let before = faulty.calls();
    let field = |error: SdkError| match error {
        SdkError::Config { field, .. } => field,
        other => panic!("{other}"),
    };
    let (key, ends) = (PartitionKey::from(id.partition()), granted.expires_at);
    let elsewhere = PartitionKey::from(Partition::flow(2));
    let own = granted.grant_id.to_string();
    for key in [elsewhere, PartitionKey::new("nonsense")] {
        let wrong = ClaimGrant::new(id, key, own.clone(), ends);
        let refused = worker.claim_from_grant(lane(), wrong).await;
        assert_eq!(field(refused.unwrap_err()), "partition_key");
    }
    let refused = worker.claim_from_grant(other_lane(), granted.claim_grant()).await;
    assert_eq!(field(refused.unwrap_err()), "lane");
    let wrong = ResumeGrant::new(id, key.clone(), own.clone(), ends, other_lane());
    let refused = worker.claim_from_resume_grant(wrong).await;
    assert_eq!(field(refused.unwrap_err()), "lane_id");
    let now = fixture.now().await;
    let past = now.minus(DurationMs::new(1));
    let wrong = ReclaimGrant::new(id, key, own, past, lane());
    let refused = worker.claim_from_reclaim_grant(wrong, ReclaimExecutionArgs::new()).await;
    assert_eq!(field(refused.unwrap_err()), "expires_at_ms");
    assert_eq!((faulty.calls(), worker.free_slots()), (before, 1));
    let task = worker.claim_from_grant(lane(), granted.claim_grant()).await.unwrap();
    assert_eq!(task.execution_id(), id);
}
