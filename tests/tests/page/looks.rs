//! Every page in light and dark, wide and narrow.

use std::path::PathBuf;
use std::time::Duration;

use ff_sdk::{
    BudgetSettings, ClaimedTask, LaneNote, LaneState, QuotaLimits, Submission, SuspendOutcome,
    Suspension,
};
use serde_json::json;

use crate::browser::{Browser, with_browser};
use crate::service::{Service, claim, submit, write};

/// A store with something for each page. Returns the paths of the pages, and the execution that
/// runs.
async fn fill(service: &Service) -> (Vec<(&'static str, String)>, ClaimedTask) {
    let client = service.client("ff").await;
    let worker = service.worker("worker-1", "default").await;
    let hostile = "<script>alert('x')</script>\" onload=\"alert(1)";
    for number in 0..3 {
        let work = Submission::new("resize").tag("app.tenant", hostile);
        let work = work.tag("app.number", number.to_string()).payload(r#"{"width":640}"#);
        submit(&client, work).await;
    }
    let failed = claim(&worker).await;
    write(&failed, hostile).await;
    failed.fail_permanently(hostile, "io").await.expect("it fails");
    claim(&worker).await.complete(Some(b"{\"ok\":true}".to_vec())).await.expect("it completes");
    let running = claim(&worker).await;
    running.update_progress(40, Some("4 of 10 pages")).await.expect("it is reported");
    for line in 0..40 {
        write(&running, &format!("line {line}")).await;
    }

    let asked = submit(&client, Submission::new("deploy").lane("ops")).await;
    let approver = service.worker("worker-2", "ops").await;
    let task = claim(&approver).await;
    let waitpoint = task.create_pending_waitpoint("approval", None).await.expect("a waitpoint");
    let suspension = Suspension::until_signal("approval").expect("a name").open(&waitpoint);
    let suspended = task.suspend(suspension).await.expect("it is suspended");
    assert!(matches!(suspended, SuspendOutcome::Suspended { .. }));
    let waiting = submit(&client, Submission::new("render").lane("media").requires(["gpu"])).await;
    let held = submit(&client, Submission::new("send").lane("mail")).await;
    let note = LaneNote { reason: Some(hostile.to_owned()), by: Some("ada".to_owned()) };
    let mail = "mail".parse().expect("a lane");
    client.set_lane(&mail, LaneState::Paused, note).await.expect("it is paused");
    let limits = QuotaLimits::new().concurrency(4).rate(100, Duration::from_secs(60));
    client.set_quota(&"api".parse().expect("a quota"), limits).await.expect("it is set");
    let spend = BudgetSettings::new().limit("tokens", 800, 1_000).expect("a limit");
    let spend = spend.resets_every(Duration::from_secs(86_400));
    client.create_budget(&"llm".parse().expect("a budget"), spend).await.expect("it is created");
    client
        .report_usage(&"llm".parse().expect("a budget"), &[("tokens", 640)], None)
        .await
        .expect("it counts");
    let failures = "/executions?state=failed".to_owned();
    let of = |id: ff_sdk::ExecutionId| format!("/executions/{}", id.url_safe());
    let pages = vec![
        ("overview", "/".to_owned()),
        ("executions", "/executions".to_owned()),
        ("failed", failures),
        ("running", of(running.execution_id())),
        ("suspended", of(asked)),
        ("unserved", of(waiting)),
        ("held", of(held)),
        ("waiting", "/waiting".to_owned()),
        ("workers", "/workers".to_owned()),
        ("lanes", "/lanes".to_owned()),
        ("limits", "/limits".to_owned()),
        ("bulk", "/executions/bulk?command=replay&state=failed".to_owned()),
        ("problem", "/executions/7.00000000-0000-0000-0000-000000000001".to_owned()),
    ];
    (pages, running)
}

/// Takes a picture into the folder that `FF_PAGE_PICTURES` names, if it is set.
async fn picture(page: &Browser, name: &str) {
    if let Some(folder) = std::env::var_os("FF_PAGE_PICTURES") {
        let path = PathBuf::from(folder).join(format!("{name}.png"));
        std::fs::write(path, page.driver.picture().await).expect("the picture is written");
    }
}

async fn prefers(page: &Browser, scheme: &str) {
    let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
    page.driver.command("Emulation.setEmulatedMedia", features).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_page_fits_narrow_screens_and_runs_no_foreign_code() {
    let service = Service::start().await;
    let (pages, _running) = fill(&service).await;
    with_browser(&service.url(), async |page| {
        for (scheme, width) in [("light", 1280), ("dark", 1280), ("dark", 400)] {
            prefers(page, scheme).await;
            page.driver.resize(width, 1000).await;
            for (name, path) in &pages {
                page.open(path).await;
                page.find("h1").await;
                picture(page, &format!("{name}-{scheme}-{width}")).await;
                let overflow = "const all = document.documentElement; \
                    done(all.scrollWidth - all.clientWidth)";
                assert_eq!(page.script(overflow).await, 0, "{name} is too wide for {width} px");
                let unnamed = "done([...document.querySelectorAll('input:not([type=hidden]), \
                    select, \
                    textarea, button')].filter((one) => !one.labels?.length \
                    && !one.getAttribute('aria-label') && !one.textContent.trim()) \
                    .map((one) => one.outerHTML))";
                assert_eq!(page.script(unnamed).await, json!([]), "{name}: fields without names");
                let back = "done(getComputedStyle(document.body).backgroundColor)";
                let is_dark = page.script(back).await == "rgb(15, 20, 25)";
                assert_eq!(is_dark, scheme == "dark", "{name}");
            }
        }
        let complaints = page.complaints().await;
        let other = complaints.iter().filter(|text| !text.contains("status of 404"));
        assert_eq!(other.count(), 0, "{complaints:?}");
    })
    .await;
}
