//! Neither the secrets that sign tokens nor the tokens themselves appear in any log, error, list,
//! journal entry or `Debug` output (`docs/spec.md`, 5). All output at trace level is captured and
//! searched.

use std::fmt::Debug;
use std::io::Write;

use ff_sdk::core::partition::Partition;
use ff_sdk::core::store::{Cursor, ReplyBody, Request, StreamName, StreamPage};
use ff_sdk::{
    Client, Command, ExecutionId, IssuedWaitpoint, ListFilter, RotateWaitpointSecretRequest,
    Signal, SuspendOutcome, Suspension, WaitpointToken,
};
use ff_tests::Fixture;
use ff_tests::captured::Captured;
use ff_tests::kit::{claim, describe, rotate, secs, send, submit, work};

/// A secret that is easily found in every representation.
const SECRET: &str = "5ec2e7a1b2c3d4e5f60718293a4b5c6d";
/// The next one.
const NEXT: &str = "0badc0ffee112233445566778899aabb";

/// Prints a value in its `Debug` forms.
fn debug(output: &mut Captured, value: impl Debug) {
    writeln!(output, "{value:?} {value:#?}").expect("a write to memory succeeds");
}

/// The bytes of hexadecimal digits, as `Debug` prints a list of them.
fn listed(hex: &str) -> String {
    let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
    let bytes: Vec<u8> = bytes.map(|byte| byte.expect("hexadecimal digits")).collect();
    format!("{bytes:?}").trim_matches(['[', ']']).to_owned()
}

/// Uses tokens in every way, and prints all values on the way. Returns the tokens.
async fn use_tokens(fixture: &Fixture, output: &mut Captured) -> Vec<WaitpointToken> {
    let (client, admin) = (fixture.client().await, fixture.admin().await);
    debug(output, RotateWaitpointSecretRequest::new("k1", SECRET, 60_000));
    debug(output, rotate(&admin, "k1", SECRET, 60_000).await);
    let worker = fixture.worker("w").await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    let pending = task.create_pending_waitpoint("inbox", None).await.unwrap();
    debug(output, &pending);
    debug(output, rotate(&admin, "k2", NEXT, 60_000).await);
    debug(output, rotate(&admin, "k1", NEXT, 0).await);
    debug(output, rotate(&admin, "k3", &format!("{SECRET}x"), 0).await);
    fixture.advance(secs(2)).await;
    debug(output, &task);
    let suspension = Suspension::until_signal("answer").unwrap();
    debug(output, &suspension);
    let SuspendOutcome::Suspended { waitpoints, .. } = task.suspend(suspension).await.unwrap()
    else {
        panic!("no signal was sent yet");
    };
    debug(output, &waitpoints);
    print_signals(&client, &id, &[&pending, &waitpoints[0]], output).await;
    let task = claim(&worker).await;
    debug(output, task.resume_signals().await);
    task.complete(None).await.unwrap();
    debug(output, admin.list_waitpoint_secrets().await);
    debug(output, serde_json::to_string(&admin.list_waitpoint_secrets().await.unwrap()));
    print_views(fixture, &client, &id, output).await;
    vec![pending.token, waitpoints[0].token.clone()]
}

/// Sends good, bad and repeated signals, and prints them.
async fn print_signals(
    client: &Client,
    id: &ExecutionId,
    waitpoints: &[&IssuedWaitpoint],
    output: &mut Captured,
) {
    for at in waitpoints {
        debug(output, describe(client, id).await);
        debug(output, send(client, id, at, "good").await);
        let swapped = waitpoints.iter().find(|other| other.id != at.id).expect("there are two");
        let bad = Signal::new("bad", swapped.token.clone()).unwrap();
        debug(output, &bad);
        let refused = client.deliver_signal(id, &at.id, bad).await;
        writeln!(output, "{}", refused.as_ref().unwrap_err()).unwrap();
        debug(output, refused);
        let command = Command::DeliverSignal(ff_sdk::core::execution::DeliverSignal {
            execution_id: *id,
            waitpoint_id: at.id,
            token: at.token.clone(),
            signal_id: ff_sdk::core::id::SignalId::from_uuid(uuid::Uuid::nil()),
            name: "again".parse().unwrap(),
            source: None,
            context: Default::default(),
            payload: None,
            creator: Default::default(),
        });
        debug(output, &command);
        debug(output, client.execute(command).await);
    }
}

/// Prints lists, snapshots, histories and the raw journal.
async fn print_views(fixture: &Fixture, client: &Client, id: &ExecutionId, output: &mut Captured) {
    let seen = describe(client, id).await;
    debug(output, &seen);
    writeln!(output, "{}", serde_json::to_string(&seen).unwrap()).unwrap();
    debug(output, client.history(id).await);
    debug(output, client.list(ListFilter::default(), None, 100).await);
    let (partition, stream) = (id.partition(), StreamName::Journal);
    let page = StreamPage { partition, stream, from: Cursor::Start, limit: 1_000 };
    let reply = fixture.backend().call(Request::Stream(page)).await.unwrap();
    let ReplyBody::Stream(page) = reply.body else { panic!("a page of the journal") };
    for entry in page.entries {
        output.write_all(&entry.entry).unwrap();
        debug(output, entry);
    }
    assert_eq!(Partition::flow(id.partition().index), partition);
}

fn search(output: &Captured, tokens: &[WaitpointToken]) {
    let text = output.text().to_lowercase();
    assert!(text.contains("rotate") && text.contains("signal delivered"), "logs were captured");
    for secret in [SECRET, NEXT] {
        assert!(!text.contains(secret), "a secret was printed");
        assert!(!text.contains(&listed(secret)), "the bytes of a secret were printed");
    }
    for token in tokens {
        let (_, tag) = token.expose().split_once(':').unwrap();
        assert!(!text.contains(&tag[..32]), "a token was printed");
        assert!(!text.contains(&listed(tag)), "the bytes of a token were printed");
    }
}

/// Captures all output at trace level, and searches it for secrets and tokens.
async fn check_output(fixture: &Fixture) {
    let mut output = Captured::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(output.clone())
        .finish();
    let capturing = tracing::subscriber::set_default(subscriber);
    let tokens = use_tokens(fixture, &mut output).await;
    drop(capturing);
    assert_eq!(tokens.len(), 2);
    search(&output, &tokens);
}

#[tokio::test(start_paused = true)]
async fn secrets_and_tokens_are_never_printed_in_memory() {
    check_output(&Fixture::memory()).await;
}

#[tokio::test(start_paused = true)]
async fn secrets_and_tokens_are_never_printed_on_valkey() {
    check_output(&Fixture::valkey()).await;
}
