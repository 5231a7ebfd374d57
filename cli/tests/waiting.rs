//! The commands for what waits, for output and for secrets, on a real server: the worker is this
//! process, and each command a process of its own.

mod common;
#[path = "../src/private_server.rs"]
mod private_server;
#[path = "common/store.rs"]
mod store;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Output, Stdio};
use std::time::Duration;

use ff_sdk::{
    ClaimedTask, Condition, CountKind, FlowFabricWorker, IssuedWaitpoint, SignalMatcher,
    SuspendOutcome, Suspension, SuspensionReason, TimeoutBehaviour, WorkerConfig,
};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use common::{signal, text, within};
use store::{Said, Store, objects};

/// An id that nothing has.
const NOBODY: &str = "{fp:1}:00000000-0000-0000-0000-000000000001";
/// A waitpoint that nothing has.
const NOWHERE: &str = "00000000-0000-0000-0000-000000000002";

async fn worker(store: &Store) -> FlowFabricWorker {
    let backend = ff_sdk::open(&store.url()).await.expect("it connects");
    let config = WorkerConfig::new("worker", "worker-1", "ff").expect("names");
    FlowFabricWorker::connect_with(config, backend, None).await.expect("it connects")
}

/// Submits an execution and claims it; its id.
async fn claimed(store: &Store, worker: &FlowFabricWorker) -> (String, ClaimedTask) {
    let id = store.submit_one(json!({"kind": "k"}));
    (id, taken(worker).await)
}

async fn taken(worker: &FlowFabricWorker) -> ClaimedTask {
    let claim = async {
        loop {
            match worker.claim_next().await.expect("the store answers") {
                Some(task) => return task,
                None => worker.wait_for_work().await,
            }
        }
    };
    tokio::time::timeout(common::DEADLINE, claim).await.expect("there is work")
}

async fn suspend(task: ClaimedTask, suspension: Suspension) -> Vec<IssuedWaitpoint> {
    match task.suspend(suspension).await.expect("it is suspended") {
        SuspendOutcome::Suspended { waitpoints, .. } => waitpoints,
        other => panic!("{other:?}"),
    }
}

/// Until two have approved, or it escalates.
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
    file.write_all(text.as_bytes()).expect("it is written");
    file
}

/// Runs a command with this on its standard input.
fn with_input(store: &Store, arguments: &[&str], input: &str) -> Output {
    let mut child = store.ff(arguments).stdin(Stdio::piped()).spawn().expect("ff starts");
    let mut stdin = child.stdin.take().expect("its input is a pipe");
    stdin.write_all(input.as_bytes()).expect("ff reads its input");
    drop(stdin);
    within(move || child.wait_with_output().expect("ff ends"))
}

