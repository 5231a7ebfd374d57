//! Instants, durations and the half-open time windows that travel with a commit
//! (`docs/architecture.md`, Time).
//!
//! The store's clock is the only clock that decides. One boundary rule applies everywhere: what
//! expires at T is valid while `now < T`, and expired when `now >= T`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An instant of the store's clock, in milliseconds since the Unix epoch; at most 2^52.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(from = "u64", into = "u64")]
pub struct TimestampMs(u64);

/// A length of time in milliseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct DurationMs(u64);

/// The largest instant that can be stored, since scores of an index stay below 2^53.
const MAX_INSTANT_MS: u64 = 1 << 52;

impl TimestampMs {
    /// The Unix epoch, which is also the earliest instant.
    pub const ZERO: Self = Self(0);
    /// The latest instant (2^52 ms, about the year 144,000). In a window it means "never".
    pub const MAX: Self = Self(MAX_INSTANT_MS);

    /// Creates an instant. Values above [`TimestampMs::MAX`] saturate.
    pub const fn new(milliseconds: u64) -> Self {
        if milliseconds > MAX_INSTANT_MS { Self::MAX } else { Self(milliseconds) }
    }

    /// Returns the milliseconds since the Unix epoch.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Adds `duration`. Saturates at [`TimestampMs::MAX`].
    #[must_use]
    pub const fn plus(self, duration: DurationMs) -> Self {
        Self::new(self.0.saturating_add(duration.0))
    }

    /// Subtracts `duration`. Saturates at the epoch.
    #[must_use]
    pub const fn minus(self, duration: DurationMs) -> Self {
        Self(self.0.saturating_sub(duration.0))
    }

    /// Adds a signed number of milliseconds. Saturates at the epoch and at [`TimestampMs::MAX`].
    #[must_use]
    pub const fn shifted(self, by_ms: i64) -> Self {
        let by = DurationMs(by_ms.unsigned_abs());
        if by_ms < 0 { self.minus(by) } else { self.plus(by) }
    }

    /// Returns the time from `earlier` to this instant, or zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> DurationMs {
        DurationMs(self.0.saturating_sub(earlier.0))
    }
}

impl From<u64> for TimestampMs {
    /// Converts a number from outside, which saturates as in [`TimestampMs::new`].
    fn from(milliseconds: u64) -> Self {
        Self::new(milliseconds)
    }
}

impl From<TimestampMs> for u64 {
    fn from(instant: TimestampMs) -> Self {
        instant.0
    }
}

impl fmt::Display for TimestampMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

impl DurationMs {
    /// The duration of 0 ms.
    pub const ZERO: Self = Self(0);

    /// Creates a duration of this many milliseconds.
    pub const fn new(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// Creates a duration of this many seconds. Saturates.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000))
    }

    /// Returns the milliseconds.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for DurationMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

impl From<std::time::Duration> for DurationMs {
    /// Rounds up to whole milliseconds, so that a duration above zero never becomes zero.
    fn from(duration: std::time::Duration) -> Self {
        Self(u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }
}

impl From<DurationMs> for std::time::Duration {
    fn from(duration: DurationMs) -> Self {
        Self::from_millis(duration.0)
    }
}

/// A host's view of time: its monotonic clock, and its estimate of the store's clock.
///
/// Operations measure deadlines and leases with `local`, and decide for the time `store`. Only a
/// reply from the store confirms the estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostTime {
    /// The host's monotonic clock, with an origin that the host chooses.
    pub local: TimestampMs,
    /// The host's estimate of the store's clock.
    pub store: TimestampMs,
}

/// A half-open interval `[not_before, not_after)` of the store's clock in which a decision holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The first instant at which the decision holds.
    pub not_before: TimestampMs,
    /// The first instant at which it no longer holds.
    pub not_after: TimestampMs,
}

impl Window {
    /// The maximum time by which a window may begin before the time of its decision: 1 s.
    pub const MAX_AHEAD_MS: DurationMs = DurationMs(1_000);

    /// The window that contains every instant.
    pub const ALWAYS: Self = Self { not_before: TimestampMs::ZERO, not_after: TimestampMs::MAX };

    /// Creates the window of all instants before `instant`.
    pub const fn until(instant: TimestampMs) -> Self {
        Self { not_before: TimestampMs::ZERO, not_after: instant }
    }

    /// Creates the window of all instants from `instant` on.
    pub const fn from(instant: TimestampMs) -> Self {
        Self { not_before: instant, not_after: TimestampMs::MAX }
    }

    /// Returns the intersection of two windows.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }

    /// Whether `now` lies in the window.
    pub fn contains(&self, now: TimestampMs) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// Narrows the window of a decision for `now`, because the clock of the decider may be wrong:
    /// to at most [`Window::MAX_AHEAD_MS`] before `now` and at most `ahead` after it. Without
    /// `ahead` the end stays the same.
    #[must_use]
    pub fn clipped(self, now: TimestampMs, ahead: Option<DurationMs>) -> Self {
        let upper = ahead.map_or(TimestampMs::MAX, |ahead| now.plus(ahead));
        self.and(Self { not_before: now.minus(Self::MAX_AHEAD_MS), not_after: upper })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_half_open() {
        let window = Window::from(TimestampMs::new(5)).and(Window::until(TimestampMs::new(7)));
        let inside: Vec<bool> = (4..9).map(|at| window.contains(TimestampMs::new(at))).collect();
        assert_eq!(inside, [false, true, true, false, false]);
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(TimestampMs::MAX.plus(DurationMs::new(u64::MAX)), TimestampMs::MAX);
        assert_eq!(TimestampMs::new(3).minus(DurationMs::new(9)), TimestampMs::ZERO);
        assert_eq!(TimestampMs::new(3).since(TimestampMs::new(9)), DurationMs::ZERO);
    }

    #[test]
    fn decoded_instants_saturate() {
        let read: TimestampMs = serde_json::from_str("18446744073709551615").unwrap();
        assert_eq!(read, TimestampMs::MAX);
        let bytes = postcard::to_allocvec(&u64::MAX).unwrap();
        assert_eq!(postcard::from_bytes::<TimestampMs>(&bytes), Ok(TimestampMs::MAX));
    }

    #[test]
    fn clipping_narrows_both_sides() {
        let now = TimestampMs::new(10_000);
        let clipped = Window::ALWAYS.clipped(now, Some(DurationMs::new(500)));
        assert_eq!(clipped.not_before, TimestampMs::new(9_000));
        assert_eq!(clipped.not_after, TimestampMs::new(10_500));
    }
}
