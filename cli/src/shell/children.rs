//! The children of this process: starts those that run commands, and waits for all of them, also
//! for those that it inherits.
//!
//! One thread waits for any child. So a process whose parent has ended does not stay a zombie when
//! this process adopts it: as process 1 of a container, and on Linux as the nearest subreaper.

use std::collections::BTreeMap;
use std::io;
use std::process::{Child, Command};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::sync::oneshot;

/// How a child has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this exit code.
    Code(i32),
    /// By a signal; `None` if it has no name, such as a real-time signal.
    Signal(Option<Signal>),
}

/// A child that runs a command.
pub struct Started {
    /// Its process ID.
    pub pid: Pid,
    /// Its pipes.
    pub child: Child,
    /// Receives its end.
    pub exit: oneshot::Receiver<Exit>,
}

/// The children that run commands, by their process IDs.
#[derive(Default)]
struct Children {
    running: Mutex<BTreeMap<Pid, oneshot::Sender<Exit>>>,
    started: Condvar,
}

/// How often the thread looks for inherited children while no command runs.
const LOOK_EVERY: Duration = Duration::from_secs(1);

static CHILDREN: LazyLock<Children> = LazyLock::new(|| {
    adopt_orphans();
    std::thread::spawn(|| CHILDREN.reap());
    Children::default()
});

/// Starts a command. The first call starts the thread that waits for children, so that no other
/// code of this process can receive the exit status of one.
pub fn start(command: &mut Command) -> io::Result<Started> {
    let (sender, exit) = oneshot::channel();
    // The lock is held until the child is known: it may end before that.
    let mut running = CHILDREN.running();
    let child = command.spawn()?;
    let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    running.insert(pid, sender);
    CHILDREN.started.notify_one();
    Ok(Started { pid, child, exit })
}

/// Makes this process the parent of those descendants whose parent has ended.
#[cfg(target_os = "linux")]
fn adopt_orphans() {
    // Without it another process waits for them.
    let _ = nix::sys::prctl::set_child_subreaper(true);
}

#[cfg(not(target_os = "linux"))]
fn adopt_orphans() {}

impl Children {
    fn running(&self) -> MutexGuard<'_, BTreeMap<Pid, oneshot::Sender<Exit>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reap(&self) {
        loop {
            match waitpid(Pid::from_raw(-1), None) {
                Ok(WaitStatus::Exited(pid, code)) => self.ended(pid, Exit::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    self.ended(pid, Exit::Signal(Some(signal)));
                }
                Err(Errno::ECHILD) => {
                    let running = self.running();
                    if running.is_empty() {
                        drop(self.started.wait_timeout(running, LOOK_EVERY));
                    } else {
                        // Nothing is known of their end.
                        self.lost(running);
                    }
                }
                // A child was ended by a signal without a name, and its process ID is unknown.
                Err(Errno::EINVAL) => self.lost(self.running()),
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Reports the end of a child, unless it was inherited.
    fn ended(&self, pid: Pid, exit: Exit) {
        if let Some(sender) = self.running().remove(&pid) {
            // The receiver is gone if the command was dropped.
            let _ = sender.send(exit);
        }
    }

    /// Reports the end of the children that do not exist any more.
    fn lost(&self, mut running: MutexGuard<'_, BTreeMap<Pid, oneshot::Sender<Exit>>>) {
        let is_gone = |pid: &Pid| kill(*pid, None) == Err(Errno::ESRCH);
        let gone: Vec<Pid> = running.keys().copied().filter(is_gone).collect();
        for sender in gone.iter().filter_map(|pid| running.remove(pid)) {
            let _ = sender.send(Exit::Signal(None));
        }
    }
}
