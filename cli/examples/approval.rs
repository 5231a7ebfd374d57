//! Work that waits for people: a release is built, two different people approve it, and then it is
//! deployed. If they do not answer in time, the release is escalated and still waits for them.
//!
//!     cargo run --example approval               in this process
//!     cargo run --example approval -- valkey:    on a private Valkey server
//!
//! To use a running server, give its URL, for example `valkey://127.0.0.1:6379`.

mod common;

use std::error::Error;
use std::time::Duration;

use ff_sdk::{
    BoxError, Client, Condition, CountKind, ExecutionId, FlowFabric, IssuedWaitpoint, Payload,
    RejectionKind, SdkError, Signal, SignalMatcher, SignalOutcome, Signals, State, Submission,
    Suspension, SuspensionReason, TaskContext, TaskOutcome, TimeoutBehaviour, WaitpointToken,
};
use tokio::sync::mpsc;

/// The mail to the approvers: the release, and the waitpoint with the token to approve it.
struct Mail {
    release: ExecutionId,
    waitpoint: IssuedWaitpoint,
}

/// How long a release waits before it is escalated.
const APPROVAL_TIMEOUT: Duration = Duration::from_millis(500);

/// Signals named "approved" from two different people.
fn two_approvers() -> Result<Condition, SdkError> {
    Ok(Condition::Count {
        n: 2,
        kind: CountKind::DistinctSources,
        matcher: SignalMatcher::ByName("approved".parse()?),
        waitpoints: vec!["approval".parse()?],
    })
}

/// The handler. It is called to build the release, and again when the release is approved.
async fn release(
    Payload(version): Payload<String>,
    approvals: Signals,
    context: TaskContext,
    mail: State<mpsc::UnboundedSender<Mail>>,
) -> Result<TaskOutcome, BoxError> {
    if context.resumption().is_none() {
        println!("  build {version}");
        // Opened before the mail is sent, so that an answer that arrives early is kept.
        let waitpoint = context.create_pending_waitpoint("approval", None).await?;
        let release = context.execution_id();
        let suspension = Suspension::until(two_approvers()?)
            .open(&waitpoint)
            .reason(SuspensionReason::Approval)
            .timeout(APPROVAL_TIMEOUT, TimeoutBehaviour::Escalate);
        mail.send(Mail { release, waitpoint })?;
        return Ok(TaskOutcome::Suspend(Box::new(suspension)));
    }
    let people: Vec<_> = approvals.iter().filter_map(|signal| signal.source.as_ref()).collect();
    let people: Vec<_> = people.iter().map(|source| source.as_str()).collect();
    println!("  deploy {version}, approved by {}", people.join(" and "));
    Ok(TaskOutcome::Complete(Some(people.join(",").into_bytes())))
}

/// Sends the signal for a click on "approve".
async fn approve(client: &Client, mail: &Mail, person: &str) -> Result<SignalOutcome, SdkError> {
    let signal = Signal::new("approved", mail.waitpoint.token.clone())?.source(person)?;
    // Clicking twice is one approval.
    let signal = signal.idempotency_key(person);
    let outcome = client.deliver_signal(&mail.release, &mail.waitpoint.id, signal).await;
    println!("  {person} approves: {outcome:?}");
    outcome
}

/// Two different people approve, one of them twice, and a third person tries a forged token.
async fn approved(
    client: &Client,
    mail: &mut mpsc::UnboundedReceiver<Mail>,
) -> Result<(), Box<dyn Error>> {
    println!("release 1.0: approved by two people");
    let id = client.submit(Submission::new("release").json(&"1.0")?).await?.id();
    let mail = mail.recv().await.ok_or("the handler asks for approval")?;
    let mut forged = mail.waitpoint.token.expose().to_owned();
    let last = if forged.ends_with('0') { '1' } else { '0' };
    forged.replace_range(forged.len() - 1.., &last.to_string());
    let signal = Signal::new("approved", WaitpointToken::new(forged))?.source("mallory")?;
    let refused = client.deliver_signal(&mail.release, &mail.waitpoint.id, signal).await;
    println!("  mallory tries: {}", refused.as_ref().err().ok_or("a forged token is refused")?);
    let kind = match refused.err().as_ref().and_then(SdkError::engine) {
        Some(ff_sdk::EngineError::Validation { kind, .. }) => Some(*kind),
        _ => None,
    };
    assert_eq!(kind, Some(RejectionKind::InvalidToken));

    let first = approve(client, &mail, "alice").await?;
    let again = approve(client, &mail, "alice").await?;
    let last = approve(client, &mail, "bob").await?;
    assert!(matches!(first, SignalOutcome::Accepted { .. }), "one approval is not enough");
    assert!(matches!(again, SignalOutcome::Duplicate { .. }), "the same click counts once");
    assert!(matches!(last, SignalOutcome::TriggeredResume { .. } | SignalOutcome::Accepted { .. }));
    assert_eq!(client.result(&id).await?.bytes(), Some(&b"alice,bob"[..]));
    Ok(())
}

/// No answer in time: the release is escalated, and waits for the managers to approve it.
async fn escalated(
    client: &Client,
    mail: &mut mpsc::UnboundedReceiver<Mail>,
) -> Result<(), Box<dyn Error>> {
    println!("release 2.0: no answer in time");
    let id = client.submit(Submission::new("release").json(&"2.0")?).await?.id();
    let mail = mail.recv().await.ok_or("the handler asks for approval")?;
    loop {
        let seen = client.describe(&id).await?.ok_or("the release exists")?;
        if seen.suspension.is_some_and(|suspension| suspension.escalated_at.is_some()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("  escalated after {APPROVAL_TIMEOUT:?}: the managers are asked");
    approve(client, &mail, "carol").await?;
    approve(client, &mail, "dave").await?;
    assert_eq!(client.result(&id).await?.bytes(), Some(&b"carol,dave"[..]));
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory:".to_owned());
    let store = common::open(&url).await?;
    let ff = FlowFabric::connect_with(store.backend.clone()).namespace("approval").await?;
    let client = ff.client().clone();
    let (sender, mut mail) = mpsc::unbounded_channel();
    let runtime = ff.worker("releases").runtime().await?.state(sender).handle("release", release);
    let outcome = runtime
        .run_until(async {
            approved(&client, &mut mail).await?;
            escalated(&client, &mut mail).await
        })
        .await?;
    outcome?;
    println!("done");
    Ok(())
}
