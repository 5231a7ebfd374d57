//! Neither the secrets that sign tokens nor the tokens themselves appear in any log, error, list,
//! journal entry or `Debug` output (`docs/spec.md`, 5). All output at trace level is captured and
//! searched.

use std::fmt::Debug;
use std::io::Write;
use std::sync::{Arc, Mutex};

use ff_sdk::core::partition::Partition;
use ff_sdk::core::store::{Cursor, ReplyBody, Request, StreamName, StreamPage};
use ff_sdk::{
    Client, Command, ExecutionId, IssuedWaitpoint, ListFilter, Signal, SuspendOutcome, Suspension,
    WaitpointToken,
};
use ff_tests::Fixture;
use ff_tests::kit::{claim, describe, secs, send, submit, work};
use tracing_subscriber::fmt::MakeWriter;

/// A secret that is easily found in every representation.
const SECRET: &str = "5ec2e7a1b2c3d4e5f60718293a4b5c6d";
/// The next one.
const NEXT: &str = "0badc0ffee112233445566778899aabb";

/// The captured output.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no holder panics").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Output {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Output {
    /// Prints a value in its `Debug` forms.
    fn debug(&mut self, value: impl Debug) {
        writeln!(self, "{value:?} {value:#?}").expect("a write to memory succeeds");
    }

    /// The output in lower case.
    fn text(&self) -> String {
        let bytes = self.0.lock().expect("no holder panics").clone();
        String::from_utf8_lossy(&bytes).to_lowercase()
    }
}

/// The bytes of hexadecimal digits, as `Debug` prints a list of them.
fn listed(hex: &str) -> String {
    let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
    let bytes: Vec<u8> = bytes.map(|byte| byte.expect("hexadecimal digits")).collect();
    format!("{bytes:?}").trim_matches(['[', ']']).to_owned()
}

/// Uses tokens in every way, and prints all values on the way. Returns the tokens.
async fn use_tokens(fixture: &Fixture, output: &mut Output) -> Vec<WaitpointToken> {
    let (client, admin) = (fixture.client().await, fixture.admin().await);
    output.debug(admin.rotate_waitpoint_secret("k1", SECRET, 60_000).await);
    let worker = fixture.worker("w").await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    let pending = task.create_pending_waitpoint("inbox", None).await.unwrap();
    output.debug(&pending);
    output.debug(admin.rotate_waitpoint_secret("k2", NEXT, 60_000).await);
    output.debug(admin.rotate_waitpoint_secret("k1", NEXT, 0).await);
    output.debug(admin.rotate_waitpoint_secret("k3", &format!("{SECRET}x"), 0).await);
    fixture.advance(secs(2)).await;
    output.debug(&task);
    let suspension = Suspension::until_signal("answer").unwrap();
    output.debug(&suspension);
    let SuspendOutcome::Suspended { waitpoints, .. } = task.suspend(suspension).await.unwrap()
    else {
        panic!("no signal was sent yet");
    };
    output.debug(&waitpoints);
    print_signals(&client, &id, &[&pending, &waitpoints[0]], output).await;
    let task = claim(&worker).await;
    output.debug(task.resume_signals().await);
    task.complete(None).await.unwrap();
    output.debug(admin.list_waitpoint_secrets().await);
    output.debug(serde_json::to_string(&admin.list_waitpoint_secrets().await.unwrap()));
    print_views(fixture, &client, &id, output).await;
    vec![pending.token, waitpoints[0].token.clone()]
}

/// Sends good, bad and repeated signals, and prints them.
async fn print_signals(
    client: &Client,
    id: &ExecutionId,
    waitpoints: &[&IssuedWaitpoint],
    output: &mut Output,
) {
    for at in waitpoints {
        output.debug(describe(client, id).await);
        output.debug(send(client, id, at, "good").await);
        let swapped = waitpoints.iter().find(|other| other.id != at.id).expect("there are two");
        let bad = Signal::new("bad", swapped.token.clone()).unwrap();
        output.debug(&bad);
        let refused = client.deliver_signal(id, &at.id, bad).await;
        writeln!(output, "{}", refused.as_ref().unwrap_err()).unwrap();
        output.debug(refused);
        let command = Command::DeliverSignal(ff_sdk::core::execution::DeliverSignal {
            execution_id: *id,
            waitpoint_id: at.id,
            token: at.token.clone(),
            signal_id: ff_sdk::core::id::SignalId::from_uuid(uuid::Uuid::nil()),
            name: "again".parse().unwrap(),
            source: None,
            payload: None,
            creator: Default::default(),
        });
        output.debug(&command);
        output.debug(client.execute(command).await);
    }
}

/// Prints lists, snapshots, histories and the raw journal.
async fn print_views(fixture: &Fixture, client: &Client, id: &ExecutionId, output: &mut Output) {
    let seen = describe(client, id).await;
    output.debug(&seen);
    writeln!(output, "{}", serde_json::to_string(&seen).unwrap()).unwrap();
    output.debug(client.history(id).await);
    output.debug(client.list(ListFilter::default(), None, 100).await);
    let (partition, stream) = (id.partition(), StreamName::Journal);
    let page = StreamPage { partition, stream, from: Cursor::Start, limit: 1_000 };
    let reply = fixture.backend().call(Request::Stream(page)).await.unwrap();
    let ReplyBody::Stream(page) = reply.body else { panic!("a page of the journal") };
    for entry in page.entries {
        output.write_all(&entry.entry).unwrap();
        output.debug(entry);
    }
    assert_eq!(Partition::flow(id.partition().index), partition);
}

fn search(output: &Output, tokens: &[WaitpointToken]) {
    let text = output.text();
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
    let mut output = Output::default();
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
