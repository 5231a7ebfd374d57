//! Handlers: any error with its sources and its category, missing shared state, timeouts.

use ff_sdk::core::execution::{Outcome, WorkFailure};
use ff_sdk::core::policy::RetryPolicy;
use ff_sdk::core::state::PublicState;
use ff_sdk::{
    BoxError, Client, FromTask, Handler, HandlerError, HandlerOptions, IntoTaskOutcome, Json,
    Payload, SdkError, SharedState, State, Submission, TaskContext, WorkerRuntime,
};
use ff_tests::Fixture;
use ff_tests::kit::{claim, describe, secs, state, submit, work};

/// Submits an execution that is never retried, and returns its failure.
async fn failure(client: &Client, kind: &str) -> WorkFailure {
    let id = submit(client, Submission::new(kind).retry(RetryPolicy::never())).await;
    match client.result(&id).await.unwrap().outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

/// The category and reason of the failure of a handler.
async fn failed<H, Args>(handler: H) -> (String, String)
where
    Args: FromTask + 'static,
    H: Handler<Args, Future: Future<Output: IntoTaskOutcome> + Send + 'static>,
{
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let runtime = WorkerRuntime::new(fixture.worker("w").await).handle("work", handler);
    let WorkFailure { category, reason } =
        runtime.run_until(failure(&client, "work")).await.unwrap();
    (category.as_str().to_owned(), reason)
}

/// An error of a program, whose message does not repeat its source.
#[derive(Debug, thiserror::Error)]
#[error("cannot charge order {order}")]
struct ChargeError {
    order: u32,
    source: std::num::ParseIntError,
}

/// An error whose message repeats its source.
#[derive(Debug, thiserror::Error)]
#[error("the gateway answered: {0}")]
struct GatewayError(#[from] ChargeError);

fn charge() -> Result<(), ChargeError> {
    "x".parse::<u8>().map(drop).map_err(|source| ChargeError { order: 7, source })
}

async fn boxed(Payload(()): Payload<()>) -> Result<Json<u8>, BoxError> {
    charge()?;
    Ok(Json(1))
}

async fn by_anyhow(_: TaskContext) -> anyhow::Result<Json<u8>> {
    use anyhow::Context as _;
    charge().context("the checkout failed")?;
    Ok(Json(1))
}

/// A handler can return any error, also with `?`. The reason has the messages of all its sources,
/// each once.
#[tokio::test(start_paused = true)]
async fn any_error_fails_the_attempt_with_its_sources() {
    let category = "handler_error".to_owned();
    let chain = "cannot charge order 7: invalid digit found in string".to_owned();
    assert_eq!(failed(boxed).await, (category.clone(), chain.clone()));
    assert_eq!(failed(|| async { charge() }).await, (category.clone(), chain.clone()));
    let wrapped = failed(|| async { charge().map_err(GatewayError) }).await;
    assert_eq!(
        wrapped.1,
        "the gateway answered: cannot charge order 7: invalid digit found in string"
    );
    let context = failed(by_anyhow).await;
    assert_eq!(context, (category.clone(), format!("the checkout failed: {chain}")));
    let text = failed(|| async { Err::<(), _>("out of stock") }).await;
    assert_eq!(text, (category.clone(), "out of stock".to_owned()));
    let io = failed(|| async {
        std::fs::read("/no/such/file").map(drop)?;
        Ok::<_, HandlerError>(())
    });
    assert!(io.await.1.starts_with("No such file"));
    let long = failed(|| async { Err::<(), _>("é".repeat(5_000)) }).await;
    assert_eq!(long.1.len(), WorkFailure::REASON_MAX_BYTES);
}

/// A `HandlerError` decides the category, wherever it stands among the sources of the error that
/// the handler returns.
#[tokio::test(start_paused = true)]
async fn a_handler_error_is_found_among_the_sources() {
    fn declined() -> HandlerError {
        HandlerError::new(
            "card_declined",
            ChargeError { order: 7, source: "x".parse::<u8>().unwrap_err() },
        )
    }
    use anyhow::Context as _;
    let chain = "cannot charge order 7: invalid digit found in string";
    let expected = |reason: &str| ("card_declined".to_owned(), reason.to_owned());
    assert_eq!(failed(|| async { Err::<(), _>(declined()) }).await, expected(chain));
    let boxed = failed(|| async { Err::<(), BoxError>(declined().into()) }).await;
    assert_eq!(boxed, expected(chain));
    let direct = failed(|| async { Err::<(), anyhow::Error>(declined().into()) }).await;
    assert_eq!(direct, expected(chain));
    let context =
        failed(|| async { Err::<(), _>(declined()).context("the checkout failed") }).await;
    assert_eq!(context, expected(&format!("the checkout failed: {chain}")));
    let inner = failed(|| async {
        let error = anyhow::Error::from(declined()).context("inner").context("outer");
        Err::<(), _>(error)
    });
    assert_eq!(inner.await, expected(&format!("outer: inner: {chain}")));
}

/// A permanent failure is not retried, also when it is wrapped, and keeps its category.
#[tokio::test(start_paused = true)]
async fn a_permanent_failure_is_not_retried() {
    use anyhow::Context as _;
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let worker = fixture.worker_with("w", |config| config.timekeeper = true).await;
    let runtime = WorkerRuntime::new(worker)
        .handle("path", || async { charge().map_err(HandlerError::permanent) })
        .handle("wrapped", || async {
            charge().map_err(HandlerError::permanent).context("the checkout failed")
        })
        .handle("category", || async {
            let error = HandlerError::new("card_declined", "no money");
            Err::<(), _>(HandlerError::permanent(error))
        })
        .handle("retried", |context: TaskContext| async move {
            if context.retry_count() == 0 { charge() } else { Ok(()) }
        });
    let work = async {
        for (kind, expected) in
            [("path", "handler_error"), ("wrapped", "handler_error"), ("category", "card_declined")]
        {
            let id = submit(&client, Submission::new(kind)).await;
            let error = client.result(&id).await.unwrap().into_result().unwrap_err();
            assert_eq!(error.failure().unwrap().category.as_str(), expected, "{kind}");
            assert_eq!(describe(&client, &id).await.attempts_total, 1, "{kind}");
        }
        let id = submit(&client, Submission::new("retried")).await;
        assert!(client.result(&id).await.unwrap().is_success());
    };
    runtime.run_until(work).await.unwrap();
}

/// An invalid category never costs the task: the attempt fails, and the reason names the category.
#[tokio::test(start_paused = true)]
async fn an_invalid_category_is_replaced() {
    let fixture = Fixture::memory();
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    for permanent in [false, true] {
        for (category, named) in [
            ("no category", "invalid category \"no category\": it broke".to_owned()),
            ("", "invalid category \"\": it broke".to_owned()),
            (&*"x".repeat(9_999), format!("invalid category {:?}: it broke", "x".repeat(256))),
        ] {
            let id = submit(&client, work().retry(RetryPolicy::never())).await;
            let task = claim(&worker).await;
            let failed = match permanent {
                true => task.fail_permanently("it broke", category).await,
                false => task.fail("it broke", category).await,
            };
            failed.expect("the attempt failed");
            let error = client.result(&id).await.unwrap().into_result().unwrap_err();
            let WorkFailure { category, reason } = error.failure().unwrap();
            assert_eq!((category.as_str(), reason), ("handler_error", &named));
        }
    }
}

/// The message of a panic is kept, also before the first await of the handler and in its arguments.
#[tokio::test(start_paused = true)]
async fn a_panic_keeps_its_message() {
    let expected = ("handler_panic".to_owned(), "the handler panicked: no order 7".to_owned());
    let late = || async {
        tokio::task::yield_now().await;
        if charge().is_err() {
            panic!("no order {}", 7)
        }
    };
    assert_eq!(failed(late).await, expected);
    fn early() -> std::future::Ready<()> {
        panic!("no order {}", 7)
    }
    assert_eq!(failed(early).await, expected);
}

/// An argument that needs shared state.
struct Greeting(String);

impl FromTask for Greeting {
    fn from_task(context: &TaskContext) -> Result<Self, HandlerError> {
        State::<String>::from_task(context).map(|greeting| Self(greeting.to_string()))
    }

    fn missing_state(shared: &SharedState) -> Option<&'static str> {
        State::<String>::missing_state(shared)
    }
}

/// A runtime without a value that one of its handlers needs does not start, and claims nothing.
#[tokio::test(start_paused = true)]
async fn missing_state_is_found_at_the_start() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let id = submit(&client, Submission::new("ready")).await;
    let runtime = async || {
        WorkerRuntime::new(fixture.worker("w").await)
            .handle("ready", || async {})
            .handle("greet", |Greeting(text): Greeting, _: State<u64>| async move { text })
    };
    for (incomplete, missing) in [
        (runtime().await, "alloc::string::String"),
        (runtime().await.state("hello".to_owned()), "u64"),
    ] {
        let error = incomplete.run_until(fixture.advance(secs(5))).await.unwrap_err();
        assert!(!error.is_retryable() && error.to_string().contains("`greet`"), "{error}");
        let SdkError::MissingState { kind, state } = error else { panic!("{error}") };
        assert_eq!((&*kind, state), ("greet", missing));
        assert_eq!(describe(&client, &id).await.attempts_total, 0, "nothing was claimed");
    }
    let complete = runtime().await.state("hello".to_owned()).state(7_u64);
    complete.run_until(fixture.advance(secs(5))).await.unwrap();
    assert_eq!(state(&client, &id).await, PublicState::Completed);
}

