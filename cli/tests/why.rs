//! `ff why`, `ff revoke` and `ff doctor` on executions that wait, with a real server.

use std::process::{Command, Output};
use std::time::Duration;

use ff_sdk::{
    Condition, CountKind, FlowFabricWorker, SignalMatcher, SuspendOutcome, Suspension,
    TimeoutBehaviour, WorkerConfig,
};
use serde_json::{Value, json};

use crate::common::store::{LineReader, Store};
use crate::common::{self, claim, text};

const HOUR: Duration = Duration::from_secs(3_600);

async fn worker(store: &Store, lease_ttl: Duration) -> FlowFabricWorker {
    let backend = ff_sdk::open(&store.url()).await.expect("the store answers");
    let mut config = WorkerConfig::new("eps", "eps-1", "shop").expect("names");
    config.lease_ttl = lease_ttl;
    config.max_concurrent_tasks = 4;
    FlowFabricWorker::connect_with(config, backend, None).await.expect("the store answers")
}

/// Submits an execution to the namespace `shop`. Returns its ID.
fn submit(store: &Store, arguments: &[&str]) -> String {
    let arguments = [&["submit", "--namespace", "shop", "--kind"], arguments].concat();
    store.out(&arguments).trim().to_owned()
}

fn why(store: &Store, id: &str) -> String {
    store.out(&["why", id, "--namespace", "shop"])
}

fn json_of(store: &Store, id: &str) -> Value {
    store.json(&["why", id, "--namespace", "shop"])
}

/// Runs the commands in a text that are advised after these words, in a shell.
fn paste(store: &Store, advice: &str, words: &str) -> Vec<Output> {
    let lines = advice.lines().filter_map(|line| line.split_once(words)).map(|(_, line)| line);
    let run = |line: &str| {
        let path = std::path::Path::new(env!("CARGO_BIN_EXE_ff")).parent().expect("a directory");
        let paths = format!("{}:{}", path.display(), std::env::var("PATH").expect("a path"));
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).env("PATH", paths).env("FF_BACKEND", store.url());
        shell.output().expect("a shell runs")
    };
    let outputs: Vec<Output> = lines.map(run).collect();
    assert!(!outputs.is_empty(), "{words}: {advice}");
    outputs
}

