//! The processes of commands: how they are ended, and that none is left.

use std::fs::File;
use std::io::{PipeWriter, Write, pipe};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tempfile::TempDir;

use crate::common::store::{LineReader, Store};
use crate::common::{self, Pipe, is_gone, signal, within};

fn pid(line: &str) -> Pid {
    Pid::from_raw(line.parse().expect("a process ID"))
}

fn parent(child: Pid) -> Option<Pid> {
    let status = std::fs::read_to_string(format!("/proc/{child}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:")).map(|line| pid(line.trim()))
}

fn wait_until(is_true: impl Fn() -> bool + Send + 'static) {
    within(move || {
        while !is_true() {
            std::thread::yield_now();
        }
    });
}

fn code(mut child: Child) -> Option<i32> {
    within(move || child.wait().expect("ff ends")).code()
}

/// A command whose shell ends with SIGTERM, and which has a child that takes a moment longer.
fn slow_to_end(up: &Pipe, out: &Pipe) -> String {
    format!(
        "(trap 'sleep 0.05; echo ended > {}; exit' TERM; echo up > {}; sleep 1000 & wait) & wait",
        out.0.display(),
        up.0.display()
    )
}

#[test]
fn a_worker_waits_for_processes_that_it_inherits() {
    let store = Store::start();
    let directory = TempDir::new().expect("a directory");
    let (up, go) = (Pipe::new(&directory, "up"), Pipe::new(&directory, "go"));
    store.submit_one(json!({"kind": "k"}));
    let (to, from) = (up.0.display(), go.0.display());
    let command = format!("setsid sh -c 'echo $$ > {to}; exec sleep 1000' >&- 2>&- & cat {from}");
    let mut worker = store.spawn(&["work", "--exec", &command, "--verbose"]);
    let (orphan, id) = (pid(&up.line()), worker.id());
    go.write("go");
    LineReader::stdout(&mut worker).wait_for("completed");
    wait_until(move || parent(orphan).is_some_and(|parent| parent.to_string() == id.to_string()));
    kill(orphan, Signal::SIGKILL).expect("it runs");
    wait_until(move || kill(orphan, None) == Err(Errno::ESRCH));
    signal(&worker, Signal::SIGTERM);
    assert_eq!(code(worker), Some(0));
}

#[test]
fn a_command_has_time_to_end() {
    let store = Store::start();
    let directory = TempDir::new().expect("a directory");
    let (up, out) = (Pipe::new(&directory, "up"), Pipe::new(&directory, "out"));
    let id = store.submit_one(json!({"kind": "k"}));
    let mut worker = store.spawn(&["work", "--exec", &slow_to_end(&up, &out)]);
    let errors = LineReader::stderr(&mut worker);
    up.line();
    signal(&worker, Signal::SIGINT);
    errors.wait_for("shutting down: waiting for 1 running task;");
    signal(&worker, Signal::SIGINT);
    assert_eq!(out.line(), "ended");
    errors.wait_for("1 given back");
    assert_eq!(code(worker), Some(130));
    assert_eq!(store.state(&id), "waiting");
}

#[test]
fn a_command_of_a_run_has_time_to_end() {
    let directory = TempDir::new().expect("a directory");
    let (up, out) = (Pipe::new(&directory, "up"), Pipe::new(&directory, "out"));
    let jobs = directory.path().join("jobs");
    let line = json!({"kind": "shell", "payload": {"command": slow_to_end(&up, &out)}});
    std::fs::write(&jobs, line.to_string()).expect("it can be written");
    let mut command = common::command();
    command.arg("run").arg(jobs).stdout(Stdio::null()).stderr(Stdio::null());
    let run = command.env("FF_BACKEND", "memory:").spawn().expect("ff starts");
    up.line();
    signal(&run, Signal::SIGTERM);
    assert_eq!(out.line(), "ended");
    assert_eq!(code(run), Some(143));
}

