//! `ff run` with real processes and signals. The tests wait for an event or an exit with a
//! deadline, and never for a fixed time.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{self, Pipe, heed_interrupts, is_gone, signal, text, within};

fn ff(arguments: &[&str]) -> Command {
    heed_interrupts();
    let mut command = common::command();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    command.args(arguments).current_dir(root).stdin(Stdio::null());
    command.env("FF_BACKEND", "memory:");
    command
}

fn run(arguments: &[&str]) -> Output {
    ff(arguments).output().expect("ff runs")
}

/// Runs `ff run` with these lines as standard input.
fn run_lines(lines: &str, arguments: &[&str]) -> Output {
    let mut command = ff(&["run", "-"]);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("ff starts");
    let mut stdin = child.stdin.take().expect("its input is a pipe");
    stdin.write_all(lines.as_bytes()).expect("ff reads its input");
    drop(stdin);
    child.wait_with_output().expect("ff ends")
}

/// The results in the order of the input.
fn results(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("the results were written");
    let parsed = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON"));
    let mut results: Vec<Value> = parsed.collect();
    results.sort_by_key(|line| line["line"].as_u64());
    results
}

/// The parts that are the same in every run: line, outcome and result.
fn outcomes(path: &Path) -> Vec<(Value, Value, Value)> {
    let keep =
        |line: &Value| (line["line"].clone(), line["outcome"].clone(), line["result"].clone());
    results(path).iter().map(keep).collect()
}

/// Waits until the process prints this to standard error.
fn wait_for_stderr(child: &mut Child, wanted: &'static str) {
    let stderr = child.stderr.take().expect("standard error is a pipe");
    within(move || {
        let mut lines = BufReader::new(stderr).lines();
        let found = lines.any(|line| line.is_ok_and(|line| line.contains(wanted)));
        assert!(found, "the process ended without printing {wanted:?}");
        // Keep reading, so that the process never waits for its reader.
        std::thread::spawn(move || lines.for_each(drop));
    });
}

#[test]
fn the_example_completes_with_and_without_killed_workers() {
    let directory = TempDir::new().expect("a directory");
    let (calm, killed) = (directory.path().join("calm"), directory.path().join("killed"));
    let path = |path: &PathBuf| path.to_str().expect("a text").to_owned();
    let output = run(&["run", "examples/jobs.jsonl", "--results", &path(&calm)]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("15 of 15 completed"), "{}", text(&output.stdout));
    let lines = results(&calm);
    let retried: Vec<u64> = lines.iter().filter_map(|line| line["retries"].as_u64()).collect();
    assert_eq!(retried, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0]);
    let output = run(&[
        "run",
        "examples/jobs.jsonl",
        "--kill-workers-every",
        "200ms",
        "--json",
        "--seed",
        "7",
        "--results",
        &path(&killed),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert!(summary["workers_killed"].as_u64() > Some(0), "{summary}");
    assert_eq!(outcomes(&calm), outcomes(&killed));
}

#[test]
fn failures_are_reported_with_category_and_reason() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("results");
    let name = file.to_str().expect("a text");
    let output = run(&["run", "examples/failing.jsonl", "--results", name]);
    assert_eq!(output.status.code(), Some(1));
    let categories: Vec<Value> =
        results(&file).iter().map(|line| line["failure"]["category"].clone()).collect();
    let expected = [
        None,
        Some("exit_code"),
        Some("exit_code"),
        Some("signal"),
        Some("attempt_timeout"),
        Some("spawn"),
    ];
    assert_eq!(categories, expected.map(Value::from));
    let out = text(&output.stdout);
    assert!(out.contains("1 of 6 completed, 5 failed, 3 retries"), "{out}");
}

