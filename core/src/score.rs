//! The position of an entry in an index: an integer between -2^53 and 2^53, exact in a double.

use serde::{Deserialize, Serialize};

use crate::policy::Priority;
use crate::time::{DurationMs, TimestampMs};

/// Where an entry stands in an index; lower is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Score(i64);

/// The weight of one step of priority: more than any difference of creation times.
const PRIORITY_STEP: i64 = 1_000_000_000_000;

const LIMIT: i64 = (1 << 53) - 1;

impl Score {
    /// Before every other entry.
    pub const MIN: Self = Self(-LIMIT);
    /// Behind every other entry.
    pub const MAX: Self = Self(LIMIT);

    /// A score; values beyond 2^53 saturate, so that a double holds every score exactly.
    pub const fn new(value: i64) -> Self {
        if value > LIMIT {
            Self::MAX
        } else if value < -LIMIT {
            Self::MIN
        } else {
            Self(value)
        }
    }

    /// Its number.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The score of an instant, in `due` and in lists by creation time.
    pub const fn at(instant: TimestampMs) -> Self {
        // An instant is at most 2^52 and fits.
        Self(instant.get() as i64)
    }

    /// The instant of a score made by [`Score::at`]; scores below zero are the epoch.
    pub const fn instant(self) -> TimestampMs {
        TimestampMs::new(if self.0 < 0 { 0 } else { self.0 as u64 })
    }

    /// The place in a lane: priority from high to low, then creation time, then position within a
    /// batch: created_at_ms + position - priority x 10^12 (`docs/spec.md`, 4).
    pub fn in_lane(created_at: TimestampMs, position: u16, priority: Priority) -> Self {
        let place = Self::at(created_at.plus(DurationMs::new(u64::from(position)))).0;
        Self::new(place - i64::from(priority.get()) * PRIORITY_STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
