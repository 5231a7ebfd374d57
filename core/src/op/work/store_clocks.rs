//! Noticing that the store's clock has stepped back, by comparing it with the host's own clock.

use crate::entropy::Entropy;
use crate::partition::Partition;
use crate::planted::planted;
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::restore_timers::SteppedBack;

/// The clocks of the store's partitions, as a timekeeper has read them. Each node has a clock, and
/// a partition can move to another node, so each partition counts by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreClocks {
    /// By the number of the partition.
    read: Vec<Option<Reading>>,
    /// The partitions whose timers have to be corrected.
    pub(super) stepped_back: Vec<SteppedBack>,
}

/// A reading of the store's clock and of the host's own at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    store: TimestampMs,
    local: TimestampMs,
}

/// A reading, compared with the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// There was none. The clock may have stepped back before.
    First,
    /// The clock went on, or stepped forwards.
    Went,
    /// The clock stepped back.
    SteppedBack,
}

/// How many timers a timekeeper that was just started looks through in each partition, at least.
/// The bound keeps the start of a program cheap where millions of timers wait.
const TIMERS_AT_START: usize = 256;

impl Reading {
    /// The time that the store's clock shows later, at least, if it has not stepped back.
    fn expected(&self, local: TimestampMs) -> TimestampMs {
        let elapsed = local.since(self.local).get();
        self.store.plus(DurationMs::new(elapsed - elapsed / SLOWNESS))
    }
}

/// A clock may be slower than another by one part in so many, which is 2,000 ppm.
const SLOWNESS: u64 = 500;

/// The store's clock may be this far behind its expected time before it must have stepped back. A
/// reply can be on its way for as long as a call may take. Half of the minute that a lease may
/// outlast its ttl by.
const TOLERANCE: DurationMs = DurationMs::from_secs(30);

impl StoreClocks {
    /// Nothing was read yet.
    pub const fn new() -> Self {
        Self { read: Vec::new(), stepped_back: Vec::new() }
    }

    /// Notes that the clock of a partition shows `at`, and if it has stepped back since the earlier
    /// readings, that the partition's timers have to be corrected.
    pub(super) fn note(
        &mut self,
        partition: Partition,
        at: TimestampMs,
        now: HostTime,
        entropy: &mut Entropy,
    ) {
        let entries = match self.change(partition, at, now.local) {
            Change::Went => return,
            Change::First => Some(TIMERS_AT_START),
            Change::SteppedBack => None,
        };
        if !planted!(StepBackIgnored) {
            self.stepped_back.retain(|other| other.partition != partition);
            self.stepped_back.push(SteppedBack::new(partition, at, entries, now, entropy));
        }
    }

    fn change(&mut self, partition: Partition, store: TimestampMs, local: TimestampMs) -> Change {
        let index = usize::from(partition.index);
        if self.read.len() <= index {
            self.read.resize(index + 1, None);
        }
        let earlier = &mut self.read[index];
        let Some(expected) = earlier.map(|earlier| earlier.expected(local)) else {
            *earlier = Some(Reading { store, local });
            return Change::First;
        };
        let stepped = store.plus(TOLERANCE) < expected;
        // Several small steps add up, since the expected time stays that of the latest reading.
        let store = if stepped { store } else { store.max(expected) };
        *earlier = Some(Reading { store, local });
        if stepped { Change::SteppedBack } else { Change::Went }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> TimestampMs {
        TimestampMs::new(1_764_000_000_000 + seconds * 1_000)
    }

    /// Whether the last of these readings, in seconds of both clocks, shows a step.
    fn steps(readings: &[(u64, u64)]) -> bool {
        let mut clocks = StoreClocks::default();
        let note = |(store, local): &(u64, u64)| {
            let local = TimestampMs::new(*local * 1_000);
            clocks.change(Partition::flow(3), at(*store), local) == Change::SteppedBack
        };
        readings.iter().map(note).last().expect("a reading")
    }

    #[test]
    fn a_step_back_is_noticed_once() {
        assert!(!steps(&[(5_000, 0)]), "nothing to compare with");
        assert!(!steps(&[(5_000, 0), (5_010, 10)]));
        assert!(steps(&[(5_000, 0), (4_979, 10)]));
        assert!(steps(&[(5_000, 0), (4_010, 1_000)]), "it did not go on as far as time did");
        assert!(!steps(&[(5_000, 0), (4_979, 10), (4_989, 20)]), "it was noticed before");
    }

    #[test]
    fn late_replies_and_slow_clocks_are_no_steps() {
        assert!(!steps(&[(5_000, 0), (5_000, 29)]), "a reply that took 29 s");
        assert!(!steps(&[(5_000, 0), (8_600, 3_604), (12_200, 7_208)]), "1,100 ppm too slow");
        assert!(!steps(&[(5_000, 0), (9_000, 10), (9_010, 20)]), "a step forwards");
    }

    #[test]
    fn small_steps_add_up() {
        assert!(!steps(&[(5_000, 0), (4_985, 5)]));
        assert!(steps(&[(5_000, 0), (4_985, 5), (4_965, 10)]));
    }
}
