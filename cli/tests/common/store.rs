//! A real server for one test, and the command `ff` on it.

#![allow(dead_code, reason = "each test is a crate of its own and uses a part of this")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;

use nix::unistd::Pid;
use serde_json::Value;

use crate::common::{DEADLINE, text, within};
use crate::private_server::PrivateServer;

/// A server for one test.
pub struct Store(PrivateServer);

impl Store {
    pub fn start() -> Self {
        Self(PrivateServer::start().expect("a server is installed"))
    }

    pub fn ff(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ff"));
        command.args(arguments).env("FF_BACKEND", self.0.url()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_remove("FF_WAITPOINT_TOKEN");
        command
    }

    /// Where it is.
    pub fn url(&self) -> String {
        self.0.url()
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        let child = self.ff(arguments).spawn().expect("ff starts");
        within(move || child.wait_with_output().expect("ff ends"))
    }

    /// Runs a command that must succeed; its standard output.
    pub fn out(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let said = self.out(&[arguments, &["--json"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// Submits lines by standard input; what it prints.
    pub fn submit(&self, lines: &[Value], arguments: &[&str]) -> Output {
        let mut command = self.ff(&[&["submit", "-"], arguments].concat());
        let mut child = command.stdin(Stdio::piped()).spawn().expect("ff starts");
        let mut stdin = child.stdin.take().expect("its input is a pipe");
        for line in lines {
            writeln!(stdin, "{line}").expect("ff reads its input");
        }
        drop(stdin);
        within(move || child.wait_with_output().expect("ff ends"))
    }

    /// Submits one execution; its id.
    pub fn submit_one(&self, line: Value) -> String {
        let output = self.submit(&[line], &[]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    }

    pub fn state(&self, id: &str) -> String {
        let seen = self.json(&["describe", id]);
        seen["state"]["public_state"].as_str().expect("a word").to_owned()
    }

    /// What the server says to a command.
    pub fn ask(&self, command: &str) -> String {
        let address = self.0.url().replace("valkey://", "");
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).expect("it reads");
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("it answers");
        said
    }

    /// The process of the server.
    pub fn pid(&self) -> Pid {
        let said = self.ask("INFO server");
        let pid = said.lines().find_map(|line| line.strip_prefix("process_id:"));
        Pid::from_raw(pid.expect("a process id").trim().parse().expect("a number"))
    }
}

pub fn objects(said: &str) -> Vec<Value> {
    said.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// What a process says, line by line.
pub struct Said(mpsc::Receiver<String>);

impl Said {
    /// On standard error.
    pub fn by(child: &mut Child) -> Self {
        Self::on(child.stderr.take().expect("its errors are a pipe"))
    }

    /// On standard output.
    pub fn in_the_open(child: &mut Child) -> Self {
        Self::on(child.stdout.take().expect("its output is a pipe"))
    }

    fn on(pipe: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            BufReader::new(pipe)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Self(receiver)
    }

    /// The next line.
    pub fn line(&self) -> String {
        self.0.recv_timeout(DEADLINE).expect("it says something before the deadline")
    }

    /// A line that was said already.
    pub fn try_line(&self) -> Option<String> {
        self.0.try_recv().ok()
    }

    pub fn wait_for(&self, wanted: &str) {
        while !self.line().contains(wanted) {}
    }
}
