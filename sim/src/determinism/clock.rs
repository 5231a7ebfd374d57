//! The clocks of a process: a monotonic clock with its own origin, and an estimate of the store's
//! clock, which is a guess until the store has answered.

use ff_core::time::{HostTime, TimestampMs};

/// The store's clock at the start of a run.
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
    /// By how many parts in a million the monotonic clock is too fast.
    drift: i64,
    /// The store's time in its last reply, and the local time of its arrival.
    heard: Option<(TimestampMs, TimestampMs)>,
    /// Until when the estimate stands still, and the time that it shows.
    frozen: Option<(u64, TimestampMs)>,
}

const MILLION: i64 = 1_000_000;

impl Clock {
    /// The clocks of a process that starts now.
    pub const fn new(now: u64, origin: u64, skew: i64, drift: i64) -> Self {
        Self { started: now, origin, skew, drift, heard: None, frozen: None }
    }

    /// The monotonic clock.
    pub const fn local(&self, now: u64) -> TimestampMs {
        let elapsed = (now - self.started) as i64;
        TimestampMs::new(self.origin + (elapsed + elapsed * self.drift / MILLION) as u64)
    }

    /// The simulated time at which the monotonic clock shows an instant; now if it is past.
    pub const fn simulated(&self, local: TimestampMs, now: u64) -> u64 {
        let left = local.since(self.local(now)).get();
        if self.drift == 0 {
            return now.saturating_add(left);
        }
        // An instant further away than a year never comes.
        let left = if left < 1 << 35 { left as i64 } else { 1 << 35 };
        now + (left * MILLION / (MILLION + self.drift)) as u64
    }

    /// Both clocks.
    pub fn read(&self, now: u64) -> HostTime {
        let local = self.local(now);
        let store = match (self.frozen, self.heard) {
            (Some((until, shown)), _) if now < until => shown,
            (_, Some((at, arrived))) => at.plus(local.since(arrived)),
            (_, None) => store_time(now).shifted(self.skew),
        };
        HostTime { local, store }
    }

    /// Takes over the store's time from a reply.
    pub const fn hear(&mut self, at: TimestampMs, now: u64) {
        self.heard = Some((at, self.local(now)));
    }

    /// Forgets the store's time and falls back on a wall clock that is off.
    pub const fn forget(&mut self, skew: i64) {
        self.skew = skew;
        self.heard = None;
    }

    /// Makes the estimate jump.
    pub fn jump(&mut self, by_ms: i64) {
        match &mut self.heard {
            Some((at, _)) => *at = at.shifted(by_ms),
            None => self.skew += by_ms,
        }
    }

    /// Makes the estimate stand still.
    pub fn freeze(&mut self, now: u64, lasts_ms: u64) {
        self.frozen = Some((now + lasts_ms, self.read(now).store));
    }
}
