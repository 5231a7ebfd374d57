//! Graceful shutdown of a runtime: running handlers have their time, leases are given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ff_sdk::core::id::{AttemptIndex, LeaseEpoch};
use ff_sdk::core::state::PublicState;
use ff_sdk::{
    HandlerError, IssuedWaitpoint, Signals, State, Submission, Suspension, TaskContext,
    TaskOutcome, WorkerConfig, WorkerRuntime,
};
use ff_tests::Ground;
use ff_tests::kit::{claim, ms, secs, see, send, state, submit};
use ff_tests::line::commits;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// A handler that takes that long.
fn takes(time: Duration) -> impl Fn() -> tokio::time::Sleep + Send + Sync + 'static {
    move || tokio::time::sleep(time)
}

/// Handlers that end within the deadline end; nothing new is claimed meanwhile.
#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_handlers_within_the_deadline() {
    let ground = Ground::memory();
    let client = ground.client().await;
    let worker = ground.worker_with("w", |config| config.max_concurrent_tasks = 2).await;
    let runtime = WorkerRuntime::new(worker).handle("work", takes(secs(7)));
    let first = submit(&client, Submission::new("work")).await;
    let started = Instant::now();
    let after = async {
        ground.advance(secs(2)).await;
        "stopped"
    };
    let late = async {
        ground.advance(secs(3)).await;
        submit(&client, Submission::new("work")).await
    };
    let (stopped, late) = tokio::join!(runtime.run_until(after), late);
    assert_eq!((stopped.unwrap(), started.elapsed()), ("stopped", secs(7)));
    assert_eq!(state(&client, &first).await, PublicState::Completed);
    assert_eq!(state(&client, &late).await, PublicState::Waiting);
}

/// With the longest deadline there is, a shutdown waits for as long as handlers take.
#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_ever_where_it_is_told_to() {
    let ground = Ground::memory();
    let client = ground.client().await;
    let runtime = WorkerRuntime::new(ground.worker("w").await)
        .handle("work", takes(secs(3_600)))
        .shutdown_deadline(Duration::MAX);
    let id = submit(&client, Submission::new("work")).await;
    runtime.run_until(ground.advance(secs(1))).await.unwrap();
    assert_eq!(state(&client, &id).await, PublicState::Completed);
}

/// A handler that takes longer is dropped at the deadline and its lease given back: another worker
/// goes on with the same attempt at once, and no reclaim or retry is counted.
#[tokio::test(start_paused = true)]
async fn shutdown_gives_leases_back_at_the_deadline() {
    let ground = Ground::memory();
    let client = ground.client().await;
    let worker = ground.worker_with("w", |config| config.max_concurrent_tasks = 2).await;
    let other = ground.worker_with("other", |config| config.max_concurrent_tasks = 2).await;
    let runtime =
        WorkerRuntime::new(worker).handle("work", takes(secs(3_600))).shutdown_deadline(secs(4));
    let id = submit(&client, Submission::new("work")).await;
    let started = Instant::now();
    runtime.run_until(ground.advance(secs(1))).await.unwrap();
    assert_eq!(started.elapsed(), secs(5));
    let task = claim(&other).await;
    assert_eq!((task.execution_id(), started.elapsed()), (id, secs(5)));
    assert_eq!((task.attempt_index(), task.lease_epoch()), (AttemptIndex(0), LeaseEpoch(2)));
    let seen = see(&client, &id).await;
    assert_eq!((seen.counts.retries, seen.counts.reclaims, seen.attempts_total), (0, 0, 1));
}

/// Asks, thinks for ten seconds before it suspends, and for a minute about the answer.
async fn ask(
    context: TaskContext,
    signals: Signals,
    tokens: State<mpsc::UnboundedSender<IssuedWaitpoint>>,
) -> Result<TaskOutcome, HandlerError> {
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

/// A handler that was called with its signals and is dropped at the deadline: whoever takes its
/// work next calls it with the same.
#[tokio::test(start_paused = true)]
async fn shutdown_gives_signals_back_with_their_lease() {
    let ground = Ground::memory();
    let client = ground.client().await;
    let (tokens, mut issued) = mpsc::unbounded_channel();
    let runtime = async |name: &str| {
        let set_up = |config: &mut WorkerConfig| config.timekeeper = true;
        let worker = ground.worker_with(name, set_up).await;
        let runtime = WorkerRuntime::new(worker).state(tokens.clone()).handle("ask", ask);
        runtime.shutdown_deadline(secs(1))
    };
    let id = submit(&client, Submission::new("ask")).await;
    // Stopped after it has opened its waitpoint.
    runtime("a").await.run_until(ground.advance(secs(5))).await.unwrap();
    let suspends = async {
        while state(&client, &id).await != PublicState::Suspended {
            ground.advance(secs(1)).await;
        }
    };
    runtime("b").await.run_until(suspends).await.unwrap();
    let (first, again) = (issued.recv().await.unwrap(), issued.recv().await.unwrap());
    assert_eq!(first, again, "called again, it found what it had opened");
    send(&client, &id, &first, "yes").await.unwrap();
    // Stopped while it works with its signal.
    runtime("c").await.run_until(ground.advance(secs(5))).await.unwrap();
    let result = async {
        let result = client.result(&id).await.unwrap();
        assert_eq!(result.bytes().unwrap()[..], *b"yes");
    };
    runtime("d").await.run_until(result).await.unwrap();
    assert_eq!(see(&client, &id).await.attempts_total, 1, "the same attempt went on");
}

/// Work that is just being claimed when the shutdown begins is not lost until its lease runs out:
/// it is given back too.
#[tokio::test(start_paused = true)]
async fn shutdown_during_a_claim_loses_no_work() {
    for at in [5, 15, 25, 35, 45] {
        let ground = Ground::memory();
        let client = ground.client().await;
        let line = ground.line();
        let worker = ground.worker_on(line.clone(), "w", |_| {}).await;
        let other = ground.worker("other").await;
        let runs = Arc::new(AtomicU32::new(0));
        let count = runs.clone();
        let runtime = WorkerRuntime::new(worker).handle("work", move || {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(secs(3_600))
        });
        let id = submit(&client, Submission::new("work")).await;
        line.slow_requests(ms(10), |_| true);
        line.slow_replies(ms(10), commits);
        let runtime = runtime.shutdown_deadline(secs(1));
        runtime.run_until(ground.advance(ms(at))).await.unwrap();
        line.mend();
        let task = claim(&other).await;
        assert_eq!(task.execution_id(), id, "stopped after {at} ms");
        assert_eq!(task.attempt_index(), AttemptIndex(0), "the same attempt goes on");
    }
}

/// A store that cannot be reached does not hold a shutdown up for longer than the deadline and the
/// calls that give the leases back.
#[tokio::test(start_paused = true)]
async fn shutdown_ends_though_the_store_is_gone() {
    let ground = Ground::memory();
    let client = ground.client().await;
    let line = ground.line();
    let worker = ground.worker_on(line.clone(), "w", |config| config.call_timeout_ms = 2_000).await;
    let runtime =
        WorkerRuntime::new(worker).handle("work", takes(secs(3_600))).shutdown_deadline(secs(4));
    submit(&client, Submission::new("work")).await;
    let started = Instant::now();
    let work = async {
        ground.advance(secs(1)).await;
        line.cut();
    };
    runtime.run_until(work).await.unwrap();
    assert!(started.elapsed() <= secs(8), "{:?}", started.elapsed());
}
