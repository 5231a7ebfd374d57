//! This host's clock, and its estimates of the store's clocks.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use ff_core::entropy::Entropy;
use ff_core::time::{HostTime, TimestampMs};
use tokio::time::Instant;

/// A monotonic clock of this host that also counts the time in which the machine was suspended,
/// with an estimate of each of the store's clocks, which replies correct. Each node of a cluster
/// has its own clock ([`EngineBackend::clock_of`](ff_core::backend::EngineBackend::clock_of)).
///
/// It follows tokio's clock, so that tokio's paused time works.
#[derive(Debug)]
pub struct HostClock {
    origin: Instant,
    /// The time in which the machine had been suspended before; `None` if suspensions do not count.
    suspended_at_origin: Option<Duration>,
    /// The clock that replied last minus the local one, in milliseconds.
    latest: AtomicI64,
    /// Each clock minus the local one, by its number; [`UNKNOWN`] before its first reply.
    offsets: Box<[AtomicI64]>,
}

/// The source of a process's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClockSource {
    /// The machine: tokio's clock, the time in which the machine was suspended, and the wall clock
    /// as the first estimate of the store's clock.
    #[default]
    Machine,
    /// Tokio's clock alone: for simulations, which must not depend on the machine.
    Runtime {
        /// The time of the wall clock at the start, right or wrong.
        wall: TimestampMs,
    },
}

/// The number of separate estimates. Further clocks share them, which costs a refused commit now
/// and then.
const MAX_CLOCKS: usize = 256;
const UNKNOWN: i64 = i64::MIN;

impl HostClock {
    /// Creates a clock whose first estimate of the store's time is this host's wall clock.
    pub fn new() -> Self {
        Self::from_source(ClockSource::Machine)
    }

    /// Creates a clock with a source of time.
    pub fn from_source(source: ClockSource) -> Self {
        let (wall_ms, suspended_at_origin) = match source {
            ClockSource::Machine => {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                let wall = since.unwrap_or_default().as_millis();
                (i64::try_from(wall).unwrap_or(0), Some(suspended()))
            }
            ClockSource::Runtime { wall } => (i64::try_from(wall.get()).unwrap_or(i64::MAX), None),
        };
        Self {
            origin: Instant::now(),
            suspended_at_origin,
            latest: AtomicI64::new(wall_ms),
            offsets: (0..MAX_CLOCKS).map(|_| AtomicI64::new(UNKNOWN)).collect(),
        }
    }

    /// The present time, by the local clock and by the store's clock that replied last.
    pub fn now(&self) -> HostTime {
        self.at_offset(self.latest.load(Ordering::Relaxed))
    }

    /// The present time, by the local clock and by the store's clock of this number; before its
    /// first reply, by the clock that replied last.
    pub fn now_of(&self, number: usize) -> HostTime {
        self.known_offset(number).map_or_else(|| self.now(), |offset| self.at_offset(offset))
    }

    /// Corrects the estimate of a clock with the time of a reply that was just received.
    pub fn observe(&self, number: usize, at: TimestampMs) {
        let offset = (at.get() as i64).saturating_sub(self.local().get() as i64);
        self.offsets[number % MAX_CLOCKS].store(offset, Ordering::Relaxed);
        self.latest.store(offset, Ordering::Relaxed);
    }

    /// Returns whether a reply has corrected the estimate of this clock.
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

    /// The instant of tokio's clock at a local time of this clock.
    pub(crate) fn instant(&self, local: TimestampMs) -> Instant {
        self.origin + Duration::from_millis(local.get()).saturating_sub(self.suspended())
    }

    fn local(&self) -> TimestampMs {
        let elapsed = self.origin.elapsed() + self.suspended();
        TimestampMs::new(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }

    /// The time in which the machine was suspended since the origin.
    fn suspended(&self) -> Duration {
        let at_origin = self.suspended_at_origin;
        at_origin.map_or(Duration::ZERO, |before| suspended().saturating_sub(before))
    }
}

impl Default for HostClock {
    fn default() -> Self {
        Self::new()
    }
}

/// The time in which the machine was suspended since it was started, as far as it is known.
#[cfg(target_os = "linux")]
fn suspended() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    let read = |clock| clock_gettime(clock).map(Duration::from).unwrap_or_default();
    // In this order the difference may be too large, by the time between the reads, never too
    // small.
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

/// Returns entropy for ids, nonces and jitter, seeded by the operating system.
pub(crate) fn system_entropy() -> Entropy {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the operating system provides randomness");
    Entropy::from_seed(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two clocks of one runtime show the same time, whatever the machine's clocks do.
    #[tokio::test(start_paused = true)]
    async fn a_clock_that_follows_the_runtime_does_not_depend_on_the_machine() {
        let wall = TimestampMs::new(5_000);
        let clocks = [wall; 2].map(|wall| HostClock::from_source(ClockSource::Runtime { wall }));
        for elapsed in [0, 1, 3_600_000] {
            tokio::time::sleep(Duration::from_millis(elapsed)).await;
            let [first, second] = [0, 1].map(|number: usize| clocks[number].now());
            assert_eq!(first, second);
            assert_eq!(first.store.get(), first.local.get() + 5_000);
        }
        assert_eq!(clocks[0].now().local, TimestampMs::new(3_600_001));
    }
}
