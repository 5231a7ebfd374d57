//! Output as it is written.

use ff_sdk::Submission;

use crate::browser::with_browser;
use crate::service::{Service, claim, submit, write};

/// The output of the page has each frame once, also those that were written while the service was
/// away.
#[tokio::test(flavor = "multi_thread")]
async fn output_is_followed_across_a_restart_of_the_service() {
    let mut service = Service::start().await;
    let client = service.client("ff").await;
    let id = submit(&client, Submission::new("build").lane("ci")).await;
    let worker = service.worker("w", "ci").await;
    let task = claim(&worker).await;
    write(&task, "before the page").await;
    let url = service.url();
    with_browser(&url, async |page| {
        page.open(&format!("/executions/{}", id.url_safe())).await;
        page.sees("before the page").await;
        page.sees("Live: new output appears here").await;
        write(&task, "<i>while it is open</i>").await;
        page.sees("<i>while it is open</i>").await;

        service.stop().await;
        page.sees("The connection was lost").await;
        write(&task, "while the service is away").await;
        service.run().await;
        page.sees("while the service is away").await;
        write(&task, "after the restart").await;
        page.sees("after the restart").await;
        task.complete(None).await.expect("it completes");
        page.sees("The output is closed").await;

        let mut shown = Vec::new();
        let script = "done([...document.querySelectorAll('#frames .payload')]\
            .map((one) => one.textContent))";
        for text in page.script(script).await.as_array().expect("a list") {
            shown.push(text.as_str().expect("a text").to_owned());
        }
        assert_eq!(
            shown,
            [
                "before the page",
                "<i>while it is open</i>",
                "while the service is away",
                "after the restart"
            ]
        );
        page.sees("It completed at").await;
    })
    .await;
}