fn refused(output: &Output, code: i32, wanted: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(wanted), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_are_counted_once_each_and_the_last_one_resumes() {
    let store = Store::start();
    let worker = worker(&store).await;
    let (id, task) = claimed(&store, &worker).await;
    let [waitpoint] = &suspend(task, two_approvers()).await[..] else { panic!("one waitpoint") };
    let token = format!("{}\n", waitpoint.token.expose());
    let (file, at) = (file(&token), waitpoint.id.to_string());
    let path = file.path().to_str().expect("a path");

    let first = ["signal", &id, &at, "approved", "--source", "alice", "--idempotency-key", "a"];
    let sent = store.json(&[&first[..], &["--token-file", path]].concat());
    for (name, wanted) in [("outcome", "accepted"), ("effect", "counted"), ("id", &id)] {
        assert_eq!(sent[name], wanted, "{sent}");
    }
    assert_eq!((&sent["waitpoint_id"], &sent["idempotency_key"]), (&json!(at), &json!("a")));
    let again = with_input(&store, &[&first[..], &["--token-stdin"]].concat(), &token);
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
    let said = store.out(&last);
    assert!(said.starts_with("resumed: it was the last one needed (idempotency key b"), "{said}");
    // As after a reply that was lost: the name still stands for the waitpoint that has closed.
    let said = store.out(&last);
    assert!(said.starts_with("duplicate: "), "{said}");
    let task = taken(&worker).await;
    let signals = task.resume_signals().await.expect("the store answers");
    let heard: Vec<_> = signals.iter().map(|signal| signal.payload.as_deref()).collect();
    assert_eq!(heard, [None, Some(&b"ship it"[..])]);

    let late = store.run(&[&first[..6], &["--token-file", path]].concat());
    refused(&late, 1, "ff waitpoints lists those that are open");
    let late =
        store.run(&[&["signal", &id, "approval", "x"][..], &["--token-file", path]].concat());
    refused(&late, 1, "ff waitpoints lists those that are open");
    let late = store.run(&[&["signal", &id, "other", "x"][..], &["--token-file", path]].concat());
    refused(&late, 1, "knows no waitpoint other");

    // Another one of the name is open: the token says which one is meant.
    let [next] = &suspend(task, two_approvers()).await[..] else { panic!("one waitpoint") };
    assert_ne!(next.id, waitpoint.id);
    let said = store.out(&last);
    assert!(said.starts_with("duplicate: "), "{said}");
    let token = self::file(next.token.expose());
    let path = token.path().to_str().expect("a path");
    let fresh = ["signal", &id, "approval", "approved", "--source", "bob", "--token-file", path];
    let said = store.out(&[&fresh[..], &["--idempotency-key", "b"]].concat());
    assert!(said.starts_with("accepted: it counts"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_token_of_the_waitpoint_may_signal_and_no_message_repeats_it() {
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
        (&id, NOWHERE, right.clone()),
        (NOBODY, &at, right.clone()),
    ] {
        let wrong = with_input(
            &store,
            &["signal", execution, waitpoint, "approved", "--token-stdin"],
            &token,
        );
        refused(&wrong, 1, "the token is not good for this waitpoint");
        refused(&wrong, 1, "give the token that was handed out for this waitpoint");
        let said = text(&wrong.stderr);
        assert!(!said.contains(&turned) && !said.contains(hex) && !said.contains("nonsense"));
    }
    let wrong = with_input(&store, &["signal", NOBODY, "approval", "x", "--token-stdin"], "k1:00");
    refused(&wrong, 1, "there is no such execution in namespace ff");
    assert_eq!(store.json(&["describe", &id])["signals"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_execution_waits_for_is_shown_without_its_tokens() {
    let store = Store::start();
    let worker = worker(&store).await;
    let (id, task) = claimed(&store, &worker).await;
    assert!(store.out(&["waitpoints", &id]).contains("not suspended: active\nno open waitpoint"));
    let hour = Some(Duration::from_secs(3_600));
    let pending = task.create_pending_waitpoint("callback", hour).await.expect("it is opened");
    let told = store.json(&["waitpoints", &id]);
    assert_eq!((&told["suspension"], &told["signals"]), (&Value::Null, &json!(0)), "{told}");
    assert_eq!(told["waitpoints"][0]["key"], "callback");
    let until = told["waitpoints"][0]["state"]["pending"]["expires_at"].as_u64();
    assert!(until > told["waitpoints"][0]["created_at"].as_u64(), "{told}");

    let issued = suspend(task, two_approvers()).await.remove(0);
    let file = file(issued.token.expose());
    let path = file.path().to_str().expect("a path");
    let sent = ["signal", &id, "approval", "approved", "--source", "me", "--token-file", path];
    store.out(&sent);
    let shown = store.out(&["waitpoints", &id]);
    for wanted in [
        "approval, since ",
        ": escalate",
        "1 of 2 sources of a signal named approved at approval",
        "callback",
        &pending.id.to_string(),
        &pending.token.fingerprint().to_string(),
        "pending",
        "active",
        "k1",
    ] {
        assert!(shown.contains(wanted), "{wanted} is missing in {shown}");
    }
    let told = store.json(&["waitpoints", &id]);
    assert_eq!((&told["state"], &told["signals"]), (&json!("suspended"), &json!(1)), "{told}");
    assert_eq!(told["suspension"]["reason"], "approval");
    assert_eq!(told["waitpoints"].as_array().map(Vec::len), Some(2));
    let described = store.out(&["describe", &id]);
    for wanted in
        ["1 of 2 sources", "approval (active, 1 signals)", "callback (pending, 0 signals)"]
    {
        assert!(described.contains(wanted), "{wanted} is missing in {described}");
    }
    let described = store.json(&["describe", &id]);
    assert_eq!(described["waitpoints"], told["waitpoints"]);
    for token in [&issued.token, &pending.token] {
        let (_, hex) = token.expose().split_once(':').expect("a kid and digits");
        for said in [&shown, &told.to_string(), &described.to_string()] {
            assert!(!said.contains(hex), "a token is shown in {said}");
        }
    }
    refused(&store.run(&["waitpoints", NOBODY]), 1, "there is no such execution in namespace ff");
    let other = store.run(&["waitpoints", &id, "--namespace", "else"]);
    refused(&other, 1, "there is no such execution in namespace else");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_resumes_and_may_repeat_the_call() {
    let store = Store::start();
    let worker = worker(&store).await;
    let (id, task) = claimed(&store, &worker).await;
    refused(&store.run(&["resume", &id]), 1, "there is no such suspension to resume");
    let _ = suspend(task, Suspension::until_operator()).await;
    assert!(store.out(&["waitpoints", &id]).contains("an operator: ff resume"));
    let other = store.run(&["resume", &id, "--namespace", "else"]);
    refused(&other, 1, "there is no such execution");
    let resumed = store.json(&["resume", &id, "--request-id", "r-1"]);
    assert_eq!((&resumed["outcome"], &resumed["request_id"]), (&json!("resumed"), &json!("r-1")));
    assert!(resumed["suspension_id"].is_string(), "{resumed}");
    assert_eq!(store.json(&["resume", &id, "--request-id", "r-1"]), resumed);
    taken(&worker).await.complete(None).await.expect("it completes");
    assert!(store.out(&["history", &id]).contains("resumed by an operator"));
    refused(&store.run(&["resume", &id]), 1, "there is no such suspension to resume");
    refused(&store.run(&["resume", NOBODY]), 1, "there is no such execution");
}

async fn append(task: &ClaimedTask, frame_type: &str, payload: &[u8]) {
    let labels = BTreeMap::from([("level".to_owned(), "info".to_owned())]);
    task.append_frame(frame_type, payload, labels).await.expect("it is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_shown_as_it_comes_until_it_is_closed() {
    let store = Store::start();
    let worker = worker(&store).await;
    let (id, task) = claimed(&store, &worker).await;
    append(&task, "log", b"begun\nin two lines").await;
    let mut following = store.ff(&["tail", &id]).spawn().expect("ff starts");
    let mut only = store.ff(&["tail", &id, "--type", "data", "--json"]).spawn().expect("ff starts");
    let (said, told) = (Said::in_the_open(&mut following), Said::in_the_open(&mut only));
    let first = said.line();
    assert!(first.ends_with("Z  1 log level=info  begun"), "{first}");
    assert_eq!(said.line(), "    in two lines");
    append(&task, "data", b"\xff\x00").await;
    let second = said.line();
    assert!(second.ends_with("  2 data level=info  (2 bytes that are no text)"), "{second}");
    let frame: Value = serde_json::from_str(&told.line()).expect("an object");
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
    assert_eq!(said.line(), "closed: success");
    let closed: Value = serde_json::from_str(&told.line()).expect("an object");
    assert_eq!(closed["closed"], "success", "{closed}");
    for mut child in [following, only] {
        assert_eq!(within(move || child.wait().expect("ff ends")).code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_that_does_not_follow_tells_where_to_go_on() {
    let store = Store::start();
    let worker = worker(&store).await;
    let (id, task) = claimed(&store, &worker).await;
    let read = |arguments: &[&str]| {
        let said = store.out(&[&["tail", &id, "--no-follow", "--json"], arguments].concat());
        objects(&said)
    };
    append(&task, "log", b"one").await;
    append(&task, "log", b"two").await;
    let seen = read(&[]);
    let payloads: Vec<_> = seen.iter().map(|line| line["payload"].as_str()).collect();
    assert_eq!(payloads, [Some("one"), Some("two"), None], "{seen:?}");
    let next = seen[2]["next"].as_str().expect("a place");
    assert_eq!(seen[1]["cursor"], next);
    append(&task, "log", b"three").await;
    assert_eq!(read(&["--from", next])[0]["payload"], "three");
    assert_eq!(read(&["--from", seen[0]["cursor"].as_str().expect("a place")]).len(), 3);
    assert_eq!(read(&["--from", "end"]).len(), 1);
    assert_eq!(read(&["--attempt", "7"]).len(), 1, "there is none yet");
    let said = store.out(&["tail", &id, "--no-follow"]);
    assert!(said.lines().last().is_some_and(|last| last.starts_with("more may come: --from 1:")));

    let (_, entry) = next.rsplit_once(':').expect("a place has parts");
    let gap = &read(&["--from", &format!("1:7:{entry}")])[0];
    assert_eq!(gap["gap"], true, "another history: {gap}");
    let on = &read(&["--from", gap["cursor"].as_str().expect("a place")])[0];
    assert_eq!(on["payload"], "one", "the gap is told once: {on}");
    let said = store.out(&["tail", &id, "--no-follow", "--from", &format!("1:7:{entry}")]);
    assert!(said.starts_with("gap: frames are missing here"), "{said}");

    let mut waits = store.ff(&["tail", &id, "--from", "end"]).spawn().expect("ff starts");
    // Its first line shows that it has begun to wait.
    let said = Said::in_the_open(&mut waits);
    let began = async {
        loop {
            append(&task, "log", b"again").await;
            if said.try_line().is_some() {
                return;
            }
        }
    };
    tokio::time::timeout(common::DEADLINE, began).await.expect("it shows what comes");
    signal(&waits, Signal::SIGINT);
    assert_eq!(within(move || waits.wait().expect("ff ends")).code(), Some(0));

    task.complete(None).await.expect("it completes");
    let said = store.out(&["tail", &id, "--from", &format!("1:7:{entry}")]);
    assert!(said.starts_with("gap: ") && said.ends_with("closed: success\n"), "{said}");
    // In another life, until its next attempt begins, the latest one is that of the life before.
    for attempt in [0, 1] {
        store.out(&["replay", &id]);
        let seen = read(&[]);
        assert_eq!(seen[0]["attempt"], attempt, "{seen:?}");
        let again = worker.claim_next().await.expect("it answers").expect("there is work");
        append(&again, "log", b"anew").await;
        again.complete(None).await.expect("it completes");
    }

    refused(&store.run(&["tail", NOBODY]), 1, "there is no such execution in namespace ff");
    let other = store.run(&["tail", &id, "--no-follow", "--namespace", "else"]);
    refused(&other, 1, "there is no such execution in namespace else");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_for_a_while_ends_no_tail() {
    let store = Store::start();
    let worker = worker(&store).await;
    let (id, task) = claimed(&store, &worker).await;
    append(&task, "log", b"one").await;
    let mut child = store.ff(&["tail", &id]).spawn().expect("ff starts");
    let (said, warned) = (Said::in_the_open(&mut child), Said::by(&mut child));
    said.wait_for("one");
    let server = store.pid();
    kill(server, Signal::SIGSTOP).expect("the server is there");
    warned.wait_for("trying again");
    kill(server, Signal::SIGCONT).expect("the server is there");
    append(&task, "log", b"two").await;
    said.wait_for("two");
    task.complete(None).await.expect("it completes");
    said.wait_for("closed: success");
    assert_eq!(within(move || child.wait().expect("ff ends")).code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_rotated_and_listed_and_never_shown() {
    let store = Store::start();
    let secrets = || store.json(&["secret", "list"])["secrets"].clone();
    assert!(store.out(&["secret", "list"]).contains("no secret yet"));
    let said = store.out(&["secret", "rotate", "--kid", "drawn", "--generate"]);
    assert!(said.contains("new tokens are signed with drawn"), "{said}");
    let longest = said.split(|c: char| !c.is_ascii_hexdigit()).map(str::len).max();
    assert!(longest < Some(16), "a secret is shown in {said}");
    assert_eq!(secrets()[0], json!({"kid": "drawn", "current": true, "good_until": null}));

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
    let again = with_input(&store, &again, &format!(" {}\n", hex.to_lowercase()));
    assert_eq!(objects(&text(&again.stdout))[0]["outcome"], "noop", "{}", text(&again.stderr));
    let listed = secrets();
    assert_eq!(listed[1], json!({"kid": "given", "current": true, "good_until": null}));
    assert_eq!((&listed[0]["kid"], &listed[0]["current"]), (&json!("drawn"), &json!(false)));
    assert!(listed[0]["good_until"].is_u64(), "{listed}");
    let shown = store.out(&["secret", "list"]);
    assert!(shown.contains("drawn") && shown.contains("until replaced"), "{shown}");

    // Its token was signed with the secret before, which is good for two hours.
    let token = self::file(issued.token.expose());
    let token = token.path().to_str().expect("a path");
    let sent = ["signal", &id, "approval", "approved", "--source", "a", "--token-file", token];
    assert!(store.out(&sent).starts_with("accepted: it counts"));

    let conflict = store.run(&["secret", "rotate", "--kid", "given", "--generate"]);
    refused(&conflict, 1, "kid given stands for another secret; choose another kid");
    let bad = ["secret", "rotate", "--kid", "bad", "--secret-stdin"];
    let bad = with_input(&store, &bad, "c0ffee-no-digits");
    refused(&bad, 2, "hexadecimal");
    assert!(!text(&bad.stderr).contains("c0ffee"), "{}", text(&bad.stderr));
    let long = ["secret", "rotate", "--kid", "long", "--generate", "--grace", "2years"];
    refused(&store.run(&long), 2, "grace");
    assert_eq!(secrets(), listed, "nothing was changed");
}
