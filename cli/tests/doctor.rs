//! `ff doctor` as a user runs it. What it finds in a broken store is tested with the SDK.

use std::process::{Command, Output};

use serde_json::Value;

fn doctor(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ff"));
    command.arg("doctor").args(arguments).env_remove("FF_BACKEND");
    command.output().expect("ff runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn nothing_is_wrong_with_an_empty_store() {
    let output = doctor(&["--backend", "memory:"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    assert!(shown.contains("nothing is wrong") && shown.contains("good"), "{shown}");
}

#[test]
fn the_findings_are_one_object() {
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
fn what_cannot_be_examined_is_told_with_code_2() {
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
