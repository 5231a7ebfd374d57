//! Scores: the positions of entries in an index, as integers between -2^53 and 2^53 that a double
//! represents exactly.

use serde::{Deserialize, Serialize};

use crate::policy::Priority;
use crate::time::{DurationMs, TimestampMs};

/// The position of an entry in an index. Lower scores come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Score(i64);

/// The weight of one priority level: larger than any difference of creation times, in
/// milliseconds.
const PRIORITY_STEP: i64 = 1_000_000_000_000;

const LIMIT: i64 = (1 << 53) - 1;

impl Score {
    /// The lowest score.
    pub const MIN: Self = Self(-LIMIT);
    /// The highest score.
    pub const MAX: Self = Self(LIMIT);

    /// Creates a score. Values beyond 2^53 saturate, so that a double holds every score exactly.
    pub const fn new(value: i64) -> Self {
        if value > LIMIT {
            Self::MAX
        } else if value < -LIMIT {
            Self::MIN
        } else {
            Self(value)
        }
    }

    /// Returns the number.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Creates the score of an instant, as used in `due` and in lists by creation time.
    pub const fn at(instant: TimestampMs) -> Self {
        // An instant is at most 2^52, so it fits.
        Self(instant.get() as i64)
    }

    /// Returns the instant of a score made by [`Score::at`]. Scores below zero give the epoch.
    pub const fn instant(self) -> TimestampMs {
        TimestampMs::new(if self.0 < 0 { 0 } else { self.0 as u64 })
    }

    /// Whether the instant of the score is at most this far from another one, before or after it.
    pub const fn is_near(self, instant: TimestampMs, distance: DurationMs) -> bool {
        self.0.abs_diff(instant.get() as i64) <= distance.get()
    }

    /// Returns how long an execution with this score in its lane has existed, whatever its
    /// priority.
    pub const fn age_in_lane(self, now: TimestampMs) -> DurationMs {
        let older = now.get() as i64 - self.0;
        // A score slightly in the future belongs to the priority above.
        let age = older.rem_euclid(PRIORITY_STEP);
        DurationMs::new(if age > PRIORITY_STEP / 2 { 0 } else { age as u64 })
    }

    /// Returns the score in a lane of an execution that was created later.
    #[must_use]
    pub const fn later_by(self, time: DurationMs) -> Self {
        Self::new(self.0.saturating_add(time.get() as i64))
    }

    /// Returns the score in a lane: priority from high to low, then creation time, then position
    /// within a batch. It is created_at_ms + position - priority x 10^12 (`docs/spec.md`, 4).
    pub fn in_lane(created_at: TimestampMs, position: u16, priority: Priority) -> Self {
        let by_age = Self::at(created_at.plus(DurationMs::new(u64::from(position)))).0;
        Self::new(by_age - i64::from(priority.get()) * PRIORITY_STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_in_a_lane_does_not_depend_on_the_priority() {
        let now = TimestampMs::new(1_764_000_000_000);
        for priority in [0, 1, 5, 9_000] {
            let age = |at: u64| {
                let at = TimestampMs::new(at);
                Score::in_lane(at, 0, Priority::clamped(priority)).age_in_lane(now).get()
            };
            assert_eq!(age(now.get() - 7_000), 7_000);
            assert_eq!(age(now.get() - 500_000_000), 500_000_000);
            assert_eq!(age(now.get() + 40), 0);
        }
    }

    #[test]
    fn priority_comes_before_age_and_age_before_position() {
        let score = |at, position, priority| {
            Score::in_lane(TimestampMs::new(at), position, Priority::clamped(priority))
        };
        let today = 1_764_000_000_000;
        assert!(score(today, 0, 1) < score(today - 500_000_000_000, 0, 0));
        assert!(score(today - 1_000, 999, 0) < score(today, 0, 0));
        assert!(score(today, 0, 0) < score(today, 1, 0));
        assert!(score(today, 0, 9_000).get() > -(1 << 53));
    }
}