/// A handler that takes longer than its timeout fails its attempt, which is retried.
#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_too_long_fails_its_attempt() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let worker = fixture.worker_with("w", |config| config.timekeeper = true).await;
    let sleeps = |context: TaskContext| async move {
        let seconds = if context.attempt_index().0 == 0 { 3_600 } else { 59 };
        tokio::time::sleep(secs(seconds)).await;
    };
    let options = HandlerOptions::default().timeout(secs(60));
    let runtime = WorkerRuntime::new(worker).handle_with("work", sleeps, options);
    let reports = runtime.reports();
    let work = async {
        let id = submit(&client, work()).await;
        assert!(client.result(&id).await.unwrap().is_success());
        let failure = failure(&client, "work").await;
        assert_eq!(failure.category.as_str(), "handler_timeout");
        assert_eq!(failure.reason, "the handler took longer than 60s");
    };
    runtime.run_until(work).await.unwrap();
    let report = reports.report();
    assert_eq!((report.retried, report.failed, report.completed, report.lost), (1, 1, 1, 0));
}

async fn report(context: TaskContext) -> Result<String, BoxError> {
    context.update_progress(50, None).await?;
    Ok(format!("{} {}", context.execution_kind(), context.tags().get("team.name").unwrap_or("")))
}

/// A handler that needs the context of its task can be called in a test.
#[tokio::test(start_paused = true)]
async fn a_handler_can_be_called_with_a_context_for_tests() {
    let submission = Submission::new("report").lane("books").requires(["gpu"]);
    let context = TaskContext::for_test(submission.tag("team.name", "media")).await.unwrap();
    tokio::time::sleep(secs(120)).await;
    assert!(context.is_lease_healthy());
    assert_eq!(context.attempt_index().0, 0);
    assert_eq!(report(context).await.unwrap(), "report media");
    let delayed = TaskContext::for_test(Submission::new("report").delay(secs(1))).await;
    assert!(matches!(delayed.unwrap_err(), SdkError::Config { .. }));
}

