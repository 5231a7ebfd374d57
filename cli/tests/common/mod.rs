//! Helpers for tests with real processes: deadlines, signals and named pipes.

#[path = "../../src/private_server.rs"]
pub mod private_server;
pub mod store;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Once, mpsc};
use std::time::Duration;

use ff_sdk::{ClaimedTask, FlowFabricWorker};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use signal_hook::consts::SIGINT;
use tempfile::TempDir;

/// How long a test waits for an event.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Runs a blocking function, and panics if it does not return before the deadline.
pub fn within<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(wait()));
    receiver.recv_timeout(DEADLINE).expect("it returns before the deadline")
}

/// The command `ff`, without the config file and the profile of the user.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ff"));
    command.env("FF_CONFIG", "/dev/null").env_remove("FF_PROFILE");
    command
}

/// Waits for work, and claims it.
pub async fn claim(worker: &FlowFabricWorker) -> ClaimedTask {
    let claimed = async {
        loop {
            match worker.claim_next().await.expect("the store answers") {
                Some(task) => return task,
                None => worker.wait_for_work().await,
            }
        }
    };
    tokio::time::timeout(DEADLINE, claimed).await.expect("there is work")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Lets the processes that a test starts from now on receive SIGINT, also if the test itself
/// ignores it, as a background job of a script does. A signal that has a handler is not ignored by
/// a new process.
pub fn heed_interrupts() {
    static HEED: Once = Once::new();
    HEED.call_once(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        if mask.is_some_and(|mask| mask & (1 << (SIGINT - 1)) != 0) {
            signal_hook::flag::register(SIGINT, Arc::default()).expect("a handler for SIGINT");
        }
    });
}

pub fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process ID"));
    kill(pid, signal).expect("the process exists");
}

/// Whether a killed process has ended. It may still be a zombie.
pub fn is_gone(pid: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    kill(pid, None) == Err(Errno::ESRCH) || status.contains(") Z ")
}

/// A named pipe. Opening it for reading waits for a writer, and the reverse.
pub struct Pipe(pub PathBuf);

impl Pipe {
    pub fn new(directory: &TempDir, name: &str) -> Self {
        let path = directory.path().join(name);
        mkfifo(&path, Mode::S_IRWXU).expect("a named pipe");
        Self(path)
    }

    /// The first line that is written to the pipe.
    pub fn line(&self) -> String {
        let path = self.0.clone();
        within(move || {
            let file = std::fs::File::open(path).expect("the pipe opens");
            let mut line = String::new();
            BufReader::new(file).read_line(&mut line).expect("a line");
            line.trim().to_owned()
        })
    }

    pub fn write(&self, line: &'static str) {
        let path = self.0.clone();
        within(move || std::fs::write(path, line).expect("the pipe has a reader"));
    }
}
