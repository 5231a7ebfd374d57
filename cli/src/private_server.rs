//! A private server: started on a free port, and stopped at the end of the command.
//!
//! The server runs under a shell that waits for the end of a pipe. The pipe is closed when the
//! server is dropped, or by the operating system when this process ends in any other way, even by
//! SIGKILL. The shell then kills the server and removes its directory. This file has no imports
//! from this crate, so that tests and examples can include it.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The server programs. The first one that is installed is used.
const PROGRAMS: [&str; 2] = ["valkey-server", "redis-server"];
/// How long a server may take to answer after its start.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause between two attempts to connect while the server starts.
const CONNECT_PAUSE: Duration = Duration::from_millis(5);
/// How many ports are tried. Another process may take a port after it was chosen.
const MAX_PORTS: usize = 5;

/// Runs the server `$@` until standard input ends. The directory `$0` gets the server's log, its
/// process ID in `pid`, and the file `ended` if the server has ended by itself.
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
rm -rf "$0"
"#;

/// The server could not be started.
#[derive(Debug)]
pub enum StartError {
    /// No server program is on the PATH.
    NotInstalled,
    /// The program could not be run, or the server did not answer in time.
    Failed(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInstalled => f.write_str(
                "cannot start a private server: neither valkey-server nor redis-server is on the \
                 PATH. Install Valkey (https://valkey.io, package valkey-server or valkey), or \
                 give the URL of a running server, for example valkey://127.0.0.1:6379",
            ),
            Self::Failed(problem) => write!(f, "cannot start a private server: {problem}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// A running server. Dropping it stops the server and removes its directory.
#[derive(Debug)]
pub struct PrivateServer {
    address: SocketAddr,
    shell: Child,
    /// The pipe. Closing it stops the server.
    pipe: Option<ChildStdin>,
    directory: TempDir,
}

impl PrivateServer {
    /// Starts a server without persistence and waits until it answers. Blocks the thread.
    ///
    /// # Errors
    ///
    /// [`StartError`] if no server program is installed, or the server does not answer.
    pub fn start() -> Result<Self, StartError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = PROGRAMS.iter().find_map(|name| find(name, &path));
        let program = program.ok_or(StartError::NotInstalled)?;
        for _ in 0..MAX_PORTS {
            let server = Self::spawn(&program)?;
            if server.answers()? {
                return Ok(server);
            }
        }
        let problem = format!("{MAX_PORTS} ports in a row were taken by other processes");
        Err(StartError::Failed(problem))
    }

    /// The URL of the server.
    pub fn url(&self) -> String {
        format!("valkey://{}", self.address)
    }

    fn spawn(program: &Path) -> Result<Self, StartError> {
        let directory = tempfile::Builder::new().prefix("ff-valkey-").tempdir()?;
        // The operating system chooses a free port.
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
            // Ctrl-C must not reach the server, which the command needs until its end.
            .process_group(0)
            .spawn()?;
        let pipe = shell.stdin.take();
        Ok(Self { address, shell, pipe, directory })
    }

    /// Waits until the server answers. Returns false if another process has taken the port.
    fn answers(&self) -> Result<bool, StartError> {
        let started = Instant::now();
        loop {
            if self.is_mine().unwrap_or(false) {
                return Ok(true);
            }
            let ended = self.directory.path().join("ended").exists();
            if ended || started.elapsed() > START_TIMEOUT {
                let log = std::fs::read_to_string(self.directory.path().join("log"));
                let log = log.unwrap_or_default();
                if ended && log.contains("Address already in use") {
                    return Ok(false);
                }
                let problem = if ended { "it ended" } else { "it does not answer" };
                let last = log.lines().rev().find(|line| !line.trim().is_empty());
                let last = last.unwrap_or("its log is empty");
                return Err(StartError::Failed(format!("{problem}: {last}")));
            }
            std::thread::sleep(CONNECT_PAUSE);
        }
    }

    /// Whether this server answers on the port. Another process may have taken it.
    fn is_mine(&self) -> io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&self.address, START_TIMEOUT)?;
        stream.set_read_timeout(Some(START_TIMEOUT))?;
        stream.write_all(b"PING\r\nCONFIG GET dir\r\n")?;
        let mut lines = BufReader::new(stream).lines();
        if lines.next().transpose()?.as_deref() != Some("+PONG") {
            return Ok(false);
        }
        // The reply has the lines *2, $3, dir, $LENGTH, and the directory.
        let found = lines.nth(4).transpose()?.unwrap_or_default();
        Ok(std::fs::canonicalize(found)? == std::fs::canonicalize(self.directory.path())?)
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // The shell kills the server and ends. If waiting fails, there is nothing else to do.
        let _ = self.shell.wait();
    }
}

/// Finds a program in the directories of PATH.
fn find(name: &str, path: &std::ffi::OsStr) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let executable = |file: &PathBuf| {
        let found = std::fs::metadata(file);
        found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path).map(|directory| directory.join(name)).find(executable)
}
