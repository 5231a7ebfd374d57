//! The work of people at the page.

use ff_sdk::{ListFilter, ListOrder, PublicState, Submission, SuspendOutcome, Suspension};

use crate::browser::with_browser;
use crate::service::{Service, claim, submit};

#[tokio::test(flavor = "multi_thread")]
async fn a_person_finds_why_an_execution_waits() {
    let service = Service::start().await;
    let client = service.client("ff").await;
    let work = Submission::new("render").lane("media").requires(["gpu"]);
    let id = submit(&client, work).await;
    with_browser(&service.url(), async |page| {
        page.open("/").await;
        page.follow("media").await;
        page.follow(&id.url_safe()).await;
        page.sees("Why it waits").await;
        page.sees("No live worker serves kind render in lane media with gpu").await;
        page.sees("ff work --exec COMMAND --lane 'media' --kind 'render' --capability 'gpu'").await;
        assert_eq!(page.complaints().await, [""; 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_approves_a_waitpoint_with_its_token() {
    let service = Service::start().await;
    let client = service.client("ff").await;
    let id = submit(&client, Submission::new("deploy").lane("ops")).await;
    let worker = service.worker("w", "ops").await;
    let task = claim(&worker).await;
    let waitpoint = task.create_pending_waitpoint("approval", None).await.expect("a waitpoint");
    let asked = Suspension::until_signal("approval").expect("a name").open(&waitpoint);
    let suspended = task.suspend(asked).await.expect("it is suspended");
    assert!(matches!(suspended, SuspendOutcome::Suspended { .. }));

    with_browser(&service.url(), async |page| {
        page.open("/").await;
        page.follow("Waiting for people").await;
        page.follow(&id.url_safe()).await;
        page.sees("It waits for a signal at approval").await;
        page.fill("#token", "not-the-token").await;
        page.fill("#signal", "approved").await;
        page.click("form[action*='/signal'] button").await;
        page.find("p.problem").await;
        let state = client.describe(&id).await.expect("it is read").expect("it exists").state;
        assert_eq!(state.public_state, PublicState::Suspended, "a wrong token changes nothing");

        page.open(&format!("/executions/{}", id.url_safe())).await;
        page.fill("#token", waitpoint.token.expose()).await;
        page.fill("#signal", "approved").await;
        page.fill("#payload", r#"{"by":"ada"}"#).await;
        page.click("form[action*='/signal'] button").await;
        page.sees("The signal was accepted").await;
    })
    .await;
    let task = claim(&worker).await;
    let signals = task.resume_signals().await.expect("the signals are read");
    assert_eq!(signals[0].name.as_str(), "approved");
    assert_eq!(signals[0].payload.as_deref(), Some(&br#"{"by":"ada"}"#[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_replays_all_that_failed_in_a_lane_after_a_dry_run() {
    let service = Service::start().await;
    let client = service.client("ff").await;
    for lane in ["mail", "mail", "mail", "other"] {
        submit(&client, Submission::new("send").lane(lane)).await;
    }
    for (lane, count) in [("mail", 3), ("other", 1)] {
        let worker = service.worker(lane, lane).await;
        for _ in 0..count {
            let failed = claim(&worker).await.fail_permanently("smtp is down", "smtp").await;
            failed.expect("it fails");
        }
    }
    let failed = async |lane: &str| {
        let filter = ListFilter {
            lane: Some(lane.parse().expect("a lane")),
            states: vec![PublicState::Failed],
            ..ListFilter::default()
        };
        let page = client.list_by_time(filter, ListOrder::OldestFirst, None, 10).await;
        page.expect("the list is read").executions.len()
    };
    with_browser(&service.url(), async |page| {
        page.open("/executions").await;
        page.fill("#lane", "mail").await;
        page.click("#state option[value=failed]").await;
        page.click("form.filter button").await;
        page.sees("All that the filter selects").await;
        page.follow("replay…").await;
        page.sees("This would replay 3 executions (3 failed) of: lane mail, state failed").await;
        assert_eq!((failed("mail").await, failed("other").await), (3, 1), "a dry run");
        page.click("form[action='/executions/bulk'] button").await;
        page.sees("Replayed 3 executions.").await;
        assert_eq!((failed("mail").await, failed("other").await), (0, 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_pauses_a_lane_and_resumes_it() {
    let service = Service::start().await;
    let client = service.client("ff").await;
    submit(&client, Submission::new("send").lane("mail")).await;
    with_browser(&service.url(), async |page| {
        page.open("/lanes").await;
        page.fill("input[aria-label='Reason for lane mail']", "smtp is down").await;
        page.click("button[aria-label='Pause lane mail']").await;
        page.sees("The lane was changed").await;
        page.find("[data-state=paused]").await;
        page.sees("smtp is down").await;
        let worker = service.worker("first", "mail").await;
        let claimed = worker.claim_next().await.expect("the store answers");
        assert!(claimed.is_none(), "a paused lane starts nothing");

        page.click("button[aria-label='Resume lane mail']").await;
        page.find("[data-state=active]").await;
        let worker = service.worker("second", "mail").await;
        claim(&worker).await.complete(None).await.expect("it completes");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_changes_one_execution() {
    let service = Service::start().await;
    let client = service.client("ff").await;
    let id = submit(&client, Submission::new("send").lane("mail")).await;
    let state = async || {
        let found = client.describe(&id).await.expect("it is read").expect("it exists");
        (found.state.public_state, found.priority.get())
    };
    with_browser(&service.url(), async |page| {
        page.open(&format!("/executions/{}", id.url_safe())).await;
        page.fill("#priority", "77").await;
        page.click("form[action*='/priority'] button").await;
        page.sees("The priority was changed").await;
        assert_eq!(state().await, (PublicState::Waiting, 77));

        let worker = service.worker("w", "mail").await;
        let task = claim(&worker).await;
        page.open(&format!("/executions/{}", id.url_safe())).await;
        page.click("form[action*='/revoke'] button").await;
        page.sees("The lease was revoked").await;
        page.sees("an operator revoked it").await;
        task.complete(None).await.expect_err("its lease is lost");

        page.fill("#reason", "<b>not needed</b>").await;
        page.click("form[action*='/cancel'] button").await;
        page.sees("It was cancelled at").await;
        page.sees("<b>not needed</b>").await;
        assert_eq!(state().await.0, PublicState::Cancelled);
        page.click("form[action*='/replay'] button").await;
        page.sees("The execution was replayed").await;
        assert_eq!(state().await.0, PublicState::Waiting);

        page.open("/workers").await;
        page.click("button[aria-label='Drain w']").await;
        page.sees("The worker claims nothing more").await;
        page.find("[data-state=draining]").await;
    })
    .await;
}
