//! `ff doctor`: its JSON and exit codes. The tests of the SDK cover the findings in a broken store.

use std::process::Output;

use serde_json::{Value, json};

use crate::common::store::Store;
use crate::common::{self, text};

fn doctor(arguments: &[&str]) -> Output {
    let mut command = common::command();
    command.arg("doctor").args(arguments).env_remove("FF_BACKEND");
    command.output().expect("ff runs")
}

#[test]
fn findings_are_one_json_object() {
    let output = doctor(&["--backend", "memory:", "--json", "--namespace", "tenant"]);
    let found: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((&found["worst"], &found["namespace"]), (&"good".into(), &"tenant".into()));
    assert_eq!(found["findings"][0]["subject"], "store");
    assert_eq!(found["audit"]["faults"], Value::Array(Vec::new()));
    let output = doctor(&["--backend", "memory:", "--json", "--no-audit"]);
    let found: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(found["audit"], Value::Null);
}

#[test]
fn bad_usage_ends_with_2_and_a_store_that_cannot_be_reached_with_1() {
    for (arguments, code) in [
        (&["--backend", "nowhere:"][..], 2),
        (&["--backend", "memory:", "--namespace", "two words"], 2),
        (&["--backend", "memory:", "--limit", "0"], 2),
        (&["--json", "--backend", "nowhere:"], 2),
        (&["--backend", "valkey://127.0.0.1:1"], 1),
    ] {
        let output = doctor(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_store_that_cannot_be_reached_is_a_finding() {
    let output = doctor(&["--json", "--backend", "valkey://me:secret@127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((&found["worst"], &found["audit"]), (&"problem".into(), &Value::Null));
    assert_eq!(found["backend"], "valkey://***@127.0.0.1:1");
    let detail = found["findings"][0]["detail"].to_string();
    assert!(detail.contains("cannot reach 127.0.0.1:1"), "{found}");
}

#[test]
fn a_server_that_refuses_writes_is_a_problem() {
    let store = Store::start();
    store.submit_one(json!({"kind": "k"}));
    let keys = store.query("DBSIZE");
    let writes = |code| {
        let output = store.run(&["doctor", "--no-audit", "--json"]);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stdout));
        let found: Value = serde_json::from_slice(&output.stdout).expect("one object");
        let findings = found["findings"].as_array().expect("a list").clone();
        let is_about = |finding: &&Value| {
            finding["subject"].as_str().is_some_and(|subject| subject.starts_with("writes on"))
        };
        findings.iter().find(is_about).expect("a finding about writes").clone()
    };
    assert_eq!(writes(0)["level"], "good");
    for (option, bad, good, advice) in [
        ("min-replicas-to-write", "1", "0", "min-replicas-to-write"),
        ("maxmemory", "1mb", "0", "the memory is full"),
    ] {
        store.query(&format!("CONFIG SET {option} {bad}"));
        let finding = writes(1);
        assert!(finding["advice"].to_string().contains(advice), "{finding}");
        store.query(&format!("CONFIG SET {option} {good}"));
        assert_eq!(writes(0)["level"], "good", "{option}");
    }
    // A directory stands where the server saves its file.
    let reply = store.query("CONFIG GET dir");
    let directory = reply.lines().find(|line| line.starts_with('/')).expect("its directory");
    let file = std::path::Path::new(directory).join("dump.rdb");
    std::fs::create_dir_all(file.join("x")).expect("the directory is created");
    store.query("CONFIG SET save \"3600 1\"");
    store.query("BGSAVE");
    let begun = std::time::Instant::now();
    while !store.query("INFO persistence").contains("rdb_last_bgsave_status:err") {
        assert!(begun.elapsed() < common::DEADLINE, "the server still saves");
    }
    assert!(writes(1)["advice"].to_string().contains("cannot save to its disk"));
    assert_eq!(store.query("DBSIZE"), keys, "the examination wrote something");
}
