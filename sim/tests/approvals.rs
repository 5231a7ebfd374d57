//! Handlers that wait for people, while replies are lost and workers crash.

use std::collections::BTreeMap;
use std::time::Duration;

use ff_sdk::core::store::Cursor;
use ff_sdk::{
    BoxError, IssuedWaitpoint, Signal, SignalOutcome, Signals, State, Submission, Suspension,
    SuspensionReason, TaskContext, TaskOutcome, TimeoutBehaviour,
};
use ff_sim::{Service, Sim};

/// The outside world: mail to approvers, and deployments.
#[derive(Default)]
struct Desk {
    mail: Vec<IssuedWaitpoint>,
    /// The approvals of each deployment.
    deployed: Vec<Vec<String>>,
}

/// Asks, waits, and deploys the approved release. A worker that crashes before it has suspended
/// leaves unneeded mail; the next attempt asks again.
async fn release(
    context: TaskContext,
    signals: Signals,
    desk: State<Service<Desk>>,
) -> Result<TaskOutcome, BoxError> {
    if context.resumption().is_some() {
        let approvals: Vec<String> =
            signals.iter().map(|signal| signal.name.as_str().to_owned()).collect();
        context.append_frame("step", "deploy", BTreeMap::new()).await?;
        desk.call("deploy", move |desk| desk.deployed.push(approvals)).await?;
        return Ok(TaskOutcome::Complete(None));
    }
    context.append_frame("step", "build", BTreeMap::new()).await?;
    let waitpoint = context.create_pending_waitpoint("approval", None).await?;
    let mail = waitpoint.clone();
    desk.call("mail", move |desk| desk.mail.push(mail)).await?;
    let asked = Suspension::until_signal("approval")?
        .open(&waitpoint)
        .reason(SuspensionReason::Approval)
        .timeout(Duration::from_secs(3_600), TimeoutBehaviour::Escalate);
    Ok(TaskOutcome::Suspend(Box::new(asked)))
}

/// Nothing is deployed without an approval, however often workers crash; an approved release is
/// deployed in the end; and the same answer counts once.
#[ff_sim::test(seeds = 200)]
async fn nothing_is_deployed_without_an_approval(sim: Sim) {
    let desk = sim.service("desk", Desk::default());
    let given = desk.clone();
    sim.workers(2, move |runtime| runtime.handle("release", release).state(given.clone()));
    let client = sim.client().await;
    let order = Submission::new("release").idempotency_key("1.0");
    let id = client.submit(order).await.unwrap().id();

    let answering = async {
        let mut resumed = 0_usize;
        loop {
            for mail in desk.look(|desk| desk.mail.clone()) {
                let signal = Signal::new("approved", mail.token.clone()).unwrap();
                let signal = signal.idempotency_key("yes");
                // A caller without an answer asks again.
                let delivered = client.deliver_signal(&id, &mail.id, signal).await;
                resumed +=
                    usize::from(matches!(delivered, Ok(SignalOutcome::TriggeredResume { .. })));
                assert!(resumed <= desk.look(|desk| desk.mail.len()), "one resume a waitpoint");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let result = tokio::select! {
        biased;
        result = client.result(&id) => result.unwrap(),
        () = answering => unreachable!("it is answered forever"),
    };
    sim.settle().await;

    let deployed = desk.look(|desk| desk.deployed.clone());
    for approvals in &deployed {
        assert_eq!(approvals, &["approved"], "a deployment without an approval");
    }
    assert!(
        !result.is_success() || !deployed.is_empty(),
        "the release succeeded without a deployment"
    );
    let seen = client.describe(&id).await.unwrap().unwrap();
    if let (true, Some(attempt)) = (result.is_success(), seen.attempt_index) {
        let page = client.read_stream(&id, attempt, Cursor::Start, 100, None).await.unwrap();
        let steps: Vec<_> =
            page.frames.iter().map(|stored| stored.frame.payload.to_vec()).collect();
        assert_eq!(steps.first().map(Vec::as_slice), Some(&b"build"[..]));
        assert_eq!(steps.last().map(Vec::as_slice), Some(&b"deploy"[..]));
        let sequences: Vec<u64> = page.frames.iter().map(|stored| stored.frame.sequence).collect();
        assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1), "{sequences:?}");
    }
}
