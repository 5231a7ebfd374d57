//! Handlers that suspend and are called again with their signals.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ff_sdk::core::execution::{Outcome, ResumedBy};
use ff_sdk::core::state::PublicState;
use ff_sdk::{
    BoxError, Client, Condition, ExecutionId, FlowFabricWorker, IssuedWaitpoint, Signals, State,
    Submission, Suspension, TaskContext, TaskOutcome, TimeoutBehaviour, WorkerRuntime,
};
use ff_tests::Fixture;
use ff_tests::kit::{describe, nth_epoch, secs, send, state, submit};
use tokio::sync::mpsc;

async fn worker(fixture: &Fixture) -> FlowFabricWorker {
    let set_up = |config: &mut ff_sdk::WorkerConfig| {
        (config.max_concurrent_tasks, config.timekeeper) = (4, true);
    };
    fixture.worker_with("runtime", set_up).await
}

type Tokens = mpsc::UnboundedSender<IssuedWaitpoint>;

/// Suspends once, and completes with the names of its signals.
async fn ask(
    context: TaskContext,
    signals: Signals,
    tokens: State<Tokens>,
) -> Result<TaskOutcome, BoxError> {
    if let Some(resumption) = context.resumption() {
        let names: Vec<_> = signals.iter().map(|signal| signal.name.as_str()).collect();
        let text = format!("{:?} {}", resumption.by, names.join(","));
        return Ok(TaskOutcome::Complete(Some(text.into_bytes())));
    }
    let waitpoint = context.create_pending_waitpoint("answer", None).await?;
    tokens.send(waitpoint.clone())?;
    let asked = Suspension::until_signal("answer")?
        .open(&waitpoint)
        .timeout(std::time::Duration::from_secs(60), TimeoutBehaviour::AutoResume);
    Ok(TaskOutcome::Suspend(Box::new(asked)))
}

async fn answer(client: &Client, id: &ExecutionId) -> String {
    let result = client.result(id).await.unwrap();
    String::from_utf8(result.bytes().unwrap().to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_called_again_with_its_signals() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let (tokens, mut issued) = mpsc::unbounded_channel();
    let runtime = WorkerRuntime::new(worker(&fixture).await).state(tokens).handle("ask", ask);
    let reports = runtime.reports();
    let work = async {
        let id = submit(&client, Submission::new("ask")).await;
        let waitpoint = issued.recv().await.unwrap();
        while state(&client, &id).await != PublicState::Suspended {
            fixture.advance(secs(1)).await;
        }
        send(&client, &id, &waitpoint, "yes").await.unwrap();
        assert_eq!(answer(&client, &id).await, "Signals yes");
        assert_eq!(describe(&client, &id).await.attempts_total, 1, "the attempt was continued");

        let id = submit(&client, Submission::new("ask")).await;
        issued.recv().await.unwrap();
        let text = answer(&client, &id).await;
        assert!(text.starts_with("Timeout") && text.ends_with("} "), "{text}");
    };
    runtime.run_until(work).await.unwrap();
    let report = reports.report();
    assert_eq!((report.suspended, report.completed, report.lost), (2, 2, 0));
}

/// A signal before the handler's suspension is not lost: the handler is called again immediately,
/// under the same lease.
#[tokio::test(start_paused = true)]
async fn a_signal_before_the_suspension_of_a_handler_is_not_lost() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let calls = Arc::new(AtomicU32::new(0));
    let handler = {
        let (client, calls) = (client.clone(), calls.clone());
        move |context: TaskContext, signals: Signals| {
            let (client, calls) = (client.clone(), calls.clone());
            async move {
                calls.fetch_add(1, Ordering::Relaxed);
                if let Some(resumption) = context.resumption() {
                    assert_eq!(resumption.by, ResumedBy::Signals);
                    return Ok(TaskOutcome::Complete(Some(signals[0].name.as_str().into())));
                }
                let waitpoint = context.create_pending_waitpoint("answer", None).await?;
                send(&client, &context.execution_id(), &waitpoint, "quick").await?;
                let asked = Suspension::until_signal("answer")?.open(&waitpoint);
                Ok::<_, BoxError>(TaskOutcome::Suspend(Box::new(asked)))
            }
        }
    };
    let runtime = WorkerRuntime::new(worker(&fixture).await).handle("quick", handler);
    let work = async {
        let id = submit(&client, Submission::new("quick")).await;
        assert_eq!(answer(&client, &id).await, "quick");
        let seen = describe(&client, &id).await;
        assert_eq!(seen.lease_epoch, nth_epoch(&client, &id, 1).await, "the lease was kept");
    };
    runtime.run_until(work).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

/// An invalid suspension fails the execution permanently.
#[tokio::test(start_paused = true)]
async fn an_invalid_suspension_fails_the_execution() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let runtime = WorkerRuntime::new(worker(&fixture).await)
        .handle("never", || async { Suspension::until(Condition::AllOf { members: Vec::new() }) });
    let work = async {
        let id = submit(&client, Submission::new("never")).await;
        match client.result(&id).await.unwrap().outcome {
            Outcome::Failed(failure) => {
                assert_eq!(failure.category.as_str(), "invalid_suspension");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(describe(&client, &id).await.counts.retries, 0);
    };
    runtime.run_until(work).await.unwrap();
}

/// A handler can suspend more than once in one attempt.
#[tokio::test(start_paused = true)]
async fn a_handler_can_suspend_several_times() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let (tokens, mut issued) = mpsc::unbounded_channel();
    let rounds = |context: TaskContext, signals: Signals, tokens: State<Tokens>| async move {
        if signals.first().is_some_and(|signal| signal.name.as_str() == "stop") {
            return Ok(TaskOutcome::Complete(None));
        }
        let waitpoint = context.create_pending_waitpoint("next", None).await?;
        tokens.send(waitpoint.clone())?;
        let asked = Suspension::until_signal("next")?.open(&waitpoint);
        Ok::<_, BoxError>(TaskOutcome::Suspend(Box::new(asked)))
    };
    let runtime = WorkerRuntime::new(worker(&fixture).await).state(tokens).handle("rounds", rounds);
    let work = async {
        let id = submit(&client, Submission::new("rounds")).await;
        for name in ["one", "two", "three", "stop"] {
            let waitpoint = issued.recv().await.unwrap();
            send(&client, &id, &waitpoint, name).await.unwrap();
        }
        client.result(&id).await.unwrap();
        assert_eq!(describe(&client, &id).await.signals, 4);
    };
    runtime.run_until(work).await.unwrap();
}
