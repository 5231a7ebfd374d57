//! A store in a SQLite file, through the library: it outlives its programs, and files that cannot
//! be a store are refused with advice (`docs/sqlite.md`).

use ff_sdk::core::backend::FindingLevel;
use ff_sdk::{FlowFabric, Json, Payload, SdkError, StoreOptions, Submission};
use tempfile::TempDir;

fn url(folder: &TempDir) -> String {
    format!("sqlite:{}", folder.path().join("work.db").display())
}

#[tokio::test]
async fn work_that_one_program_submits_is_run_by_a_later_one() {
    let folder = TempDir::new().unwrap();
    let id = {
        let ff = FlowFabric::connect(url(&folder)).await.unwrap();
        let submission = Submission::new("add").json(&(2, 3)).unwrap();
        ff.client().submit(submission).await.unwrap().id()
    };
    let ff = FlowFabric::connect(url(&folder)).await.unwrap();
    let other = FlowFabric::connect(url(&folder)).await.unwrap();
    let runtime = ff.worker("adder").runtime().await.unwrap();
    let runtime =
        runtime.handle("add", |Payload((a, b)): Payload<(u64, u64)>| async move { Json(a + b) });
    let done = runtime.run_until(other.client().result(&id)).await.unwrap().unwrap();
    assert_eq!(done.json::<u64>().unwrap(), 5);
}

#[tokio::test]
async fn a_healthy_store_has_no_problem() {
    let folder = TempDir::new().unwrap();
    let store = ff_sdk::open(&format!("{}?durability=relaxed", url(&folder))).await.unwrap();
    let found = store.examine().await.unwrap();
    let level = |subject: &str| found.iter().find(|it| it.subject == subject).map(|it| it.level);
    assert_eq!(level("content"), Some(FindingLevel::Good), "{found:?}");
    assert_eq!(level("durability"), Some(FindingLevel::Warning), "{found:?}");
    let report = store.report().await.unwrap();
    assert!(report.store.starts_with("sqlite 3.") && report.used_bytes > 0, "{report:?}");
}

#[tokio::test]
async fn a_file_that_cannot_be_a_store_is_refused_with_advice() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("work.db"), "a text, not a database ".repeat(100)).unwrap();
    let missing = format!("sqlite:{}/missing/work.db", folder.path().display());
    for (url, advice) in [
        (url(&folder), "it is not a SQLite database: give the path"),
        (missing, "missing does not exist: create it"),
    ] {
        let error = ff_sdk::open(&url).await.map(drop).unwrap_err();
        assert!(matches!(error, SdkError::Open(_)) && !error.is_retryable(), "{error}");
        assert!(error.to_string().contains(advice), "{error}");
    }
    let error = StoreOptions::parse("sqlite://work.db").map(drop).unwrap_err();
    assert!(error.to_string().contains("write sqlite:work.db"), "{error}");
}
