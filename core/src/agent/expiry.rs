//! The removal of records beside executions whose time is over.

use crate::budget::ChargeRecord;
use crate::entropy::Entropy;
use crate::error::EngineError;
use crate::op::{Operation, OperationContext, Patience, SweepExpired};
use crate::partition::PartitionConfig;
use crate::quota::QuotaUse;
use crate::registry::Worker;
use crate::resource::Resource;
use crate::store::bounds::MAX_UNITS;
use crate::time::{DurationMs, HostTime, TimestampMs};

/// A visit of one kind of records. It returns how many records it removed or corrected.
pub type ExpiryVisit = Box<dyn Operation<Output = Result<usize, EngineError>> + Send>;

/// Begins a visit of a kind of records.
type Begin = fn(&PartitionConfig, Patience, &mut Entropy) -> ExpiryVisit;

/// The kinds of records that expire.
const EXPIRING: [Begin; 3] = [begin::<QuotaUse>, begin::<ChargeRecord>, begin::<Worker>];

fn begin<R: Resource>(
    config: &PartitionConfig,
    patience: Patience,
    entropy: &mut Entropy,
) -> ExpiryVisit {
    Box::new(SweepExpired::<R>::new(config, patience, entropy))
}

/// The time between two visits, with jitter, if no other program runs a timekeeper. With more of
/// them each visits less often, so that all of them together make as many calls.
const VISIT_EVERY_MS: u64 = 5_000;
/// The most time between two visits.
const MAX_VISIT_EVERY_MS: u64 = 120_000;

/// Visits one kind of records at a time, in turn, and removes those that have expired. Every
/// timekeeper runs one. An idle fleet makes one call or two in 5 s, and each of more than 24
/// programs as many in two minutes.
#[derive(Clone, Debug)]
pub struct ExpirySweep {
    partitions: PartitionConfig,
    context: OperationContext,
    entropy: Entropy,
    /// The number of the next kind.
    next: usize,
    next_visit: Option<TimestampMs>,
}

impl ExpirySweep {
    /// A sweep that begins with any kind, after a part of the first interval.
    pub fn new(
        partitions: PartitionConfig,
        context: OperationContext,
        mut entropy: Entropy,
    ) -> Self {
        let next = entropy.below(EXPIRING.len() as u64) as usize;
        Self { partitions, context, entropy, next, next_visit: None }
    }

    /// Returns when the next visit begins, by the host's clock.
    pub fn next_wakeup(&mut self, now: HostTime) -> TimestampMs {
        let wait = DurationMs::new(self.entropy.below(VISIT_EVERY_MS));
        *self.next_visit.get_or_insert(now.local.plus(wait))
    }

    /// Begins a visit. Its result goes to [`ExpirySweep::visited`].
    pub fn visit(&mut self) -> ExpiryVisit {
        let patience = Patience::new(self.context.clone(), self.entropy.fork());
        EXPIRING[self.next](&self.partitions, patience, &mut self.entropy)
    }

    /// Notes the result of a visit, and how many programs run a timekeeper. A kind of which more
    /// is left is visited again immediately.
    pub fn visited(&mut self, removed: &Result<usize, EngineError>, programs: u64, now: HostTime) {
        if matches!(removed, Ok(removed) if *removed >= MAX_UNITS) {
            self.next_visit = Some(now.local);
            return;
        }
        self.next = (self.next + 1) % EXPIRING.len();
        let every = VISIT_EVERY_MS.saturating_mul(programs.max(1)).min(MAX_VISIT_EVERY_MS);
        let wait = every * 3 / 4 + self.entropy.below(every / 2);
        self.next_visit = Some(now.local.plus(DurationMs::new(wait)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Event, Step};
    use crate::store::codec::Codec;
    use crate::store::{PollOf, Request};

    fn at(milliseconds: u64) -> HostTime {
        let local = TimestampMs::new(milliseconds);
        HostTime { local, store: local }
    }

    /// The index that a visit looks over, as its request says.
    fn index(sweep: &mut ExpirySweep, now: HostTime) -> PollOf {
        match sweep.visit().resume(Event::Start, now) {
            Step::Send(Request::Poll(poll)) => poll.of,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_kind_is_visited_in_turn_and_one_with_more_again() {
        let context = OperationContext::new(DurationMs::from_secs(1), Codec::default());
        let config = PartitionConfig::default();
        let mut sweep = ExpirySweep::new(config, context, Entropy::from_u64(1));
        let (mut now, mut seen) = (0, Vec::new());
        for round in 0..EXPIRING.len() + 2 {
            now = now.max(sweep.next_wakeup(at(now)).get());
            seen.push(index(&mut sweep, at(now)));
            let removed = if round == 1 { MAX_UNITS } else { 1 };
            sweep.visited(&Ok(removed), 1, at(now));
            let wait = sweep.next_wakeup(at(now)).get() - now;
            assert_eq!(wait == 0, round == 1, "{wait} ms after visit {round}");
            assert!(wait <= 6_250, "{wait} ms after visit {round}");
        }
        assert_eq!(seen[1], seen[2], "one with more is visited again: {seen:?}");
        assert_eq!(seen[0], seen[4], "all of them in turn: {seen:?}");
        assert!(seen[0] != seen[1] && seen[1] != seen[3] && seen[0] != seen[3], "{seen:?}");
        sweep.visited(&Ok(0), 1_000, at(now));
        let wait = sweep.next_wakeup(at(now)).get() - now;
        assert!((90_000..=150_000).contains(&wait), "{wait} ms among many programs");
    }
}
