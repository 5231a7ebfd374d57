//! The reason why a server does not serve, for the log, and the waits between tries to connect.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The least time between two reports of one reason.
const REPORT_EVERY: Duration = Duration::from_secs(300);
/// The shortest and the longest wait between two tries to connect.
const WAITS: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(30)];
/// The wait between two tries is this part of the outage so far. So a program notices the end of an
/// outage at the latest after a quarter more of its duration.
const PART_OF_OUTAGE: u32 = 4;

/// The part of a server's service that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// There is no connection, or no answer on it.
    Answers,
    /// The server refuses calls that only read.
    Reads,
    /// The server is a replica.
    Primary,
    /// The server refuses calls that write.
    Writes,
}

/// The trouble of one server. Each new reason is logged once, and again only rarely. Its end is
/// logged too. Before the store is open, nothing is logged: the caller gets the error.
#[derive(Debug)]
pub(super) struct Trouble {
    is_open: Arc<AtomicBool>,
    current: Mutex<Option<Current>>,
}

#[derive(Debug)]
struct Current {
    missing: Missing,
    reason: String,
    since: Instant,
    reported: Instant,
}

impl Trouble {
    /// No trouble, for a server of a store that is opened.
    pub(super) fn new(is_open: Arc<AtomicBool>) -> Self {
        Self { is_open, current: Mutex::default() }
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a failure of the server with this name.
    pub(super) fn begins(&self, node: &str, missing: Missing, reason: &str) {
        if !self.is_open.load(Ordering::Acquire) {
            return;
        }
        let (mut current, now) = (self.current(), Instant::now());
        match &mut *current {
            Some(known) if known.reason == reason => {
                if known.reported.elapsed() < REPORT_EVERY {
                    return;
                }
                known.reported = now;
            }
            Some(known) => {
                (known.missing, known.reported) = (missing, now);
                reason.clone_into(&mut known.reason);
            }
            None => {
                let (reason, since) = (reason.to_owned(), now);
                *current = Some(Current { missing, reason, since, reported: now });
            }
        }
        tracing::warn!("the store at {node} cannot be used: {reason}; trying again");
    }

    /// Notes that the server serves this again.
    pub(super) fn ends(&self, node: &str, served: Missing) {
        let mut current = self.current();
        // A reply to a read does not show that the server takes writes.
        let ended = current.take_if(|current| match served {
            Missing::Answers => current.missing == Missing::Answers,
            Missing::Reads => matches!(current.missing, Missing::Answers | Missing::Reads),
            Missing::Primary => current.missing == Missing::Primary,
            Missing::Writes => true,
        });
        if let Some(ended) = ended {
            let seconds = ended.since.elapsed().as_secs_f64();
            tracing::info!("connected again to the store at {node}, after {seconds:.1} s");
        }
    }
}

/// The waits between tries during an outage. They grow with it, with jitter.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    since: Option<Instant>,
    next: Option<Instant>,
}

impl Backoff {
    /// Notes a failed try. Returns the wait before the next one.
    pub(super) fn failed(&mut self) -> Duration {
        let now = Instant::now();
        let outage = now - *self.since.get_or_insert(now);
        let wait = (outage / PART_OF_OUTAGE).clamp(WAITS[0], WAITS[1]);
        // Between half of the wait and all of it, so that programs do not try together.
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let random = wall.subsec_nanos() % 1_024;
        let wait = wait / 2 + wait / 2 * random / 1_024;
        self.next = Some(now + wait);
        wait
    }

    /// Whether the wait is over.
    pub(super) fn is_over(&self) -> bool {
        self.next.is_none_or(|next| next <= Instant::now())
    }

    /// Notes a try that did not fail.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_grow_with_the_outage() {
        let (mut backoff, begun, mut tries) = (Backoff::default(), Instant::now(), 0);
        while begun.elapsed() < Duration::from_secs(600) {
            let wait = backoff.failed();
            assert!(wait <= WAITS[1] && wait >= WAITS[0] / 2, "{wait:?}");
            assert!(wait <= WAITS[0].max(begun.elapsed() / PART_OF_OUTAGE), "{wait:?}");
            tokio::time::sleep(wait).await;
            assert!(backoff.is_over());
            tries += 1;
        }
        assert!((30..100).contains(&tries), "{tries} tries in 10 min");
        backoff.succeeded();
        assert!(backoff.failed() <= WAITS[0]);
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_with_writes_does_not_end_with_a_read() {
        let trouble = Trouble::new(Arc::new(true.into()));
        trouble.begins("node", Missing::Answers, "refused");
        trouble.ends("node", Missing::Answers);
        assert!(trouble.current().is_none());
        trouble.begins("node", Missing::Writes, "READONLY");
        for served in [Missing::Answers, Missing::Reads] {
            trouble.ends("node", served);
            assert!(trouble.current().is_some());
        }
        trouble.ends("node", Missing::Writes);
        assert!(trouble.current().is_none());
    }
}