/// `run_until_idle` runs all work that there is now, also work that a handler submits, and ends.
#[tokio::test(start_paused = true)]
async fn a_runtime_can_run_until_it_is_idle() {
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    // With free slots, so that it finds no work while handlers run.
    let worker = fixture.worker_with("w", |config| config.max_concurrent_tasks = 4).await;
    let runtime = WorkerRuntime::new(worker).state(client.clone()).handle(
        "work",
        |Payload(more): Payload<u32>, client: State<Client>| async move {
            tokio::time::sleep(secs(7)).await;
            if more > 0 {
                client.submit(Submission::new("work").json(&(more - 1))?).await?;
            }
            Ok::<_, BoxError>(())
        },
    );
    let reports = runtime.reports();
    for _ in 0..3 {
        submit(&client, Submission::new("work").payload("2")).await;
    }
    let delayed = submit(&client, Submission::new("work").delay(secs(3_600))).await;
    runtime.run_until_idle().await.unwrap();
    assert_eq!(reports.report().completed, 9);
    assert_eq!(state(&client, &delayed).await, PublicState::Delayed);
    let idle = WorkerRuntime::new(fixture.worker("idle").await).handle("work", || async {});
    idle.run_until_idle().await.unwrap();
}

#[derive(serde::Serialize, serde::Deserialize, ff_sdk::Job)]
#[job(kind = "resize", lane = "media")]
struct Resize;

async fn resize(_: Resize) -> Result<(), BoxError> {
    Ok(())
}

/// A worker whose lanes were not chosen does not wait forever for a job of another lane.
#[tokio::test(start_paused = true)]
async fn a_job_of_a_lane_that_the_worker_does_not_serve_is_refused_at_the_start() {
    let ff = ff_sdk::FlowFabric::connect_with(Fixture::memory().backend()).await.unwrap();
    let id = ff.client().submit(Resize).await.unwrap().id();
    let runtime = ff.worker("w").runtime().await.unwrap().job(resize);
    let running = runtime.run_until(ff.client().output::<Resize>(&id));
    let ended = tokio::time::timeout(secs(60), running).await.expect("it does not wait");
    let refused = ended.expect_err("it does not start").to_string();
    assert!(refused.contains(".lanes([\"media\"])"), "{refused}");

    let runtime = ff.worker("w").lanes(["media"]).runtime().await.unwrap().job(resize);
    runtime.run_until(ff.client().output::<Resize>(&id)).await.unwrap().unwrap();
    // Chosen lanes may leave a job to others.
    let runtime = ff.worker("w").lanes(["bulk"]).runtime().await.unwrap().job(resize);
    runtime.run_until(std::future::ready(())).await.unwrap();
}
