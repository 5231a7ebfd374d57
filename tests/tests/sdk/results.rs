//! The results of executions, as a client reads them.

use std::error::Error;

use ff_sdk::core::execution::Outcome;
use ff_sdk::{Client, ExecutionResult, FlowFabricWorker, SdkError};
use ff_tests::Fixture;
use ff_tests::kit::{claim, submit, work};

/// The result of an execution that completes with these bytes.
async fn completed(
    client: &Client,
    worker: &FlowFabricWorker,
    result: Option<&[u8]>,
) -> ExecutionResult {
    let id = submit(client, work()).await;
    claim(worker).await.complete(result.map(Vec::from)).await.unwrap();
    client.result(&id).await.unwrap()
}

/// An execution that failed or was cancelled has no result, not even `null`; the error holds the
/// reason.
#[tokio::test(start_paused = true)]
async fn an_execution_that_did_not_succeed_has_no_result() {
    let fixture = Fixture::memory();
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let id = submit(&client, work()).await;
    let failing = claim(&worker).await;
    failing.fail_permanently("the card was declined", "card_declined").await.unwrap();
    let failed = client.result(&id).await.unwrap();
    for error in [
        failed.json::<()>().unwrap_err(),
        failed.json::<Option<u8>>().unwrap_err(),
        failed.clone().into_result().unwrap_err(),
    ] {
        let failure = error.failure().expect("it holds the failure");
        assert_eq!(failure.category.as_str(), "card_declined");
        assert_eq!(failure.reason, "the card was declined");
        let text = "the execution did not succeed: failed (card_declined: the card was declined)";
        assert_eq!(error.to_string(), text);
        assert!(!error.is_retryable());
    }
    let id = submit(&client, work()).await;
    client.cancel(&id, "not wanted").await.unwrap();
    let cancelled = client.result(&id).await.unwrap().json::<()>().unwrap_err();
    assert!(cancelled.failure().is_none());
    let SdkError::ExecutionFailed { outcome: Outcome::Cancelled { reason } } = cancelled else {
        panic!("{cancelled}");
    };
    assert_eq!(reason, "not wanted");
}

/// A missing result is a value only for types that have one for it. A result that cannot be parsed
/// is an error that names the problem.
#[tokio::test(start_paused = true)]
async fn a_result_is_parsed_as_the_wanted_type() {
    let fixture = Fixture::memory();
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let missing = completed(&client, &worker, None).await;
    missing.json::<()>().unwrap();
    assert_eq!(missing.json::<Option<u8>>().unwrap(), None);
    let error = missing.json::<u8>().unwrap_err();
    assert!(error.to_string().starts_with("cannot parse the missing result"), "{error}");
    assert_eq!(missing.into_result().unwrap(), None);
    let number = completed(&client, &worker, Some(b"7")).await;
    assert_eq!(number.json::<u8>().unwrap(), 7);
    let error = number.json::<String>().unwrap_err();
    assert!(matches!(error, SdkError::Decode { .. }), "{error:?}");
    assert!(error.to_string().contains("invalid type: integer `7`, expected a string"), "{error}");
    assert!(error.source().is_some());
    assert_eq!(number.into_result().unwrap().as_deref(), Some(&b"7"[..]));
    let empty = completed(&client, &worker, Some(b"")).await;
    assert!(matches!(empty.json::<()>().unwrap_err(), SdkError::Decode { .. }));
}
