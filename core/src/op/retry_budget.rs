//! The budget of retries that the calls of a program share.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::planted::planted;
use crate::time::{DurationMs, TimestampMs};

/// How many retries the calls of a program have together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryLimits {
    /// The retries in each second, whatever the number of calls.
    pub per_second: u32,
    /// The number of calls that earn one more retry.
    pub calls_per_retry: u32,
    /// The maximum number of retries that are saved for later.
    pub saved: u32,
}

impl Default for RetryLimits {
    /// 100 in each second, and one more for five calls; at most 200 are saved.
    fn default() -> Self {
        Self { per_second: 100, calls_per_retry: 5, saved: 200 }
    }
}

/// The budget of retries that the calls of a program share, so that programs do not multiply the
/// load of a store that refuses calls, does not answer, or is contended. Clones share it.
///
/// It is a token bucket. Time and first tries fill it, each retry takes from it. A retry that finds
/// it empty waits for its turn.
#[derive(Clone)]
pub struct RetryBudget(Arc<Mutex<Bucket>>);

struct Bucket {
    limits: RetryLimits,
    /// The retries that are left, in thousandths; negative if retries wait for their turn.
    left: i64,
    /// When it was filled last, by the host's clock.
    filled_at: Option<TimestampMs>,
}

/// The thousandths of one retry.
const RETRY: i64 = 1_000;

impl Bucket {
    fn fill(&mut self, now: TimestampMs) {
        let elapsed = self.filled_at.map_or(DurationMs::ZERO, |at| now.since(at));
        self.filled_at = Some(self.filled_at.map_or(now, |at| at.max(now)));
        // So many retries in a second are as many thousandths in a millisecond.
        let earned = elapsed.get().saturating_mul(u64::from(self.limits.per_second));
        self.add(i64::try_from(earned).unwrap_or(i64::MAX));
    }

    fn add(&mut self, thousandths: i64) {
        let most = i64::from(self.limits.saved) * RETRY;
        self.left = self.left.saturating_add(thousandths).min(most);
    }
}

impl RetryBudget {
    /// A full budget.
    pub fn new(limits: RetryLimits) -> Self {
        let left = i64::from(limits.saved) * RETRY;
        Self(Arc::new(Mutex::new(Bucket { limits, left, filled_at: None })))
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the first try of a call.
    pub(super) fn note_call(&self) {
        let mut bucket = self.bucket();
        let earned = RETRY / i64::from(bucket.limits.calls_per_retry.max(1));
        bucket.add(earned);
    }

    /// Takes one retry, and returns the time to wait for it. `None`, and nothing is taken, if that
    /// would be longer than `longest`.
    pub(super) fn take(&self, longest: DurationMs, now: TimestampMs) -> Option<DurationMs> {
        let mut bucket = self.bucket();
        bucket.fill(now);
        let missing = u64::try_from(RETRY - bucket.left).unwrap_or(0);
        let wait = missing.div_ceil(u64::from(bucket.limits.per_second.max(1)));
        let wait = match planted!(RetryBudgetIgnored) {
            true => DurationMs::ZERO,
            false => DurationMs::new(wait),
        };
        if wait > longest {
            return None;
        }
        bucket.left -= RETRY;
        Some(wait)
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new(RetryLimits::default())
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What other operations take is not part of the one that shares it.
        f.write_str("RetryBudget(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RetryLimits = RetryLimits { per_second: 10, calls_per_retry: 4, saved: 2 };
    const LONG: DurationMs = DurationMs::from_secs(60);

    fn at(milliseconds: u64) -> TimestampMs {
        TimestampMs::new(1_000_000 + milliseconds)
    }

    fn takes<const N: usize>(budget: &RetryBudget, now: u64) -> [u64; N] {
        [(); N].map(|()| budget.take(LONG, at(now)).expect("it waits").get())
    }

    #[test]
    fn saved_retries_need_no_wait_and_further_ones_wait_for_their_turn() {
        let budget = RetryBudget::new(LIMITS);
        assert_eq!(takes(&budget, 0), [0, 0, 100, 200]);
        // Two retries have waited since.
        assert_eq!(takes(&budget, 200), [100]);
        // However long nothing was retried, two are saved.
        assert_eq!(takes(&budget, 100_000), [0, 0, 100]);
    }

    #[test]
    fn calls_earn_retries() {
        let budget = RetryBudget::new(LIMITS);
        assert_eq!(takes(&budget, 0), [0, 0]);
        (0..8).for_each(|_| budget.note_call());
        assert_eq!(takes(&budget, 0), [0, 0, 100]);
    }

    #[test]
    fn a_retry_that_would_wait_for_too_long_takes_nothing() {
        let budget = RetryBudget::new(LIMITS);
        assert_eq!(takes(&budget, 0), [0, 0, 100]);
        let impatient = DurationMs::new(199);
        (0..100).for_each(|_| assert_eq!(budget.take(impatient, at(0)), None));
        assert_eq!(takes(&budget, 0), [200]);
    }

    /// The host's clock does not step back; if it did, the budget would fill no faster.
    #[test]
    fn a_clock_that_steps_back_earns_nothing() {
        let budget = RetryBudget::new(LIMITS);
        assert_eq!(takes(&budget, 50_000), [0, 0]);
        assert_eq!(takes(&budget, 0), [100]);
        assert_eq!(takes(&budget, 50_100), [100]);
    }
}
