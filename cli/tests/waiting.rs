//! The commands for suspensions, output and secrets, on a real server. The worker is this process,
//! and each command is a separate process.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Output;
use std::time::Duration;

use ff_sdk::{
    ClaimedTask, Condition, CountKind, FlowFabricWorker, IssuedWaitpoint, SignalMatcher,
    SuspendOutcome, Suspension, SuspensionReason, TimeoutBehaviour, WorkerConfig,
};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::common::store::{LineReader, MISSING, Store, objects};
use crate::common::{self, claim, signal, text, within};

/// The ID of a waitpoint that does not exist.
const MISSING_WAITPOINT: &str = "00000000-0000-0000-0000-000000000002";

async fn worker(store: &Store) -> FlowFabricWorker {
    let backend = ff_sdk::open(&store.url()).await.expect("the store answers");
    let config = WorkerConfig::new("worker", "worker-1", "ff").expect("names");
    FlowFabricWorker::connect_with(config, backend, None).await.expect("the store answers")
}

/// Submits an execution and claims it. Returns its ID.
async fn claimed(store: &Store, worker: &FlowFabricWorker) -> (String, ClaimedTask) {
    let id = store.submit_one(json!({"kind": "k"}));
    (id, claim(worker).await)
}

async fn suspend(task: ClaimedTask, suspension: Suspension) -> Vec<IssuedWaitpoint> {
    match task.suspend(suspension).await.expect("it is suspended") {
        SuspendOutcome::Suspended { waitpoints, .. } => waitpoints,
        other => panic!("{other:?}"),
    }
}

/// Waits for approvals from two sources, and escalates after an hour.
fn two_approvers() -> Suspension {
    Suspension::until(Condition::Count {
        n: 2,
        kind: CountKind::DistinctSources,
        matcher: SignalMatcher::ByName("approved".parse().expect("a name")),
        waitpoints: vec!["approval".parse().expect("a name")],
    })
    .reason(SuspensionReason::Approval)
    .timeout(Duration::from_secs(3_600), TimeoutBehaviour::Escalate)
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("the file can be written");
    file
}

