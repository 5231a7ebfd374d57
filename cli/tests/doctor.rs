//! `ff doctor`: its JSON and exit codes. The tests of the SDK cover the findings in a broken store.

use std::process::{Command, Output};

use serde_json::Value;

fn doctor(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ff"));
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
fn a_store_that_cannot_be_opened_is_a_usage_error() {
    for arguments in [
        &["--backend", "nowhere:"][..],
        &["--backend", "valkey://127.0.0.1:1"],
        &["--backend", "memory:", "--namespace", "two words"],
        &["--backend", "memory:", "--limit", "0"],
        &[],
    ] {
        let output = doctor(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}
