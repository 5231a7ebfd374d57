//! `ff serve`, and the workers of `examples/http` that use it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::common::store::LineReader;
use crate::common::{DEADLINE, command, signal, within};

/// A process of `ff serve` with a store in memory.
struct Service {
    child: Child,
    address: String,
}

impl Service {
    fn start(listen: &str) -> Self {
        let mut command = command();
        command.args(["serve", "--backend", "memory:", "--listen", listen]);
        let child = command.stderr(Stdio::piped()).stdin(Stdio::null()).spawn();
        let mut child = child.expect("ff starts");
        let lines = LineReader::stderr(&mut child);
        let address = loop {
            let line = lines.line();
            if let Some(address) = line.strip_prefix("ff: listening on http://") {
                break address.to_owned();
            }
        };
        Self { child, address }
    }

    /// The status and the body of the answer.
    fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).expect("the service listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a time");
        let body = body.to_string();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("the request is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let status = answer.split(' ').nth(1).expect("a status").parse().expect("a number");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    /// Submits an execution with this payload, and returns its id.
    fn submit(&self, payload: Value) -> String {
        let retry = json!({"max_retries": 1, "backoff": {"fixed": {"delay_ms": 10}}});
        let body = json!({"kind": "add", "lane": "sums", "payload": payload, "retry": retry});
        let (status, submitted) = self.call("POST", "/v1/executions", &body);
        assert_eq!(status, 201, "{submitted}");
        submitted["url_id"].as_str().expect("an id").to_owned()
    }

    fn read(&self, id: &str, what: &str) -> Value {
        self.call("GET", &format!("/v1/executions/{id}{what}"), &json!({})).1
    }

    fn stop(mut self) {
        signal(&self.child, Signal::SIGTERM);
        let status = within(move || self.child.wait().expect("ff ends"));
        // As a shell reports a process that SIGTERM has ended.
        assert_eq!(status.code(), Some(128 + 15), "{status}");
    }
}

/// For how long the leases of the workers are good.
const LEASE_TTL_MS: u64 = 1_500;

/// A worker of the examples.
fn worker(program: &str, file: &str, address: &str) -> Child {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/http").join(file);
    let mut worker = Command::new(program);
    worker.arg(path).args([&format!("http://{address}"), "sums"]).stdin(Stdio::null());
    let started =
        worker.env("LEASE_TTL_MS", LEASE_TTL_MS.to_string()).env_remove("FF_TOKEN").spawn();
    started.unwrap_or_else(|error| panic!("install {program}, for example with ./test: {error}"))
}

/// Runs a worker of the examples against the service.
fn works(program: &str, file: &str) {
    // The first connection of the worker is lost. Then nothing listens until the service starts.
    let early = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = early.local_addr().expect("an address").to_string();
    let mut worker = worker(program, file, &address);
    let early = within(move || {
        drop(early.accept().expect("the worker connects"));
        early
    });
    drop(early);
    let service = Service::start(&address);

    // The second one takes longer than its lease is good for.
    let (quick, slow) = (json!({"a": 1, "b": 2}), json!({"a": 3, "b": 4, "seconds": 3.5}));
    for (payload, sum) in [(quick, 3), (slow, 7)] {
        let id = service.submit(payload);
        let ended = service.read(&id, "/result?wait_ms=30000");
        assert_eq!(
            (&ended["outcome"], &ended["result"]),
            (&json!("success"), &json!({"sum": sum}))
        );
        let attempts = service.read(&id, "/history")["attempts"].as_array().map(Vec::len);
        assert_eq!(attempts, Some(1), "the lease was renewed");
    }

    let id = service.submit(json!({"a": 1}));
    let ended = service.read(&id, "/result?wait_ms=30000");
    assert!(ended["outcome"].to_string().contains('b'), "it has the reason: {ended}");
    let attempts = service.read(&id, "/history")["attempts"].as_array().map(Vec::len);
    assert_eq!(attempts, Some(2), "it was retried once");

    // At a signal to end, it finishes what it has, and nothing new is lost. It has the task once it
    // renews the lease: the answer to its claim may come long after the execution became active.
    let id = service.submit(json!({"a": 5, "b": 6, "seconds": 2}));
    let is_renewed = |lease: &Value| {
        let time = |name: &str| lease[name].as_u64().unwrap_or_default();
        time("expires_at") > time("acquired_at") + LEASE_TTL_MS
    };
    let begun = Instant::now();
    while !is_renewed(&service.read(&id, "")["lease"]) {
        assert!(begun.elapsed() < DEADLINE, "it renews the lease");
    }
    signal(&worker, Signal::SIGTERM);
    let status = within(move || worker.wait().expect("the worker ends"));
    assert!(status.success(), "{status}");
    let ended = service.read(&id, "/result");
    assert_eq!(ended["result"], json!({"sum": 11}));
    let next = service.submit(json!({"a": 0, "b": 0}));
    let claims = json!({"instance": "other-1", "lanes": ["sums"]});
    let (status, claims) = service.call("POST", "/v1/workers/other/claims", &claims);
    assert_eq!((status, claims["tasks"].as_array().map(Vec::len)), (200, Some(1)), "{next}");
    service.stop();
}

#[test]
fn the_worker_in_python_works() {
    works("python3", "worker.py");
}

#[test]
fn the_worker_in_javascript_works() {
    works("node", "worker.mjs");
}

#[test]
fn the_workers_are_short() {
    for file in ["worker.py", "worker.mjs"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/http").join(file);
        let text = std::fs::read_to_string(path).expect("the file exists");
        assert!(text.lines().count() <= 60, "{file} has more than 60 lines");
        assert!(text.lines().all(|line| line.len() <= 100), "{file} has a long line");
    }
}
