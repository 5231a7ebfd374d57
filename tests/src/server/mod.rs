//! Real servers on free loopback ports, started by a test and gone with it.
//!
//! A program that is not installed is a failure that says how to get it, never a silent skip.

pub mod cluster;
pub mod process;
pub mod proxy;

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

/// How long a server may take for anything that a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a condition of another process is looked at.
const GLANCE: Duration = Duration::from_millis(5);
/// How many ports are tried before giving up.
const TRIES: usize = 20;

/// A server on a free loopback port, with a temporary folder of its own. It is killed when this is
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
    /// A Valkey that keeps nothing on disk.
    pub fn valkey() -> Self {
        Self::valkey_with(&[])
    }

    /// A Valkey with these options beside, for example `&["--appendonly", "yes"]`.
    pub fn valkey_with(options: &[&str]) -> Self {
        Self::start("valkey-server", options)
    }

    /// A Redis 7 that keeps nothing on disk.
    pub fn redis7() -> Self {
        let server = Self::start("redis-server", &[]);
        let version = server.info("server", "redis_version").unwrap_or_default();
        let disguised = server.info("server", "valkey_version").is_some();
        assert!(
            version.starts_with("7.") && !disguised,
            "redis-server is not Redis 7; install it with scripts/setup"
        );
        server
    }

    /// A server of this program, which is looked for in PATH.
    ///
    /// # Panics
    ///
    /// When the program is missing, no port can be had, or it does not get ready.
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
            // Somebody else took the port in between.
            Self { folder, .. } = server;
        }
        panic!("{program} found no free port in {TRIES} tries");
    }

    /// Where programs find it.
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

    /// Where it keeps its files and its log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves its folder on disk when it is dropped, as evidence.
    pub fn keep_folder(&mut self) {
        self.folder.disable_cleanup(true);
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after [`Server::kill`], on the same port and with the same files, of which
    /// what a kill has left unfinished is cut off, as `docs/valkey.md` tells operators to do.
    ///
    /// # Panics
    ///
    /// When it does not get ready.
    pub fn restart(&mut self) {
        self.kill();
        mend_log(&self.program, self.folder.path());
        self.process = spawn(&self.program, self.port, self.folder.path(), &self.options);
        assert!(self.becomes_ready(), "{} starts again on port {}", self.program, self.port);
    }

    /// Stops it: it takes connections, but answers nothing until [`Server::cont`].
    pub fn stop_process(&self) {
        self.process.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn cont(&self) {
        self.process.signal(Signal::SIGCONT);
    }

    /// Sends one command over a connection of its own.
    ///
    /// # Errors
    ///
    /// What the server answered, or that it cannot be reached.
    pub fn command<T: AsRef<[u8]>>(&self, words: &[T]) -> RedisResult<Value> {
        let client = redis::Client::open(format!("redis://{}", self.address()))?;
        let mut connection = client.get_connection_with_timeout(PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word.as_ref());
        }
        command.query(&mut connection)
    }

    /// Sends one command that must be answered without an error.
    ///
    /// # Panics
    ///
    /// When it is not.
    pub fn expect<T: AsRef<[u8]>>(&self, words: &[T]) -> Value {
        self.command(words).unwrap_or_else(|error| {
            let text = words.iter().map(|word| String::from_utf8_lossy(word.as_ref()));
            panic!("{} answers {}: {error}", self.program, text.collect::<Vec<_>>().join(" "))
        })
    }

    /// A field of the server's INFO.
    pub fn info(&self, section: &str, field: &str) -> Option<String> {
        let text = text(&self.command(&["INFO", section]).ok()?)?;
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(name, _)| *name == field).map(|(_, value)| value.trim().to_owned())
    }

    /// Waits until it answers as itself; `false` when it ended instead.
    fn becomes_ready(&mut self) -> bool {
        let own = self.process.id().to_string();
        wait_for(&format!("{} on port {}", self.program, self.port), || {
            if self.process.ended().is_some() {
                return Some(false);
            }
            // Until its files are loaded, a server answers INFO but nothing else.
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

/// Looks at a condition of another process until it holds.
///
/// # Panics
///
/// When it does not within half a minute.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(GLANCE);
    }
}

/// A port below those that the system gives to outgoing connections: one of these could take the
/// place of a server that is about to start again.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at once begin at different places.
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
        panic!("{program} does not run ({error}); install it with scripts/setup")
    })
}

/// Cuts the torn end off a log of writes. A server that is left to do so by itself may cut within a
/// transaction, and then makes what comes later a part of it.
fn mend_log(program: &str, folder: &Path) {
    let manifest = folder.join("appendonlydir").join("appendonly.aof.manifest");
    if !manifest.exists() {
        return;
    }
    let checker = program.replace("server", "check-aof");
    let mut command = Command::new(&checker);
    command.arg("--fix").arg(manifest).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("{checker} does not run ({error}); install it with scripts/setup")
    });
    // It asks before it cuts. One that has nothing to ask may be gone.
    let _ = child.stdin.take().expect("its input is a pipe").write_all(b"y\n");
    let output = child.wait_with_output().expect("one's own child can be waited for");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{checker} cannot mend the log: {said}");
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
    fn what_was_acknowledged_survives_a_kill_with_a_log() {
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

    /// Goal: of a transaction that a kill has torn nothing comes back, however often the server
    /// starts again.
    #[test]
    fn a_torn_transaction_is_gone_for_good() {
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
    fn a_stopped_server_goes_on_where_it_was() {
        let server = Server::valkey();
        server.stop_process();
        let waiting = std::thread::scope(|scope| {
            let asked = scope.spawn(|| server.expect(&["PING"]));
            let state = || std::fs::read_to_string(format!("/proc/{}/stat", server.process.id()));
            wait_for("a stopped process", || state().unwrap().contains(") T ").then_some(()));
            assert!(!asked.is_finished());
            server.cont();
            asked.join().unwrap()
        });
        assert_eq!(text(&waiting).unwrap(), "PONG");
    }

    #[test]
    #[should_panic(expected = "install it with scripts/setup")]
    fn a_missing_program_is_a_failure_that_says_how_to_get_it() {
        Server::start("valkey-server-that-nobody-has", &[]);
    }

    #[test]
    fn a_taken_port_is_left_to_its_owner() {
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
