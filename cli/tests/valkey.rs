//! The commands for a store that others see, on a real server: real processes, real signals.

mod common;
#[path = "../src/private_server.rs"]
mod private_server;
#[path = "common/store.rs"]
mod store;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use tempfile::TempDir;

use common::{Pipe, signal, text, within};
use store::{Said, Store, objects};

/// An id that nothing has.
const NOBODY: &str = "{fp:1}:00000000-0000-0000-0000-000000000001";

#[test]
fn what_one_process_submits_two_others_work_off_and_all_can_see() {
    let store = Store::start();
    let lines: Vec<Value> =
        (0..40).map(|n| json!({"kind": "double", "payload": {"n": n}, "priority": n})).collect();
    let output = store.submit(&lines, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("40 created, 0 duplicates, 0 refused of 40"));
    let ids: Vec<String> = text(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(ids.len(), 40);

    let exec = ["work", "--exec", "cat; echo .", "--until-idle", "--json", "--slots", "2"];
    let workers = [(); 2].map(|()| store.ff(&exec).spawn().expect("ff starts"));
    let mut finished = Vec::new();
    for worker in workers {
        let output = within(move || worker.wait_with_output().expect("ff ends"));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        finished.extend(objects(&text(&output.stdout)));
    }
    assert!(finished.iter().all(|line| line["outcome"] == "completed"), "{finished:?}");
    let worked: BTreeSet<_> = finished.iter().map(|line| line["id"].to_string()).collect();
    assert_eq!((finished.len(), worked.len()), (40, 40));

    let seen = store.json(&["describe", &ids[7]]);
    assert_eq!((&seen["payload"], &seen["result"]), (&json!("{\"n\":7}"), &json!("{\"n\":7}.\n")));
    let seen = store.out(&["describe", &ids[7]]);
    assert!(seen.contains("completed") && seen.contains("{\"n\":7}."), "{seen}");
    let history = store.json(&["history", &ids[7]]);
    assert_eq!(history["attempts"][0]["end"], "succeeded", "{history}");
    let history = store.out(&["history", &ids[7]]);
    let place = |what: &str| history.find(what).unwrap_or_else(|| panic!("{what}: {history}"));
    assert!(place("created on lane default") < place("claimed by"), "{history}");
    assert!(place("claimed by") < place("Z  success"), "{history}");
}

#[test]
fn lists_are_filtered_and_paged_and_may_lose_their_reader() {
    let store = Store::start();
    let lines: Vec<Value> = (0..23).map(|n| json!({"kind": format!("k{}", n % 2)})).collect();
    let ids: BTreeSet<String> =
        text(&store.submit(&lines, &[]).stdout).lines().map(str::to_owned).collect();
    store.submit(&[json!({"kind": "k0"})], &["--lane", "other", "--namespace", "else"]);
    let all = objects(&store.out(&["list", "--all", "--limit", "5", "--json"]));
    let seen = |lines: &[Value]| -> BTreeSet<String> {
        lines.iter().filter_map(|line| line["execution_id"].as_str()).map(str::to_owned).collect()
    };
    assert_eq!((all.len(), seen(&all)), (23, ids.clone()));

    let (mut paged, mut after) = (BTreeSet::new(), None::<String>);
    loop {
        let mut arguments = vec!["list", "--json", "--limit", "7"];
        if let Some(after) = &after {
            arguments.extend(["--after", after]);
        }
        let page = objects(&store.out(&arguments));
        paged.extend(seen(&page));
        match page.last().and_then(|last| last["next"].as_str()) {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
        assert_eq!(page.len(), 8, "{page:?}");
    }
    assert_eq!(paged, ids);

    let count = |arguments: &[&str]| {
        objects(&store.out(&[&["list", "--all", "--json"], arguments].concat())).len()
    };
    assert_eq!(count(&["--kind", "k1", "--state", "waiting", "--lane", "default"]), 11);
    assert_eq!(count(&["--state", "failed"]), 0);
    assert_eq!(count(&["--quarantined"]), 0);
    assert_eq!(count(&["--namespace", "else", "--lane", "other"]), 1);
    let said = store.out(&["list", "--limit", "5"]);
    assert!(said.contains("there is more: --after "), "{said}");

    let mut child = store.ff(&["list", "--all", "--limit", "1"]).spawn().expect("ff starts");
    drop(child.stdout.take());
    let status = within(move || child.wait().expect("ff ends"));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_submission_is_refused_line_by_line_or_as_a_whole() {
    let store = Store::start();
    let keyed = |n: u32| json!({"kind": "k", "payload": n, "idempotency_key": "key"});
    let output = store.submit(&[keyed(1), keyed(1), keyed(2), json!({"kind": "k"})], &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let lines = objects(&text(&output.stdout));
    let outcomes: Vec<&str> = lines.iter().filter_map(|line| line["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["created", "duplicate", "refused", "created"]);
    assert_eq!(lines[0]["id"], lines[1]["id"]);
    assert!(text(&output.stderr).contains("line 3: refused: "), "{}", text(&output.stderr));

    let bad = [json!({"kind": "k"}), json!({"kind": ""}), json!({"kind": "k", "colour": "red"})];
    let output = store.submit(&bad, &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    for wanted in ["standard input:2: ", "standard input:3: ", "nothing was submitted"] {
        assert!(said.contains(wanted), "{said}");
    }
    assert_eq!(objects(&store.out(&["list", "--all", "--json"])).len(), 2);
}

#[test]
fn operators_cancel_and_replay_and_may_repeat_a_call() {
    let store = Store::start();
    let id = store.submit_one(json!({"kind": "k"}));
    let named = ["--request-id", "r-1"];
    let cancelled = store.json(&["cancel", &id, "--reason", "not needed", named[0], named[1]]);
    assert_eq!(
        (&cancelled["outcome"], &cancelled["request_id"]),
        (&json!("cancelled"), &json!("r-1"))
    );
    assert!(store.out(&["describe", &id]).contains("not needed"));
    store.out(&["cancel", &id, named[0], named[1]]);
    let refused = store.run(&["cancel", &id]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("not active"), "{}", text(&refused.stderr));

    let said = store.out(&["replay", &id, "--request-id", "r-2"]);
    assert!(said.contains("life 1") && said.contains("request id r-2"), "{said}");
    assert_eq!(store.json(&["replay", &id, "--request-id", "r-2"])["life"], 1);
    assert_eq!(store.state(&id), "waiting");
    assert_eq!(store.run(&["replay", &id]).status.code(), Some(1));
    assert_eq!(store.run(&["revoke", &id]).status.code(), Some(1));
    for command in ["describe", "history", "cancel", "replay", "revoke"] {
        let output = store.run(&[command, NOBODY]);
        assert_eq!(output.status.code(), Some(1), "{command}");
        let said = text(&output.stderr);
        assert!(said.contains("there is no such execution in namespace ff"), "{command}: {said}");
        let output = store.run(&[command, &id, "--namespace", "else"]);
        assert_eq!(output.status.code(), Some(1), "{command} reaches into another namespace");
    }
}

#[test]
fn a_revoked_lease_ends_the_command_and_another_takes_over() {
    let store = Store::start();
    let directory = TempDir::new().expect("a directory");
    let up = Pipe::new(&directory, "up");
    let id = store.submit_one(json!({"kind": "k"}));
    // The first attempt waits for ever, the next one ends.
    let command = format!("echo $$ > {}; [ $FF_LEASE_EPOCH != 1 ] || sleep 1000", up.0.display());
    let exec = ["work", "--exec", &command, "--lease-ttl-ms", "1000", "--max", "2", "--json"];
    let exec = [&exec[..], &["--slots", "1"]].concat();
    let worker = store.ff(&exec).spawn().expect("ff starts");
    up.line();
    assert_eq!(store.state(&id), "active");
    assert_eq!(store.json(&["revoke", &id])["lease_epoch"], 1);
    up.line();
    let output = within(move || worker.wait_with_output().expect("ff ends"));
    let outcomes: Vec<Value> =
        objects(&text(&output.stdout)).iter().map(|line| line["outcome"].clone()).collect();
    assert_eq!(outcomes, ["lost", "completed"], "{}", text(&output.stderr));
    let history = store.out(&["history", &id]);
    assert!(history.contains("the lease of epoch 1 was revoked"), "{history}");
}

#[test]
fn the_work_of_a_killed_worker_is_finished_by_another() {
    let store = Store::start();
    let directory = TempDir::new().expect("a directory");
    let up = Pipe::new(&directory, "up");
    let id = store.submit_one(json!({"kind": "k"}));
    let command = format!("echo up > {}; sleep 1000", up.0.display());
    let exec = ["work", "--exec", &command, "--lease-ttl-ms", "1000"];
    let mut killed = store.ff(&exec).spawn().expect("ff starts");
    up.line();
    signal(&killed, Signal::SIGKILL);
    within(move || killed.wait().expect("it is gone"));
    let said = store.out(&["work", "--exec", "echo $FF_ATTEMPT_INDEX", "--until-idle", "--json"]);
    assert_eq!(objects(&said).len(), 1, "{said}");
    let seen = store.json(&["describe", &id]);
    assert_eq!(
        (&seen["result"], &seen["counts"]["reclaims"]),
        (&json!("1\n"), &json!(1)),
        "{seen}"
    );
}

#[test]
fn the_first_signal_drains_and_the_second_gives_back_at_once() {
    let store = Store::start();
    let directory = TempDir::new().expect("a directory");
    let (up, go) = (Pipe::new(&directory, "up"), Pipe::new(&directory, "go"));
    let ids = [(); 2].map(|()| store.submit_one(json!({"kind": "k"})));
    let command = format!("echo up > {}; cat {}", up.0.display(), go.0.display());
    let exec = ["work", "--exec", &command, "--slots", "1"];
    let mut worker = store.ff(&exec).spawn().expect("ff starts");
    let said = Said::by(&mut worker);
    up.line();
    signal(&worker, Signal::SIGTERM);
    said.wait_for("draining");
    go.write("done");
    let status = within(move || worker.wait().expect("ff ends"));
    assert_eq!(status.code(), Some(0));
    // A lane keeps its order within a partition only: either may have been the first.
    let mut states = ids.clone().map(|id| (store.state(&id), id));
    states.sort();
    let [(done, _), (left, second)] = states;
    assert_eq!((done.as_str(), left.as_str()), ("completed", "waiting"));

    let mut worker = store.ff(&exec).spawn().expect("ff starts");
    let said = Said::by(&mut worker);
    up.line();
    signal(&worker, Signal::SIGINT);
    said.wait_for("draining");
    signal(&worker, Signal::SIGINT);
    said.wait_for("1 given back");
    let status = within(move || worker.wait().expect("ff ends"));
    assert_eq!(status.code(), Some(130));
    assert_ne!(store.state(&second), "active");
}

#[test]
fn a_server_that_stands_still_for_a_while_ends_no_worker() {
    let store = Store::start();
    let mut worker =
        store.ff(&["work", "--exec", "true", "--max", "1"]).spawn().expect("ff starts");
    let said = Said::by(&mut worker);
    said.wait_for("works in namespace ff");
    let server = store.pid();
    kill(server, Signal::SIGSTOP).expect("the server is there");
    said.wait_for("trying again");
    kill(server, Signal::SIGCONT).expect("the server is there");
    said.wait_for("the store answers again");
    let id = store.submit_one(json!({"kind": "k"}));
    let status = within(move || worker.wait().expect("ff ends"));
    assert_eq!(status.code(), Some(0));
    assert_eq!(store.state(&id), "completed");
}

#[test]
fn a_server_that_stands_still_for_a_while_ends_no_watch() {
    let store = Store::start();
    let mut watching = store.ff(&["watch", "--count", "1"]).spawn().expect("ff starts");
    let said = Said::by(&mut watching);
    said.wait_for("watches namespace ff");
    let server = store.pid();
    kill(server, Signal::SIGSTOP).expect("the server is there");
    said.wait_for("partitions do not answer; trying again");
    kill(server, Signal::SIGCONT).expect("the server is there");
    said.wait_for("the store answers again");
    cancelled(&store, json!({"kind": "k"}));
    assert_eq!(within(move || watching.wait().expect("ff ends")).code(), Some(0));
}

#[test]
fn a_worker_takes_what_it_can_do_and_others_the_rest() {
    let store = Store::start();
    let gpu = store.submit_one(json!({"kind": "k", "requires": ["gpu"], "priority": 9}));
    let plain = store.submit_one(json!({"kind": "k"}));
    store.out(&["work", "--exec", "true", "--until-idle"]);
    assert_eq!((store.state(&gpu), store.state(&plain)), ("waiting".into(), "completed".into()));
    store.out(&["work", "--exec", "true", "--max", "1", "--capability", "gpu"]);
    assert_eq!(store.state(&gpu), "completed");
}

/// Ends an execution; its id.
fn cancelled(store: &Store, line: Value) -> String {
    let id = store.submit_one(line);
    store.out(&["cancel", &id]);
    id
}

#[test]
fn a_watch_prints_what_ends_and_goes_on_where_it_was() {
    let store = Store::start();
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("place").display().to_string();
    let red = || json!({"kind": "k", "tags": {"test.colour": "red"}});
    store.out(&["list"]);
    cancelled(&store, red());
    // From the end on unless told otherwise, and it keeps that place before anything ends.
    let watch = ["watch", "--tag", "test.colour=red", "--cursor-file", &file, "--json"];
    let mut watching = store.ff(&watch).spawn().expect("ff starts");
    Said::by(&mut watching).wait_for("watches namespace ff");
    let mut out = BufReader::new(watching.stdout.take().expect("its output is a pipe")).lines();
    cancelled(&store, json!({"kind": "k", "tags": {"test.colour": "blue"}}));
    let first = cancelled(&store, red());
    let line = within(move || out.next().expect("a line").expect("it is text"));
    let line: Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!((&line["item"], &line["execution_id"]), (&json!("completed"), &json!(first)));
    assert_eq!((&line["outcome"], &line["lane"]), (&json!("cancelled"), &json!("default")));
    assert_eq!(line["tags"], json!({"test.colour": "red"}));
    signal(&watching, Signal::SIGINT);
    assert_eq!(within(move || watching.wait().expect("ff ends")).code(), Some(0));

    let away: BTreeSet<String> = (0..5).map(|_| cancelled(&store, red())).collect();
    let mut told = BTreeSet::new();
    for count in ["2", "3"] {
        let lines = objects(&store.out(&[&watch[..], &["--count", count]].concat()));
        told.extend(
            lines.iter().filter_map(|line| line["execution_id"].as_str()).map(str::to_owned),
        );
    }
    assert_eq!(told, away);
    // Killed, it has kept its place too.
    let last = cancelled(&store, red());
    let mut killed = store.ff(&watch).spawn().expect("ff starts");
    let out = BufReader::new(killed.stdout.take().expect("its output is a pipe")).lines();
    let mut out = within(move || {
        let mut out = out;
        out.next().expect("a line").map(|_| out).expect("it is text")
    });
    signal(&killed, Signal::SIGKILL);
    within(move || killed.wait().expect("it is gone"));
    assert!(out.next().is_none());
    let later = cancelled(&store, red());
    let lines = objects(&store.out(&[&watch[..], &["--count", "1"]].concat()));
    // The one that it had printed comes again if it was killed before it could keep its place.
    assert!([json!(last), json!(later)].contains(&lines[0]["execution_id"]), "{lines:?}");
    let said = store.out(&["watch", "--from", "start", "--count", "10"]);
    assert_eq!(said.lines().count(), 10);
    assert!(said.contains(&first) && said.contains("  default  cancelled"), "{said}");
}

#[test]
fn a_watch_says_where_something_is_missing() {
    let store = Store::start();
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("place");
    let file = path.display().to_string();
    let id = cancelled(&store, json!({"kind": "k"}));
    store.out(&["watch", "--from", "start", "--count", "1", "--cursor-file", &file]);
    let kept = std::fs::read_to_string(&path).expect("it has kept its place");
    let (_, places) = kept.split_once(':').and_then(|(_, rest)| rest.split_once(':')).expect("two");
    // Its place in another history.
    std::fs::write(&path, format!("1:7:{places}")).expect("it is written");
    let watch = ["watch", "--cursor-file", &file, "--count", "1"];
    let objects = objects(&store.out(&[&watch[..], &["--json"]].concat()));
    assert_eq!(objects[0]["item"], "gap", "{objects:?}");
    assert!(objects[0]["partition"].is_u64(), "{objects:?}");
    std::fs::write(&path, format!("1:7:{places}")).expect("it is written");
    let said = store.out(&watch);
    assert!(said.starts_with("gap: partition ") && said.contains("look again"), "{said}");
    let said = store.out(&["watch", "--from", &format!("1:7:{}", places.trim()), "--count", "1"]);
    assert!(said.starts_with("gap: partition "), "{said}");
    let said = store.out(&["watch", "--from", "start", "--count", "1"]);
    assert!(said.contains(&id), "{said}");

    std::fs::write(&path, "1:7:1af,s").expect("it is written");
    let output = store.run(&watch);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("2 partitions, and this one has 256"), "{output:?}");
    std::fs::write(&path, "").expect("it is written");
    let output = store.run(&watch);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("it is no cursor"), "{output:?}");
    // Ended before it has printed as many as it should.
    let mut watching = store.ff(&["watch", "--count", "9"]).spawn().expect("ff starts");
    Said::by(&mut watching).wait_for("watches namespace ff");
    signal(&watching, Signal::SIGTERM);
    assert_eq!(within(move || watching.wait().expect("ff ends")).code(), Some(130));
}

#[test]
fn a_private_server_runs_a_file_and_is_gone_afterwards() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ff"));
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let directory = TempDir::new().expect("a directory");
    command.args(["run", "examples/jobs.jsonl", "--backend", "valkey:", "--json"]);
    command.current_dir(root).env("TMPDIR", directory.path());
    let output = command.output().expect("ff runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((&summary["completed"], &summary["executions"]), (&json!(15), &json!(15)));
    let left = std::fs::read_dir(directory.path()).expect("a directory").count();
    assert_eq!(left, 0, "the server's directory is left");
}

#[test]
fn a_worker_that_starts_while_the_memory_is_full_empties_it() {
    let store = Store::start();
    let id = store.submit_one(json!({"kind": "any"}));
    assert!(store.ask("CONFIG SET maxmemory 1").starts_with("+OK"));
    store.out(&["work", "--exec", "cat", "--until-idle"]);
    assert_eq!(store.state(&id), "completed");
    store.out(&["doctor", "--no-audit"]);
}
