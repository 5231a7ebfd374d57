//! The timekeeper: applies what is due, and sleeps until the next thing is.

use crate::entropy::Entropy;
use crate::error::EngineError;
use crate::op::{ApplyDue, DueReport, OperationContext, StoreClocks};
use crate::partition::PartitionConfig;
use crate::time::{DurationMs, HostTime, TimestampMs};

/// Applies the timers of executions. Every worker process runs one; any number of them share the
/// work.
#[derive(Clone, Debug)]
pub struct Timekeeper {
    partitions: PartitionConfig,
    context: OperationContext,
    entropy: Entropy,
    clocks: StoreClocks,
    next: TimestampMs,
}

/// The longest sleep, with jitter: other programs create timers that this timekeeper does not know.
const MAX_SLEEP_MS: u64 = 1_000;

impl Timekeeper {
    /// A timekeeper whose first round begins immediately.
    pub const fn new(
        partitions: PartitionConfig,
        context: OperationContext,
        entropy: Entropy,
    ) -> Self {
        Self { partitions, context, entropy, clocks: StoreClocks::new(), next: TimestampMs::ZERO }
    }

    /// Begins a round. Its result goes to [`Timekeeper::applied`].
    pub fn apply_due(&mut self) -> ApplyDue {
        ApplyDue::new(self.partitions, self.context.clone(), self.entropy.fork())
            .comparing(self.clocks.clone())
    }

    /// Notes the result of a round.
    pub fn applied(&mut self, report: &Result<DueReport, EngineError>, now: HostTime) {
        if let Some(clocks) = report.as_ref().ok().and_then(|report| report.clocks.as_ref()) {
            self.clocks.clone_from(clocks);
        }
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
