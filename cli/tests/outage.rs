//! Stores that are away, or refuse everything: what the commands report, and when.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Child, Output};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use serde_json::json;
use tempfile::TempDir;

use crate::common::store::{LineReader, Store};
use crate::common::{DEADLINE, Pipe, signal, text, within};

/// How soon a refusal must be reported.
const SOON: Duration = Duration::from_secs(2);

/// A server with a user app.
fn with_user() -> Store {
    let store = Store::start();
    assert!(store.query("ACL SETUSER app on >old ~* &* +@all").starts_with("+OK"));
    store
}

fn run_as(store: &Store, user: &str, arguments: &[&str]) -> Output {
    let url = store.url().replace("://", &format!("://{user}@"));
    let child = store.ff(arguments).env("FF_BACKEND", url).spawn().expect("ff starts");
    within(move || child.wait_with_output().expect("ff ends"))
}

/// How many logins the server has refused.
fn refused_logins(store: &Store) -> u64 {
    let reply = store.query("ACL LOG");
    let counts = reply.lines().zip(reply.lines().skip(1)).filter(|(name, _)| *name == "count");
    counts.filter_map(|(_, count)| count.strip_prefix(':')?.parse::<u64>().ok()).sum()
}

/// Waits for a line, and returns the lines that contain `counted` until then.
fn count_until(errors: &LineReader, counted: &str, wanted: &str) -> usize {
    let mut count = 0;
    loop {
        let line = errors.line();
        count += usize::from(line.contains(counted));
        if line.contains(wanted) {
            return count;
        }
    }
}

fn end(mut worker: Child) {
    signal(&worker, Signal::SIGTERM);
    let status = within(move || worker.wait().expect("ff ends"));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_client_that_is_refused_ends_with_the_reason() {
    let store = with_user();
    assert!(store.query("ACL SETUSER weak on >old ~* &* +@connection +info").starts_with("+OK"));
    for (user, reason) in [
        ("app:wrong", "WRONGPASS the server refuses the user name or the password"),
        ("weak:old", "the user lacks a right"),
    ] {
        let begun = Instant::now();
        let output = run_as(&store, user, &["list"]);
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(reason), "{errors}");
        assert!(!errors.contains("wrong"), "{errors}");
    }
    store.query("CONFIG SET requirepass secret");
    let output = store.run(&["list"]);
    assert!(text(&output.stderr).contains("NOAUTH"), "{output:?}");
}

#[test]
fn a_worker_reports_once_that_it_is_refused() {
    let store = with_user();
    let url = store.url().replace("://", "://app:old@");
    let mut worker =
        store.ff(&["work", "--exec", "true"]).env("FF_BACKEND", url).spawn().expect("ff starts");
    let errors = LineReader::stderr(&mut worker);
    errors.wait_for("started in namespace ff");
    store.query("ACL SETUSER app <old >new");
    store.query("CLIENT KILL USER app");
    let (begun, address) = (Instant::now(), store.url().replace("valkey://", ""));
    let reason = format!("the store at {address} cannot be used: WRONGPASS");
    errors.wait_for(&reason);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    // Several more tries.
    let (wanted, deadline) = (refused_logins(&store) + 3, Instant::now() + DEADLINE);
    while refused_logins(&store) < wanted {
        assert!(Instant::now() < deadline, "the worker does not try again");
    }
    store.query("ACL SETUSER app >old");
    let repeated = count_until(&errors, "cannot be used", "connected again to the store at");
    assert_eq!(repeated, 0);
    end(worker);
}

#[test]
fn a_worker_whose_slots_are_busy_reports_an_outage() {
    let store = with_user();
    let directory = TempDir::new().expect("a directory");
    let up = Pipe::new(&directory, "up");
    store.submit_one(json!({"kind": "k"}));
    let command = format!("echo up > {}; sleep 1000", up.0.display());
    let url = store.url().replace("://", "://app:old@");
    let mut worker = store
        .ff(&["work", "--exec", &command, "--slots", "1"])
        .env("FF_BACKEND", url)
        .spawn()
        .expect("ff starts");
    let errors = LineReader::stderr(&mut worker);
    up.line();
    let address = store.url().replace("valkey://", "");
    kill(store.pid(), Signal::SIGKILL).expect("it runs");
    errors.wait_for(&format!("the store at {address} cannot be used: Connection refused"));
    signal(&worker, Signal::SIGTERM);
    errors.wait_for("shutting down");
    signal(&worker, Signal::SIGTERM);
    let repeated = count_until(&errors, "cannot be used", "1 lost");
    assert_eq!(repeated, 0);
    within(move || worker.wait().expect("ff ends"));
}

