//! \[BOUNDS\] The calls of a program retry no more often than their shared budget allows.

use ff_core::op::RetryLimits;
use ff_core::time::{DurationMs, TimestampMs};

use crate::report::{Broken, ensure};

const TAG: &str = "BOUNDS";
/// One retry, in the unit in which a retry per second earns one in a millisecond.
const RETRY: i64 = 1_000;

/// The retries that a process has left at most. It counts the retries that wait. An operation can
/// consist of several calls with budgets, and each begins with a request or with the operation, so
/// each of these counts as two calls.
#[derive(Debug)]
pub struct RetriesLeft {
    limits: RetryLimits,
    /// Those that are left, less those that wait.
    left: i64,
    at: Option<TimestampMs>,
}

impl RetriesLeft {
    /// Those of a process that has just started.
    pub fn new(limits: RetryLimits) -> Self {
        Self { limits, left: i64::from(limits.saved) * RETRY, at: None }
    }

    fn earn(&mut self, earned: i64) {
        self.left = (self.left + earned).min(i64::from(self.limits.saved) * RETRY);
    }

    /// Notes that an operation begins or sends a request.
    pub fn note_calls(&mut self) {
        self.earn(2 * RETRY / i64::from(self.limits.calls_per_retry));
    }

    /// Before a retry, an operation waits until it is its turn. `now`: the clock of its process.
    pub fn check(&mut self, wait: DurationMs, now: TimestampMs) -> Result<(), Broken> {
        let elapsed = self.at.map_or(DurationMs::ZERO, |at| now.since(at));
        self.at = Some(now);
        self.earn(elapsed.get().cast_signed() * i64::from(self.limits.per_second));
        self.left -= RETRY;
        let turn = (-self.left).max(0).cast_unsigned().div_ceil(u64::from(self.limits.per_second));
        ensure!(
            wait.get() >= turn,
            TAG,
            "a retry waits for {wait} although the budget of its process allows it in {turn} ms"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_is_checked_against_its_turn() {
        let limits = RetryLimits { per_second: 2, calls_per_retry: 10, saved: 1 };
        let check = |left: &mut RetriesLeft, wait, at| {
            left.check(DurationMs::new(wait), TimestampMs::new(1_000_u64 + at)).is_ok()
        };
        let mut left = RetriesLeft::new(limits);
        assert!(check(&mut left, 0, 0), "one is saved");
        assert!(check(&mut left, 500, 0), "the next one waits for half a second");
        assert!(!check(&mut left, 999, 0), "and the one after it for a second");
        left.note_calls();
        assert!(check(&mut left, 900, 500), "time and calls earn retries");
    }
}
