//! The commands on a shared store, with a real server, real processes and real signals.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::store::{LineReader, MISSING, Store, objects};
use crate::common::{self, Pipe, signal, text, within};

#[test]
fn two_workers_run_what_another_process_submits() {
    let store = Store::start();
    let lines: Vec<Value> =
        (0..40).map(|n| json!({"kind": "double", "payload": {"n": n}, "priority": n})).collect();
    let output = store.submit(&lines, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("40 created, 0 duplicates, 0 refused of 40"));
    let ids: Vec<String> = text(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(ids.len(), 40);

    let exec = ["work", "--exec", "cat; echo .", "--until-idle", "--json", "--slots", "2"];
    let workers = [(); 2].map(|()| store.spawn(&exec));
    let mut finished = Vec::new();
    for worker in workers {
        let output = within(move || worker.wait_with_output().expect("ff ends"));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        finished.extend(objects(&text(&output.stdout)));
    }
    assert!(finished.iter().all(|line| line["outcome"] == "success"), "{finished:?}");
    let worked: BTreeSet<_> =
        finished.iter().map(|line| line["execution_id"].to_string()).collect();
    assert_eq!((finished.len(), worked.len()), (40, 40));

    let seen = store.json(&["describe", &ids[7]]);
    assert_eq!((&seen["payload"], &seen["result"]), (&json!("{\"n\":7}"), &json!("{\"n\":7}.\n")));
    let history = store.json(&["history", &ids[7]]);
    assert_eq!(history["attempts"][0]["end"], "succeeded", "{history}");
}

#[test]
fn lists_are_filtered_and_paged_and_end_with_their_reader() {
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

    let tagged = json!({"kind": "k2", "tags": {"team.name": "media", "team.size": "2"}});
    let id = store.submit_one(tagged);
    let media = ["--tag", "team.name=media"];
    assert_eq!((count(&media), count(&["--tag", "team.name=other"])), (1, 0));
    assert_eq!(count(&[&media[..], &["--tag", "team.size=3"]].concat()), 0);
    let one = objects(&store.out(&["list", "--json", "--limit", "1", media[0], media[1]]));
    assert_eq!(one[0]["execution_id"], json!(id), "pages of other executions are skipped");
    assert_eq!(count(&["--since", "1h"]), 24);
    let newest = objects(&store.out(&["list", "--since", "1h", "--limit", "3", "--json"]));
    assert_eq!((newest.len(), &newest[0]["execution_id"]), (4, &json!(id)), "{newest:?}");
    let by_time = |arguments: &[&str]| {
        let lines = objects(&store.out(&[&["list", "--all", "--json"], arguments].concat()));
        lines.iter().map(|line| line["created_at"].as_u64().expect("a time")).collect::<Vec<_>>()
    };
    let (newest, oldest) = (by_time(&[]), by_time(&["--oldest"]));
    assert!(oldest.is_sorted() && newest.iter().rev().eq(&oldest), "{newest:?}");
    let last = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(oldest[23]));
    let last = last.to_string();
    assert_eq!(count(&["--created-after", &last]), 1);
    assert_eq!(count(&["--created-before", &last]), 23);
    assert_eq!(count(&["--created-after", "1h", "--created-before", "30m"]), 0);
    assert_eq!(count(&["--state", "failed,waiting", "--state", "active"]), 24);

    let mut child = store.spawn(&["list", "--all", "--limit", "1"]);
    drop(child.stdout.take());
    let status = within(move || child.wait().expect("ff ends"));
    assert_eq!(status.code(), Some(0));
}

