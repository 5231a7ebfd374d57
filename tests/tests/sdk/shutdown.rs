//! Graceful shutdown of a runtime: running handlers can finish until the deadline, and leases are
//! released.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ff_sdk::core::id::AttemptIndex;
use ff_sdk::core::state::PublicState;
use ff_sdk::{
    BoxError, IssuedWaitpoint, ShutdownSignal, Signals, State, Submission, Suspension, TaskContext,
    TaskOutcome, WorkerConfig, WorkerRuntime,
};
use ff_tests::Fixture;
use ff_tests::faulty_backend::{any, commits};
use ff_tests::kit::{claim, describe, ms, nth_epoch, secs, send, state, submit};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// A handler that takes this time.
fn takes(time: Duration) -> impl Fn() -> tokio::time::Sleep + Send + Sync + 'static {
    move || tokio::time::sleep(time)
}

/// Handlers that need less time than the deadline finish; nothing new is claimed meanwhile.
#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_handlers_within_the_deadline() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let worker = fixture.worker_with("w", |config| config.max_concurrent_tasks = 2).await;
    let runtime = WorkerRuntime::new(worker).handle("work", takes(secs(7)));
    let first = submit(&client, Submission::new("work")).await;
    let started = Instant::now();
    let after = async {
        fixture.advance(secs(2)).await;
        "stopped"
    };
    let late = async {
        fixture.advance(secs(3)).await;
        submit(&client, Submission::new("work")).await
    };
    let (stopped, late) = tokio::join!(runtime.run_until(after), late);
    assert_eq!((stopped.unwrap(), started.elapsed()), ("stopped", secs(7)));
    assert_eq!(state(&client, &first).await, PublicState::Completed);
    assert_eq!(state(&client, &late).await, PublicState::Waiting);
}

/// With the longest deadline, a shutdown waits until the handlers finish.
#[tokio::test(start_paused = true)]
async fn shutdown_waits_without_limit_for_the_longest_deadline() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let runtime = WorkerRuntime::new(fixture.worker("w").await)
        .handle("work", takes(secs(3_600)))
        .shutdown_deadline(Duration::MAX);
    let id = submit(&client, Submission::new("work")).await;
    runtime.run_until(fixture.advance(secs(1))).await.unwrap();
    assert_eq!(state(&client, &id).await, PublicState::Completed);
}

/// A handler that takes longer is dropped before the deadline and its lease released: another
/// worker continues the same attempt immediately, and no reclaim or retry is counted.
#[tokio::test(start_paused = true)]
async fn shutdown_releases_leases_at_the_deadline() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let worker = fixture.worker_with("w", |config| config.max_concurrent_tasks = 2).await;
    let other = fixture.worker_with("other", |config| config.max_concurrent_tasks = 2).await;
    let runtime =
        WorkerRuntime::new(worker).handle("work", takes(secs(3_600))).shutdown_deadline(secs(4));
    let id = submit(&client, Submission::new("work")).await;
    let started = Instant::now();
    runtime.run_until(fixture.advance(secs(1))).await.unwrap();
    // A second, and four fifths of the deadline.
    assert_eq!(started.elapsed(), ms(4_200));
    let task = claim(&other).await;
    assert_eq!((task.execution_id(), started.elapsed()), (id, ms(4_200)));
    assert_eq!(
        (task.attempt_index(), task.lease_epoch()),
        (AttemptIndex(0), nth_epoch(&client, &id, 2).await)
    );
    let seen = describe(&client, &id).await;
    assert_eq!((seen.counts.retries, seen.counts.reclaims, seen.attempts_total), (0, 0, 1));
}

/// Opens a waitpoint, suspends ten seconds later, and completes a minute after its signal.
async fn ask(
    context: TaskContext,
    signals: Signals,
    tokens: State<mpsc::UnboundedSender<IssuedWaitpoint>>,
) -> Result<TaskOutcome, BoxError> {
    if context.resumption().is_some() {
        tokio::time::sleep(secs(60)).await;
        return Ok(TaskOutcome::Complete(Some(signals[0].name.as_str().into())));
    }
    let waitpoint = context.create_pending_waitpoint("answer", None).await?;
    tokens.send(waitpoint.clone())?;
    tokio::time::sleep(secs(10)).await;
    let asked = Suspension::until_signal("answer")?.open(&waitpoint);
    Ok(TaskOutcome::Suspend(Box::new(asked)))
}

