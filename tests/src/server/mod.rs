//! Real servers on free loopback ports, started by a test and stopped with it.
//!
//! If a program is not installed, the test fails with a message that says how to install it.

pub mod cluster;
pub mod process;
pub mod proxy;
pub mod sentinel;
pub mod spoiler;

use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use redis::{RedisResult, Value};
use tempfile::TempDir;

pub use cluster::Cluster;
pub use process::Process;
pub use proxy::{Proxy, ProxyFault};
pub use sentinel::Sentinels;
pub use spoiler::Spoilage;

/// The time limit of each step of a server.
const PATIENCE: Duration = Duration::from_secs(30);
/// The interval of checks of a condition of another process.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// The number of ports that are tried.
const TRIES: usize = 20;

/// A server on a free loopback port, with its own temporary folder. It is killed when this is
/// dropped.
#[derive(Debug)]
pub struct Server {
    program: String,
    options: Vec<String>,
    port: u16,
    folder: TempDir,
    process: Process,
}

impl Server {
    /// Starts a Valkey without persistence.
    pub fn valkey() -> Self {
        Self::valkey_with(&[])
    }

    /// Starts a Valkey with additional options, for example `&["--appendonly", "yes"]`.
    pub fn valkey_with(options: &[&str]) -> Self {
        Self::start("valkey-server", options)
    }

    /// Starts a Redis 7 without persistence.
    pub fn redis7() -> Self {
        let server = Self::start("redis-server", &[]);
        let version = server.info("server", "redis_version").unwrap_or_default();
        let is_valkey = server.info("server", "valkey_version").is_some();
        assert!(
            version.starts_with("7.") && !is_valkey,
            "redis-server is not Redis 7; install it with scripts/setup"
        );
        server
    }

    /// Starts a server with this program, which is searched in PATH.
    ///
    /// # Panics
    ///
    /// When the program is missing, no port is free, or the server does not become ready.
    pub fn start(program: &str, options: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("ff-server-").tempdir();
        let mut folder = folder.expect("a temporary folder can be made");
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        for _ in 0..TRIES {
            let port = free_port();
            let process = spawn(program, port, folder.path(), &options);
            let (program, options) = (program.to_owned(), options.clone());
            let mut server = Self { program, options, port, folder, process };
            if server.becomes_ready() {
                return server;
            }
            // Another process took the port in between.
            Self { folder, .. } = server;
        }
        panic!("{program}: no free port in {TRIES} tries");
    }

    /// Its store URL.
    pub fn url(&self) -> String {
        format!("valkey://{}", self.address())
    }

    /// Its host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its files and its log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Keeps its folder on disk when it is dropped, as evidence.
    pub fn keep_folder(&mut self) {
        self.folder.disable_cleanup(true);
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port and with the same files. An incomplete write at the end of
    /// its log is truncated, as `docs/valkey.md` advises operators to do.
    ///
    /// # Panics
    ///
    /// When it does not become ready.
    pub fn restart(&mut self) {
        self.kill();
        truncate_log(&self.program, self.folder.path());
        self.process = spawn(&self.program, self.port, self.folder.path(), &self.options);
        assert!(self.becomes_ready(), "{} restarts on port {}", self.program, self.port);
    }

    /// Pauses it: it accepts connections, but does not answer until [`Server::unpause`].
    pub fn pause(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    /// Continues it after [`Server::pause`].
    pub fn unpause(&self) {
        self.process.signal(Signal::SIGCONT);
    }

    /// Sends one command over a new connection.
    ///
    /// # Errors
    ///
    /// The error reply of the server, or that it cannot be reached.
    pub fn command<T: AsRef<[u8]>>(&self, args: &[T]) -> RedisResult<Value> {
        let client = redis::Client::open(format!("redis://{}", self.address()))?;
        let mut connection = client.get_connection_with_timeout(PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        let mut command = redis::Cmd::new();
        for arg in args {
            command.arg(arg.as_ref());
        }
        command.query(&mut connection)
    }

    /// Sends one command, which must succeed.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub fn expect<T: AsRef<[u8]>>(&self, args: &[T]) -> Value {
        self.command(args).unwrap_or_else(|error| {
            let text = args.iter().map(|arg| String::from_utf8_lossy(arg.as_ref()));
            panic!("{}: {} failed: {error}", self.program, text.collect::<Vec<_>>().join(" "))
        })
    }

    /// Makes it a replica of another server, and waits until it follows it.
    pub fn follow(&self, primary: &Self) {
        self.expect(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
        wait_for("the replica to follow", || {
            let link = self.info("replication", "master_link_status")?;
            let seen = primary.info("replication", "slave0")?;
            (link == "up" && seen.contains("state=online")).then_some(())
        });
    }

    /// Exchanges the roles with a replica without a loss: the replica is the primary then.
    pub fn hand_over(&self, replica: &Self) {
        self.expect(&["FAILOVER", "TO", "127.0.0.1", &replica.port.to_string()]);
        wait_for("the replica to be the primary", || {
            let role = |server: &Self| server.info("replication", "role");
            let is_done = role(self)? == "slave" && role(replica)? == "master";
            is_done.then_some(())
        });
    }

    /// A field of the server's INFO.
    pub fn info(&self, section: &str, field: &str) -> Option<String> {
        let text = text(&self.command(&["INFO", section]).ok()?)?;
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(name, _)| *name == field).map(|(_, value)| value.trim().to_owned())
    }

    /// Waits until it answers; returns `false` when it ended instead.
    fn becomes_ready(&mut self) -> bool {
        let own = self.process.id().to_string();
        wait_for(&format!("{} on port {}", self.program, self.port), || {
            if self.process.ended().is_some() {
                return Some(false);
            }
            // While a server loads its files, it answers only INFO.
            let is_own = self.info("server", "process_id").is_some_and(|id| id == own);
            (is_own && self.command(&["PING"]).is_ok()).then_some(true)
        })
    }
}

/// The text of a simple or bulk string.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        Value::VerbatimString { text, .. } => Some(text.clone()),
        Value::Okay => Some("OK".to_owned()),
        _ => None,
    }
}

