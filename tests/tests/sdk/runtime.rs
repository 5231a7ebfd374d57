//! The runtime: handlers, extractors, outcomes, panics, lost leases.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ff_sdk::core::error::RejectionKind;
use ff_sdk::core::execution::Outcome;
use ff_sdk::core::id::{AttemptIndex, ExecutionId};
use ff_sdk::core::policy::RetryPolicy;
use ff_sdk::core::state::PublicState;
use ff_sdk::core::time::DurationMs;
use ff_sdk::{
    Client, FlowFabricWorker, HandlerError, Json, Payload, RawPayload, State, Submission,
    TaskContext, TaskOutcome, WorkerRuntime,
};
use ff_tests::Fixture;
use ff_tests::faulty_backend::writes_a_result;
use ff_tests::kit::{describe, kind, ms, secs, state, submit};

/// A worker with four slots and a timekeeper.
async fn worker(fixture: &Fixture) -> FlowFabricWorker {
    let set_up = |config: &mut ff_sdk::WorkerConfig| {
        (config.max_concurrent_tasks, config.timekeeper) = (4, true);
    };
    fixture.worker_with("runtime", set_up).await
}

/// The category of an execution's failure.
async fn category(client: &Client, id: &ExecutionId) -> String {
    match client.result(id).await.unwrap().outcome {
        Outcome::Failed(failure) => failure.category.as_str().to_owned(),
        other => panic!("{other:?}"),
    }
}

fn once(kind: &str) -> Submission {
    Submission::new(kind).retry(RetryPolicy::never())
}

async fn greet(
    Payload(name): Payload<String>,
    prefix: State<String>,
    context: TaskContext,
) -> Result<Json<String>, HandlerError> {
    context.update_progress(50, Some("greeting")).await?;
    let attempt = context.attempt_index();
    Ok(Json(format!("{} {name} {attempt} {}", *prefix, context.is_lease_healthy())))
}

#[tokio::test(start_paused = true)]
async fn handlers_get_payload_state_and_context() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let runtime = WorkerRuntime::new(worker(&fixture).await)
        .state("hello".to_owned())
        .handle("greet", greet)
        .handle("raw", |RawPayload(payload): RawPayload| async move {
            payload.map_or_else(Vec::new, |bytes| bytes.iter().rev().copied().collect::<Vec<u8>>())
        })
        .handle("nothing", || async {});
    let work = async {
        let submission = Submission::new("greet").json(&"world").unwrap();
        let id = submit(&client, submission).await;
        let result = client.result(&id).await.unwrap();
        assert_eq!(result.bytes(), Some(&b"\"hello world 0 true\""[..]));
        assert_eq!(describe(&client, &id).await.progress.unwrap().percent, 50);
        let id = submit(&client, Submission::new("raw").payload([1, 2, 255])).await;
        assert_eq!(client.result(&id).await.unwrap().bytes(), Some(&[255, 2, 1][..]));
        let id = submit(&client, Submission::new("nothing")).await;
        assert_eq!(client.result(&id).await.unwrap().bytes(), None);
    };
    runtime.run_until(work).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn tasks_that_their_handler_cannot_run_fail_with_a_category() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let runtime = WorkerRuntime::new(worker(&fixture).await)
        .handle("number", |Payload(_): Payload<u8>| async {});
    let work = async {
        let id = submit(&client, Submission::new("number").payload("not a number")).await;
        assert_eq!(category(&client, &id).await, "invalid_payload");
        assert_eq!(describe(&client, &id).await.counts.retries, 0, "a retry cannot help");
        // A kind without a handler is left to other workers.
        let id = submit(&client, once("unknown")).await;
        tokio::time::sleep(secs(10)).await;
        assert_eq!(describe(&client, &id).await.state.public_state, PublicState::Waiting);
    };
    runtime.run_until(work).await.unwrap();
}

