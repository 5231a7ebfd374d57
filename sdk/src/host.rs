//! This host's clock, and its estimate of the store's.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use ff_core::entropy::Entropy;
use ff_core::time::{HostTime, TimestampMs};
use tokio::time::Instant;

/// A monotonic clock that also counts the time in which the machine was suspended, and an estimate
/// of each of the store's clocks that its replies correct: the nodes of a cluster have clocks of
/// their own ([`EngineBackend::clock_of`](ff_core::backend::EngineBackend::clock_of)).
///
/// It follows tokio's clock, so that paused time works.
#[derive(Debug)]
pub struct HostClock {
    origin: Instant,
    suspended_at_origin: Duration,
    /// The clock that replied last, less the local one, in milliseconds.
    latest: AtomicI64,
    /// Each clock less the local one, by its number; [`UNKNOWN`] before its first reply.
    offsets: Box<[AtomicI64]>,
}

/// How many clocks are told apart. Beyond it some share an estimate, at the price of a refusal for
/// time now and then.
const MAX_CLOCKS: usize = 256;
const UNKNOWN: i64 = i64::MIN;

impl HostClock {
    /// A clock whose first estimate of the store's time is this host's wall clock.
    pub fn new() -> Self {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            origin: Instant::now(),
            suspended_at_origin: suspended(),
            latest: AtomicI64::new(i64::try_from(wall.as_millis()).unwrap_or(0)),
            offsets: (0..MAX_CLOCKS).map(|_| AtomicI64::new(UNKNOWN)).collect(),
        }
    }

    /// Now, by the local clock and by the clock of the store that replied last.
    pub fn now(&self) -> HostTime {
        self.at_offset(self.latest.load(Ordering::Relaxed))
    }

    /// Now, by the local clock and by that clock of the store; by the one that replied last as long
    /// as nothing is known of it.
    pub fn now_of(&self, number: usize) -> HostTime {
        self.known_offset(number).map_or_else(|| self.now(), |offset| self.at_offset(offset))
    }

    /// Corrects the estimate of a clock by a reply that was just received.
    pub fn observe(&self, number: usize, at: TimestampMs) {
        let offset = (at.get() as i64).saturating_sub(self.local().get() as i64);
        self.offsets[number % MAX_CLOCKS].store(offset, Ordering::Relaxed);
        self.latest.store(offset, Ordering::Relaxed);
    }

    /// Whether a reply has ever corrected the estimate of that clock.
    pub fn has_observed(&self, number: usize) -> bool {
        self.known_offset(number).is_some()
    }

    fn known_offset(&self, number: usize) -> Option<i64> {
        let offset = self.offsets[number % MAX_CLOCKS].load(Ordering::Relaxed);
        (offset != UNKNOWN).then_some(offset)
    }

    fn at_offset(&self, offset: i64) -> HostTime {
        let local = self.local();
        let store = (local.get() as i64).saturating_add(offset);
        HostTime { local, store: TimestampMs::new(u64::try_from(store).unwrap_or(0)) }
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