/// Polls a condition of another process until it holds.
///
/// # Panics
///
/// When it does not hold within half a minute.
pub fn wait_for<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "timed out waiting for {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// A free port below those of outgoing connections, one of which could otherwise take the port of a
/// server before it restarts.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at the same time start with different ports.
    let own = (std::process::id().wrapping_mul(7_919) % u32::from(COUNT)) as u16;
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + ((u32::from(own) + u32::from(next)) % u32::from(COUNT)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn spawn(program: &str, port: u16, folder: &Path, options: &[String]) -> Process {
    let log = File::options().create(true).append(true).open(folder.join("server.log"));
    let log = log.expect("the folder can be written to");
    let mut command = Command::new(program);
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""])
        .args(["--appendonly", "no", "--daemonize", "no", "--dir"])
        .arg(folder)
        .args(options)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(log.try_clone().expect("a file can be shared"))
        .stdout(log);
    Process::start(&mut command).unwrap_or_else(|error| {
        panic!("cannot run {program}: {error}; install it with scripts/setup")
    })
}

/// Truncates an incomplete write at the end of the append-only log. A server that truncates it at
/// its start may cut within a transaction, and then later commands become a part of it.
fn truncate_log(program: &str, folder: &Path) {
    let manifest = folder.join("appendonlydir").join("appendonly.aof.manifest");
    if !manifest.exists() {
        return;
    }
    let checker = program.replace("server", "check-aof");
    let mut command = Command::new(&checker);
    command.arg("--fix").arg(manifest).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("cannot run {checker}: {error}; install it with scripts/setup")
    });
    // It asks for confirmation, unless there is nothing to truncate; then it may have ended.
    let _ = child.stdin.take().expect("its input is a pipe").write_all(b"y\n");
    let output = child.wait_with_output().expect("a child can be waited for");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{checker} cannot truncate the log: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_answers_and_ends_with_its_handle() {
        for server in [Server::valkey(), Server::redis7()] {
            server.expect(&["SET", "a", "1"]);
            assert_eq!(text(&server.expect(&["GET", "a"])).unwrap(), "1");
            assert!(server.command(&["NO-SUCH-COMMAND"]).is_err());
            let (address, folder) = (server.address(), server.folder().to_owned());
            drop(server);
            assert!(std::net::TcpStream::connect(address).is_err());
            assert!(!folder.exists());
        }
    }

    #[test]
    fn acknowledged_writes_survive_a_kill_with_a_log() {
        let mut server = Server::valkey_with(&["--appendonly", "yes", "--appendfsync", "always"]);
        let port = server.port();
        for round in 0..5 {
            server.expect(&["RPUSH", "list", &round.to_string()]);
            server.kill();
            assert!(server.command(&["PING"]).is_err());
            server.restart();
        }
        assert_eq!(server.port(), port);
        assert_eq!(server.expect(&["LLEN", "list"]), Value::Int(5));
    }

    /// No part of a transaction that was torn by a kill is restored, however often the server
    /// restarts.
    #[test]
    fn a_torn_transaction_is_never_restored() {
        let mut server = Server::valkey_with(&["--appendonly", "yes", "--appendfsync", "always"]);
        let write = "redis.call('SET', KEYS[1], '1') redis.call('SET', KEYS[2], '1')";
        server.expect(&["EVAL", write, "2", "torn", "also torn"]);
        server.kill();
        let log = server.folder().join("appendonlydir").join("appendonly.aof.1.incr.aof");
        let file = File::options().write(true).open(log).unwrap();
        let torn = file.metadata().unwrap().len() - 5;
        file.set_len(torn).unwrap();
        server.restart();
        server.expect(&["EVAL", write, "2", "whole", "also whole"]);
        for _ in 0..2 {
            assert_eq!(server.expect(&["EXISTS", "whole", "also whole"]), Value::Int(2));
            assert_eq!(server.expect(&["EXISTS", "torn", "also torn"]), Value::Int(0));
            server.restart();
        }
    }

    #[test]
    fn a_paused_server_continues() {
        let server = Server::valkey();
        server.pause();
        let waiting = std::thread::scope(|scope| {
            let asked = scope.spawn(|| server.expect(&["PING"]));
            let state = || std::fs::read_to_string(format!("/proc/{}/stat", server.process.id()));
            wait_for("a stopped process", || state().unwrap().contains(") T ").then_some(()));
            assert!(!asked.is_finished());
            server.unpause();
            asked.join().unwrap()
        });
        assert_eq!(text(&waiting).unwrap(), "PONG");
    }

    #[test]
    #[should_panic(expected = "install it with scripts/setup")]
    fn a_missing_program_is_a_failure_that_says_how_to_install_it() {
        Server::start("valkey-server-that-does-not-exist", &[]);
    }

    #[test]
    fn a_server_on_a_taken_port_is_not_ready() {
        let first = Server::valkey();
        let mut second = Server::valkey();
        second.kill();
        second.process =
            spawn(&second.program, first.port(), second.folder.path(), &second.options);
        second.port = first.port();
        assert!(!second.becomes_ready());
        assert!(first.command(&["PING"]).is_ok());
    }
}
