//! The private server: it answers, and it is gone however its owner ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::private_server::PrivateServer;
use crate::common::{DEADLINE, heed_interrupts, is_gone, signal, within};

/// Sends a command and returns one value of the reply.
fn query(address: &str, command: &str, name: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).expect("the server reads");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("the server answers");
    let line = reply.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name} is missing in {reply}")).trim().to_owned()
}

fn pid(address: &str) -> Pid {
    Pid::from_raw(query(address, "INFO server", "process_id:").parse().expect("a number"))
}

/// The data directory of a server.
fn directory(address: &str) -> String {
    let file = query(address, "INFO server", "executable:");
    assert!(file.contains("server"), "{file}");
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.write_all(b"CONFIG GET dir\r\n").expect("the server reads");
    let mut lines = BufReader::new(stream).lines();
    lines.nth(4).expect("five lines").expect("the server answers")
}

fn wait_until_gone(pid: Pid, directory: String) {
    within(move || {
        while !is_gone(pid) || std::fs::exists(&directory).is_ok_and(|is| is) {
            std::thread::yield_now();
        }
    });
}

#[test]
fn a_dropped_server_is_gone_with_its_directory() {
    let server = PrivateServer::start().expect("a server is installed");
    let other = PrivateServer::start().expect("a server is installed");
    assert_ne!(server.url(), other.url());
    let address = server.url().replace("valkey://", "");
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    assert_eq!(query(&address, "INFO persistence", "aof_enabled:"), "0");
    let (pid, directory) = (pid(&address), directory(&address));
    drop(server);
    assert!(TcpStream::connect(&address).is_err(), "it still listens");
    assert!(!std::fs::exists(&directory).expect("a path"), "{directory} is left");
    wait_until_gone(pid, directory);
}

#[test]
fn a_panic_of_the_owner_ends_the_server() {
    let (sender, receiver) = mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let server = PrivateServer::start().expect("a server is installed");
        let address = server.url().replace("valkey://", "");
        sender.send((pid(&address), directory(&address))).expect("the test waits");
        panic!("on purpose");
    });
    let (pid, directory) = receiver.recv_timeout(DEADLINE).expect("it starts");
    assert!(panicked.join().is_err());
    wait_until_gone(pid, directory);
}

/// Set in the process that owns a server, and that the test kills.
const OWNER: &str = "FF_TESTS_OWNER";

/// Owns a server until its input ends.
fn own_a_server() {
    let server = PrivateServer::start().expect("a server is installed");
    println!("{}", server.url());
    let _ = std::io::stdin().read(&mut [0]);
    std::process::abort();
}

fn start_owner() -> (Child, String) {
    heed_interrupts();
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args([
            "private_server::signals_and_an_abort_of_the_owner_end_the_server",
            "--exact",
            "--nocapture",
        ])
        .env(OWNER, "yes")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let stdout = child.stdout.take().expect("a pipe");
    let address = within(move || {
        let mut lines = BufReader::new(stdout).lines();
        let mut address = lines.find_map(|line| {
            line.ok()?.split_once("valkey://").map(|(_, address)| address.to_owned())
        });
        address.take().expect("the owner prints the URL of its server")
    });
    (child, address)
}

/// The owner is this test, run again as a separate process.
#[test]
fn signals_and_an_abort_of_the_owner_end_the_server() {
    if std::env::var_os(OWNER).is_some() {
        return own_a_server();
    }
    for fatal in [Some(Signal::SIGKILL), Some(Signal::SIGTERM), Some(Signal::SIGINT), None] {
        let (mut owner, address) = start_owner();
        let (pid, directory) = (pid(&address), directory(&address));
        match fatal {
            Some(fatal) => signal(&owner, fatal),
            None => drop(owner.stdin.take()),
        }
        wait_until_gone(pid, directory);
        within(move || owner.wait().expect("it ends"));
    }
}

#[test]
fn a_killed_server_leaves_no_directory() {
    let server = PrivateServer::start().expect("a server is installed");
    let address = server.url().replace("valkey://", "");
    let (pid, directory) = (pid(&address), directory(&address));
    kill(pid, Signal::SIGKILL).expect("the server exists");
    drop(server);
    wait_until_gone(pid, directory);
}