#[tokio::test(flavor = "multi_thread")]
async fn advised_commands_work_as_they_are_pasted() {
    let store = Store::start();
    let id = submit(&store, &["release"]);
    let worker = worker(&store, HOUR).await;
    let task = claim(&worker).await;
    let approvals = Condition::Count {
        n: 2,
        kind: CountKind::DistinctSources,
        matcher: SignalMatcher::ByName("approved".parse().expect("a name")),
        waitpoints: vec!["approval".parse().expect("a name")],
    };
    let suspension = Suspension::until(approvals).timeout(HOUR, TimeoutBehaviour::Fail);
    let suspended = task.suspend(suspension).await.expect("the execution is suspended");
    assert!(matches!(suspended, SuspendOutcome::Suspended { .. }), "{suspended:?}");
    let text_of = why(&store, &id);
    assert!(text_of.contains("it has 0 of 2 sources of a signal named approved at approval"));
    assert!(text_of.contains(&format!("ff signal {id} approval approved --token-file PATH")));
    for words in ["to see its waitpoints: ", "which skips what they decide: "] {
        for output in paste(&store, &text_of, words) {
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        }
    }
    // The advice was followed.
    let text_of = why(&store, &id);
    assert!(text_of.contains("attempt 0 was interrupted, and is to go on"), "{text_of}");
    let interrupted = &json_of(&store, &id)["interrupted"];
    assert_eq!(*interrupted, json!({"cause": "resumed", "attempt": 0}));
    assert!(text_of.contains("worker eps-1 is registered for it: "), "{text_of}");
    let again = store.run(&["resume", &id, "--namespace", "shop"]);
    let error = "there is nothing to resume: the execution is runnable, not suspended";
    assert_eq!((again.status.code(), text(&again.stderr)), (Some(1), format!("ff: {error}\n")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_is_told_with_its_worker() {
    let store = Store::start();
    let revoked = submit(&store, &["slow"]);
    let one = worker(&store, HOUR).await;
    let task = claim(&one).await;
    let running = why(&store, &revoked);
    assert!(
        running.contains("worker eps (process eps-1) runs attempt 0 of it since "),
        "{running}"
    );
    assert!(running.contains("its process: its last heartbeat was "), "{running}");
    let revoke = ["revoke", &revoked, "--namespace", "shop"];
    assert_eq!(store.json(&revoke)["outcome"], "revoked");
    let told = why(&store, &revoked);
    assert!(told.starts_with("active (its lease is lost): kind slow in lane default"), "{told}");
    assert!(told.contains("- worker eps (process eps-1) lost its lease at 20"), "{told}");
    assert!(told.contains(": an operator revoked it; attempt 0 is interrupted"), "{told}");
    assert_eq!(json_of(&store, &revoked)["interrupted"]["cause"], "lease_revoked");
    assert_eq!(store.json(&revoke)["outcome"], "already_revoked");
    let again = store.out(&revoke);
    assert!(again.starts_with(&format!("already revoked {revoked} at 20")), "{again}");
    let at = json_of(&store, &revoked)["interrupted"]["at"].clone();
    assert_eq!((at.is_u64(), &store.json(&revoke)["at"]), (true, &at));
    drop(task);

    let other = Store::start();
    let expired = submit(&other, &["slow"]);
    let two = worker(&other, Duration::from_millis(50)).await;
    let task = claim(&two).await;
    // Without its renewals, as after a crash.
    drop((task, two));
    let begun = std::time::Instant::now();
    let told = loop {
        let told = json_of(&other, &expired);
        if told["interrupted"] != Value::Null {
            break told;
        }
        assert!(begun.elapsed() < common::DEADLINE, "it still has its lease: {told}");
    };
    assert_eq!(told["interrupted"]["cause"], "lease_expired", "{told}");
    assert_eq!(told["interrupted"]["instance"], "eps-1");
    let text_of = why(&other, &expired);
    assert!(text_of.contains("worker eps (process eps-1) lost its lease at 20"), "{text_of}");
    assert!(text_of.contains(": it expired; attempt 0 is interrupted"), "{text_of}");
    let late = other.run(&["revoke", &expired, "--namespace", "shop"]);
    let error = text(&late.stderr);
    assert!(
        error.starts_with("ff: there is nothing to revoke: the lease expired at 20"),
        "{error}"
    );
}

#[test]
fn the_cause_of_a_failure_is_told_and_a_result_is_not_replayed() {
    let store = Store::start();
    let work = |kind: &str, exec: &str| {
        let names = ["work", "--namespace", "shop", "--max", "1", "--kind"];
        store.out(&[&names[..], &[kind, "--exec", exec]].concat());
    };
    let failed = submit(&store, &["a", "--max-retries", "0"]);
    work("a", "echo 'cannot parse' >&2; exit 4");
    let told = why(&store, &failed);
    let cause = " after 1 attempt: exit_code: exit code 4: cannot parse";
    assert!(told.contains("it failed at 20") && told.contains(cause), "{told}");
    assert_eq!(json_of(&store, &failed)["outcome"]["failed"]["category"], "exit_code");
    for output in paste(&store, &told, "to see its attempts: ") {
        assert!(text(&output.stdout).contains("exit_code"), "{output:?}");
    }

    let completed = submit(&store, &["b"]);
    work("b", "echo done");
    let told = why(&store, &completed);
    assert!(told.contains("it completed at 20") && !told.contains("replay"), "{told}");
    let [output] = &paste(&store, &told, "to see its result: ")[..] else { panic!("{told}") };
    assert_eq!(text(&output.stdout), "done\n");

    let retry = json!({"max_retries": 5, "backoff": {"fixed": {"delay_ms": 3_600_000}}});
    let line = json!({"kind": "c", "retry": retry});
    let retried = text(&store.submit(&[line], &["--namespace", "shop"]).stdout);
    let retried = retried.trim().to_owned();
    work("c", "echo 'try later' >&2; exit 75");
    let told = why(&store, &retried);
    assert!(told.contains("attempt 1 of 6 failed: "), "{told}");
    assert!(told.contains("try later\n  it is retried at 20"), "{told}");
    assert!(told.contains("; nothing to do until then"), "{told}");
}

#[test]
fn missing_capabilities_are_told_once_and_a_draining_worker_is_named() {
    let store = Store::start();
    let id = submit(&store, &["ok", "--requires", "eu", "--requires", "gpu"]);
    let serve = ["work", "--namespace", "shop", "--exec", "true", "--kind"];
    store.out(&[&serve[..], &["ok", "--until-idle"]].concat());
    let told = why(&store, &id);
    assert_eq!(told.lines().filter(|line| line.starts_with("- ")).count(), 1, "{told}");
    let command = told.split_once("to start one: ").and_then(|(_, rest)| rest.lines().next());
    let expected = "ff work --exec COMMAND --lane default --kind ok --capability eu --capability \
                    gpu --namespace shop";
    assert_eq!(command, Some(expected));

    let start = ["work", "--namespace", "shop", "--exec", "true", "--instance", "delta-1"];
    let mut delta = store.spawn(&[&start[..], &["--lane", "other"]].concat());
    LineReader::stderr(&mut delta).wait_for("worker delta-1 started");
    store.out(&["workers", "drain", "delta-1", "--namespace", "shop"]);
    let told = why(&store, &submit(&store, &["mail", "--lane", "other", "--delay", "1h"]));
    assert!(told.contains("nothing to do until then"), "{told}");
    common::signal(&delta, nix::sys::signal::Signal::SIGSTOP);
    let waiting = submit(&store, &["mail", "--lane", "other"]);
    let told = why(&store, &waiting);
    assert!(told.contains("worker delta-1 serves it, but is draining"), "{told}");
    let found = store.json(&["doctor", "--namespace", "shop"]).to_string();
    assert!(found.contains("worker delta-1 serves it, but is draining"), "{found}");
    common::signal(&delta, nix::sys::signal::Signal::SIGCONT);
    common::signal(&delta, nix::sys::signal::Signal::SIGTERM);
    common::within(move || delta.wait().expect("ff ends"));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_told_once_each_and_the_doctor_finds_what_holds_all() {
    let store = Store::start();
    let quotas = |arguments: &[&str]| {
        let of = ["--namespace", "shop"];
        store.out(&[&["quotas", "set", "per-customer"], arguments, &of].concat())
    };
    let ids = [(); 2].map(|()| submit(&store, &["export", "--quota-key", "per-customer", "c17"]));
    let told = why(&store, &ids[0]);
    assert!(told.contains("- quota per-customer does not exist\n"), "{told}");
    assert!(told.contains("- it starts once they let it start\n"), "{told}");
    quotas(&["--concurrency", "1", "--rate", "50/90s"]);
    let worker = worker(&store, HOUR).await;
    let task = claim(&worker).await;
    assert!(worker.claim_next().await.expect("the store answers").is_none(), "one at a time");
    let holder = task.execution_id().to_string();
    let waiting = ids.iter().find(|id| **id != holder).expect("the other one");
    let told = why(&store, waiting);
    assert!(told.contains("- quota per-customer (key c17) is full: 1 of 1 slot taken"), "{told}");
    assert!(told.contains(&format!("ff why {holder} --namespace shop")), "{told}");
    let full = "--concurrency 1 --rate 50/1m30s --namespace shop";
    assert!(told.contains(full), "{told}");
    for output in paste(&store, &told, "limits of the quota): ") {
        assert!(text(&output.stdout).starts_with("nothing changed"), "{output:?}");
    }
    quotas(&["--concurrency", "2"]);
    let told = why(&store, waiting);
    assert!(told.contains("is free now: 1 of 2 slots taken\n- the limits let it start"), "{told}");

    // What waits for the quota stays there.
    quotas(&["--concurrency", "1"]);
    let missing = submit(&store, &["export", "--budget", "llm", "--quota", "none"]);
    submit(&store, &["export", "--lane", "mail"]);
    store.out(&["lanes", "pause", "mail", "--namespace", "shop"]);
    // Between two looks it waits for a worker, which then finds that its limits are missing.
    let is_held =
        |told: &String| told.starts_with("rate_limited (a limit that it names is missing): ");
    held(&worker, || Some(why(&store, &missing)).filter(is_held)).await;
    let doctor = || store.json(&["doctor", "--namespace", "shop"]).to_string();
    let quota = "work waits for quota none, which does not exist";
    let found = held(&worker, || Some(doctor()).filter(|found| found.contains(quota))).await;
    for finding in [
        "work waits for budget llm, which does not exist",
        "work waits in lane mail, which is paused since ",
        "ff lanes resume mail --namespace shop",
    ] {
        assert!(found.contains(finding), "{finding}: {found}");
    }
}

/// Looks for work that a limit holds back until a text is found.
async fn held(worker: &FlowFabricWorker, find: impl Fn() -> Option<String>) -> String {
    let begun = std::time::Instant::now();
    loop {
        assert!(worker.claim_next().await.expect("the store answers").is_none());
        match find() {
            Some(found) => return found,
            None => assert!(begun.elapsed() < common::DEADLINE, "it is not held back"),
        }
    }
}
