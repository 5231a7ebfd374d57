//! Shutdown by the signals of the operating system.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::exit::CliError;
use crate::report::counted;

/// How a command is asked to shut down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shutdown {
    /// Not at all.
    #[default]
    No,
    /// Claim no more, and wait for running tasks.
    Drain,
    /// End running commands, and give their executions back.
    Stop,
    /// Kill the commands that have not ended yet.
    Kill,
}

/// Follows the signals: the first SIGINT, SIGTERM or SIGHUP requests a drain, the second a stop, the
/// third a kill.
pub fn follow() -> Result<watch::Receiver<Shutdown>, CliError> {
    let mut interrupted = signal(SignalKind::interrupt()).map_err(CliError::runtime)?;
    let mut terminated = signal(SignalKind::terminate()).map_err(CliError::runtime)?;
    let mut hung_up = signal(SignalKind::hangup()).map_err(CliError::runtime)?;
    let (sender, receiver) = watch::channel(Shutdown::No);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupted.recv() => {}
                _ = terminated.recv() => {}
                _ = hung_up.recv() => {}
            }
            sender.send_modify(|shutdown| {
                *shutdown = match shutdown {
                    Shutdown::No => Shutdown::Drain,
                    Shutdown::Drain => Shutdown::Stop,
                    Shutdown::Stop | Shutdown::Kill => Shutdown::Kill,
                };
            });
        }
    });
    Ok(receiver)
}

/// Waits until this shutdown, or a faster one, is requested. Never returns if the sender is gone.
pub async fn requested(shutdown: &mut watch::Receiver<Shutdown>, wanted: Shutdown) {
    if shutdown.wait_for(|shutdown| *shutdown >= wanted).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The status line of a drain with this number of running tasks.
pub fn waiting_message(running: u64) -> String {
    if running == 0 {
        return "ff: shutting down".to_owned();
    }
    let tasks = counted(running, "running task", "running tasks");
    format!("ff: shutting down: waiting for {tasks}; press Ctrl-C again to end them")
}

/// The status line of a stop with this number of running tasks.
pub fn stopping_message(running: u64) -> String {
    let tasks = counted(running, "running task", "running tasks");
    format!("ff: ending {tasks}; press Ctrl-C again to kill them")
}
