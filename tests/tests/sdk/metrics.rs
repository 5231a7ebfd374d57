//! The metrics of clients, workers, timekeepers and the runtime.

use std::collections::{BTreeMap, BTreeSet};

use ff_sdk::command::{Complete, FenceParts, Renew};
use ff_sdk::metrics::{ALL, describe};
use ff_sdk::{
    Capabilities, ClaimedTask, Client, Command, FlowFabricWorker, HandlerError, HandlerOptions,
    LaneId, QueueGauges, QuotaId, QuotaLimits, RemoteTask, Submission, SuspendOutcome, Suspension,
    WorkerGateway, WorkerRuntime,
};
use ff_tests::Fixture;
use ff_tests::kit::{claim, is_idle, ms, secs, submit, work};

use super::recorded::{Recorded, recording};

fn counts<const N: usize>(expected: [(&str, u32); N]) -> BTreeMap<&str, f64> {
    expected.into_iter().map(|(key, count)| (key, f64::from(count))).collect()
}

fn in_lane(lane: &str) -> Submission {
    work().lane(lane)
}

/// A worker `w` of these lanes.
async fn worker_of(fixture: &Fixture, lanes: &[&str]) -> FlowFabricWorker {
    let lanes = lanes.iter().map(|lane| LaneId::try_new(*lane).unwrap()).collect();
    fixture.worker_with("w", |config| config.lanes = lanes).await
}

async fn claim_new(client: &Client, worker: &FlowFabricWorker, new: Submission) -> ClaimedTask {
    submit(client, new).await;
    claim(worker).await
}

#[test]
fn commands_are_counted_by_lane_and_outcome() {
    recording(async |recorder| {
        let fixture = Fixture::memory();
        let client = fixture.client().await;
        let worker = worker_of(&fixture, &["done", "failed", "ended", "waits"]).await;

        let keyed = || in_lane("done").idempotency_key("once");
        let task = claim_new(&client, &worker, keyed()).await;
        let id = task.execution_id();
        assert_eq!(submit(&client, keyed()).await, id);
        client.submit_many([keyed()]).await.remove(0).unwrap();
        task.append_frame("log", "one", BTreeMap::new()).await.unwrap();
        task.append_frame("log", "two", BTreeMap::new()).await.unwrap();
        assert_eq!(recorder.read().of("ff_running"), counts([("done,w", 1)]));
        task.complete(None).await.unwrap();

        let task = claim_new(&client, &worker, in_lane("failed").max_retries(1)).await;
        task.fail("no", "test").await.unwrap();
        fixture.advance(secs(2)).await;
        fixture.tick().await;
        claim(&worker).await.fail("no", "test").await.unwrap();

        claim_new(&client, &worker, in_lane("ended")).await.cancel("no").await.unwrap();

        let task = claim_new(&client, &worker, in_lane("waits")).await;
        task.give_back().await.unwrap();
        let suspension = Suspension::until_signal("approval").unwrap();
        let suspended = claim(&worker).await.suspend(suspension).await.unwrap();
        assert!(matches!(suspended, SuspendOutcome::Suspended { .. }));

        client.cancel(&id, "too late").await.unwrap_err();

        let read = recorder.read();
        let submissions = counts([
            ("done,new", 1),
            ("done,duplicate", 2),
            ("failed,new", 1),
            ("ended,new", 1),
            ("waits,new", 1),
        ]);
        assert_eq!(read.of("ff_submissions_total"), submissions);
        let claims = counts([
            ("done,new", 1),
            ("failed,new", 2),
            ("ended,new", 1),
            ("waits,new", 1),
            ("waits,resumed", 1),
        ]);
        assert_eq!(read.of("ff_claims_total"), claims);
        let completions =
            counts([("done,success", 1), ("failed,failed", 1), ("ended,cancelled", 1)]);
        assert_eq!(read.of("ff_completions_total"), completions);
        assert_eq!(read.of("ff_retries_total"), counts([("failed", 1)]));
        let releases = counts([("waits,delayed", 1), ("waits,suspended", 1)]);
        assert_eq!(read.of("ff_releases_total"), releases);
        assert_eq!(read.of("ff_output_frames_total"), counts([("done", 2)]));
        assert_eq!(read.of("ff_running"), counts([]));
        assert_eq!(read.of("ff_worker_slots"), counts([("w", 1)]));
        assert_eq!(read.of("ff_command_errors_total"), counts([("cancel,ExecutionNotActive", 1)]));
    });
}