/// A command on many executions: it asks nothing without a terminal, and touches those that the
/// filter selects, once.
#[test]
fn many_executions_are_cancelled_and_replayed_by_filter() {
    let store = Store::start();
    let lines: Vec<Value> = (0..30).map(|n| json!({"kind": format!("k{}", n % 2)})).collect();
    store.submit(&lines, &[]);
    store.submit(&lines[..4], &["--lane", "mail"]);
    let count =
        |state: &str| objects(&store.out(&["list", "--all", "--json", "--state", state])).len();

    let filter = ["--lane", "default", "--kind", "k1", "--state", "waiting"];
    let dry = store.out(&[&["cancel", "--dry-run"], &filter[..]].concat());
    assert!(dry.ends_with("would cancel 15 executions (15 waiting)\n"), "{dry}");
    let dry = store.json(&[&["cancel", "--dry-run", "--limit", "3"], &filter[..]].concat());
    assert_eq!(dry["selected"], 3, "{dry}");
    assert_eq!(count("cancelled"), 0, "a dry run changes nothing");

    let first = [&["cancel", "--limit", "6", "--bulk-id", "b-1"], &filter[..]].concat();
    let part = store.json(&first);
    assert_eq!((&part["applied"], &part["failed"]), (&json!(6), &json!(0)), "{part}");
    let later = store.submit_one(json!({"kind": "k1", "lane": "default"}));
    let before = Duration::from_millis(part["created_before"].as_u64().expect("a time"));
    let before = humantime::format_rfc3339_millis(UNIX_EPOCH + before).to_string();
    let next = part["next"].as_str().expect("a cursor");
    let rest = ["cancel", "--bulk-id", "b-1", "--created-before", &before, "--after", next];
    let rest = store.json(&[&rest, &filter[..]].concat());
    assert_eq!((&rest["applied"], &rest["next"]), (&json!(9), &Value::Null), "{rest}");
    assert_eq!(count("cancelled"), 15);
    assert_eq!(store.json(&["describe", &later])["state"]["public_state"], "waiting");

    let said = store.out(&["cancel", "--lane", "mail", "--bulk-id", "b-2"]);
    assert_eq!(said, "cancelled 4 executions (bulk ID b-2)\n");
    let replay = ["replay", "--state", "cancelled", "--lane", "mail", "--bulk-id", "b-3"];
    assert_eq!(store.out(&replay), "replayed 4 executions (bulk ID b-3)\n");
    assert_eq!(store.out(&replay), "replayed 0 executions (bulk ID b-3)\n");

    for (arguments, message) in [
        (&["cancel"][..], "required arguments"),
        (&["cancel", MISSING, "--lane", "mail"], "cannot be used with"),
        (&["replay", "--lane", "mail"], "needs --state"),
        (&["cancel", "--state", "failed"], "does not apply to these states"),
        (&["cancel", "--created-before", "yesterday"], "expected how long ago"),
    ] {
        let output = store.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(message), "{}", text(&output.stderr));
    }
}

/// Ctrl-C ends a command on many executions after the calls in progress. It prints how to go on.
#[test]
fn a_command_on_many_executions_stops_cleanly_and_continues() {
    let store = Store::start();
    let lines: Vec<Value> = (0..2_000).map(|_| json!({"kind": "k"})).collect();
    store.submit(&lines, &[]);
    let calls = || -> u64 {
        let stats = store.query("INFO commandstats");
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_fcall:calls="));
        let count = line.and_then(|line| line.split(',').next()).expect("functions were called");
        count.parse().expect("a number")
    };
    let before = calls();
    let child = store.spawn(&["cancel", "--kind", "k", "--bulk-id", "b", "--json"]);
    // The command handles signals before it reads the 256 partitions, for each of ten pages.
    let begun = Instant::now();
    while calls() < before + 256 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the command begins");
    }
    signal(&child, Signal::SIGINT);
    let output = within(move || child.wait_with_output().expect("ff ends"));
    let (out, advice) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(130), "{advice}");
    let part: Value = serde_json::from_str(&out).expect("a summary");
    let applied = part["applied"].as_u64().expect("a number");
    assert!(applied < 2_000 && applied.is_multiple_of(200), "whole pages were applied: {part}");
    let (_, options) = advice.split_once("repeat the command with ").expect("advice");
    let options: Vec<&str> = options.split_whitespace().collect();
    let rest = store.json(&[&["cancel", "--kind", "k"], &options[..]].concat());
    assert_eq!((&rest["applied"], &rest["next"]), (&json!(2_000 - applied), &Value::Null));
}

