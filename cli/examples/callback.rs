//! Work that waits for another system and streams its progress: a worker sends a video to an
//! encoder, and continues when the encoder calls back. A second process tails the progress (a
//! second task, if the store is in memory).
//!
//!     cargo run --example callback               in this process
//!     cargo run --example callback -- valkey:    on a private Valkey server
//!
//! To use a running server, give its URL, for example `valkey://127.0.0.1:6379`.

mod common;

use std::collections::BTreeMap;
use std::error::Error;
use std::process::Stdio;
use std::time::Duration;

use ff_sdk::{
    AttemptIndex, BoxError, Client, Cursor, ExecutionId, FlowFabric, IssuedWaitpoint, RawPayload,
    Signal, Signals, State, Submission, Suspension, SuspensionReason, TailItem, TaskContext,
    TaskOutcome, TimeoutBehaviour,
};
use tokio::sync::mpsc;

/// An order to the encoder, with the waitpoint that it calls back to.
struct Order {
    video: String,
    id: ExecutionId,
    waitpoint: IssuedWaitpoint,
}

const NAMESPACE: &str = "callback";

async fn report(context: &TaskContext, text: &str) -> Result<(), BoxError> {
    context.append_frame("progress", text, BTreeMap::new()).await?;
    Ok(())
}

/// The handler. It is called to order the encoding, and again after the callback.
async fn encode(
    RawPayload(video): RawPayload,
    called_back: Signals,
    context: TaskContext,
    encoder: State<mpsc::UnboundedSender<Order>>,
) -> Result<TaskOutcome, BoxError> {
    let video = String::from_utf8_lossy(&video.unwrap_or_default()).into_owned();
    let Some(answer) = called_back.first() else {
        for percent in [25, 50, 75, 100] {
            report(&context, &format!("uploading {video}: {percent} %")).await?;
        }
        let waitpoint =
            context.create_pending_waitpoint("callback", Some(Duration::from_secs(60))).await?;
        let suspension = Suspension::until_signal("callback")?
            .open(&waitpoint)
            .reason(SuspensionReason::Callback)
            .timeout(Duration::from_secs(60), TimeoutBehaviour::Fail);
        encoder.send(Order { video, id: context.execution_id(), waitpoint })?;
        report(&context, "waiting for the encoder").await?;
        return Ok(TaskOutcome::Suspend(Box::new(suspension)));
    };
    let file = answer.payload.clone().unwrap_or_default();
    report(&context, &format!("encoded: {}", String::from_utf8_lossy(&file))).await?;
    Ok(TaskOutcome::Complete(Some(file.to_vec())))
}

/// The other system. It calls back with the encoded file after a while.
async fn encoder(client: Client, mut orders: mpsc::UnboundedReceiver<Order>) {
    while let Some(order) = orders.recv().await {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let called = async {
            let signal = Signal::new("done", order.waitpoint.token.clone())?
                .source("encoder")?
                .payload(format!("{}.webm", order.video))
                .idempotency_key("the only answer");
            client.deliver_signal(&order.id, &order.waitpoint.id, signal).await
        };
        match called.await {
            Ok(outcome) => println!("the encoder calls back: {outcome:?}"),
            Err(error) => eprintln!("the encoder cannot call back: {error}"),
        }
    }
}

/// Prints an execution's progress until it ends.
async fn tail(client: Client, id: ExecutionId, who: &str) -> Result<(), Box<dyn Error>> {
    let mut tail = client.tail(&id, Some(AttemptIndex(0)), Cursor::Start, None).await?;
    while let Some(item) = tail.next().await {
        match item? {
            TailItem::Frame(stored) => {
                let text = String::from_utf8_lossy(&stored.frame.payload).into_owned();
                println!("  [{who}] {} {text}", stored.frame.sequence);
            }
            TailItem::Closed(reason) => println!("  [{who}] closed: {reason:?}"),
            TailItem::Gap => println!("  [{who}] some frames were dropped"),
            _ => {}
        }
    }
    Ok(())
}

/// Tails the progress in a second process, or in this one if the store is in memory.
async fn tail_elsewhere(
    url: Option<&str>,
    client: &Client,
    id: ExecutionId,
) -> Result<(), Box<dyn Error>> {
    let Some(url) = url else {
        return tail(client.clone(), id, "second task").await;
    };
    let mut child = tokio::process::Command::new(std::env::current_exe()?)
        .args(["tail", url, &id.to_string()])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let ended = child.wait().await?;
    if ended.success() { Ok(()) } else { Err(format!("the second process: {ended}").into()) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, url, id] = arguments.as_slice()
        && word == "tail"
    {
        let client = Client::connect_with(ff_sdk::open(url).await?, NAMESPACE).await?;
        let who = format!("process {}", std::process::id());
        return tail(client, id.parse()?, &who).await;
    }
    let url = arguments.first().map_or("memory:", String::as_str);
    let store = common::open(url).await?;
    let ff = FlowFabric::connect_with(store.backend.clone()).namespace(NAMESPACE).await?;
    let client = ff.client().clone();
    let (sender, orders) = mpsc::unbounded_channel();
    tokio::spawn(encoder(client.clone(), orders));
    let runtime = ff.worker("encoding").runtime().await?.state(sender).handle("encode", encode);
    let work = async {
        let id = client.submit(Submission::new("encode").payload("holiday")).await?.id();
        tail_elsewhere(store.url.as_deref(), &client, id).await?;
        let result = client.result(&id).await?;
        assert_eq!(result.bytes(), Some(&b"holiday.webm"[..]));
        Ok::<_, Box<dyn Error>>(())
    };
    runtime.run_until(work).await??;
    println!("done");
    Ok(())
}
