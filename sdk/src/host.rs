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
    /// How long the machine had been suspended then; `None` where that is not asked.
    suspended_at_origin: Option<Duration>,
    /// The clock that replied last, less the local one, in milliseconds.
    latest: AtomicI64,
    /// Each clock less the local one, by its number; [`UNKNOWN`] before its first reply.
    offsets: Box<[AtomicI64]>,
}

/// Where a process takes its time from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClockSource {
    /// From the machine: tokio's clock, the time in which the machine was suspended, and the wall
    /// clock as the first estimate of the store's.
    #[default]
    Machine,
    /// From tokio's clock alone: for simulations, in which nothing may depend on the machine.
    Runtime {
        /// What the wall clock shows at the start, right or wrong.
        wall: TimestampMs,
    },
}

/// How many clocks are told apart. Beyond it some share an estimate, at the price of a refusal for
/// time now and then.
const MAX_CLOCKS: usize = 256;
const UNKNOWN: i64 = i64::MIN;

impl HostClock {
    /// A clock whose first estimate of the store's time is this host's wall clock.
    pub fn new() -> Self {
        Self::from_source(ClockSource::Machine)
    }

    /// A clock that takes its time from there.
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
        self.origin + Duration::from_millis(local.get()).saturating_sub(self.suspended())
    }

    fn local(&self) -> TimestampMs {
        let elapsed = self.origin.elapsed() + self.suspended();
        TimestampMs::new(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }

    /// How long the machine has been suspended since the origin.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Two clocks of one runtime show the same, whatever the machine's clocks do.
    #[tokio::test(start_paused = true)]
    async fn a_clock_that_follows_the_runtime_depends_on_nothing_else() {
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
