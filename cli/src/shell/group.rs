//! The process group of a command, and how it is ended.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::children::{self, Started};
use super::guard;

/// How often a process group that gets SIGTERM is checked for its end.
const CHECK_EVERY: Duration = Duration::from_millis(10);

/// How long killed processes may take to end. They do not end in a call to a hanging file system.
const KILL_TIMEOUT: Duration = Duration::from_secs(1);

/// The number of commands that are started or have not ended.
static LIVING: LazyLock<watch::Sender<usize>> = LazyLock::new(watch::Sender::default);

/// Counts a command from before its start to its end.
struct Living;

impl Living {
    fn new() -> Self {
        LIVING.send_modify(|count| *count += 1);
        Self
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        LIVING.send_modify(|count| *count -= 1);
    }
}

/// The process group of a command. Dropping it ends the command in the background.
pub struct ProcessGroup {
    pid: Pid,
    grace: Duration,
    phase: Phase,
    living: Option<Living>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Runs,
    /// It got SIGTERM, or gets SIGKILL.
    Ends,
}

impl ProcessGroup {
    /// Starts a command in a new process group. Its processes have `grace` between SIGTERM and
    /// SIGKILL.
    pub fn start(command: &mut Command, grace: Duration) -> io::Result<(Self, Started)> {
        guard::start();
        let living = Some(Living::new());
        let started = children::start(command.process_group(0))?;
        guard::started(started.pid);
        Ok((Self { pid: started.pid, grace, phase: Phase::Runs, living }, started))
    }

    /// Kills all processes of the group.
    pub fn kill(mut self) {
        self.phase = Phase::Ends;
    }

    /// Sends SIGTERM to all processes of the group, waits for their end, and kills those that
    /// still run after the grace, or when `kill` returns. Dropping the future kills them.
    pub async fn end(mut self, kill: impl Future<Output = ()>) {
        self.terminate();
        tokio::select! {
            biased;
            () = self.ended(self.grace) => {}
            () = kill => {}
        }
        let _ = killpg(self.pid, Signal::SIGKILL);
        self.ended(KILL_TIMEOUT).await;
    }

    fn terminate(&mut self) {
        self.phase = Phase::Ends;
        // The group may have ended.
        let _ = killpg(self.pid, Signal::SIGTERM);
    }

    /// Waits until no process of the group is left, at most for this time.
    async fn ended(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while killpg(self.pid, None) != Err(Errno::ESRCH) && Instant::now() < deadline {
            tokio::time::sleep(CHECK_EVERY).await;
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if self.phase == Phase::Runs
            && let Ok(runtime) = Handle::try_current()
        {
            let mut group = Self { living: self.living.take(), ..*self };
            group.terminate();
            // If the runtime is shut down, this drops the group, which kills it.
            runtime.spawn(async move { group.ended(group.grace).await });
            return;
        }
        let _ = killpg(self.pid, Signal::SIGKILL);
        guard::ended(self.pid);
    }
}

/// Waits for the end of all commands.
pub async fn all_ended() {
    // The sender is never dropped.
    let _ = LIVING.subscribe().wait_for(|count| *count == 0).await;
}
