//! A server of this command's own: started on a free port, gone with the command.
//!
//! It runs under a shell that waits for the end of a pipe. The pipe is closed when the server is
//! dropped, and by the system when this process ends in any other way, be it killed: then the shell
//! kills the server and removes its directory. This file stands alone, so that tests can use it.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The programs that can be the server, the first that is found.
const PROGRAMS: [&str; 2] = ["valkey-server", "redis-server"];
/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(10);
/// How long to wait before asking a server that does not listen yet again.
const PAUSE: Duration = Duration::from_millis(5);
/// How many ports are tried: another process may take a port between its choice and its use.
const ATTEMPTS: usize = 5;

/// Runs the server `$@` until standard input ends. It says in the directory `$0` who the server is,
/// and that it has ended by itself.
const SUPERVISE: &str = r#"
exec 3<&0
"$@" </dev/null >"$0/log" 2>&1 3<&- &
server=$!
echo $server >"$0/pid"
{
    read -r _
    [ -e "$0/ended" ] || kill -9 $server
    rm -rf "$0"
} <&3 &
exec 3<&-
wait $server
[ -d "$0" ] && : >"$0/ended"
wait
"#;

/// Why there is no server.
#[derive(Debug)]
pub enum StartError {
    /// None of the programs is on the PATH.
    NotInstalled,
    /// It could not be started, or did not answer in time.
    Failed(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInstalled => f.write_str(
                "no server to start: neither valkey-server nor redis-server is on the PATH; \
                 install Valkey (https://valkey.io, package valkey-server or valkey), \
                 or name a server that runs, like valkey://127.0.0.1:6379",
            ),
            Self::Failed(problem) => write!(f, "the private server did not start: {problem}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// A server that runs; dropping it ends the server and removes its directory.
#[derive(Debug)]
pub struct PrivateServer {
    address: SocketAddr,
    shell: Child,
    /// Closing it ends the server.
    lifeline: Option<ChildStdin>,
    directory: TempDir,
}

/// What came of one attempt to start it.
enum Attempt {
    Answers,
    PortTaken,
}

impl PrivateServer {
    /// Starts it, without persistence, and waits until it answers. Blocks the thread.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub fn start() -> Result<Self, StartError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = PROGRAMS.iter().find_map(|name| find(name, &path));
        let program = program.ok_or(StartError::NotInstalled)?;
        for _ in 0..ATTEMPTS {
            let mut server = Self::spawn(&program)?;
            if let Attempt::Answers = server.wait_until_it_answers()? {
                return Ok(server);
            }
        }
        Err(StartError::Failed(format!("{ATTEMPTS} ports were taken before it could listen")))
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("valkey://{}", self.address)
    }

    fn spawn(program: &Path) -> Result<Self, StartError> {
        let directory = tempfile::Builder::new().prefix("ff-valkey-").tempdir()?;
        // A port that was free a moment ago.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut shell = Command::new("sh")
            .args(["-c", SUPERVISE])
            .arg(directory.path())
            .arg(program)
            .args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no", "--dir"])
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C is for the command; the server is needed until that has ended.
            .process_group(0)
            .spawn()?;
        let lifeline = shell.stdin.take();
        Ok(Self { address, shell, lifeline, directory })
    }

    fn wait_until_it_answers(&mut self) -> Result<Attempt, StartError> {
        let began = Instant::now();
        loop {
            if self.is_mine().unwrap_or(false) {
                return Ok(Attempt::Answers);
            }
            let ended = self.directory.path().join("ended").exists();
            let said = || {
                let log = std::fs::read_to_string(self.directory.path().join("log"));
                log.unwrap_or_default()
            };
            if ended && said().contains("Address already in use") {
                return Ok(Attempt::PortTaken);
            }
            if ended || began.elapsed() > START {
                let said = said();
                let last = said.lines().rev().find(|line| !line.trim().is_empty());
                let what = if ended { "it ended" } else { "it does not answer" };
                return Err(StartError::Failed(format!("{what}: {}", last.unwrap_or("no word"))));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Whether the port answers, and as this server: another process may have taken the port.
    fn is_mine(&self) -> io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&self.address, START)?;
        stream.set_read_timeout(Some(START))?;
        stream.write_all(b"PING\r\nCONFIG GET dir\r\n")?;
        let mut lines = BufReader::new(stream).lines();
        if lines.next().transpose()?.as_deref() != Some("+PONG") {
            return Ok(false);
        }
        // *2, $3, dir, $length, and the directory.
        let found = lines.nth(4).transpose()?.unwrap_or_default();
        Ok(std::fs::canonicalize(found)? == std::fs::canonicalize(self.directory.path())?)
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // The shell kills the server and ends; whatever fails here, nothing more can be done.
        let _ = self.shell.wait();
    }
}

/// A program's file on a path of directories.
fn find(name: &str, path: &std::ffi::OsStr) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let executable = |file: &PathBuf| {
        let found = std::fs::metadata(file);
        found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path).map(|directory| directory.join(name)).find(executable)
}