#[test]
fn the_ends_of_leases_are_counted_by_worker() {
    recording(async |recorder| {
        let fixture = Fixture::memory();
        let (client, worker) = (fixture.client().await, fixture.worker("w").await);
        let other = fixture.worker("other").await;

        // It is renewed each 10 s, and lost at the renewal after it was revoked.
        let task = claim_new(&client, &worker, work()).await;
        fixture.advance(secs(25)).await;
        client.revoke_lease(&task.execution_id()).await.unwrap();
        task.lease_lost().await;
        fixture.advance(ms(1)).await;
        let read = recorder.read();
        let renewals = counts([("w,renewed", 2), ("w,refused", 1)]);
        assert_eq!(read.of("ff_lease_renewals_total"), renewals);
        assert_eq!(read.of("ff_leases_lost_total"), counts([("w,revoked", 1)]));
        assert_eq!(read.of("ff_command_errors_total"), counts([("renew,LeaseRevoked", 1)]));
        drop(task);
        let task = claim(&other).await;
        assert_eq!(recorder.read().value("ff_claims_total{default,reclaimed}"), 1.0);
        client.cancel(&task.execution_id(), "no").await.unwrap();
        task.lease_lost().await;
        fixture.advance(ms(1)).await;
        drop(task);
        let lost = counts([("w,revoked", 1), ("other,cancelled", 1)]);
        assert_eq!(recorder.read().of("ff_leases_lost_total"), lost);

        // Without the store, renewals fail until the lease has run out.
        let faulty = fixture.faulty();
        let away = fixture.worker_on(faulty.clone(), "away", |_| {}).await;
        let task = claim_new(&client, &away, work()).await;
        faulty.disconnect();
        task.lease_lost().await;
        fixture.advance(secs(10)).await;
        let read = recorder.read();
        assert!(read.value("ff_lease_renewals_total{away,failed}") > 0.0, "{:?}", read.values);
        assert_eq!(read.value("ff_leases_lost_total{away,ran_out}"), 1.0);
        assert!(read.value("ff_store_call_failures_total{commit,not_sent}") > 0.0);
    });
}

/// Completes what a gateway has claimed, or fails to.
async fn complete(gateway: &WorkerGateway, client: &Client, task: &RemoteTask) -> bool {
    let (execution_id, fence) = (task.claimed.execution_id, FenceParts::of(task.claimed.fence()));
    let complete = Complete { execution_id, fence, result: None };
    gateway.carry(client, Command::Complete(complete)).await.is_ok()
}

#[test]
fn a_gateway_counts_for_the_workers_of_other_programs() {
    recording(async |recorder| {
        let fixture = Fixture::memory();
        let client = fixture.client().await;
        let gateway = WorkerGateway::connect_with(fixture.backend()).await.unwrap();
        let claim = async || {
            submit(&client, work()).await;
            let config = fixture.worker_config("script");
            gateway.claim(config, 1, secs(0)).await.unwrap().remove(0)
        };
        let task = claim().await;
        let (execution_id, fence) = (task.claimed.execution_id, task.claimed.fence());
        let renew = || {
            let (fence, lease_ttl) = (FenceParts::of(fence), secs(30).into());
            gateway.carry(&client, Command::Renew(Renew { execution_id, fence, lease_ttl }))
        };
        renew().await.unwrap();
        assert_eq!(recorder.read().of("ff_running"), counts([("default,script", 1)]));
        client.cancel(&execution_id, "no").await.unwrap();
        renew().await.unwrap_err();
        assert!(!complete(&gateway, &client, &task).await);
        assert!(complete(&gateway, &client, &claim().await).await);

        let read = recorder.read();
        assert_eq!(read.of("ff_claims_total"), counts([("default,new", 2)]));
        let completions = counts([("default,success", 1), ("default,cancelled", 1)]);
        assert_eq!(read.of("ff_completions_total"), completions);
        let renewals = counts([("script,renewed", 1), ("script,refused", 1)]);
        assert_eq!(read.of("ff_lease_renewals_total"), renewals);
        let ended = "ExecutionNotActive";
        let errors = [format!("renew,{ended}"), format!("complete,{ended}")];
        let errors = errors.iter().map(|key| (key.as_str(), 1.0)).collect();
        assert_eq!(read.of("ff_command_errors_total"), errors);
        // A lease that ended elsewhere counts until it would have expired.
        assert_eq!(read.of("ff_running"), counts([("default,script", 1)]));
    });
}

