//! The web service of the cookbook: requests, and its shutdown.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ff_tests::server::wait_for;
use ff_tests::workspace_build::build;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The program shows the code of the cookbook.
#[test]
fn the_cookbook_shows_the_web_service() {
    let example = include_str!("../../sdk/examples/web_service.rs");
    let (_, code) = example.split_once("\n\n").expect("a head and the code");
    let cookbook = include_str!("../../docs/cookbook.md");
    assert!(cookbook.contains(code), "copy sdk/examples/web_service.rs into docs/cookbook.md");
}

struct Service {
    child: Child,
    address: String,
}

impl Service {
    fn start() -> Self {
        let program = build(&["--example", "web_service"]).join("examples/web_service");
        let mut command = Command::new(program);
        let child = command.arg("127.0.0.1:0").stdout(Stdio::piped()).spawn();
        let mut child = child.expect("the service starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it prints its address");
        let address = line.trim().strip_prefix("http://").expect("an address").to_owned();
        Self { child, address }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).expect("the service listens")
    }

    /// The status and the body of the answer.
    fn call(&self, call: &str, body: &str) -> (u16, String) {
        let mut stream = self.connect();
        let length = body.len();
        let request = format!(
            "{call} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: text/plain\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("the request is sent");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("an answer");
        let status = reply.split(' ').nth(1).expect("a status").parse().expect("a number");
        (status, reply.split("\r\n\r\n").last().expect("a body").to_owned())
    }

    /// Asks the service to stop, and waits until it has ended.
    fn terminate(&mut self) -> ExitStatus {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        kill(pid, Signal::SIGTERM).expect("it runs");
        wait_for("the end of the service", || self.child.try_wait().expect("its state is known"))
    }

    /// Asks the service to stop by its shutdown, and returns how long that took.
    fn stop(&mut self) -> Duration {
        let began = Instant::now();
        assert!(self.terminate().success());
        began.elapsed()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It has ended, unless the test failed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn the_web_service_answers_and_stops() {
    let mut service = Service::start();
    let (status, id) = service.call("POST /greetings", "ada");
    assert_eq!(status, 202);
    let deadline = Instant::now() + Duration::from_secs(30);
    let greeting = loop {
        match service.call(&format!("GET /greetings/{id}"), "") {
            (202, _) => assert!(Instant::now() < deadline, "the greeting does not end"),
            answer => break answer,
        }
    };
    assert_eq!(greeting, (200, "\"hello ada\"".to_owned()));
    let unknown = "7.00000000-0000-0000-0000-000000000001";
    let no_partition = "999.00000000-0000-0000-0000-000000000001";
    for (id, expected) in [("7", 400), (no_partition, 400), (unknown, 404)] {
        assert_eq!(service.call(&format!("GET /greetings/{id}"), "").0, expected, "{id}");
    }
    assert_eq!(service.call("POST /greetings", &"x".repeat(1_100_000)).0, 413);
    service.stop();
}

/// A client that never ends its request does not hold up the shutdown.
#[test]
fn an_unfinished_request_does_not_keep_the_web_service() {
    let mut service = Service::start();
    let mut stream = service.connect();
    let half = "POST /greetings HTTP/1.1\r\nhost: test\r\ncontent-length: 10\r\n\r\nhalf";
    stream.write_all(half.as_bytes()).expect("the half of a request is sent");
    // Answered after the other connection was accepted.
    assert_eq!(service.call("GET /greetings/7", "").0, 400);
    let took = service.stop();
    assert!(took < Duration::from_secs(14), "it took {took:?}");
}

/// A signal between two steps of its start does not get lost.
#[test]
fn a_signal_right_after_the_start_stops_the_web_service() {
    for _ in 0..20 {
        Service::start().stop();
    }
}
