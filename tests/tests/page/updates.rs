//! The updates of a page that is open.

use std::sync::Arc;

use ff_sdk::{MemoryBackend, Submission};
use ff_tests::faulty_backend::FaultyBackend;

use crate::service::{Service, claim, submit, write};

/// The fewest calls to the store that a request costs, with its last answer. Calls
/// that the service makes beside it can only add some.
async fn cost(
    service: &Service,
    store: &FaultyBackend,
    call: &str,
    version: Option<&str>,
) -> (u64, String) {
    let (mut fewest, mut answer) = (u64::MAX, String::new());
    let headers: Vec<_> = version.map(|version| ("x-shown-version", version)).into_iter().collect();
    for _ in 0..5 {
        let before = store.calls();
        answer = service.call(call, &headers, "").await.1;
        fewest = fewest.min(store.calls() - before);
    }
    (fewest, answer)
}

fn version_in(page: &str) -> &str {
    let (_, after) = page.split_once("data-version=\"").expect("the version");
    after.split('"').next().expect("its end")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_an_execution_that_has_not_changed_costs_one_call() {
    let store = Arc::new(FaultyBackend::new(Arc::new(MemoryBackend::new())));
    let service = Service::on(store.clone()).await;
    let client = service.client("ff").await;
    let id = submit(&client, Submission::new("build").lane("ci").payload("the payload")).await;
    let worker = service.worker("w", "ci").await;
    let task = claim(&worker).await;
    write(&task, "the output").await;
    let call = format!("GET /executions/{}", id.url_safe());
    let (whole, page) = cost(&service, &store, &call, None).await;
    assert!(page.contains("the output") && page.contains("the payload"), "{page}");
    let shown = version_in(&page).to_owned();
    let (unchanged, answer) = cost(&service, &store, &call, Some(&shown)).await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert_eq!(unchanged, 1, "the page itself costs {whole}");

    client.change_priority(&id, 7).await.expect("it is changed");
    let (changed, page) = cost(&service, &store, &call, Some(&shown)).await;
    assert_ne!(version_in(&page), shown);
    assert!(page.contains("data-live=\"events\"") && page.contains("data-live=\"why\""), "{page}");
    assert!(!page.contains("the output") && !page.contains("the payload"), "{page}");
    assert!(changed < whole, "{changed} calls of {whole}");
    task.complete(None).await.expect("it completes");
}
