//! Neither the secrets that sign tokens nor the tokens themselves stand in any log, error, list,
//! journal entry or `Debug` output (`docs/spec.md`, 5). Everything that is said is caught at trace
//! level and searched.

use std::fmt::Debug;
use std::io::Write;
use std::sync::{Arc, Mutex};

use ff_sdk::core::partition::Partition;
use ff_sdk::core::store::{Cursor, ReplyBody, Request, StreamName, StreamPage};
use ff_sdk::{
    Client, Command, ExecutionId, IssuedWaitpoint, ListFilter, Signal, SuspendOutcome, Suspension,
    WaitpointToken,
};
use ff_tests::Ground;
use ff_tests::kit::{claim, secs, see, send, submit, work};
use tracing_subscriber::fmt::MakeWriter;

/// A secret that is easily found, whatever it is printed as.
const SECRET: &str = "5ec2e7a1b2c3d4e5f60718293a4b5c6d";
/// The next one.
const NEXT: &str = "0badc0ffee112233445566778899aabb";

/// All that was said.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics in here").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Said {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Said {
    /// Says a value as a program might print it.
    fn debug(&mut self, what: impl Debug) {
        writeln!(self, "{what:?} {what:#?}").expect("memory takes it");
    }

    /// What was said, in lower case.
    fn text(&self) -> String {
        let bytes = self.0.lock().expect("nobody panics in here").clone();
        String::from_utf8_lossy(&bytes).to_lowercase()
    }
}

/// The bytes of hexadecimal digits, as `Debug` prints a list of them.
fn listed(hex: &str) -> String {
    let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
    let bytes: Vec<u8> = bytes.map(|byte| byte.expect("hexadecimal digits")).collect();
    format!("{bytes:?}").trim_matches(['[', ']']).to_owned()
}

/// Everything that a token goes through, said aloud. Gives the tokens.
async fn everything(ground: &Ground, said: &mut Said) -> Vec<WaitpointToken> {
    let (client, admin) = (ground.client().await, ground.admin().await);
    said.debug(admin.rotate_waitpoint_secret("k1", SECRET, 60_000).await);
    let worker = ground.worker("w").await;
    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    let pending = task.create_pending_waitpoint("inbox", None).await.unwrap();
    said.debug(&pending);
    said.debug(admin.rotate_waitpoint_secret("k2", NEXT, 60_000).await);
    said.debug(admin.rotate_waitpoint_secret("k1", NEXT, 0).await);
    said.debug(admin.rotate_waitpoint_secret("k3", &format!("{SECRET}x"), 0).await);
    ground.advance(secs(2)).await;
    said.debug(&task);
    let suspension = Suspension::until_signal("answer").unwrap();
    said.debug(&suspension);
    let SuspendOutcome::Suspended { waitpoints, .. } = task.suspend(suspension).await.unwrap()
    else {
        panic!("nothing was signalled yet");
    };
    said.debug(&waitpoints);
    say_signals(&client, &id, &[&pending, &waitpoints[0]], said).await;
    let task = claim(&worker).await;
    said.debug(task.resume_signals().await);
    task.complete(None).await.unwrap();
    said.debug(admin.list_waitpoint_secrets().await);
    said.debug(serde_json::to_string(&admin.list_waitpoint_secrets().await.unwrap()));
    say_what_is_shown(ground, &client, &id, said).await;
    vec![pending.token, waitpoints[0].token.clone()]
}

/// Good, bad and repeated signals.
async fn say_signals(
    client: &Client,
    id: &ExecutionId,
    waitpoints: &[&IssuedWaitpoint],
    said: &mut Said,
) {
    for at in waitpoints {
        said.debug(see(client, id).await);
        said.debug(send(client, id, at, "good").await);
        let swapped = waitpoints.iter().find(|other| other.id != at.id).expect("there are two");
        let bad = Signal::new("bad", swapped.token.clone()).unwrap();
        said.debug(&bad);
        let refused = client.deliver_signal(id, &at.id, bad).await;
        writeln!(said, "{}", refused.as_ref().unwrap_err()).unwrap();
        said.debug(refused);
        let command = Command::DeliverSignal(ff_sdk::core::execution::DeliverSignal {
            execution_id: *id,
            waitpoint_id: at.id,
            token: at.token.clone(),
            signal_id: ff_sdk::core::id::SignalId::from_uuid(uuid::Uuid::nil()),
            name: "again".parse().unwrap(),
            source: None,
            payload: None,
            creator: Default::default(),
            keyring: Default::default(),
            found: Default::default(),
        });
        said.debug(&command);
        said.debug(client.execute(command).await);
    }
}

/// Lists, descriptions, histories and the raw journal.
async fn say_what_is_shown(ground: &Ground, client: &Client, id: &ExecutionId, said: &mut Said) {
    let seen = see(client, id).await;
    said.debug(&seen);
    writeln!(said, "{}", serde_json::to_string(&seen).unwrap()).unwrap();
    said.debug(client.history(id).await);
    said.debug(client.list(ListFilter::default(), None, 100).await);
    let (partition, stream) = (id.partition(), StreamName::Journal);
    let page = StreamPage { partition, stream, from: Cursor::Start, limit: 1_000 };
    let reply = ground.backend().call(Request::Stream(page)).await.unwrap();
    let ReplyBody::Stream(page) = reply.body else { panic!("a page of the journal") };
    for entry in page.entries {
        said.write_all(&entry.entry).unwrap();
        said.debug(entry);
    }
    assert_eq!(Partition::flow(id.partition().index), partition);
}

fn search(said: &Said, tokens: &[WaitpointToken]) {
    let text = said.text();
    assert!(text.contains("rotate") && text.contains("signal delivered"), "it was listened to");
    for secret in [SECRET, NEXT] {
        assert!(!text.contains(secret), "a secret was said");
        assert!(!text.contains(&listed(secret)), "the bytes of a secret were said");
    }
    for token in tokens {
        let (_, tag) = token.expose().split_once(':').unwrap();
        assert!(!text.contains(&tag[..32]), "a token was said");
        assert!(!text.contains(&listed(tag)), "the bytes of a token were said");
    }
}

/// Listens to everything at trace level while the work runs.
async fn nothing_is_said(ground: &Ground) {
    let mut said = Said::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(said.clone())
        .finish();
    let listening = tracing::subscriber::set_default(subscriber);
    let tokens = everything(ground, &mut said).await;
    drop(listening);
    assert_eq!(tokens.len(), 2);
    search(&said, &tokens);
}

#[tokio::test(start_paused = true)]
async fn secrets_and_tokens_are_never_said_in_memory() {
    nothing_is_said(&Ground::memory()).await;
}

#[tokio::test(start_paused = true)]
async fn secrets_and_tokens_are_never_said_on_valkey() {
    nothing_is_said(&Ground::valkey()).await;
}