fn assert_error(output: &Output, code: i32, wanted: &str) {
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert!(errors.contains(wanted), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_signal_is_counted_once_and_the_last_one_resumes() {
    let store = Store::start();
    let worker = worker(&store).await;
    let (id, task) = claimed(&store, &worker).await;
    let [waitpoint] = &suspend(task, two_approvers()).await[..] else { panic!("one waitpoint") };
    let token = format!("{}\n", waitpoint.token.expose());
    let (file, at) = (file(&token), waitpoint.id.to_string());
    let path = file.path().to_str().expect("a path");

    let first = ["signal", &id, &at, "approved", "--source", "alice", "--idempotency-key", "a"];
    let sent = store.json(&[&first[..], &["--token-file", path]].concat());
    for (name, wanted) in [("outcome", "accepted"), ("effect", "counted"), ("execution_id", &id)] {
        assert_eq!(sent[name], wanted, "{sent}");
    }
    assert_eq!((&sent["waitpoint_id"], &sent["idempotency_key"]), (&json!(at), &json!("a")));
    let again = store.run_with_input(&[&first[..], &["--token-stdin"]].concat(), &token);
    assert!(text(&again.stdout).starts_with("duplicate: "), "{}", text(&again.stdout));
    let again = store.json(&[&first[..], &["--token-file", path]].concat());
    assert_eq!((&again["outcome"], &again["effect"]), (&json!("duplicate"), &Value::Null));
    assert_eq!(again["signal_id"], sent["signal_id"]);

    let mut other = store.ff(&["signal", &id, "approval", "rejected", "--json"]);
    let output = other.env("FF_WAITPOINT_TOKEN", token.trim()).output().expect("ff runs");
    let sent = objects(&text(&output.stdout)).remove(0);
    assert_eq!((&sent["outcome"], &sent["effect"]), (&json!("accepted"), &json!("recorded")));

    let payload = self::file("ship it");
    let last = [
        &["signal", &id, "approval", "approved", "--source", "bob", "--token-file", path][..],
        &["--payload-file", payload.path().to_str().expect("a path")],
    ];
    let last = [&last.concat()[..], &["--idempotency-key", "b"]].concat();
    let out = store.out(&last);
    assert!(out.starts_with("resumed: "), "{out}");
    // The name still refers to the closed waitpoint, as a caller without a reply needs it.
    let out = store.out(&last);
    assert!(out.starts_with("duplicate: "), "{out}");
    let task = claim(&worker).await;
    let signals = task.resume_signals().await.expect("the store answers");
    let heard: Vec<_> = signals.iter().map(|signal| signal.payload.as_deref()).collect();
    assert_eq!(heard, [None, Some(&b"ship it"[..])]);

    let late = store.run(&[&first[..6], &["--token-file", path]].concat());
    assert_error(&late, 1, "list the open waitpoints with ff waitpoints");
    let late =
        store.run(&[&["signal", &id, "approval", "x"][..], &["--token-file", path]].concat());
    assert_error(&late, 1, "list the open waitpoints with ff waitpoints");
    let late = store.run(&[&["signal", &id, "other", "x"][..], &["--token-file", path]].concat());
    assert_error(&late, 1, "has no waitpoint `other`");

    // Another waitpoint of the name is open: the token decides between them.
    let [next] = &suspend(task, two_approvers()).await[..] else { panic!("one waitpoint") };
    assert_ne!(next.id, waitpoint.id);
    let out = store.out(&last);
    assert!(out.starts_with("duplicate: "), "{out}");
    let token = self::file(next.token.expose());
    let path = token.path().to_str().expect("a path");
    let fresh = ["signal", &id, "approval", "approved", "--source", "bob", "--token-file", path];
    let out = store.out(&[&fresh[..], &["--idempotency-key", "b"]].concat());
    assert!(out.starts_with("accepted: "), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_token_of_the_waitpoint_can_signal_and_no_message_repeats_it() {
    let store = Store::start();
    let worker = worker(&store).await;
    let (id, task) = claimed(&store, &worker).await;
    let [issued] = &suspend(task, two_approvers()).await[..] else { panic!("one waitpoint") };
    let at = issued.id.to_string();
    let right = issued.token.expose().to_owned();
    let (kid, hex) = right.split_once(':').expect("a kid and digits");
    let turned: String = hex.chars().rev().collect();
    for (execution, waitpoint, token) in [
        (id.as_str(), at.as_str(), format!("{kid}:{turned}")),
        (&id, &at, format!("k9:{hex}")),
        (&id, &at, "nonsense".to_owned()),
        (&id, MISSING_WAITPOINT, right.clone()),
        (MISSING, &at, right.clone()),
    ] {
        let wrong = store
            .run_with_input(&["signal", execution, waitpoint, "approved", "--token-stdin"], &token);
        assert_error(&wrong, 1, "use the token that was issued for this waitpoint");
        let errors = text(&wrong.stderr);
        assert!(!errors.contains(&turned) && !errors.contains(hex) && !errors.contains("nonsense"));
    }
    let wrong =
        store.run_with_input(&["signal", MISSING, "approval", "x", "--token-stdin"], "k1:00");
    assert_error(&wrong, 1, "in namespace ff");
    assert_eq!(store.json(&["describe", &id])["signals"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn waitpoints_are_printed_without_their_tokens() {
    let store = Store::start();
    let worker = worker(&store).await;
    let (id, task) = claimed(&store, &worker).await;
    let hour = Some(Duration::from_secs(3_600));
    let pending =
        task.create_pending_waitpoint("callback", hour).await.expect("the waitpoint is opened");
    let waitpoints = store.json(&["waitpoints", &id]);
    assert_eq!(
        (&waitpoints["suspension"], &waitpoints["signals"]),
        (&Value::Null, &json!(0)),
        "{waitpoints}"
    );
    assert_eq!(waitpoints["waitpoints"][0]["key"], "callback");
    let until = waitpoints["waitpoints"][0]["state"]["pending"]["expires_at"].as_u64();
    assert!(until > waitpoints["waitpoints"][0]["created_at"].as_u64(), "{waitpoints}");

    let issued = suspend(task, two_approvers()).await.remove(0);
    let file = file(issued.token.expose());
    let path = file.path().to_str().expect("a path");
    let sent = ["signal", &id, "approval", "approved", "--source", "me", "--token-file", path];
    store.out(&sent);
    let shown = store.out(&["waitpoints", &id]);
    for text in [pending.id.to_string(), pending.token.fingerprint().to_string()] {
        assert!(shown.contains(&text), "{text} is missing in {shown}");
    }
    let waitpoints = store.json(&["waitpoints", &id]);
    assert_eq!(
        (&waitpoints["state"], &waitpoints["signals"]),
        (&json!("suspended"), &json!(1)),
        "{waitpoints}"
    );
    assert_eq!(waitpoints["suspension"]["reason"], "approval");
    assert_eq!(waitpoints["waitpoints"].as_array().map(Vec::len), Some(2));
    let described = store.json(&["describe", &id]);
    assert_eq!(described["waitpoints"], waitpoints["waitpoints"]);
    for token in [&issued.token, &pending.token] {
        let (_, hex) = token.expose().split_once(':').expect("a kid and digits");
        for out in [&shown, &waitpoints.to_string(), &described.to_string()] {
            assert!(!out.contains(hex), "a token is printed in {out}");
        }
    }
    assert_error(&store.run(&["waitpoints", MISSING]), 1, "in namespace ff");
    let other = store.run(&["waitpoints", &id, "--namespace", "else"]);
    assert_error(&other, 1, "in namespace else");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_resumes_and_can_repeat_the_request() {
    let store = Store::start();
    let worker = worker(&store).await;
    let (id, task) = claimed(&store, &worker).await;
    assert_error(&store.run(&["resume", &id]), 1, "ff: ");
    let _ = suspend(task, Suspension::until_operator()).await;
    assert!(store.out(&["waitpoints", &id]).contains(&format!("an operator: ff resume {id}")));
    let other = store.run(&["resume", &id, "--namespace", "else"]);
    assert_error(&other, 1, "there is no execution");
    let resumed = store.json(&["resume", &id, "--request-id", "r-1"]);
    assert_eq!((&resumed["outcome"], &resumed["request_id"]), (&json!("resumed"), &json!("r-1")));
    assert!(resumed["suspension_id"].is_string(), "{resumed}");
    assert_eq!(store.json(&["resume", &id, "--request-id", "r-1"]), resumed);
    claim(&worker).await.complete(None).await.expect("it completes");
    assert!(store.out(&["history", &id]).contains("resumed by an operator"));
    assert_error(&store.run(&["resume", &id]), 1, "ff: ");
    assert_error(&store.run(&["resume", MISSING]), 1, "there is no execution");
}

async fn append(task: &ClaimedTask, frame_type: &str, payload: &[u8]) {
    let labels = BTreeMap::from([("level".to_owned(), "info".to_owned())]);
    task.append_frame(frame_type, payload, labels).await.expect("the frame is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_printed_as_it_arrives_until_it_is_closed() {
    let store = Store::start();
    let worker = worker(&store).await;
    let (id, task) = claimed(&store, &worker).await;
    append(&task, "log", b"begun\nin two lines").await;
    let mut following = store.ff(&["tail", &id]).spawn().expect("ff starts");
    let mut only = store.ff(&["tail", &id, "--type", "data", "--json"]).spawn().expect("ff starts");
    let (text_lines, json_lines) =
        (LineReader::stdout(&mut following), LineReader::stdout(&mut only));
    let first = text_lines.line();
    assert!(first.ends_with("Z  1 log level=info  begun"), "{first}");
    assert_eq!(text_lines.line(), "    in two lines");
    append(&task, "data", b"\xff\x00").await;
    let second = text_lines.line();
    assert!(second.ends_with("  2 data level=info  (2 bytes that are not text)"), "{second}");
    let frame: Value = serde_json::from_str(&json_lines.line()).expect("an object");
    for (name, wanted) in [
        ("attempt", json!(0)),
        ("sequence", json!(2)),
        ("type", json!("data")),
        ("metadata", json!({"level": "info"})),
        ("payload", Value::Null),
        ("payload_hex", json!("ff00")),
    ] {
        assert_eq!(frame[name], wanted, "{name} in {frame}");
    }
    assert!(frame["at"].is_u64() && frame["cursor"].is_string(), "{frame}");
    task.complete(None).await.expect("it completes");
    assert_eq!(text_lines.line(), "closed: success");
    let closed: Value = serde_json::from_str(&json_lines.line()).expect("an object");
    assert_eq!(closed["closed"], "success", "{closed}");
    for mut child in [following, only] {
        assert_eq!(within(move || child.wait().expect("ff ends")).code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_without_follow_prints_the_cursor_to_continue_from() {
    let store = Store::start();
    let worker = worker(&store).await;
    let (id, task) = claimed(&store, &worker).await;
    let read = |arguments: &[&str]| {
        let out = store.out(&[&["tail", &id, "--no-follow", "--json"], arguments].concat());
        objects(&out)
    };
    append(&task, "log", b"one").await;
    append(&task, "log", b"two").await;
    let seen = read(&[]);
    let payloads: Vec<_> = seen.iter().map(|line| line["payload"].as_str()).collect();
    assert_eq!(payloads, [Some("one"), Some("two"), None], "{seen:?}");
    let next = seen[2]["next"].as_str().expect("a cursor");
    assert_eq!(seen[1]["cursor"], next);
    append(&task, "log", b"three").await;
    assert_eq!(read(&["--from", next])[0]["payload"], "three");
    assert_eq!(read(&["--from", seen[0]["cursor"].as_str().expect("a cursor")]).len(), 3);
    assert_eq!(read(&["--from", "end"]).len(), 1);
    assert_eq!(read(&["--attempt", "7"]).len(), 1, "the attempt does not exist yet");
    let out = store.out(&["tail", &id, "--no-follow"]);
    let last = out.lines().last().expect("a last line");
    assert!(last.starts_with("the output is still open: continue with --from 1:"), "{last}");

    let (_, entry) = next.rsplit_once(':').expect("a cursor has parts");
    let gap = &read(&["--from", &format!("1:7:{entry}")])[0];
    assert_eq!(gap["gap"], true, "another history: {gap}");
    let on = &read(&["--from", gap["cursor"].as_str().expect("a cursor")])[0];
    assert_eq!(on["payload"], "one", "a gap is printed once: {on}");
    let out = store.out(&["tail", &id, "--no-follow", "--from", &format!("1:7:{entry}")]);
    assert!(out.starts_with("gap: frames are missing here: "), "{out}");

    let mut waits = store.ff(&["tail", &id, "--from", "end"]).spawn().expect("ff starts");
    // The first line shows that the command waits.
    let lines = LineReader::stdout(&mut waits);
    let began = async {
        loop {
            append(&task, "log", b"again").await;
            if lines.try_line().is_some() {
                return;
            }
        }
    };
    tokio::time::timeout(common::DEADLINE, began).await.expect("the command prints new frames");
    signal(&waits, Signal::SIGINT);
    assert_eq!(within(move || waits.wait().expect("ff ends")).code(), Some(0));

    task.complete(None).await.expect("it completes");
    let out = store.out(&["tail", &id, "--from", &format!("1:7:{entry}")]);
    assert!(out.starts_with("gap: ") && out.ends_with("closed: success\n"), "{out}");
    // After a replay, the latest attempt is the old one until the next attempt starts.
    for attempt in [0, 1] {
        store.out(&["replay", &id]);
        let seen = read(&[]);
        assert_eq!(seen[0]["attempt"], attempt, "{seen:?}");
        let again = worker.claim_next().await.expect("the store answers").expect("there is work");
        append(&again, "log", b"anew").await;
        again.complete(None).await.expect("it completes");
    }

    assert_error(&store.run(&["tail", MISSING]), 1, "in namespace ff");
    let other = store.run(&["tail", &id, "--no-follow", "--namespace", "else"]);
    assert_error(&other, 1, "in namespace else");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_survives_a_server_that_stops_for_a_while() {
    let store = Store::start();
    let worker = worker(&store).await;
    let (id, task) = claimed(&store, &worker).await;
    append(&task, "log", b"one").await;
    let mut child = store.ff(&["tail", &id]).spawn().expect("ff starts");
    let (lines, errors) = (LineReader::stdout(&mut child), LineReader::stderr(&mut child));
    lines.wait_for("one");
    let server = store.pid();
    kill(server, Signal::SIGSTOP).expect("the server is there");
    errors.wait_for("retrying");
    kill(server, Signal::SIGCONT).expect("the server is there");
    append(&task, "log", b"two").await;
    lines.wait_for("two");
    task.complete(None).await.expect("it completes");
    lines.wait_for("closed: success");
    assert_eq!(within(move || child.wait().expect("ff ends")).code(), Some(0));
}

/// The server loses its data, and another program sets it up again.
#[tokio::test(flavor = "multi_thread")]
async fn commands_that_follow_report_a_replaced_store() {
    let store = Store::start();
    let worker = worker(&store).await;
    let (id, task) = claimed(&store, &worker).await;
    append(&task, "log", b"one").await;
    let mut tail = store.spawn(&["tail", &id]);
    let (lines, of_tail) = (LineReader::stdout(&mut tail), LineReader::stderr(&mut tail));
    lines.wait_for("one");
    let mut watch = store.spawn(&["watch"]);
    let of_watch = LineReader::stderr(&mut watch);
    of_watch.wait_for("watching namespace ff");
    let mut work = store.spawn(&["work", "--exec", "true", "--lane", "other"]);
    let of_work = LineReader::stderr(&mut work);
    of_work.wait_for("started in namespace ff");
    assert!(store.query("FLUSHALL").starts_with("+OK"));
    store.submit_one(json!({"kind": "k"}));
    for errors in [of_watch, of_tail, of_work] {
        errors.wait_for("lost its data");
    }
    // A watch goes on with the new store.
    for mut child in [tail, work] {
        assert_eq!(within(move || child.wait().expect("ff ends")).code(), Some(1));
    }
    signal(&watch, Signal::SIGTERM);
    assert_eq!(within(move || watch.wait().expect("ff ends")).code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_rotated_and_listed_and_never_printed() {
    let store = Store::start();
    let secrets = || store.json(&["secret", "list"])["secrets"].clone();
    let out = store.out(&["secret", "rotate", "--kid", "generated", "--generate"]);
    let longest = out.split(|c: char| !c.is_ascii_hexdigit()).map(str::len).max();
    assert!(longest < Some(16), "a secret is printed in {out}");
    assert_eq!(secrets()[0], json!({"kid": "generated", "current": true, "good_until": null}));

    let worker = worker(&store).await;
    let (id, task) = claimed(&store, &worker).await;
    let issued = suspend(task, two_approvers()).await.remove(0);
    let hex = "00112233445566778899AAbbccddeeff";
    let file = file(&format!("{hex}\n"));
    let path = file.path().to_str().expect("a path");
    let from_file = ["secret", "rotate", "--kid", "given", "--secret-file", path, "--grace", "2h"];
    let rotated = store.json(&from_file);
    assert_eq!(rotated, json!({"kid": "given", "outcome": "rotated", "grace_ms": 7_200_000}));
    let again = ["secret", "rotate", "--kid", "given", "--secret-stdin", "--json"];
    let again = store.run_with_input(&again, &format!(" {}\n", hex.to_lowercase()));
    assert_eq!(objects(&text(&again.stdout))[0]["outcome"], "noop", "{}", text(&again.stderr));
    let listed = secrets();
    assert_eq!(listed[1], json!({"kid": "given", "current": true, "good_until": null}));
    assert_eq!((&listed[0]["kid"], &listed[0]["current"]), (&json!("generated"), &json!(false)));
    assert!(listed[0]["good_until"].is_u64(), "{listed}");

    // The old secret signed this token, which is accepted for two hours.
    let token = self::file(issued.token.expose());
    let token = token.path().to_str().expect("a path");
    let sent = ["signal", &id, "approval", "approved", "--source", "a", "--token-file", token];
    assert!(store.out(&sent).starts_with("accepted: "));

    let conflict = store.run(&["secret", "rotate", "--kid", "given", "--generate"]);
    assert_error(&conflict, 1, "given");
    let bad = ["secret", "rotate", "--kid", "bad", "--secret-stdin"];
    let bad = store.run_with_input(&bad, "c0ffee-no-digits");
    assert_error(&bad, 2, "ff: ");
    assert!(!text(&bad.stderr).contains("c0ffee"), "{}", text(&bad.stderr));
    let long = ["secret", "rotate", "--kid", "long", "--generate", "--grace", "2years"];
    assert_error(&store.run(&long), 2, "ff: ");
    assert_eq!(secrets(), listed, "nothing was changed");
}
