//! Commands on a SQLite file: processes share it, one after the other and at the same time.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use common::{Pipe, signal, text, within};

/// The command `ff` with a file in this folder.
fn ff(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = common::command();
    let url = format!("sqlite:{}", folder.join("work.db").display());
    command.args(arguments).env("FF_BACKEND", url);
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    ff(folder, arguments).output().expect("ff runs")
}

/// Runs a command that must succeed, and returns its output.
fn expect(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_worker_that_is_killed_loses_nothing() {
    let directory = TempDir::new().expect("a directory");
    let folder = directory.path();
    expect(folder, &["submit", "--kind", "shout", "--payload", "\"hello\""]);
    let (up, go) = (Pipe::new(&directory, "up"), Pipe::new(&directory, "go"));
    let command = format!("echo up > {}; cat {}", up.0.display(), go.0.display());
    let work = ["work", "--lease-ttl", "1s", "--until-idle", "--exec"];
    let mut killed = ff(folder, &[&work[..], &[&command]].concat()).spawn().expect("ff runs");
    assert_eq!(up.line(), "up");
    signal(&killed, Signal::SIGKILL);
    within(move || killed.wait().expect("it ends"));
    expect(folder, &[&work[..], &["tr a-z A-Z"]].concat());
    let listed: Value = serde_json::from_str(expect(folder, &["list", "--json"]).trim())
        .expect("one object for one execution");
    let id = listed["execution_id"].as_str().expect("an id");
    assert_eq!(expect(folder, &["result", id]).trim(), "\"HELLO\"");
    expect(folder, &["doctor", "--no-audit"]);
}

#[test]
fn a_command_that_reads_does_not_create_the_file() {
    let folder = TempDir::new().expect("a directory");
    for arguments in [&["list"][..], &["doctor"], &["doctor", "--new-history"]] {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let error = text(&output.stderr);
        assert!(error.contains("work.db does not exist"), "{error}");
        assert!(!folder.path().join("work.db").exists());
    }
}

#[test]
fn a_file_that_was_copied_back_gets_a_new_history() {
    let folder = TempDir::new().expect("a directory");
    expect(folder.path(), &["submit", "--kind", "k"]);
    let said = expect(folder.path(), &["doctor", "--new-history"]);
    assert!(said.contains("work.db has a new history"), "{said}");
    let output = common::command()
        .args(["doctor", "--new-history", "--backend", "memory:"])
        .output()
        .expect("ff runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("give --backend sqlite:PATH"));
}