#[test]
fn a_command_that_ignores_sigterm_is_killed_after_the_grace() {
    let store = Store::start();
    let directory = TempDir::new().expect("a directory");
    let up = Pipe::new(&directory, "up");
    let command = format!("trap '' TERM; echo $$ > {}; sleep 1000; :", up.0.display());
    for (grace, is_killed) in [("50ms", false), ("24h", true)] {
        store.submit_one(json!({"kind": "k"}));
        let mut worker = store.spawn(&["work", "--exec", &command, "--grace", grace]);
        let errors = LineReader::stderr(&mut worker);
        let shell = pid(&up.line());
        signal(&worker, Signal::SIGINT);
        errors.wait_for("shutting down: waiting for 1 running task;");
        signal(&worker, Signal::SIGINT);
        errors.wait_for("ending 1 running task;");
        if is_killed {
            signal(&worker, Signal::SIGINT);
        }
        errors.wait_for("1 given back");
        assert!(is_gone(shell));
        assert_eq!(code(worker), Some(130));
        store.out(&["work", "--exec", "true", "--until-idle"]);
    }
}

#[test]
fn commands_end_with_a_killed_worker() {
    let store = Store::start();
    let directory = TempDir::new().expect("a directory");
    let up = Pipe::new(&directory, "up");
    store.submit_one(json!({"kind": "k"}));
    // The command gets its input after the guard has learned of its process group.
    let command = format!("cat; sleep 1000 & echo $$ $! > {}; wait", up.0.display());
    let mut worker = store.spawn(&["work", "--exec", &command]);
    let line = up.line();
    let pids: Vec<Pid> = line.split(' ').map(pid).collect();
    worker.kill().expect("it runs");
    wait_until(move || pids.iter().all(|pid| is_gone(*pid)));
    worker.wait().expect("it has ended");
}

/// Runs `ff` with SIGHUP ignored, as `nohup` does.
fn without_hangup(store: &Store, arguments: &[&str]) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_ff")]);
    command.args(arguments).env("FF_BACKEND", store.url()).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("sh starts")
}

#[test]
fn a_signal_that_is_ignored_at_the_start_stays_ignored() {
    let store = Store::start();
    let directory = TempDir::new().expect("a directory");
    let (up, go) = (Pipe::new(&directory, "up"), Pipe::new(&directory, "go"));
    store.submit_one(json!({"kind": "k"}));
    let command = format!("echo up > {}; cat {}", up.0.display(), go.0.display());
    let mut worker = without_hangup(&store, &["work", "--exec", &command]);
    let errors = LineReader::stderr(&mut worker);
    up.line();
    signal(&worker, Signal::SIGHUP);
    signal(&worker, Signal::SIGHUP);
    // It is the first signal that counts.
    signal(&worker, Signal::SIGTERM);
    errors.wait_for("shutting down: waiting for 1 running task;");
    go.write("done");
    errors.wait_for("1 completed");
    assert_eq!(code(worker), Some(0));
}

#[test]
fn the_exit_code_names_the_signal() {
    let store = Store::start();
    // So that the database is not empty.
    store.submit_one(json!({"kind": "k", "delay": "1h"}));
    for (kind, expected) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let mut watching = store.spawn(&["watch", "--count", "1"]);
        LineReader::stderr(&mut watching).wait_for("watching namespace ff");
        signal(&watching, kind);
        assert_eq!(code(watching), Some(expected), "{kind}");
    }
    let directory = TempDir::new().expect("a directory");
    let up = Pipe::new(&directory, "up");
    store.submit_one(json!({"kind": "k"}));
    let command = format!("echo up > {}; sleep 1000", up.0.display());
    let mut worker = store.spawn(&["work", "--exec", &command]);
    let errors = LineReader::stderr(&mut worker);
    up.line();
    signal(&worker, Signal::SIGTERM);
    errors.wait_for("shutting down: waiting for 1 running task;");
    signal(&worker, Signal::SIGTERM);
    assert_eq!(code(worker), Some(143));
}