#[test]
fn executions_that_may_not_start_are_counted_by_reason() {
    recording(async |recorder| {
        let fixture = Fixture::memory();
        let client = fixture.client().await;
        let worker = worker_of(&fixture, &["exports", "gpu", "spent"]).await;
        let quota = QuotaId::try_new("exports").unwrap();
        client.set_quota(&quota, QuotaLimits::new().concurrency(1)).await.unwrap();
        let export = || in_lane("exports").quota("exports");
        let task = claim_new(&client, &worker, export()).await;
        submit(&client, export()).await;
        submit(&client, in_lane("gpu").requires(["gpu"])).await;
        submit(&client, in_lane("spent").budget("missing")).await;
        let other = fixture.worker_with("other", |config| {
            config.lanes =
                ["exports", "gpu", "spent"].map(|lane| LaneId::try_new(lane).unwrap()).into();
            config.capabilities = Capabilities::try_new(["avx"]).unwrap();
        });
        assert!(is_idle(&other.await).await);
        let refusals =
            counts([("exports,concurrency", 1), ("gpu,capability", 1), ("spent,missing", 1)]);
        assert_eq!(recorder.read().of("ff_admission_refusals_total"), refusals);

        task.complete(None).await.unwrap();
        client.settle().await;
        worker.settle().await;
        let read = recorder.read();
        assert!(read.value("ff_hand_overs_total{done}") >= 1.0);
        assert_eq!(read.value("ff_hand_overs_total{failed}"), 0.0);
        claim(&worker).await.complete(None).await.unwrap();
    });
}

#[test]
fn timers_are_counted_by_kind_with_their_lateness() {
    recording(async |recorder| {
        let fixture = Fixture::memory();
        let client = fixture.client().await;
        let _timekeeper = fixture.timekeeper().await;
        submit(&client, work().delay(secs(5))).await;
        let deadline = fixture.now().await.plus(secs(7).into());
        submit(&client, work().deadline(deadline)).await;
        fixture.advance(secs(10)).await;
        let read = recorder.read();
        let timers = counts([("delay_over", 1), ("deadline", 1)]);
        assert_eq!(read.of("ff_timers_applied_total"), timers);
        let late = &read.samples["ff_timer_late_seconds{}"];
        assert_eq!(late.len(), 2, "{late:?}");
        assert!(late.iter().all(|late| *late < 1.5), "{late:?}");
    });
}

#[test]
fn calls_of_the_store_are_timed_and_conflicts_are_counted() {
    recording(async |recorder| {
        let fixture = Fixture::memory();
        let (client, worker) = (fixture.client().await, fixture.worker("w").await);
        let task = claim_new(&client, &worker, work()).await;
        let before = recorder.read();
        let calls = |read: &Recorded, request: &str| {
            read.samples[&format!("ff_store_call_seconds{{{request}}}")].clone()
        };
        // The task's record is no longer the one that it knows.
        client.change_priority(&task.execution_id(), 7).await.unwrap();
        let between = recorder.read();
        task.update_progress(50, None).await.unwrap();
        let read = recorder.read();
        let units = |read: &Recorded, outcome: &str| {
            read.value(&format!("ff_store_commit_units_total{{{outcome}}}"))
        };
        assert_eq!(units(&between, "committed"), units(&before, "committed") + 1.0);
        assert_eq!(units(&between, "conflict"), 0.0);
        assert_eq!(units(&read, "committed"), units(&between, "committed") + 1.0);
        assert_eq!(units(&read, "conflict"), 1.0);
        // One of the change, the one that met the conflict, and its repeat.
        assert_eq!(calls(&read, "commit").len(), calls(&before, "commit").len() + 3);

        let faulty = fixture.faulty();
        let slow = fixture.client_on(faulty.clone()).await;
        faulty.slow_replies(ms(250), |_| true);
        assert!(slow.describe(&task.execution_id()).await.unwrap().is_some());
        let reads = calls(&recorder.read(), "read");
        assert!(reads.contains(&0.25), "{reads:?}");
    });
}