#[test]
fn a_worker_says_why_the_server_takes_no_writes() {
    let store = Store::start();
    let directory = TempDir::new().expect("a directory");
    let (up, go) = (Pipe::new(&directory, "up"), Pipe::new(&directory, "go"));
    let command = format!("echo up > {}; cat {}", up.0.display(), go.0.display());
    let mut worker = store.spawn(&["work", "--exec", &command]);
    let errors = LineReader::stderr(&mut worker);
    for (refuse, reason, allow) in [
        ("REPLICAOF 127.0.0.1 1", "is a replica and takes no writes", "REPLICAOF NO ONE"),
        (
            "CONFIG SET min-replicas-to-write 1",
            "has too few replicas",
            "CONFIG SET min-replicas-to-write 0",
        ),
    ] {
        let id = store.submit_one(json!({"kind": "k"}));
        up.line();
        assert!(store.query(refuse).starts_with("+OK"));
        go.write("done");
        errors.wait_for(reason);
        assert!(store.query(allow).starts_with("+OK"));
        errors.wait_for("connected again");
        store.out(&["watch", "--from", "start", "--count", "1"]);
        assert_eq!(store.state(&id), "completed");
    }
    end(worker);
}

#[test]
fn a_client_says_that_the_server_has_too_many_connections() {
    let store = Store::start();
    let address = store.url().replace("valkey://", "");
    let mut held = TcpStream::connect(address).expect("the server listens");
    held.write_all(b"CONFIG SET maxclients 1\r\n").expect("the server reads");
    let url = format!("{}?open_timeout_ms=1", store.url());
    let child = store.ff(&["list"]).env("FF_BACKEND", url).spawn().expect("ff starts");
    let output = within(move || child.wait_with_output().expect("ff ends"));
    let errors = text(&output.stderr);
    assert!(errors.contains("max number of clients reached"), "{errors}");
}

#[test]
fn the_filter_of_the_log_is_read_from_both_variables() {
    let store = Store::start();
    for name in ["FF_LOG", "RUST_LOG"] {
        let run = |filter: &str| {
            let child = store.ff(&["list"]).env(name, filter).spawn().expect("ff starts");
            within(move || child.wait_with_output().expect("ff ends"))
        };
        let output = run("ff_io_valkey=debug");
        assert!(text(&output.stderr).contains("DEBUG connected"), "{output:?}");
        let output = run("ff_sdk=loud");
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(&format!("{name} is `ff_sdk=loud`")), "{output:?}");
    }
    let id = store.submit_one(json!({"kind": "k", "retry": {"max_retries": 0}}));
    let output = store.run(&["work", "--exec", "echo no >&2; exit 3", "--until-idle"]);
    let expected = format!("WARN {id} k failed after");
    assert!(text(&output.stderr).contains(&expected), "{output:?}");
}

/// The status line and the body of a reply to a request.
fn ask(address: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let head = format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("it reads");
    let reply = within(move || std::io::read_to_string(stream).expect("it replies"));
    let (head, body) = reply.split_once("\r\n\r\n").expect("a reply of HTTP");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

#[test]
fn the_health_endpoint_reports_whether_the_store_answers() {
    let store = Store::start();
    let mut worker = store.spawn(&["work", "--exec", "true", "--health", "127.0.0.1:0"]);
    let errors = LineReader::stderr(&mut worker);
    let line = errors.line();
    let url = line.split("http://").nth(1).expect("the line has the address");
    let address = url.strip_suffix("/healthz").expect("the path").to_owned();
    errors.wait_for("started in namespace ff");
    let health = || ask(&address, "GET /healthz");
    assert_eq!(health(), ("HTTP/1.1 200 OK".to_owned(), "ok\n".to_owned()));
    assert_eq!(ask(&address, "HEAD /healthz"), ("HTTP/1.1 200 OK".to_owned(), String::new()));
    assert!(ask(&address, "GET /").0.contains("404"));
    assert!(ask(&address, "POST /healthz").0.contains("405"));
    let server = store.pid();
    kill(server, Signal::SIGSTOP).expect("it runs");
    assert!(health().0.contains("503"));
    kill(server, Signal::SIGCONT).expect("it runs");
    assert!(health().0.contains("200"));
    kill(server, Signal::SIGKILL).expect("it runs");
    assert!(health().0.contains("503"));
    end(worker);
    let used = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let used = used.local_addr().expect("an address").to_string();
    let store = Store::start();
    let output = store.run(&["work", "--exec", "true", "--health", &used]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("cannot listen on --health"), "{output:?}");
}
