//! The checks for tests of programs that submit jobs.

use ff_sdk::testing::{assert_not_submitted, assert_submitted, submitted};
use ff_sdk::{Client, FlowFabric, Job, Submission};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Job)]
#[job(kind = "email")]
struct Email {
    to: String,
}

fn email(to: &str) -> Email {
    Email { to: to.to_owned() }
}

async fn client() -> Client {
    FlowFabric::connect("memory:").await.unwrap().client().clone()
}

/// The message of the panic of a check.
async fn refused(check: impl Future<Output = ()> + Send + 'static) -> String {
    let panic = tokio::spawn(check).await.expect_err("the check fails").into_panic();
    *panic.downcast::<String>().expect("a panic with a message")
}

#[tokio::test]
async fn the_latest_submission_of_a_job_is_found_by_its_payload() {
    let client = client().await;
    let first = client.submit(email("ada")).await.unwrap().id();
    client.submit(Submission::new("other").json(&email("bob")).unwrap()).await.unwrap();
    assert_eq!(assert_submitted(&client, &email("ada")).await, first);
    // Payloads are compared as JSON: spaces do not matter.
    let written = Submission::new("email").payload(r#"{ "to": "eve" }"#);
    let written = client.submit(written).await.unwrap().id();
    assert_eq!(assert_submitted(&client, &email("eve")).await, written);
    let found = submitted(&client, "email").await.unwrap();
    let ids: Vec<_> = found.iter().map(|found| found.execution.execution_id).collect();
    assert!(ids.contains(&first) && ids.contains(&written) && ids.len() == 2, "{ids:?}");
}

#[tokio::test]
async fn a_job_that_was_not_submitted_is_reported_with_those_that_were() {
    let client = client().await;
    assert_not_submitted::<Email>(&client).await;
    let none = client.clone();
    let text = refused(async move { _ = assert_submitted(&none, &email("ada")).await }).await;
    let expected =
        r#"no job `email` was submitted with {"to":"ada"}; submitted with this kind: none"#;
    assert_eq!(text, expected);
    client.submit(email("bob")).await.unwrap();
    let other = client.clone();
    let text = refused(async move { _ = assert_submitted(&other, &email("ada")).await }).await;
    assert!(text.ends_with(r#"submitted with this kind: {"to":"bob"}"#), "{text}");
    let text = refused(async move { assert_not_submitted::<Email>(&client).await }).await;
    assert_eq!(text, r#"jobs `email` were submitted: {"to":"bob"}"#);
}