/// A panic, before or after the first await, fails the attempt with category `handler_panic`, which
/// is retried like any other failure; the runtime continues.
#[tokio::test(start_paused = true)]
async fn a_panic_fails_the_attempt_and_nothing_else() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let runtime = WorkerRuntime::new(worker(&fixture).await)
        .handle("late", |context: TaskContext| async move {
            tokio::time::sleep(ms(5)).await;
            assert!(context.attempt_index() > AttemptIndex(0), "the first attempt panics");
        })
        .handle("early", |context: TaskContext| {
            assert!(context.attempt_index() > AttemptIndex(9), "every attempt panics");
            async {}
        });
    let work = async {
        let late = submit(&client, Submission::new("late")).await;
        assert!(client.result(&late).await.unwrap().is_success());
        let seen = describe(&client, &late).await;
        assert_eq!((seen.counts.retries, seen.attempts_total), (1, 2));
        let early = submit(&client, once("early")).await;
        assert_eq!(category(&client, &early).await, "handler_panic");
    };
    runtime.run_until(work).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_outcome_of_a_handler_determines_the_end_of_its_task() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let runtime = WorkerRuntime::new(worker(&fixture).await)
        .handle("delay", move |context: TaskContext| {
            let run = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                match run {
                    0 => TaskOutcome::Delay(context.store_now().plus(DurationMs::from_secs(9))),
                    1 => TaskOutcome::WaitForChildren,
                    _ => TaskOutcome::Complete(Some(run.to_string().into_bytes())),
                }
            }
        })
        .handle("cancel", || async { TaskOutcome::Cancel("not wanted".to_owned()) })
        .handle("permanent", || async {
            Err::<(), _>(HandlerError::permanent("it is bad").with_category("bad_input"))
        })
        .handle("error", || async { Err::<(), _>(std::fmt::Error) });
    let work = async {
        let id = submit(&client, Submission::new("delay")).await;
        let started = fixture.now().await;
        assert_eq!(client.result(&id).await.unwrap().bytes(), Some(&b"2"[..]));
        assert!(fixture.now().await.since(started) >= DurationMs::from_secs(9));
        assert_eq!(describe(&client, &id).await.attempts_total, 1, "the attempt was continued");
        let id = submit(&client, Submission::new("cancel")).await;
        let outcome = client.result(&id).await.unwrap().outcome;
        assert_eq!(outcome, Outcome::Cancelled { reason: "not wanted".to_owned() });
        let id = submit(&client, Submission::new("permanent")).await;
        assert_eq!(category(&client, &id).await, "bad_input");
        let id = submit(&client, once("error")).await;
        assert_eq!(category(&client, &id).await, "handler_error");
    };
    runtime.run_until(work).await.unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 3);
}

/// Sets a flag when it is dropped.
struct Flag(Arc<AtomicBool>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// When a lease is lost, the handler's future is dropped, and its slot is free.
#[tokio::test(start_paused = true)]
async fn a_lost_lease_drops_the_handlers_future() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let worker = fixture.worker("runtime").await;
    let (dropped, finished) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (flag, late) = (dropped.clone(), finished.clone());
    let runtime = WorkerRuntime::new(worker.clone())
        .handle("long", move || {
            let (flag, late) = (Flag(flag.clone()), late.clone());
            async move {
                tokio::time::sleep(secs(3_600)).await;
                late.store(true, Ordering::SeqCst);
                drop(flag);
            }
        })
        .handle("short", || async {});
    let work = async {
        let id = submit(&client, Submission::new("long")).await;
        fixture.advance(secs(1)).await;
        assert_eq!(state(&client, &id).await, PublicState::Active);
        client.cancel(&id, "no").await.unwrap();
        fixture.advance(secs(11)).await;
        assert!(dropped.load(Ordering::SeqCst) && !finished.load(Ordering::SeqCst));
        let id = submit(&client, Submission::new("short")).await;
        assert!(client.result(&id).await.unwrap().is_success());
        assert_eq!(kind(client.cancel(&id, "no").await), RejectionKind::ExecutionNotActive);
    };
    runtime.run_until(work).await.unwrap();
    assert_eq!(worker.free_slots(), 1);
}

/// As many handlers run at the same time as the worker has slots, and no more.
#[tokio::test(start_paused = true)]
async fn as_many_handlers_run_at_the_same_time_as_there_are_slots() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (count, peak) = (running.clone(), most.clone());
    let runtime = WorkerRuntime::new(worker(&fixture).await).handle("work", move || {
        let (count, peak) = (count.clone(), peak.clone());
        async move {
            peak.fetch_max(1 + count.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
            tokio::time::sleep(secs(1)).await;
            count.fetch_sub(1, Ordering::SeqCst);
        }
    });
    let work = async {
        let many: Vec<_> = (0..20).map(|_| Submission::new("work")).collect();
        let started = tokio::time::Instant::now();
        for outcome in client.submit_many(many).await {
            client.result(&outcome.unwrap().id()).await.unwrap();
        }
        assert_eq!(started.elapsed().as_secs(), 5);
    };
    runtime.run_until(work).await.unwrap();
    assert_eq!((running.load(Ordering::SeqCst), most.load(Ordering::SeqCst)), (0, 4));
}

