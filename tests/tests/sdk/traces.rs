//! The trace context of submitters, and the spans of handlers.

use std::sync::{Arc, Mutex};

use ff_sdk::{SdkError, Submission, TaskContext, WorkerRuntime};
use ff_tests::Fixture;
use ff_tests::captured::Captured;
use ff_tests::kit::{claim, secs, submit, work};

const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

#[tokio::test(start_paused = true)]
async fn each_attempt_of_a_handler_has_the_trace_context_of_the_submitter() {
    let logs = Captured::default();
    let subscriber = tracing_subscriber::fmt().with_writer(logs.clone()).without_time();
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let worker = fixture.worker_with("w", |config| config.timekeeper = true).await;
    let seen: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let handler = {
        let seen = seen.clone();
        move |task: TaskContext| {
            let seen = seen.clone();
            async move {
                tracing::info!("the handler runs");
                seen.lock().unwrap().push(task.trace_parent().map(str::to_owned));
                if task.retry_count() == 0 { Err("again") } else { Ok(()) }
            }
        }
    };
    let runtime = WorkerRuntime::new(worker).handle("work", handler);
    let id = runtime
        .run_until(async {
            let id = submit(&client, work().trace_parent(HEADER).unwrap()).await;
            assert!(client.result(&id).await.unwrap().is_success());
            assert!(client.result(&submit(&client, work()).await).await.unwrap().is_success());
            id
        })
        .await
        .unwrap();
    let header = || Some(HEADER.to_owned());
    assert_eq!(*seen.lock().unwrap(), [header(), header(), None, None]);
    let text = logs.text();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("handler runs")).collect();
    assert_eq!(lines.len(), 4);
    for (attempt, line) in lines.iter().take(2).enumerate() {
        for field in [
            format!("execution={id}"),
            "kind=work".to_owned(),
            format!("attempt={attempt}"),
            format!("traceparent=\"{HEADER}\""),
        ] {
            assert!(line.contains(&field), "{field} in {line}");
        }
    }
    assert!(!lines[2].contains("traceparent"), "{}", lines[2]);
}

#[tokio::test(start_paused = true)]
async fn a_repeat_from_another_trace_is_a_duplicate() {
    let fixture = Fixture::memory();
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let keyed = || work().tag("team.name", "media").idempotency_key("once");
    let id = submit(&client, keyed().trace_parent(HEADER).unwrap()).await;
    assert_eq!(submit(&client, keyed().trace_parent(OTHER).unwrap()).await, id);
    assert_eq!(submit(&client, keyed()).await, id);
    let other = client.submit(keyed().tag("team.name", "news")).await;
    assert!(matches!(other, Err(SdkError::Engine(_))), "other tags are other content");
    let task = claim(&worker).await;
    assert_eq!(task.trace_parent(), Some(HEADER));
    assert_eq!(task.tags().get("w3c.traceparent"), Some(HEADER));
    task.complete(None).await.unwrap();
    fixture.advance(secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn an_invalid_trace_context_is_refused_or_ignored() {
    let Err(SdkError::Config { field, message, .. }) = work().trace_parent("00-1-2-3") else {
        panic!("it is invalid");
    };
    assert_eq!(field, "trace_parent");
    assert!(message.contains("00-1-2-3"), "{message}");
    // A tag that was set by hand may have any value.
    let fixture = Fixture::memory();
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    submit(&client, Submission::new("work").tag("w3c.traceparent", "anything")).await;
    let task = claim(&worker).await;
    assert_eq!(task.trace_parent(), None);
    task.complete(None).await.unwrap();
}
