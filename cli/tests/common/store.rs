//! A real server for one test, and `ff` commands on it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;

use nix::unistd::Pid;
use serde_json::Value;

use super::private_server::PrivateServer;
use super::{DEADLINE, command, heed_interrupts, text, within};

/// The ID of an execution that does not exist.
pub const MISSING: &str = "{fp:1}:00000000-0000-0000-0000-000000000001";

/// A server for one test.
pub struct Store(PrivateServer);

impl Store {
    pub fn start() -> Self {
        Self(PrivateServer::start().expect("a server is installed"))
    }

    pub fn ff(&self, arguments: &[&str]) -> Command {
        heed_interrupts();
        let mut command = command();
        command.args(arguments).env("FF_BACKEND", self.0.url()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_remove("FF_WAITPOINT_TOKEN").env_remove("FF_LOG").env_remove("RUST_LOG");
        command
    }

    pub fn url(&self) -> String {
        self.0.url()
    }

    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.ff(arguments).spawn().expect("ff starts")
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        let child = self.spawn(arguments);
        within(move || child.wait_with_output().expect("ff ends"))
    }

    /// Runs a command with this standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self.ff(arguments).stdin(Stdio::piped()).spawn().expect("ff starts");
        let mut stdin = child.stdin.take().expect("its input is a pipe");
        stdin.write_all(input.as_bytes()).expect("ff reads its input");
        drop(stdin);
        within(move || child.wait_with_output().expect("ff ends"))
    }

    /// Runs a command that must succeed. Returns its standard output.
    pub fn out(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs a command that must succeed and print one JSON object.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let out = self.out(&[arguments, &["--json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// Submits lines from standard input.
    pub fn submit(&self, lines: &[Value], arguments: &[&str]) -> Output {
        let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.run_with_input(&[&["submit", "-"], arguments].concat(), &input)
    }

    /// Submits one execution. Returns its ID.
    pub fn submit_one(&self, line: Value) -> String {
        let output = self.submit(&[line], &[]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    }

    pub fn state(&self, id: &str) -> String {
        let snapshot = self.json(&["describe", id]);
        snapshot["state"]["public_state"].as_str().expect("a string").to_owned()
    }

    /// The server's reply to a command.
    pub fn query(&self, command: &str) -> String {
        let address = self.0.url().replace("valkey://", "");
        let mut stream = TcpStream::connect(address).expect("the server listens");
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).expect("the server reads");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("the server answers");
        reply
    }

    /// The process ID of the server.
    pub fn pid(&self) -> Pid {
        let reply = self.query("INFO server");
        let pid = reply.lines().find_map(|line| line.strip_prefix("process_id:"));
        Pid::from_raw(pid.expect("a process ID").trim().parse().expect("a number"))
    }
}

pub fn objects(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// Reads the output of a process line by line, with a deadline.
pub struct LineReader(mpsc::Receiver<String>);

impl LineReader {
    pub fn stderr(child: &mut Child) -> Self {
        Self::new(child.stderr.take().expect("standard error is a pipe"))
    }

    pub fn stdout(child: &mut Child) -> Self {
        Self::new(child.stdout.take().expect("standard output is a pipe"))
    }

    fn new(pipe: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            BufReader::new(pipe)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Self(receiver)
    }

    /// Waits for the next line.
    pub fn line(&self) -> String {
        self.0.recv_timeout(DEADLINE).expect("a line before the deadline")
    }

    /// The next line, if it was already printed.
    pub fn try_line(&self) -> Option<String> {
        self.0.try_recv().ok()
    }

    pub fn wait_for(&self, wanted: &str) {
        while !self.line().contains(wanted) {}
    }
}
