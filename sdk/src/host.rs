//! This host's clock, and its estimate of the store's.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use ff_core::entropy::Entropy;
use ff_core::time::{HostTime, TimestampMs};
use tokio::time::Instant;

/// A monotonic clock that also counts the time in which the machine was suspended, and an estimate
/// of the store's clock that each reply corrects.
///
/// It follows tokio's clock, so that paused time works.
#[derive(Debug)]
pub struct HostClock {
    origin: Instant,
    suspended_at_origin: Duration,
    /// The store's clock less the local one, in milliseconds.
    offset: AtomicI64,
    observed: AtomicBool,
}

impl HostClock {
    /// A clock whose first estimate of the store's time is this host's wall clock.
    pub fn new() -> Self {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            origin: Instant::now(),
            suspended_at_origin: suspended(),
            offset: AtomicI64::new(i64::try_from(wall.as_millis()).unwrap_or(0)),
            observed: AtomicBool::new(false),
        }
    }

    /// Now, by both clocks.
    pub fn now(&self) -> HostTime {
        let local = self.local();
        let store = (local.get() as i64).saturating_add(self.offset.load(Ordering::Relaxed));
        HostTime { local, store: TimestampMs::new(u64::try_from(store).unwrap_or(0)) }
    }

    /// Corrects the estimate by a reply that was just received.
    pub fn observe(&self, at: TimestampMs) {
        let offset = (at.get() as i64).saturating_sub(self.local().get() as i64);
        self.offset.store(offset, Ordering::Relaxed);
        self.observed.store(true, Ordering::Relaxed);
    }

    /// Whether a reply has ever corrected the estimate.
    pub fn has_observed(&self) -> bool {
        self.observed.load(Ordering::Relaxed)
    }

    /// The instant of tokio's clock at a time of this one.
    pub(crate) fn instant(&self, local: TimestampMs) -> Instant {
        let suspended = suspended().saturating_sub(self.suspended_at_origin);
        self.origin + Duration::from_millis(local.get()).saturating_sub(suspended)
    }

    fn local(&self) -> TimestampMs {
        let suspended = suspended().saturating_sub(self.suspended_at_origin);
        let elapsed = self.origin.elapsed() + suspended;
        TimestampMs::new(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Default for HostClock {
    fn default() -> Self {
        Self::new()
    }
}

/// How long the machine has been suspended since it was started, as far as it can tell.
#[cfg(target_os = "linux")]
fn suspended() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    let read = |clock| clock_gettime(clock).map(Duration::from).unwrap_or_default();
    // Read in this order, the difference is never too small by more than the time between reads.
    let monotonic = read(ClockId::CLOCK_MONOTONIC);
    let since_boot = read(ClockId::CLOCK_BOOTTIME);
    let suspended = since_boot.saturating_sub(monotonic);
    // Below this it is the time between the two reads.
    if suspended < Duration::from_millis(10) { Duration::ZERO } else { suspended }
}

#[cfg(not(target_os = "linux"))]
fn suspended() -> Duration {
    Duration::ZERO
}

/// Randomness for ids, nonces and jitter, seeded by the operating system.
pub(crate) fn system_entropy() -> Entropy {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the operating system provides randomness");
    Entropy::from_seed(seed)
}
