//! The timekeeper of a process, as a task.

use std::sync::Arc;

use ff_core::agent::Timekeeper;
use ff_core::time::TimestampMs;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::shared::Connection;

/// Hints queued for the timekeeper.
const MAX_HINTS: usize = 256;

/// The timekeeper of a process. It ends with the last worker that has one.
pub(crate) struct TimekeeperTask {
    dues: mpsc::Sender<TimestampMs>,
    task: JoinHandle<()>,
}

impl TimekeeperTask {
    /// Starts it on the current tokio runtime.
    pub(crate) fn start(connection: Arc<Connection>) -> Self {
        let (dues, hints) = mpsc::channel(MAX_HINTS);
        Self { dues, task: tokio::spawn(keep_time(connection, hints)) }
    }

    /// Passes it a due time. It is a hint, which saves a poll.
    pub(crate) fn will_be_due(&self, due: TimestampMs) {
        // A timekeeper whose queue of hints is full is about to poll anyway.
        let _ = self.dues.try_send(due);
    }

    pub(crate) fn runs(&self) -> bool {
        !self.task.is_finished()
    }
}

impl Drop for TimekeeperTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs the timekeeper, which applies due timers until it meets a newer record format, or its
/// store is lost.
async fn keep_time(connection: Arc<Connection>, mut hints: mpsc::Receiver<TimestampMs>) {
    let mut timekeeper =
        Timekeeper::new(connection.partitions, connection.context().clone(), connection.entropy());
    let mut unreadable = 0;
    loop {
        let report = connection.drive(timekeeper.apply_due()).await;
        match &report {
            Ok(report) if report.applied.is_empty() => {}
            Ok(report) => tracing::debug!(applied = ?report.applied, "due timers applied"),
            Err(error) if connection.context().check_store().is_err() => {
                tracing::error!(%error, "this timekeeper applies no more due timers");
                return;
            }
            Err(error) => tracing::warn!(%error, "cannot apply due timers"),
        }
        let found = report.as_ref().map_or(unreadable, |report| report.unreadable);
        if found > unreadable {
            tracing::warn!(records = found, "due records cannot be read");
        }
        unreadable = found;
        timekeeper.applied(&report, connection.clock.now());
        loop {
            let instant = connection.clock.instant(timekeeper.next_wakeup());
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(instant) => break,
                Some(due) = hints.recv() => timekeeper.learn(due, connection.clock.now()),
            }
        }
    }
}
