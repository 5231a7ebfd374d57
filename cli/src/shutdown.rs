//! Shutdown by the signals of the operating system.

use std::future::poll_fn;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::exit::{CliError, SIGNAL_BASE};
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

/// The signals that end a command: SIGINT, SIGTERM and SIGHUP, without those that were ignored at
/// its start. So `nohup` and the background jobs of a script keep their meaning.
pub struct Signals(Vec<(SignalKind, Signal)>);

impl Signals {
    /// Receives the signals from now on.
    pub fn new() -> Result<Self, CliError> {
        let ignored = ignored();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let kinds = kinds.into_iter().filter(|kind| ignored & bit(*kind) == 0);
        let signals = kinds.map(|kind| Ok((kind, signal(kind)?)));
        signals.collect::<io::Result<_>>().map(Self).map_err(CliError::runtime)
    }

    /// Waits for the next signal.
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> SignalKind {
        poll_fn(|context| {
            let received = |(kind, signal): &mut (SignalKind, Signal)| {
                matches!(signal.poll_recv(context), Poll::Ready(Some(()))).then_some(*kind)
            };
            self.0.iter_mut().find_map(received).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// The bit of a signal in a mask of `/proc`.
const fn bit(kind: SignalKind) -> u64 {
    1 << (kind.as_raw_value() - 1)
}

/// The mask of the ignored signals of this process. It is known only on Linux.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Whether Ctrl-C does not reach this process, as in a background job of a script.
pub fn ignores_interrupts() -> bool {
    ignored() & bit(SignalKind::interrupt()) != 0
}

/// The exit code of a command that was ended by a signal.
pub fn exit_code(kind: SignalKind) -> ExitCode {
    let code = u8::try_from(kind.as_raw_value()).map(|number| SIGNAL_BASE + number);
    ExitCode::from(code.unwrap_or(SIGNAL_BASE))
}

/// The requests to shut down.
#[derive(Clone)]
pub struct Requests {
    /// The current request.
    pub shutdown: watch::Receiver<Shutdown>,
    latest: Arc<AtomicI32>,
}

impl Requests {
    /// The exit code of a command that was ended by the latest signal.
    pub fn exit_code(&self) -> ExitCode {
        exit_code(SignalKind::from_raw(self.latest.load(Ordering::Acquire)))
    }
}

/// Follows the signals: the first one requests a drain, the second a stop, the third a kill.
pub fn follow() -> Result<Requests, CliError> {
    let mut signals = Signals::new()?;
    let (sender, shutdown) = watch::channel(Shutdown::No);
    let requests = Requests { shutdown, latest: Arc::default() };
    let latest = requests.latest.clone();
    tokio::spawn(async move {
        loop {
            let kind = signals.next().await;
            latest.store(kind.as_raw_value(), Ordering::Release);
            sender.send_modify(|shutdown| {
                *shutdown = match shutdown {
                    Shutdown::No => Shutdown::Drain,
                    Shutdown::Drain => Shutdown::Stop,
                    Shutdown::Stop | Shutdown::Kill => Shutdown::Kill,
                };
            });
        }
    });
    Ok(requests)
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
