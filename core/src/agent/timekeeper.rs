//! The timekeeper: applies what is due, and sleeps until the next thing is.

use crate::entropy::Entropy;
use crate::error::EngineError;
use crate::op::{Terms, Tick, TickReport};
use crate::partition::PartitionConfig;
use crate::time::{DurationMs, HostTime, TimestampMs};

/// Applies whatever time does to executions. Every worker process runs one; any number of them
/// share the work.
#[derive(Clone, Debug)]
pub struct Timekeeper {
    partitions: PartitionConfig,
    terms: Terms,
    entropy: Entropy,
    next: TimestampMs,
}

/// The longest sleep, with jitter: others create due work that this timekeeper does not know of.
const MAX_SLEEP_MS: u64 = 1_000;

impl Timekeeper {
    /// A timekeeper that begins at once; each round runs on these terms.
    pub const fn new(partitions: PartitionConfig, terms: Terms, entropy: Entropy) -> Self {
        Self { partitions, terms, entropy, next: TimestampMs::ZERO }
    }

    /// A round. What came of it goes to [`Timekeeper::ticked`].
    pub fn tick(&mut self) -> Tick {
        Tick::new(self.partitions, self.terms.clone(), self.entropy.fork())
    }

    /// Notes what came of a round.
    pub fn ticked(&mut self, report: &Result<TickReport, EngineError>, now: HostTime) {
        let longest = MAX_SLEEP_MS * 3 / 4 + self.entropy.below(MAX_SLEEP_MS / 2);
        let due = report.as_ref().ok().and_then(|report| report.next_due);
        let sleep = due.map_or(longest, |due| due.since(now.local).get().min(longest)).max(1);
        self.next = now.local.plus(DurationMs::new(sleep));
    }

    /// Notes a time, by the store's clock, at which something will be due that no round has seen.
    pub fn learn(&mut self, due: TimestampMs, now: HostTime) {
        let sleep = due.since(now.store).get().max(1);
        self.next = self.next.min(now.local.plus(DurationMs::new(sleep)));
    }

    /// When the next round begins, by the host's clock.
    pub const fn next_wakeup(&self) -> TimestampMs {
        self.next
    }
}
