//! The record of an execution stays small with the largest number of signals (`docs/spec.md`, 5).

use std::time::{Duration, Instant};

use ff_sdk::core::error::RejectionKind;
use ff_sdk::core::policy::ExecutionPolicy;
use ff_sdk::core::store::IndexName;
use ff_sdk::core::time::DurationMs;
use ff_sdk::{
    ClaimedTask, Client, Condition, CountKind, IssuedWaitpoint, Signal, SignalMatcher,
    SuspendOutcome, Suspension,
};
use ff_tests::Fixture;
use ff_tests::kit::{claim, kind, secs, submit, work};

/// Sends `count` signals of `size` bytes, eight at a time.
async fn send(
    client: &Client,
    task: &ClaimedTask,
    at: &IssuedWaitpoint,
    count: usize,
    size: usize,
) {
    let mut in_flight = tokio::task::JoinSet::new();
    for _ in 0..count {
        if in_flight.len() == 8 {
            in_flight.join_next().await.unwrap().unwrap();
        }
        let (client, id, at) = (client.clone(), task.execution_id(), at.clone());
        in_flight.spawn(async move {
            let signal = Signal::new("data", at.token.clone()).unwrap().payload(vec![7; size]);
            // Eight senders of one execution conflict now and then; they try again.
            loop {
                match client.deliver_signal(&id, &at.id, signal.clone()).await {
                    Ok(_) => return,
                    Err(error) if error.is_retryable() => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    while let Some(sent) = in_flight.join_next().await {
        sent.unwrap();
    }
}

/// The median times of renewals of two tasks, measured in turn.
async fn renewals(one: &ClaimedTask, other: &ClaimedTask) -> (Duration, Duration) {
    let (mut times, mut others) = (Vec::new(), Vec::new());
    for _ in 0..201 {
        for (task, times) in [(one, &mut times), (other, &mut others)] {
            let began = Instant::now();
            task.renew_lease().await.unwrap();
            times.push(began.elapsed());
        }
    }
    times.sort_unstable();
    others.sort_unstable();
    (times[100], others[100])
}

/// Sends 10,000 signals, ten of them of 256 KiB, and checks the size of the record, the times of
/// renewals, and that nothing remains after retention.
async fn many(fixture: &Fixture) -> (Duration, Duration) {
    let client = fixture.client().await;
    let slots = |config: &mut ff_sdk::WorkerConfig| config.max_concurrent_tasks = 2;
    let worker = fixture.worker_with("w", slots).await;
    let retention_ms = DurationMs::from_secs(60);
    let short = ExecutionPolicy { retention_ms, ..ExecutionPolicy::default() };
    let id = submit(&client, work().policy(short.clone())).await;
    let task = claim(&worker).await;
    submit(&client, work().policy(short)).await;
    let without = claim(&worker).await;
    let inbox = task.create_pending_waitpoint("inbox", None).await.unwrap();
    send(&client, &task, &inbox, 9_990, 1 << 10).await;
    send(&client, &task, &inbox, 10, 256 << 10).await;
    let over = Signal::new("data", inbox.token.clone()).unwrap();
    let over = client.deliver_signal(&id, &inbox.id, over).await;
    assert_eq!(kind(over), RejectionKind::SignalLimitExceeded);
    let bytes = fixture.record(&id).await.unwrap().len();
    assert!(bytes <= 8 << 10, "the record has {bytes} bytes");
    let times = renewals(&task, &without).await;

    // A suspension counts all of them.
    let all = Condition::Count {
        n: 64,
        kind: CountKind::DistinctSignals,
        matcher: SignalMatcher::Wildcard,
        waitpoints: vec!["inbox".parse().unwrap()],
    };
    let asked = Suspension::until(all).open(&inbox);
    let SuspendOutcome::AlreadySatisfied(task) = task.suspend(asked).await.unwrap() else {
        panic!("the signals were received before the suspension");
    };
    assert_eq!(task.resume_signals().await.unwrap().len(), 64);
    let bytes = fixture.record(&id).await.unwrap().len();
    assert!(bytes <= 8 << 10, "the record has {bytes} bytes");
    task.complete(None).await.unwrap();
    without.complete(None).await.unwrap();
    worker.deregister().await.unwrap();
    fixture.advance(secs(61)).await;
    for _ in 0..4 {
        fixture.tick().await;
    }
    assert!(fixture.record(&id).await.is_none());
    let index = IndexName::Signals { execution: id.uuid() };
    assert!(fixture.entries_of(id.partition(), index).await.is_empty());
    times
}

#[tokio::test(start_paused = true)]
async fn many_signals_leave_the_record_small_in_memory() {
    let memory = ff_sdk::MemoryBackend::new();
    let fixture = Fixture::on(std::sync::Arc::new(memory.clone()));
    many(&fixture).await;
    let account = memory.with_store(|store| store.account());
    // The configuration and the secrets remain, in the partition {meta}.
    assert!(account.without_streams() < 200, "{account:?}");
}

/// The renewals of an execution with 10,000 signals take as long as those of one without.
#[tokio::test(start_paused = true)]
async fn many_signals_leave_the_record_small_on_valkey() {
    let (with, without) = many(&Fixture::valkey()).await;
    println!("a renewal takes {with:?}, and {without:?} without signals");
    assert!(with <= without * 3 / 2, "{with:?} and {without:?}");
}
