//! Commands on a SQLite file: processes share it, one after the other and at the same time.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{self, Pipe, signal, text, within};

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

/// `ff run` of the jobs of the demonstration, with the file of the folder.
fn demonstration(folder: &Path, arguments: &[&str]) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = ff(folder, &["run", "examples/jobs.jsonl", "--json"]);
    command.args(arguments).current_dir(root).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end, and returns the summary.
fn finished(folder: &Path, arguments: &[&str]) -> Value {
    let output = demonstration(folder, arguments).output().expect("ff runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one object")
}

/// The line of the results file for each line: its execution with the time of its end, and its
/// result.
fn written(file: &Path) -> BTreeMap<u64, (Value, Value)> {
    let lines = std::fs::read_to_string(file).expect("the results were written");
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("an object"));
    let parts = |line: Value| {
        let life = [&line["execution_id"], &line["ended_at"]].map(Clone::clone);
        let result = [&line["outcome"], &line["result"], &line["failure"]].map(Clone::clone);
        (line["line"].as_u64().expect("a number"), (life.into(), result.into()))
    };
    lines.map(parts).collect()
}

#[test]
fn a_run_that_is_killed_ten_times_ends_like_one_that_is_not() {
    let (calm, killed) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let file = |folder: &TempDir| folder.path().join("results");
    let results = |folder| ["--results".to_owned(), file(folder).display().to_string()];
    finished(calm.path(), &results(&calm).each_ref().map(String::as_str));
    let arguments = results(&killed);
    let arguments = arguments.each_ref().map(String::as_str);
    let mut ended = BTreeMap::new();
    for round in 0..10_u64 {
        let mut run = demonstration(killed.path(), &arguments).spawn().expect("ff runs");
        // Moments from 40 to 640 ms after the start, spread by the golden ratio.
        sleep(Duration::from_millis(40 + round * 618 % 600));
        signal(&run, Signal::SIGKILL);
        within(move || run.wait().expect("it ends"));
        for (line, now) in written(&file(&killed)) {
            let before = ended.entry(line).or_insert_with(|| now.clone());
            assert_eq!(*before, now, "line {line} ended twice");
        }
    }
    let summary = finished(killed.path(), &arguments);
    assert_eq!(summary["earlier"], summary["executions"], "{summary}");
    let (calm, killed) = (written(&file(&calm)), written(&file(&killed)));
    for (line, (_, result)) in &calm {
        assert_eq!(*result, killed[line].1, "line {line}");
    }
    assert_eq!(calm.len(), killed.len());
    for (line, before) in ended {
        assert_eq!(before, killed[&line], "line {line} ended twice");
    }
}

#[test]
fn a_finished_run_is_shown_again_and_can_be_run_again() {
    let folder = TempDir::new().expect("a folder");
    let jobs = folder.path().join("jobs");
    let line = r#"{"kind": "shell", "payload": {"command": "echo line >> log"}}"#;
    std::fs::write(&jobs, format!("{line}\n{line}\n")).expect("it can be written");
    let run = |arguments: &[&str]| {
        let mut command = common::command();
        command.args(["run", "jobs", "--json"]).args(arguments).env_remove("FF_BACKEND");
        let output = command.current_dir(folder.path()).output().expect("ff runs");
        let summary: Value = serde_json::from_slice(&output.stdout).expect("one object");
        let log = std::fs::read_to_string(folder.path().join("log")).expect("the log");
        (summary["earlier"].clone(), log.lines().count(), text(&output.stderr))
    };
    // Lines with the same content are separate executions.
    let (earlier, times, said) = run(&[]);
    assert_eq!((earlier, times), (0.into(), 2));
    assert!(said.contains("ff: created sqlite:ff.db"), "{said}");
    assert!(folder.path().join("ff.db").exists());
    let (earlier, times, said) = run(&[]);
    assert_eq!((earlier, times), (2.into(), 2), "{said}");
    assert!(said.contains("2 of these executions are from an earlier run, and 2"), "{said}");
    std::fs::write(&jobs, format!("{line}\n{line}\n{line}\n")).expect("it can be written");
    let (earlier, times, said) = run(&[]);
    assert_eq!((earlier, times), (2.into(), 3), "{said}");
    let (earlier, times, said) = run(&["--again"]);
    assert_eq!((earlier, times), (0.into(), 6), "{said}");
    // A key is a promise of its author.
    let keyed = line.replace("}}", r#"}, "idempotency_key": "k"}"#);
    std::fs::write(&jobs, keyed).expect("it can be written");
    assert_eq!(run(&[]).1, 7);
    assert_eq!(run(&["--again"]).1, 7);
}

#[test]
fn a_file_can_end_with_the_command() {
    let folder = TempDir::new().expect("a folder");
    let mut command = common::command();
    command.args(["doctor", "--backend", "sqlite:"]).current_dir(folder.path());
    let output = command.output().expect("ff runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(folder.path().read_dir().expect("a folder").count(), 0);
}
