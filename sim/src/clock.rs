//! The clocks of a process: a monotonic one with an origin of its own, and an estimate of the
//! store's, which is a guess until the store has answered.

use ff_core::time::{DurationMs, HostTime, TimestampMs};

/// What the store's clock shows at the start of a run.
const STORE_EPOCH_MS: u64 = 1_764_000_000_000;

/// The store's clock at a simulated time.
pub const fn store_time(now: u64) -> TimestampMs {
    TimestampMs::new(STORE_EPOCH_MS + now)
}

/// The clocks of one process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: u64,
    origin: u64,
    /// How far the wall clock is off, in milliseconds.
    skew: i64,
    /// The store's time in its last reply, and the local time of its arrival.
    heard: Option<(TimestampMs, TimestampMs)>,
}

impl Clock {
    /// The clocks of a process that starts now.
    pub const fn new(now: u64, origin: u64, skew: i64) -> Self {
        Self { started: now, origin, skew, heard: None }
    }

    /// The monotonic clock.
    pub const fn local(&self, now: u64) -> TimestampMs {
        TimestampMs::new(self.origin + (now - self.started))
    }

    /// The simulated time at which the monotonic clock shows an instant; now if it is past.
    pub fn simulated(&self, local: TimestampMs, now: u64) -> u64 {
        now + local.since(self.local(now)).get()
    }

    /// Both clocks.
    pub fn read(&self, now: u64) -> HostTime {
        let local = self.local(now);
        let store = match self.heard {
            Some((at, arrived)) => at.plus(local.since(arrived)),
            None if self.skew < 0 => {
                store_time(now).minus(DurationMs::new(self.skew.unsigned_abs()))
            }
            None => store_time(now).plus(DurationMs::new(self.skew.unsigned_abs())),
        };
        HostTime { local, store }
    }

    /// Notes the time of a reply.
    pub const fn hear(&mut self, at: TimestampMs, now: u64) {
        self.heard = Some((at, self.local(now)));
    }

    /// Falls back on a wall clock that is off.
    pub const fn forget(&mut self, skew: i64) {
        self.skew = skew;
        self.heard = None;
    }
}