#[test]
fn runs_of_handlers_are_counted_by_kind_and_end() {
    recording(async |recorder| {
        let fixture = Fixture::memory();
        let client = fixture.client().await;
        let worker = fixture.worker_with("w", |config| config.max_concurrent_tasks = 8).await;
        let sleeps = || tokio::time::sleep(secs(3_600));
        let runtime = WorkerRuntime::new(worker)
            .handle("works", || tokio::time::sleep(secs(2)))
            .handle("fails", || async { Err::<(), _>(HandlerError::permanent("no")) })
            .handle("panics", || async { assert!(work().json(&1).is_err(), "it is a bug") })
            .handle_with("hangs", sleeps, HandlerOptions::default().timeout(secs(1)))
            .handle("loses", sleeps)
            .handle("stays", sleeps)
            .shutdown_deadline(secs(5));
        let scenario = async {
            for kind in ["works", "fails", "panics", "hangs"] {
                submit(&client, Submission::new(kind).max_retries(0)).await;
            }
            let lost = submit(&client, Submission::new("loses")).await;
            submit(&client, Submission::new("stays")).await;
            fixture.advance(secs(5)).await;
            assert_eq!(recorder.read().of("ff_handlers"), counts([("w", 6)]));
            client.cancel(&lost, "no").await.unwrap();
            fixture.advance(secs(20)).await;
        };
        runtime.run_until(scenario).await.unwrap();
        // The tasks of the worker end.
        fixture.advance(secs(1)).await;
        let read = recorder.read();
        let runs = counts([
            ("works,complete", 1),
            ("fails,fail", 1),
            ("panics,panic", 1),
            ("hangs,timeout", 1),
            ("loses,lease_lost", 1),
            ("stays,shutdown", 1),
        ]);
        assert_eq!(read.of("ff_handler_runs_total"), runs);
        assert_eq!(read.of("ff_handlers"), counts([]));
        assert_eq!(read.of("ff_running"), counts([]));
        assert_eq!(read.of("ff_worker_slots"), counts([]));
    });
}

#[test]
fn gauges_of_queues_follow_the_counts() {
    recording(async |recorder| {
        let fixture = Fixture::memory();
        let client = fixture.client().await;
        let worker = worker_of(&fixture, &["mail"]).await;
        let mut gauges = QueueGauges::new(client.namespace());
        for _ in 0..3 {
            submit(&client, in_lane("mail")).await;
        }
        submit(&client, in_lane("later").delay(secs(60))).await;
        fixture.advance(secs(4)).await;
        gauges.record(&client.stats().await.unwrap());
        let read = recorder.read();
        let depth = counts([("demo,mail,waiting", 3), ("demo,later,delayed", 1)]);
        assert_eq!(read.of("ff_queue_depth"), depth);
        assert_eq!(read.of("ff_queue_oldest_seconds"), counts([("demo,mail", 4)]));
        for _ in 0..3 {
            claim(&worker).await.complete(None).await.unwrap();
        }
        gauges.record(&client.stats().await.unwrap());
        let read = recorder.read();
        let depth = counts([("demo,mail,completed", 3), ("demo,later,delayed", 1)]);
        assert_eq!(read.of("ff_queue_depth"), depth);
        assert_eq!(read.of("ff_queue_oldest_seconds"), counts([]));
    });
}

/// Names of lanes come from submitters, who must not fill the memory of the recorder.
#[test]
fn lanes_beyond_the_limit_share_a_label() {
    recording(async |recorder| {
        let fixture = Fixture::memory();
        let client = fixture.client().await;
        for number in 0..300 {
            submit(&client, in_lane(&format!("lane-{number:03}"))).await;
        }
        QueueGauges::new(client.namespace()).record(&client.stats().await.unwrap());
        let read = recorder.read();
        let submissions = read.of("ff_submissions_total");
        assert_eq!(submissions.len(), 257);
        assert_eq!(submissions["other lanes,new"], 44.0);
        assert_eq!(read.of("ff_queue_depth").len(), 257);
        assert_eq!(read.value("ff_queue_depth{demo,other lanes,waiting}"), 44.0);
    });
}

/// Every metric is registered by the programs that record it, and described.
#[test]
fn every_declared_metric_is_registered() {
    recording(async |recorder| {
        describe();
        let fixture = Fixture::memory();
        let (client, worker) = (fixture.client().await, fixture.timekeeper().await);
        client.cancel(&fixture.id_in(0), "no").await.unwrap_err();
        submit(&client, in_lane("nothing")).await;
        let mut gauges = QueueGauges::new(client.namespace());
        gauges.record(&client.stats().await.unwrap());
        let runtime = WorkerRuntime::new(worker).handle("work", || async {});
        runtime.run_until(fixture.advance(secs(1))).await.unwrap();
        let declared: BTreeSet<String> = ALL.iter().map(|metric| metric.name.to_owned()).collect();
        assert_eq!(recorder.names(), (declared.clone(), declared));
    });
}
