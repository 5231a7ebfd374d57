//! Outages of a store: each is logged once when it begins, and once when it ends.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ff_core::backend::EngineBackend;
use ff_core::store::Failure;
use ff_core::time::{DurationMs, TimestampMs};

use crate::host::HostClock;
use crate::shared::lock;

/// The time without a reply after which a call counts as not answered.
pub(crate) const SILENCE: Duration = Duration::from_secs(2);

/// An outage that is over sooner is not logged.
const BLIP: DurationMs = DurationMs::from_secs(1);

/// The outages of a connection.
#[derive(Default)]
pub(crate) struct Outages {
    /// Whether the backend logs them itself, with addresses and reasons.
    logged_by_backend: bool,
    failing: Mutex<BTreeMap<Scope, Outage>>,
    /// The number of scopes that fail, which is nearly always 0.
    count: AtomicUsize,
}

/// The calls that fail, by the number of their node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    /// All calls.
    Node(usize),
    /// Calls that the node refuses, which may be writes only: a full store answers reads.
    Refused(usize),
}

struct Outage {
    /// When it began, by the host's clock.
    since: TimestampMs,
    is_logged: bool,
}

impl Outages {
    /// The outages of a connection to this backend.
    pub(crate) fn new(backend: &dyn EngineBackend) -> Self {
        Self { logged_by_backend: backend.name() == "valkey", ..Self::default() }
    }

    /// Notes that a call to a node, sent at this time of the host's clock, failed. `None` means that
    /// it is not answered yet.
    pub(crate) fn failed(
        &self,
        node: usize,
        sent: TimestampMs,
        clock: &HostClock,
        failure: Option<&Failure>,
    ) {
        let (scope, since) = match failure {
            Some(Failure::Refused(_)) => (Scope::Refused(node), sent),
            // Calls that were sent later may have been answered.
            _ => (Scope::Node(node), sent.max(clock.answered_at(node))),
        };
        let mut failing = lock(&self.failing);
        let outage = failing.entry(scope).or_insert(Outage { since, is_logged: false });
        if !outage.is_logged && clock.now().local.since(outage.since) >= BLIP {
            outage.is_logged = true;
            let silence = || format!("no answer for {} s", SILENCE.as_secs());
            let cause = failure.map_or_else(silence, Failure::to_string);
            if self.logged_by_backend {
                tracing::debug!(cause, "store unavailable; calls are tried again");
            } else {
                tracing::warn!(cause, "store unavailable; calls are tried again");
            }
        }
        self.count.store(failing.len(), Ordering::Relaxed);
    }

    /// Notes that a node has answered a call.
    pub(crate) fn answered(&self, node: usize, is_write: bool, clock: &HostClock) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut failing = lock(&self.failing);
        let ended = [Some(Scope::Node(node)), is_write.then_some(Scope::Refused(node))];
        for scope in ended.into_iter().flatten() {
            if let Some(outage) = failing.remove(&scope).filter(|outage| outage.is_logged) {
                let lasted = clock.now().local.since(outage.since);
                if self.logged_by_backend {
                    tracing::debug!(%lasted, "store available again");
                } else {
                    tracing::info!(%lasted, "store available again");
                }
            }
        }
        self.count.store(failing.len(), Ordering::Relaxed);
    }

    /// Whether an outage was logged and has not ended. Its consequences need not be logged.
    pub(crate) fn is_logged(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
            && lock(&self.failing).values().any(|outage| outage.is_logged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outage of a store that is full, which answers reads but refuses writes, is noticed, and
    /// ends with the first write that succeeds.
    #[tokio::test(start_paused = true)]
    async fn refused_writes_are_an_outage_although_reads_are_answered() {
        let (outages, clock) = (Outages::default(), HostClock::new());
        let refused = Failure::Refused("OOM".to_owned());
        for _ in 0..3 {
            assert!(!outages.is_logged());
            outages.failed(0, clock.now().local, &clock, Some(&refused));
            outages.answered(0, false, &clock);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert!(outages.is_logged());
        outages.answered(1, true, &clock);
        outages.answered(0, false, &clock);
        assert!(outages.is_logged());
        outages.answered(0, true, &clock);
        assert!(!outages.is_logged());
    }

    /// A call that is not answered is not an outage while others are.
    #[tokio::test(start_paused = true)]
    async fn a_lost_reply_is_not_an_outage() {
        let (outages, clock) = (Outages::default(), HostClock::new());
        let (sent, lost) = (clock.now().local, Failure::MaybeApplied("lost".to_owned()));
        tokio::time::sleep(Duration::from_secs(30)).await;
        clock.observe(0, TimestampMs::new(30_000));
        outages.failed(0, sent, &clock, Some(&lost));
        assert!(!outages.is_logged());
        outages.answered(0, false, &clock);
        tokio::time::sleep(Duration::from_secs(1)).await;
        outages.failed(0, sent, &clock, Some(&lost));
        assert!(outages.is_logged());
    }
}
