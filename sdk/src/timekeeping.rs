//! The timekeeper of a process: the loop around the agent, its hints and its wake-ups.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ff_core::agent::{ExpirySweep, Timekeeper};
use ff_core::backend::WakeUps;
use ff_core::error::ErrorClass;
use ff_core::partition::Partition;
use ff_core::store::{Topic, Wake};
use ff_core::time::{HostTime, TimestampMs};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::metrics::TimerMeter;
use crate::shared::Connection;

/// A time, by the store's clock, at which something will be due in a partition.
pub(crate) type Hint = (Partition, TimestampMs);

/// Hints queued for the timekeeper.
const MAX_HINTS: usize = 256;

/// The timekeeper of a process. It ends with the last worker that has one.
pub(crate) struct TimekeeperTask {
    dues: mpsc::Sender<Hint>,
    task: JoinHandle<()>,
    sweep: JoinHandle<()>,
}

impl TimekeeperTask {
    /// Starts it on the current tokio runtime.
    pub(crate) fn start(connection: Arc<Connection>) -> Self {
        let (dues, hints) = mpsc::channel(MAX_HINTS);
        let programs = Arc::new(AtomicU64::new(1));
        let sweep = tokio::spawn(remove_expired(connection.clone(), programs.clone()));
        Self { dues, task: tokio::spawn(keep_time(connection, programs, hints)), sweep }
    }

    /// Passes it a due time. It is a hint, which saves a poll.
    pub(crate) fn will_be_due(&self, hint: Hint) {
        // A timekeeper whose queue of hints is full finds the timer with a poll.
        let _ = self.dues.try_send(hint);
    }

    pub(crate) fn runs(&self) -> bool {
        !self.task.is_finished()
    }
}

impl Drop for TimekeeperTask {
    fn drop(&mut self) {
        self.task.abort();
        self.sweep.abort();
    }
}

/// Runs the timekeeper, which applies due timers until it meets a newer record format, or its
/// store is lost.
async fn keep_time(
    connection: Arc<Connection>,
    programs: Arc<AtomicU64>,
    mut hints: mpsc::Receiver<Hint>,
) {
    let mut timekeeper =
        Timekeeper::new(connection.partitions, connection.context().clone(), connection.entropy());
    let mut wake_ups = connection.backend.subscribe(vec![Topic::Due]);
    let (mut unreadable, meter) = (0, TimerMeter::new());
    loop {
        let mut round = pin!(connection.drive(timekeeper.apply_due(connection.clock.now())));
        let report = loop {
            tokio::select! {
                biased;
                report = &mut round => break report,
                heard = hear(&mut hints, &mut wake_ups) => {
                    learn(&mut timekeeper, heard, connection.clock.now());
                }
            }
        };
        match &report {
            Ok(report) if report.applied.is_empty() => {}
            Ok(report) => {
                tracing::debug!(applied = ?report.applied, "due timers applied");
                meter.applied(report);
            }
            Err(error) if connection.context().check_store().is_err() => {
                tracing::error!(%error, "this timekeeper applies no more due timers");
                return;
            }
            // The backend reports a store that does not answer.
            Err(error) if error.class() == ErrorClass::Retryable => {
                tracing::debug!(%error, "cannot apply due timers");
            }
            Err(error) => tracing::warn!(%error, "cannot apply due timers"),
        }
        let found = report.as_ref().map_or(unreadable, |report| report.unreadable);
        if found > unreadable {
            tracing::warn!(records = found, "due records cannot be read");
        }
        unreadable = found;
        timekeeper.applied(&report, connection.clock.now());
        programs.store(timekeeper.programs(), Ordering::Relaxed);
        loop {
            let instant = connection.clock.instant(timekeeper.next_wakeup());
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(instant) => break,
                heard = hear(&mut hints, &mut wake_ups) => {
                    learn(&mut timekeeper, heard, connection.clock.now());
                }
            }
        }
    }
}

/// Removes records beside executions that have expired, until the store is lost.
async fn remove_expired(connection: Arc<Connection>, programs: Arc<AtomicU64>) {
    let context = connection.context().clone();
    let mut sweep = ExpirySweep::new(connection.partitions, context, connection.entropy());
    while connection.context().check_store().is_ok() {
        let next = sweep.next_wakeup(connection.clock.now());
        tokio::time::sleep_until(connection.clock.instant(next)).await;
        let removed = connection.drive(sweep.visit()).await;
        if let Err(error) = &removed {
            tracing::debug!(%error, "cannot remove expired records");
        }
        sweep.visited(&removed, programs.load(Ordering::Relaxed), connection.clock.now());
    }
}

/// Something that a timekeeper hears of.
enum Heard {
    Hint(Hint),
    Wake(Wake),
}

/// Waits for the next hint or wake-up. Cancel safe.
async fn hear(hints: &mut mpsc::Receiver<Hint>, wake_ups: &mut Option<Box<dyn WakeUps>>) -> Heard {
    loop {
        let woken = async {
            match wake_ups {
                Some(wake_ups) => wake_ups.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(hint) = hints.recv() => return Heard::Hint(hint),
            woken = woken => match woken {
                Some(Some(wake)) => return Heard::Wake(wake),
                // The next poll finds the timers of missed wake-ups.
                Some(None) => {}
                None => *wake_ups = None,
            },
        }
    }
}

fn learn(timekeeper: &mut Timekeeper, heard: Heard, now: HostTime) {
    match heard {
        Heard::Hint((partition, due)) => timekeeper.learn(partition, due, now),
        Heard::Wake(wake) => timekeeper.wake(&wake, now),
    }
}