/// A worker with two slots and an execution that waits, while another one ends.
fn with_two_tasks(store: &Store, output: Stdio, up: &Pipe, go: &Pipe) -> Child {
    let (to, from) = (up.0.display(), go.0.display());
    let command = format!("[ $FF_EXECUTION_KIND = quick ] || {{ echo up > {to}; cat {from}; }}");
    let worker = store
        .ff(&["work", "--exec", &command, "--slots", "2", "--json"])
        .stdout(output)
        .spawn()
        .expect("ff starts");
    store.submit_one(json!({"kind": "slow"}));
    up.line();
    worker
}

#[test]
fn a_worker_goes_on_when_its_standard_output_is_full_or_closed() {
    let store = Store::start();
    let directory = TempDir::new().expect("a directory");
    let (up, go) = (Pipe::new(&directory, "up"), Pipe::new(&directory, "go"));
    let full = || Stdio::from(File::options().write(true).open("/dev/full").expect("a device"));
    let closed = || Stdio::from(pipe().expect("a pipe").1);
    let cases = [
        (full(), "cannot write to standard output: No space left on device", Some(1)),
        (closed(), "standard output was closed", Some(0)),
    ];
    for (output, warning, expected) in cases {
        let mut worker = with_two_tasks(&store, output, &up, &go);
        let errors = LineReader::stderr(&mut worker);
        store.submit_one(json!({"kind": "quick"}));
        errors.wait_for(warning);
        signal(&worker, Signal::SIGTERM);
        go.write("done");
        errors.wait_for("2 completed, 0 failed, 0 to be retried, 0 lost, 0 given back");
        assert_eq!(code(worker), expected, "{warning}");
    }
}

/// A pipe that takes no more bytes.
fn filled(mut pipe: PipeWriter) -> PipeWriter {
    fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a pipe");
    while pipe.write_all(&[b' '; 1_024]).is_ok() {}
    fcntl(&pipe, FcntlArg::F_SETFL(OFlag::empty())).expect("a pipe");
    pipe
}

#[test]
fn a_worker_goes_on_while_the_reader_of_its_output_pauses() {
    let store = Store::start();
    let directory = TempDir::new().expect("a directory");
    let (up, go) = (Pipe::new(&directory, "up"), Pipe::new(&directory, "go"));
    let (_reader, writer) = pipe().expect("a pipe");
    let mut worker = with_two_tasks(&store, filled(writer).into(), &up, &go);
    let errors = LineReader::stderr(&mut worker);
    for _ in 0..3 {
        store.submit_one(json!({"kind": "quick"}));
    }
    store.out(&["watch", "--from", "start", "--count", "3"]);
    signal(&worker, Signal::SIGINT);
    errors.wait_for("shutting down: waiting for 1 running task;");
    signal(&worker, Signal::SIGINT);
    errors.wait_for("3 completed, 0 failed, 0 to be retried, 0 lost, 1 given back");
    assert_eq!(code(worker), Some(130));
}

/// A stop needs at most a second each for a claim and for giving work back.
#[test]
fn a_stop_ends_in_time_whatever_the_store_does() {
    for fault in [None, Some(Signal::SIGSTOP), Some(Signal::SIGKILL)] {
        let store = Store::start();
        let directory = TempDir::new().expect("a directory");
        let up = Pipe::new(&directory, "up");
        store.submit_one(json!({"kind": "k"}));
        let command = format!("echo up > {}; sleep 1000", up.0.display());
        let mut worker = store.spawn(&["work", "--exec", &command, "--slots", "2"]);
        let errors = LineReader::stderr(&mut worker);
        up.line();
        let server = store.pid();
        if let Some(fault) = fault {
            kill(server, fault).expect("it runs");
        }
        signal(&worker, Signal::SIGINT);
        errors.wait_for("shutting down: waiting for 1 running task;");
        let begun = Instant::now();
        signal(&worker, Signal::SIGINT);
        assert_eq!(code(worker), Some(130));
        assert!(begun.elapsed() < Duration::from_secs(4), "{fault:?}: {:?}", begun.elapsed());
        let expected =
            if fault.is_some() { "1 lost, 0 given back" } else { "0 lost, 1 given back" };
        errors.wait_for(expected);
    }
}
