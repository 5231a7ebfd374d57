//! The removal of records beside executions whose time is over.

use crate::budget::ChargeRecord;
use crate::entropy::Entropy;
use crate::error::EngineError;
use crate::op::{Operation, OperationContext, Patience, RemoveExpired};
use crate::partition::{Partition, PartitionConfig};
use crate::quota::QuotaUse;
use crate::registry::Worker;
use crate::resource::{Resource, ResourceKind};
use crate::store::bounds::MAX_UNITS;
use crate::time::{DurationMs, HostTime, TimestampMs};

/// A visit of one partition. It returns how many records it removed or corrected.
pub type ExpiryVisit = Box<dyn Operation<Output = Result<usize, EngineError>> + Send>;

/// A kind of records that expire.
type Expiring = (ResourceKind, fn(Partition, Patience) -> ExpiryVisit);

/// The kinds of records that expire.
const EXPIRING: [Expiring; 3] =
    [expiring::<ChargeRecord>(), expiring::<QuotaUse>(), expiring::<Worker>()];

const fn expiring<R: Resource>() -> Expiring {
    (R::KIND, |partition, patience| Box::new(RemoveExpired::<R>::new(partition, patience)))
}

/// The time between two visits, with jitter, if no other program runs a timekeeper. With more of
/// them each visits less often, so that all of them together make as many calls.
const VISIT_EVERY_MS: u64 = 5_000;
/// The most time between two visits.
const MAX_VISIT_EVERY_MS: u64 = 120_000;

/// Visits one partition at a time, in turn, and removes the records there that have expired. Every
/// timekeeper runs one. An idle fleet makes one call in 5 s, and each of more than 24 programs one
/// in two minutes.
#[derive(Clone, Debug)]
pub struct ExpirySweep {
    partitions: PartitionConfig,
    context: OperationContext,
    entropy: Entropy,
    /// The number of the next place: a kind in a partition.
    next: usize,
    next_visit: Option<TimestampMs>,
}

impl ExpirySweep {
    /// A sweep that begins at a random place, after a part of the first interval.
    pub fn new(
        partitions: PartitionConfig,
        context: OperationContext,
        mut entropy: Entropy,
    ) -> Self {
        let places = Self::places(&partitions).count() as u64;
        let next = entropy.below(places) as usize;
        Self { partitions, context, entropy, next, next_visit: None }
    }

    fn places(partitions: &PartitionConfig) -> impl Iterator<Item = (usize, Partition)> {
        let kinds = EXPIRING.iter().enumerate();
        kinds.flat_map(|(number, (kind, _))| {
            partitions.partitions(kind.family()).map(move |partition| (number, partition))
        })
    }

    /// Returns when the next visit begins, by the host's clock.
    pub fn next_wakeup(&mut self, now: HostTime) -> TimestampMs {
        let wait = DurationMs::new(self.entropy.below(VISIT_EVERY_MS));
        *self.next_visit.get_or_insert(now.local.plus(wait))
    }

    /// Begins a visit. Its result goes to [`ExpirySweep::visited`].
    pub fn visit(&mut self) -> ExpiryVisit {
        let place = Self::places(&self.partitions).nth(self.next);
        let (number, partition) = place.expect("the number of the next place is in range");
        let patience = Patience::new(self.context.clone(), self.entropy.fork());
        (EXPIRING[number].1)(partition, patience)
    }

    /// Notes the result of a visit, and how many programs run a timekeeper. A partition that has
    /// more is visited again immediately.
    pub fn visited(&mut self, removed: &Result<usize, EngineError>, programs: u64, now: HostTime) {
        if matches!(removed, Ok(removed) if *removed >= MAX_UNITS) {
            self.next_visit = Some(now.local);
            return;
        }
        self.next = (self.next + 1) % Self::places(&self.partitions).count().max(1);
        let every = VISIT_EVERY_MS.saturating_mul(programs.max(1)).min(MAX_VISIT_EVERY_MS);
        let wait = every * 3 / 4 + self.entropy.below(every / 2);
        self.next_visit = Some(now.local.plus(DurationMs::new(wait)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::partition::WORKER_PARTITIONS;
    use crate::store::codec::Codec;

    fn at(milliseconds: u64) -> HostTime {
        let local = TimestampMs::new(milliseconds);
        HostTime { local, store: local }
    }

    #[test]
    fn each_partition_is_visited_in_turn_and_a_full_one_again() {
        let config = PartitionConfig {
            num_budget_partitions: 2,
            num_quota_partitions: 1,
            ..Default::default()
        };
        let context = OperationContext::new(DurationMs::from_secs(1), Codec::default());
        let mut sweep = ExpirySweep::new(config, context, Entropy::from_u64(1));
        let (mut now, mut seen) = (0, Vec::new());
        let places = 3 + usize::from(WORKER_PARTITIONS);
        for round in 0..places + 2 {
            now = now.max(sweep.next_wakeup(at(now)).get());
            seen.push(sweep.visit().partition());
            let removed = if round == 1 { MAX_UNITS } else { 1 };
            sweep.visited(&Ok(removed), 1, at(now));
            let wait = sweep.next_wakeup(at(now)).get() - now;
            assert_eq!(wait == 0, round == 1, "{wait} ms after visit {round}");
            assert!(wait <= 6_250, "{wait} ms after visit {round}");
        }
        assert_eq!(seen[1], seen[2], "a partition with more is visited again: {seen:?}");
        assert_eq!(seen[0], seen[places + 1], "all of them in turn: {seen:?}");
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), places, "{seen:?}");
        sweep.visited(&Ok(0), 1_000, at(now));
        let wait = sweep.next_wakeup(at(now)).get() - now;
        assert!((90_000..=150_000).contains(&wait), "{wait} ms among many programs");
    }
}