/// When a handler that was called with its signals is dropped at the deadline, the next worker
/// calls its handler with the same signals.
#[tokio::test(start_paused = true)]
async fn shutdown_keeps_the_signals_of_a_released_lease() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let (tokens, mut issued) = mpsc::unbounded_channel();
    let runtime = async |name: &str| {
        let set_up = |config: &mut WorkerConfig| config.timekeeper = true;
        let worker = fixture.worker_with(name, set_up).await;
        let runtime = WorkerRuntime::new(worker).state(tokens.clone()).handle("ask", ask);
        runtime.shutdown_deadline(secs(1))
    };
    let id = submit(&client, Submission::new("ask")).await;
    // Stopped after it opened its waitpoint.
    runtime("a").await.run_until(fixture.advance(secs(5))).await.unwrap();
    let suspends = async {
        while state(&client, &id).await != PublicState::Suspended {
            fixture.advance(secs(1)).await;
        }
    };
    runtime("b").await.run_until(suspends).await.unwrap();
    let (first, again) = (issued.recv().await.unwrap(), issued.recv().await.unwrap());
    assert_eq!(first, again, "the second call found the open waitpoint");
    send(&client, &id, &first, "yes").await.unwrap();
    // Stopped while it handles its signal.
    runtime("c").await.run_until(fixture.advance(secs(5))).await.unwrap();
    let result = async {
        let result = client.result(&id).await.unwrap();
        assert_eq!(result.bytes().unwrap()[..], *b"yes");
    };
    runtime("d").await.run_until(result).await.unwrap();
    assert_eq!(describe(&client, &id).await.attempts_total, 1, "the attempt was continued");
}

/// An execution whose claim is in flight when the shutdown begins is released too, and does not
/// wait until its lease expires.
#[tokio::test(start_paused = true)]
async fn shutdown_during_a_claim_loses_no_work() {
    for at in [5, 15, 25, 35, 45] {
        let fixture = Fixture::memory();
        let client = fixture.client().await;
        let faulty = fixture.faulty();
        let worker = fixture.worker_on(faulty.clone(), "w", |_| {}).await;
        let other = fixture.worker("other").await;
        let runs = Arc::new(AtomicU32::new(0));
        let count = runs.clone();
        let runtime = WorkerRuntime::new(worker).handle("work", move || {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(secs(3_600))
        });
        let id = submit(&client, Submission::new("work")).await;
        faulty.slow_requests(ms(10), |_| true);
        faulty.slow_replies(ms(10), commits);
        let runtime = runtime.shutdown_deadline(secs(1));
        runtime.run_until(fixture.advance(ms(at))).await.unwrap();
        faulty.heal();
        let task = claim(&other).await;
        assert_eq!(task.execution_id(), id, "stopped after {at} ms");
        assert_eq!(task.attempt_index(), AttemptIndex(0), "the attempt was continued");
    }
}

/// The whole shutdown ends at its deadline, also when the store refuses calls or never answers: the
/// claim in flight, the completions of handlers that have ended, and the release of leases.
#[tokio::test(start_paused = true)]
async fn shutdown_ends_at_its_deadline_without_a_store() {
    for hangs in [false, true] {
        let fixture = Fixture::memory();
        let client = fixture.client().await;
        let faulty = fixture.faulty();
        let set_up = |config: &mut WorkerConfig| config.max_concurrent_tasks = 3;
        let worker = fixture.worker_on(faulty.clone(), "w", set_up).await;
        let runtime = WorkerRuntime::new(worker)
            .handle("long", takes(secs(3_600)))
            .handle("short", takes(secs(2)))
            .shutdown_deadline(secs(10));
        let reports = runtime.reports();
        for kind in ["long", "short"] {
            submit(&client, Submission::new(kind)).await;
        }
        let started = Instant::now();
        let work = async {
            fixture.advance(secs(1)).await;
            if hangs {
                faulty.slow_requests(secs(1_000_000), any);
            } else {
                faulty.disconnect();
            }
            fixture.advance(secs(4)).await;
        };
        runtime.run_until(work).await.unwrap();
        assert_eq!(started.elapsed(), secs(15), "hangs: {hangs}");
        assert_eq!((reports.report().lost, reports.report().running), (2, 0));
    }
}

/// `shutdown_signal` resolves when the process is asked to end, which does not end it: it listens
/// from its call on.
#[tokio::test]
async fn a_runtime_shuts_down_on_sigterm() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    let runtime = WorkerRuntime::new(worker).handle("work", takes(ms(1)));
    let id = submit(&client, Submission::new("work")).await;
    let signal = ff_sdk::shutdown_signal();
    let raise = async {
        client.result(&id).await.unwrap();
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGTERM).unwrap();
    };
    let (stopped, ()) = tokio::join!(runtime.run_until(signal), raise);
    assert_eq!(stopped.unwrap(), ShutdownSignal::Terminate);
}