/// The reason of a failure says what to check when a command cannot be executed.
#[test]
fn a_command_that_cannot_be_executed_fails_with_a_hint() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("data");
    std::fs::write(&file, "data").expect("a file");
    let out = directory.path().join("out");
    let never = r#""retry": {"max_retries": 0}"#;
    let line =
        |payload: String| format!("{{\"kind\": \"shell\", \"payload\": {payload}, {never}}}\n");
    let path = file.display();
    let lines = [
        line(r#"{"command": "nosuchprogram"}"#.to_owned()),
        line(r#"{"argv": ["nosuchprogram"]}"#.to_owned()),
        line(format!(r#"{{"command": "{path}"}}"#)),
        line(format!(r#"{{"argv": ["{path}"]}}"#)),
    ];
    run_lines(&lines.concat(), &["--results", out.to_str().expect("a path")]);
    let results = results(&out);
    for (result, hint) in results.iter().zip([
        "exit code 127 (command not found? check its spelling and PATH): ",
        "nosuchprogram: No such file or directory (os error 2); check its spelling and PATH",
        "exit code 126 (command not executable? check the file's mode and first line): ",
        "Permission denied (os error 13); check the file's mode and first line",
    ]) {
        let reason = result["failure"]["reason"].as_str().expect("a reason");
        assert!(reason.contains(hint), "{reason}");
    }
    assert_eq!(results.len(), 4);
}

#[test]
fn bad_lines_are_reported_by_number_and_nothing_runs() {
    let directory = TempDir::new().expect("a directory");
    let witness = directory.path().join("witness");
    let lines = format!(
        "{}\n\n{}\n{}\n{}\n{}\n{}\n{}\n",
        format_args!(
            r#"{{"kind": "shell", "payload": {{"command": "touch {}"}}}}"#,
            witness.display()
        ),
        r#"{"kind": "shell", "payload": {"command": "true"}"#,
        r#"{"kind": "mail", "payload": {"command": "true"}}"#,
        r#"{"kind": "shell", "payload": {}}"#,
        r#"{"kind": "shell", "payload": {"command": "true"}, "tags": {"Team": "x"}}"#,
        r#"{"kind": "shell", "payload": {"command": "true"}, "colour": "red"}"#,
        r#"{"kind": "shell", "payload": {"command": "true"}, "timeout_ms": 0}"#,
    );
    let output = run_lines(&lines, &[]);
    assert_eq!(output.status.code(), Some(2));
    let errors = text(&output.stderr);
    for number in 3..=8 {
        assert!(errors.contains(&format!("standard input:{number}: ")), "line {number}: {errors}");
    }
    assert!(!witness.exists(), "something ran");
}

#[test]
fn usage_errors_end_with_2() {
    for arguments in [
        vec!["run", "no-such-file"],
        vec!["run", "examples/jobs.jsonl", "--workers", "0"],
        vec!["run", "examples/jobs.jsonl", "--backend", "tape:"],
        vec!["run", "examples/jobs.jsonl", "--results", "no-such-directory/results"],
        vec!["fly"],
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    assert_eq!(run_lines("\n", &[]).status.code(), Some(2));
}

#[test]
fn an_idempotency_key_runs_once_and_other_content_is_refused() {
    let line = |command: &str| {
        format!(
            r#"{{"kind": "shell", "payload": {{"command": "{command}"}}, "idempotency_key": "k"}}"#
        )
    };
    let output = run_lines(&format!("{0}\n{0}\n", line("echo one")), &["--json"]);
    let summary: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((&summary["duplicates"], &summary["attempts"]), (&1.into(), &1.into()), "{summary}");
    let output = run_lines(&format!("{}\n{}\n", line("echo one"), line("echo two")), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("standard input:2: "), "{}", text(&output.stderr));
}

#[test]
fn a_command_sees_its_payload_and_environment() {
    let command = "cat; echo $FF_ATTEMPT_INDEX $FF_RETRY_COUNT $FF_LEASE_EPOCH; \
                   echo $FF_EXECUTION_ID";
    let line = format!(r#"{{"kind": "shell", "payload": {{"command": "{command}", "n": 1}}}}"#);
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("results");
    let output = run_lines(&line, &["--results", file.to_str().expect("a text")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let results = results(&file);
    let result = results[0]["result"].as_str().expect("a text");
    let payload: Value = serde_json::from_str(&line).expect("JSON");
    let (first, rest) = result.split_once('}').expect("the payload comes first");
    let seen: Value = serde_json::from_str(&format!("{first}}}")).expect("JSON");
    assert_eq!(seen, payload["payload"]);
    let id = results[0]["execution_id"].as_str().expect("a text");
    let epoch = results[0]["created_at"].as_u64().expect("a number") + 1;
    assert_eq!(rest, format!("0 0 {epoch}\n{id}\n"));
}

#[test]
fn an_interrupt_waits_for_running_commands() {
    let directory = TempDir::new().expect("a directory");
    let (up, go) = (Pipe::new(&directory, "up"), Pipe::new(&directory, "go"));
    let jobs = directory.path().join("jobs");
    let (first, second) = (go.0.display(), up.0.display());
    let running = format!("echo up > {second}; cat {first}");
    let lines = format!(
        r#"{{"kind": "shell", "payload": {{"command": "{running}"}}, "priority": 1}}
{{"kind": "shell", "payload": {{"command": "echo never"}}, "delay_ms": 600000}}"#
    );
    std::fs::write(&jobs, lines).expect("a file");
    let mut command = ff(&["run", jobs.to_str().expect("a text"), "--workers", "1", "--json"]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ff starts");
    assert_eq!(up.line(), "up");
    signal(&child, Signal::SIGINT);
    wait_for_stderr(&mut child, "shutting down: waiting for 1 running task;");
    go.write("done");
    let output = within(move || child.wait_with_output().expect("ff ends"));
    assert_eq!(output.status.code(), Some(130));
    let summary: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!((&summary["completed"], &summary["unfinished"]), (&1.into(), &1.into()));
}

/// Starts `ff run` with a job that sleeps. Returns its process and the job's.
fn spawn_sleeper(directory: &TempDir, policy: &str, arguments: &[&str]) -> (Child, Pid) {
    let (up, jobs) = (Pipe::new(directory, "up"), directory.path().join("jobs"));
    let command = format!("sleep 1000 & echo $! > {}; wait", up.0.display());
    let line = format!(r#"{{"kind": "shell", "payload": {{"command": "{command}"}}{policy}}}"#);
    std::fs::write(&jobs, line).expect("a file");
    let mut command = ff(&["run", jobs.to_str().expect("a text")]);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("ff starts");
    (child, Pid::from_raw(up.line().parse().expect("a process ID")))
}

#[test]
fn results_are_written_when_executions_end() {
    let directory = TempDir::new().expect("a directory");
    let (go, file) = (Pipe::new(&directory, "go"), directory.path().join("results"));
    let jobs = directory.path().join("jobs");
    let job =
        |command: String| format!(r#"{{"kind":"shell","payload":{{"command":"{command}"}}}}"#);
    let lines = [job(format!("cat {}", go.0.display())), job("echo two".to_owned())];
    std::fs::write(&jobs, lines.join("\n")).expect("a file");
    let name = |path: &Path| path.to_str().expect("a text").to_owned();
    let mut command = ff(&["run", &name(&jobs), "--workers", "2", "--results", &name(&file)]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ff starts");
    let written = file.clone();
    let first = within(move || {
        loop {
            let text = std::fs::read_to_string(&written).unwrap_or_default();
            match text.strip_suffix('\n') {
                Some(line) => break serde_json::from_str::<Value>(line).expect("a line of JSON"),
                None => std::thread::yield_now(),
            }
        }
    });
    assert_eq!((&first["line"], &first["result"]), (&2.into(), &"two\n".into()), "{first}");
    go.write("done");
    let output = within(move || child.wait_with_output().expect("ff ends"));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(results(&file).len(), 2);
}

#[test]
fn a_second_interrupt_kills_running_commands() {
    let directory = TempDir::new().expect("a directory");
    let (mut child, grandchild) = spawn_sleeper(&directory, "", &[]);
    signal(&child, Signal::SIGINT);
    wait_for_stderr(&mut child, "shutting down: waiting for 1 running task;");
    signal(&child, Signal::SIGINT);
    let status = within(move || child.wait().expect("ff ends"));
    assert_eq!(status.code(), Some(130));
    wait_until_gone(grandchild);
}

#[test]
fn a_timeout_kills_the_whole_process_group() {
    let directory = TempDir::new().expect("a directory");
    let policy = r#", "timeout_ms": 500, "retry": {"max_retries": 0}"#;
    let (child, grandchild) = spawn_sleeper(&directory, policy, &["--json"]);
    let output = within(move || child.wait_with_output().expect("ff ends"));
    assert_eq!(output.status.code(), Some(1));
    wait_until_gone(grandchild);
}

fn wait_until_gone(pid: Pid) {
    within(move || {
        while !is_gone(pid) {
            std::thread::yield_now();
        }
    });
}

#[test]
fn termination_kills_running_commands_and_still_reports() {
    let directory = TempDir::new().expect("a directory");
    let results = directory.path().join("results");
    let arguments = ["--results", results.to_str().expect("a text")];
    let (child, grandchild) = spawn_sleeper(&directory, "", &arguments);
    signal(&child, Signal::SIGTERM);
    let output = within(move || child.wait_with_output().expect("ff ends"));
    assert_eq!(output.status.code(), Some(143));
    wait_until_gone(grandchild);
    assert_eq!(outcomes(&results).len(), 1, "the results have the unfinished execution");
}

#[test]
fn a_process_that_left_its_group_is_not_waited_for() {
    // The command ends after the other process has become the leader of a separate session.
    let left = "[ $(cut -d' ' -f6 /proc/$!/stat) = $! ]";
    let command = format!("setsid sleep 5 & until {left}; do :; done; echo left");
    let line = format!(r#"{{"kind": "shell", "payload": {{"command": "{command}"}}}}"#);
    let output = within(move || run_lines(&line, &["--json"]));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert!(summary["elapsed_ms"].as_u64() < Some(4_000), "{summary}");
}

#[test]
fn a_closed_standard_error_does_not_change_the_exit_code() {
    let mut command = ff(&["run", "no-such-file"]);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("ff starts");
    drop(child.stderr.take());
    let status = within(move || child.wait().expect("ff ends"));
    assert_eq!(status.code(), Some(2), "the exit code of a usage error");
}

#[test]
fn results_never_overwrite_the_input_and_a_full_disk_is_reported() {
    let directory = TempDir::new().expect("a directory");
    let jobs = directory.path().join("jobs");
    let line = r#"{"kind": "shell", "payload": {"command": "echo one"}}"#;
    std::fs::write(&jobs, line).expect("a file");
    let name = jobs.to_str().expect("a text");
    let output = run(&["run", name, "--results", name]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert_eq!(std::fs::read_to_string(&jobs).expect("the file exists"), line);
    let output = run(&["run", name, "--results", "/dev/full"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("1 of 1 completed"), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("/dev/full"), "{}", text(&output.stderr));
}