#[test]
fn commands_on_an_empty_database_write_nothing_and_say_that_it_is_empty() {
    let store = Store::start();
    let waitpoint = ["signal", MISSING, "approval", "go", "--token-file", "Cargo.toml"];
    for command in [
        &["list"][..],
        &["list", "--quarantined"],
        &["describe", MISSING],
        &["history", MISSING],
        &["result", MISSING],
        &["watch"],
        &["tail", MISSING],
        &["waitpoints", MISSING],
        &["secret", "list"],
        &["cancel", MISSING],
        &["resume", MISSING],
        &["replay", MISSING],
        &["revoke", MISSING],
        &waitpoint,
    ] {
        let output = store.run(command);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {errors}");
        assert!(errors.contains("has no FlowFabric data"), "{command:?}: {errors}");
    }
    store.out(&["doctor"]);
    assert!(store.query("DBSIZE").starts_with(":0"), "{}", store.query("KEYS *"));
}

#[test]
fn operators_cancel_and_replay_and_can_repeat_a_request() {
    let store = Store::start();
    let id = store.submit_one(json!({"kind": "k"}));
    let named = ["--request-id", "r-1"];
    let cancelled = store.json(&["cancel", &id, "--reason", "not needed", named[0], named[1]]);
    assert_eq!(
        (&cancelled["outcome"], &cancelled["request_id"]),
        (&json!("cancelled"), &json!("r-1"))
    );
    store.out(&["cancel", &id, named[0], named[1]]);
    let refused = store.run(&["cancel", &id]);
    assert_eq!(refused.status.code(), Some(1));

    store.out(&["replay", &id, "--request-id", "r-2"]);
    assert_eq!(store.json(&["replay", &id, "--request-id", "r-2"])["life"], 1);
    assert_eq!(store.state(&id), "waiting");
    assert_eq!(store.run(&["replay", &id]).status.code(), Some(1));
    assert_eq!(store.run(&["revoke", &id]).status.code(), Some(1));
    for command in ["describe", "history", "cancel", "replay", "revoke"] {
        let output = store.run(&[command, MISSING]);
        assert_eq!(output.status.code(), Some(1), "{command}");
        let errors = text(&output.stderr);
        assert!(errors.contains(&format!("no execution {MISSING}")), "{command}: {errors}");
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
    // The first attempt never ends, the next one does.
    let command = format!("echo $$ > {}; [ $FF_ATTEMPT_INDEX != 0 ] || sleep 1000", up.0.display());
    let exec = ["work", "--exec", &command, "--lease-ttl", "1s", "--max", "2", "--json"];
    let exec = [&exec[..], &["--slots", "1"]].concat();
    let worker = store.spawn(&exec);
    up.line();
    assert_eq!(store.state(&id), "active");
    let epoch = store.json(&["revoke", &id])["lease_epoch"].to_string();
    up.line();
    let output = within(move || worker.wait_with_output().expect("ff ends"));
    let outcomes: Vec<Value> =
        objects(&text(&output.stdout)).iter().map(|line| line["outcome"].clone()).collect();
    assert_eq!(outcomes, ["lost", "success"], "{}", text(&output.stderr));
    let history = store.out(&["history", &id]);
    assert!(history.contains(&format!("lease of epoch {epoch} revoked")), "{history}");
}

#[test]
fn another_worker_takes_over_from_a_killed_one() {
    let store = Store::start();
    let directory = TempDir::new().expect("a directory");
    let up = Pipe::new(&directory, "up");
    let id = store.submit_one(json!({"kind": "k"}));
    let command = format!("echo up > {}; sleep 1000", up.0.display());
    let exec = ["work", "--exec", &command, "--lease-ttl", "1s"];
    let mut killed = store.spawn(&exec);
    up.line();
    signal(&killed, Signal::SIGKILL);
    within(move || killed.wait().expect("the process ends"));
    let out = store.out(&["work", "--exec", "echo $FF_ATTEMPT_INDEX", "--until-idle", "--json"]);
    assert_eq!(objects(&out).len(), 1, "{out}");
    let seen = store.json(&["describe", &id]);
    assert_eq!(
        (&seen["result"], &seen["counts"]["reclaims"]),
        (&json!("1\n"), &json!(1)),
        "{seen}"
    );
}

#[test]
fn the_first_signal_drains_and_the_second_gives_tasks_back() {
    let store = Store::start();
    let directory = TempDir::new().expect("a directory");
    let (up, go) = (Pipe::new(&directory, "up"), Pipe::new(&directory, "go"));
    let ids = [(); 2].map(|()| store.submit_one(json!({"kind": "k"})));
    let command = format!("echo up > {}; cat {}", up.0.display(), go.0.display());
    let exec = ["work", "--exec", &command, "--slots", "1"];
    let mut worker = store.spawn(&exec);
    let errors = LineReader::stderr(&mut worker);
    up.line();
    signal(&worker, Signal::SIGTERM);
    errors.wait_for("shutting down: waiting for 1 running task;");
    go.write("done");
    let status = within(move || worker.wait().expect("ff ends"));
    assert_eq!(status.code(), Some(0));
    // Executions of different partitions have no order: either may have been the first.
    let mut states = ids.clone().map(|id| (store.state(&id), id));
    states.sort();
    let [(done, _), (left, second)] = states;
    assert_eq!((done.as_str(), left.as_str()), ("completed", "waiting"));

    let mut worker = store.spawn(&exec);
    let errors = LineReader::stderr(&mut worker);
    up.line();
    signal(&worker, Signal::SIGINT);
    errors.wait_for("shutting down: waiting for 1 running task;");
    signal(&worker, Signal::SIGINT);
    errors.wait_for("1 given back");
    let status = within(move || worker.wait().expect("ff ends"));
    assert_eq!(status.code(), Some(130));
    assert_ne!(store.state(&second), "active");
    let history = store.out(&["history", &second]);
    assert!(history.contains("given back by its worker\n"), "{history}");
}

#[test]
fn a_worker_survives_a_server_that_stops_for_a_while() {
    let store = Store::start();
    let url = format!("{}?response_timeout_ms=300&connect_timeout_ms=300", store.url());
    let mut worker = store.spawn(&["work", "--exec", "true", "--max", "1", "--backend", &url]);
    let errors = LineReader::stderr(&mut worker);
    errors.wait_for("started in namespace ff");
    let server = store.pid();
    kill(server, Signal::SIGSTOP).expect("the server is there");
    errors.wait_for("cannot be used: it does not answer; trying again");
    kill(server, Signal::SIGCONT).expect("the server is there");
    errors.wait_for("connected again to the store at");
    let id = store.submit_one(json!({"kind": "k"}));
    let status = within(move || worker.wait().expect("ff ends"));
    assert_eq!(status.code(), Some(0));
    assert_eq!(store.state(&id), "completed");
}

#[test]
fn a_watch_survives_a_server_that_stops_for_a_while() {
    let store = Store::start();
    cancelled(&store, json!({"kind": "k"}));
    let mut watching = store.spawn(&["watch", "--count", "1"]);
    let errors = LineReader::stderr(&mut watching);
    errors.wait_for("watching namespace ff");
    let server = store.pid();
    kill(server, Signal::SIGSTOP).expect("the server is there");
    errors.wait_for("do not answer, retrying");
    kill(server, Signal::SIGCONT).expect("the server is there");
    errors.wait_for("the store answers again");
    cancelled(&store, json!({"kind": "k"}));
    assert_eq!(within(move || watching.wait().expect("ff ends")).code(), Some(0));
}

#[test]
fn a_worker_claims_only_executions_that_it_is_capable_of() {
    let store = Store::start();
    let gpu = store.submit_one(json!({"kind": "k", "requires": ["gpu"], "priority": 9}));
    let plain = store.submit_one(json!({"kind": "k"}));
    store.out(&["work", "--exec", "true", "--until-idle"]);
    assert_eq!((store.state(&gpu), store.state(&plain)), ("waiting".into(), "completed".into()));
    store.out(&["work", "--exec", "true", "--max", "1", "--capability", "gpu"]);
    assert_eq!(store.state(&gpu), "completed");
}

/// Submits an execution and cancels it. Returns its ID.
fn cancelled(store: &Store, line: Value) -> String {
    let id = store.submit_one(line);
    store.out(&["cancel", &id]);
    id
}

#[test]
fn a_watch_continues_from_its_cursor_file() {
    let store = Store::start();
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("cursor").display().to_string();
    let red = || json!({"kind": "k", "tags": {"test.colour": "red"}});
    cancelled(&store, red());
    // It begins now by default, and stores that cursor before anything ends.
    let watch = ["watch", "--tag", "test.colour=red", "--cursor-file", &file, "--json"];
    let mut watching = store.spawn(&watch);
    LineReader::stderr(&mut watching).wait_for("watching namespace ff");
    let mut out =
        BufReader::new(watching.stdout.take().expect("standard output is a pipe")).lines();
    cancelled(&store, json!({"kind": "k", "tags": {"test.colour": "blue"}}));
    let first = cancelled(&store, red());
    let line = within(move || out.next().expect("a line").expect("it is text"));
    let line: Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!((&line["item"], &line["execution_id"]), (&json!("completed"), &json!(first)));
    assert_eq!((&line["outcome"], &line["lane"]), (&json!("cancelled"), &json!("default")));
    assert_eq!(line["tags"], json!({"test.colour": "red"}));
    signal(&watching, Signal::SIGINT);
    assert_eq!(within(move || watching.wait().expect("ff ends")).code(), Some(0));

    let missed: BTreeSet<String> = (0..5).map(|_| cancelled(&store, red())).collect();
    let mut printed = BTreeSet::new();
    for count in ["2", "3"] {
        let lines = objects(&store.out(&[&watch[..], &["--count", count]].concat()));
        printed.extend(
            lines.iter().filter_map(|line| line["execution_id"].as_str()).map(str::to_owned),
        );
    }
    assert_eq!(printed, missed);
    // A killed watch has stored its cursor too.
    let last = cancelled(&store, red());
    let mut killed = store.spawn(&watch);
    let out = BufReader::new(killed.stdout.take().expect("standard output is a pipe")).lines();
    let mut out = within(move || {
        let mut out = out;
        out.next().expect("a line").map(|_| out).expect("it is text")
    });
    signal(&killed, Signal::SIGKILL);
    within(move || killed.wait().expect("the process ends"));
    assert!(out.next().is_none());
    let later = cancelled(&store, red());
    let lines = objects(&store.out(&[&watch[..], &["--count", "1"]].concat()));
    // The last line is printed again if the watch was killed before it stored the cursor.
    assert!([json!(last), json!(later)].contains(&lines[0]["execution_id"]), "{lines:?}");
    let out = store.out(&["watch", "--from", "start", "--count", "10"]);
    assert_eq!(out.lines().count(), 10);
    assert!(out.contains(&first), "{out}");
}

#[test]
fn a_watch_prints_gaps() {
    let store = Store::start();
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("cursor");
    let file = path.display().to_string();
    let id = cancelled(&store, json!({"kind": "k"}));
    store.out(&["watch", "--from", "start", "--count", "1", "--cursor-file", &file]);
    let stored = std::fs::read_to_string(&path).expect("the cursor was stored");
    let (_, positions) =
        stored.split_once(':').and_then(|(_, rest)| rest.split_once(':')).expect("two");
    // A cursor of another history of the store.
    std::fs::write(&path, format!("1:7:{positions}")).expect("the file can be written");
    let watch = ["watch", "--cursor-file", &file, "--count", "1"];
    let objects = objects(&store.out(&[&watch[..], &["--json"]].concat()));
    assert_eq!(objects[0]["item"], "gap", "{objects:?}");
    assert!(objects[0]["partition"].is_u64(), "{objects:?}");
    std::fs::write(&path, format!("1:7:{positions}")).expect("the file can be written");
    assert!(store.out(&watch).starts_with("gap: "));
    let out = store.out(&["watch", "--from", &format!("1:7:{}", positions.trim()), "--count", "1"]);
    assert!(out.starts_with("gap: "), "{out}");
    let out = store.out(&["watch", "--from", "start", "--count", "1"]);
    assert!(out.contains(&id), "{out}");

    std::fs::write(&path, "1:7:1af,s").expect("the file can be written");
    let output = store.run(&watch);
    assert_eq!(output.status.code(), Some(2));
    std::fs::write(&path, "").expect("the file can be written");
    let output = store.run(&watch);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--cursor-file"), "{output:?}");
    // It is ended before it has printed --count lines.
    let mut watching = store.spawn(&["watch", "--count", "9"]);
    LineReader::stderr(&mut watching).wait_for("watching namespace ff");
    signal(&watching, Signal::SIGTERM);
    assert_eq!(within(move || watching.wait().expect("ff ends")).code(), Some(143));
}

#[test]
fn a_private_server_is_gone_after_a_run() {
    let mut command = common::command();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let directory = TempDir::new().expect("a directory");
    command.args(["run", "examples/jobs.jsonl", "--backend", "valkey:", "--json"]);
    command.current_dir(root).env("TMPDIR", directory.path());
    let output = command.output().expect("ff runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((&summary["completed"], &summary["executions"]), (&json!(15), &json!(15)));
    let left = std::fs::read_dir(directory.path()).expect("a directory").count();
    assert_eq!(left, 0, "the server's directory was not removed");
}

#[test]
fn a_worker_can_start_while_the_memory_is_full() {
    let store = Store::start();
    let id = store.submit_one(json!({"kind": "any"}));
    assert!(store.query("CONFIG SET maxmemory 1").starts_with("+OK"));
    store.out(&["work", "--exec", "cat", "--until-idle"]);
    assert_eq!(store.state(&id), "completed");
    let examined = store.run(&["doctor", "--no-audit"]);
    assert_eq!(examined.status.code(), Some(1), "no new work is accepted: {examined:?}");
}

/// The objects of all commands call an ID and an outcome the same.
#[test]
fn json_has_one_vocabulary() {
    let store = Store::start();
    let submitted = store.submit(&[json!({"kind": "k"})], &["--json"]);
    let submitted = objects(&text(&submitted.stdout)).remove(0);
    let id = submitted["execution_id"].as_str().expect("an ID").to_owned();
    let waiting = store.json(&["waitpoints", &id]);
    let worked = objects(&store.out(&["work", "--exec", "true", "--max", "1", "--json"])).remove(0);
    let watch = ["watch", "--from", "start", "--count", "1", "--json"];
    let watched = objects(&store.out(&watch)).remove(0);
    let listed = objects(&store.out(&["list", "--json"])).remove(0);
    let described = store.json(&["describe", &id]);
    let replayed = store.json(&["replay", &id]);
    let cancelled = store.json(&["cancel", &id]);
    for object in [&waiting, &worked, &watched, &listed, &described, &replayed, &cancelled] {
        assert_eq!((&object["execution_id"], &object["id"]), (&json!(id), &Value::Null));
    }
    for object in [&worked, &watched, &listed, &described] {
        assert_eq!(object["outcome"], "success", "{object}");
    }
    let directory = TempDir::new().expect("a directory");
    let results = directory.path().join("results").display().to_string();
    let line = json!({"kind": "shell", "payload": {"command": "true"}}).to_string();
    let run = ["run", "-", "--backend", "memory:", "--results", &results];
    let output = store.run_with_input(&run, &line);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let result = &objects(&std::fs::read_to_string(&results).expect("the results"))[0];
    assert!(result["execution_id"].is_string() && result["id"].is_null(), "{result}");
    assert_eq!((&result["outcome"], &result["state"]), (&json!("success"), &json!("completed")));
}

#[test]
fn an_execution_is_named_by_its_id_or_its_form_for_urls() {
    let store = Store::start();
    let id = store.submit_one(json!({"kind": "k"}));
    let short = id.replace("{fp:", "").replace("}:", ".");
    for name in [&id, &short] {
        assert!(store.out(&["describe", name]).contains(&id), "{name}");
    }
}

#[test]
fn an_execution_that_is_retried_shows_its_last_failure() {
    let store = Store::start();
    let retry = json!({"max_retries": 1, "backoff": {"fixed": {"delay_ms": 3_600_000}}});
    let id = store.submit_one(json!({"kind": "k", "retry": retry}));
    store.out(&["work", "--exec", "echo no paper >&2; exit 3", "--max", "1"]);
    let shown = store.out(&["describe", &id]);
    assert!(shown.contains("last failure") && shown.contains("no paper"), "{shown}");
}
