//! The private server by itself: it answers, and is gone however its owner ends.

mod common;
#[path = "../src/private_server.rs"]
mod private_server;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use common::{DEADLINE, is_gone, signal, within};
use private_server::PrivateServer;

/// Asks a server for one figure.
fn ask(address: &str, command: &str, name: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).expect("it reads");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("it answers");
    let line = said.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name} is missing in {said}")).trim().to_owned()
}

fn pid(address: &str) -> Pid {
    Pid::from_raw(ask(address, "INFO server", "process_id:").parse().expect("a number"))
}

/// The directory of a server.
fn directory(address: &str) -> String {
    let file = ask(address, "INFO server", "executable:");
    assert!(file.contains("server"), "{file}");
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(b"CONFIG GET dir\r\n").expect("it reads");
    let mut lines = BufReader::new(stream).lines();
    lines.nth(4).expect("five lines").expect("it answers")
}

fn wait_until_gone(pid: Pid, directory: String) {
    within(move || {
        while !is_gone(pid) || std::fs::exists(&directory).is_ok_and(|is| is) {
            std::thread::yield_now();
        }
    });
}

#[test]
fn it_answers_keeps_nothing_and_is_gone_when_it_is_dropped() {
    let server = PrivateServer::start().expect("a server is installed");
    let other = PrivateServer::start().expect("a server is installed");
    assert_ne!(server.url(), other.url());
    let address = server.url().replace("valkey://", "");
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    assert_eq!(ask(&address, "INFO persistence", "aof_enabled:"), "0");
    let (pid, directory) = (pid(&address), directory(&address));
    drop(server);
    assert!(TcpStream::connect(&address).is_err(), "it still listens");
    assert!(!std::fs::exists(&directory).expect("a path"), "{directory} is left");
    wait_until_gone(pid, directory);
}

#[test]
fn a_panic_ends_it() {
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

/// Set in a process that owns a server and is killed by the test that started it.
const BE_AN_OWNER: &str = "FF_TESTS_BE_AN_OWNER";

/// Owns a server until its input ends.
fn own_a_server() {
    let server = PrivateServer::start().expect("a server is installed");
    println!("{}", server.url());
    let _ = std::io::stdin().read(&mut [0]);
    std::process::abort();
}

fn start_owner() -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["signals_and_an_abort_of_its_owner_end_it", "--exact", "--nocapture"])
        .env(BE_AN_OWNER, "yes")
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
        address.take().expect("it says where its server is")
    });
    (child, address)
}

/// The owner is this test, run again as a process of its own.
#[test]
fn signals_and_an_abort_of_its_owner_end_it() {
    if std::env::var_os(BE_AN_OWNER).is_some() {
        return own_a_server();
    }
    for strike in [Some(Signal::SIGKILL), Some(Signal::SIGTERM), Some(Signal::SIGINT), None] {
        let (mut owner, address) = start_owner();
        let (pid, directory) = (pid(&address), directory(&address));
        match strike {
            Some(strike) => signal(&owner, strike),
            None => drop(owner.stdin.take()),
        }
        wait_until_gone(pid, directory);
        within(move || owner.wait().expect("it ends"));
    }
}

#[test]
fn a_server_that_died_leaves_nothing_behind() {
    let server = PrivateServer::start().expect("a server is installed");
    let address = server.url().replace("valkey://", "");
    let (pid, directory) = (pid(&address), directory(&address));
    kill(pid, Signal::SIGKILL).expect("it is there");
    drop(server);
    wait_until_gone(pid, directory);
}