/// A runtime whose slots are held by other users of its worker waits without blocking the thread.
#[tokio::test(start_paused = true)]
async fn a_runtime_waits_for_slots_that_are_held_elsewhere() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let worker = fixture.worker("runtime").await;
    submit(&client, Submission::new("work")).await;
    let task = ff_tests::kit::claim(&worker).await;
    let id = submit(&client, Submission::new("work")).await;
    let runtime = WorkerRuntime::new(worker).handle("work", || async {});
    let work = async {
        fixture.advance(secs(5)).await;
        assert_eq!(state(&client, &id).await, PublicState::Waiting);
        task.complete(None).await.unwrap();
        assert!(client.result(&id).await.unwrap().is_success());
    };
    runtime.run_until(work).await.unwrap();
}

/// An outcome that the store would always refuse is a failed attempt; otherwise the lease would
/// expire and the execution be reclaimed again and again.
#[tokio::test(start_paused = true)]
async fn an_outcome_that_cannot_be_stored_is_a_failed_attempt() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let runtime = WorkerRuntime::new(worker(&fixture).await)
        .handle("large", || async { vec![0; (1 << 20) + 1] })
        .handle("category", || async {
            Err::<(), _>(HandlerError::permanent("it broke").with_category("no category"))
        });
    let work = async {
        let id = submit(&client, Submission::new("large")).await;
        assert_eq!(category(&client, &id).await, "invalid_result");
        let id = submit(&client, Submission::new("category")).await;
        assert_eq!(category(&client, &id).await, "handler_error");
        let seen = describe(&client, &id).await;
        assert_eq!((seen.attempts_total, seen.counts.reclaims), (1, 0));
    };
    runtime.run_until(work).await.unwrap();
}

/// A handler may leave a clone of its context behind, for example to report progress from another
/// task; its outcome is still applied.
#[tokio::test(start_paused = true)]
async fn a_context_that_outlives_its_handler_does_not_undo_its_outcome() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let runtime = WorkerRuntime::new(worker(&fixture).await).handle(
        "work",
        |context: TaskContext| async move {
            tokio::spawn(async move { context.lease_lost().await });
            "done".to_owned()
        },
    );
    let work = async {
        let id = submit(&client, Submission::new("work")).await;
        assert_eq!(client.result(&id).await.unwrap().bytes(), Some(&b"done"[..]));
    };
    runtime.run_until(work).await.unwrap();
}

/// If the outcome cannot be stored, the execution is reclaimed, although a clone of its context
/// exists.
#[tokio::test(start_paused = true)]
async fn a_context_that_outlives_its_handler_does_not_keep_the_lease() {
    let fixture = Fixture::memory();
    let (client, faulty) = (fixture.client().await, fixture.faulty());
    let broken = fixture.worker_on(faulty.clone(), "broken", |_| {}).await;
    let id = submit(&client, Submission::new("work")).await;
    let handled = Arc::new(AtomicU32::new(0));
    let runtime = WorkerRuntime::new(broken).state(handled.clone()).handle(
        "work",
        |context: TaskContext, handled: State<Arc<AtomicU32>>| async move {
            handled.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move { context.lease_lost().await });
            "done".to_owned()
        },
    );
    faulty.garble(writes_a_result);
    let timekeeper = fixture.timekeeper().await;
    runtime.run_until(fixture.advance(secs(120))).await.unwrap();
    let attempts = describe(&client, &id).await.attempts_total;
    assert!(attempts > 1 && handled.load(Ordering::Relaxed) > 1, "{attempts} attempts");
    drop(timekeeper);
}

/// A task keeps its lease after all handles to its worker were dropped.
#[tokio::test(start_paused = true)]
async fn a_task_outlives_the_handles_to_its_worker() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    let id = submit(&client, Submission::new("work")).await;
    let task = ff_tests::kit::claim(&worker).await;
    drop(worker);
    fixture.advance(secs(120)).await;
    assert!(task.is_lease_healthy());
    task.complete(None).await.unwrap();
    assert_eq!(state(&client, &id).await, PublicState::Completed);
}
