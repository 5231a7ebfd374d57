//! Reporting usage: charges of one budget that travel together.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::error::Rejection;
use crate::id::{BudgetId, Namespace};
use crate::partition::PartitionConfig;
use crate::planted::planted;
use crate::purpose::Purpose;
use crate::resource::{Change, Changed, Decided, Facts, ResourceId};
use crate::time::{TimestampMs, Window};

use super::charge::{Charge, ChargeRecord, ReportUsageResult};
use super::record::Budget;

/// The maximum number of charges in one commit.
pub const MAX_CHARGES: usize = 64;

/// Charges a budget, in the order of the charges. Each of them is applied as a whole or not at all,
/// and once. \[INV-BUDGET-1\]
#[derive(Clone, Debug)]
pub struct ReportUsage {
    id: BudgetId,
    target: ResourceId,
    charges: Vec<Charge>,
    /// The records of dedup keys, each once.
    records: Vec<Uuid>,
    /// The position of each charge's record in them.
    places: Vec<Option<usize>>,
}

impl ReportUsage {
    /// Creates the change. At most [`MAX_CHARGES`] charges fit into one.
    pub fn new(
        namespace: &Namespace,
        id: BudgetId,
        charges: Vec<Charge>,
        partitions: &PartitionConfig,
    ) -> Self {
        let target = Budget::key(namespace, &id, partitions);
        let (mut records, mut known) = (Vec::new(), BTreeMap::new());
        let mut place_of = |charge: &Charge| {
            let uuid = ChargeRecord::uuid_of(target.uuid, charge.dedup_key()?);
            let place = known.entry(uuid).or_insert_with(|| {
                records.push(uuid);
                records.len() - 1
            });
            Some(*place)
        };
        let places = charges.iter().map(&mut place_of).collect();
        Self { id, target, charges, records, places }
    }

    /// Returns the charges.
    pub fn charges(&self) -> &[Charge] {
        &self.charges
    }
}

impl Change for ReportUsage {
    type Record = Budget;
    type Beside = ChargeRecord;
    /// The outcome of each charge; `UnknownDimension` if the budget lacks one of its dimensions.
    type Outcome = Vec<Result<ReportUsageResult, Rejection>>;

    const NAME: &'static str = "report_usage";

    fn target(&self) -> ResourceId {
        self.target
    }

    fn beside(&self) -> Vec<Uuid> {
        self.records.clone()
    }

    /// A store with full memory may refuse charges that leave records of their dedup keys.
    fn purpose(&self) -> Purpose {
        if self.records.is_empty() { Purpose::Finish } else { Purpose::Admit }
    }

    fn is_contended(&self) -> bool {
        true
    }

    /// # Errors
    ///
    /// `BudgetNotFound`.
    fn decide(&self, facts: &Facts<'_, Budget, ChargeRecord>, now: TimestampMs) -> Decided<Self> {
        let missing = || Rejection::BudgetNotFound { budget: self.id.clone() };
        let mut budget = facts.record.ok_or_else(missing)?.clone();
        let begins = budget.roll(now);
        let mut window = budget.window(begins);
        let (mut written, mut applied) = (BTreeMap::new(), false);
        let mut outcomes = Vec::with_capacity(self.charges.len());
        for (charge, place) in self.charges.iter().zip(&self.places) {
            let stored = place.and_then(|place| facts.beside.get(place)?.as_ref());
            let first = place.and_then(|place| written.get(&place)).or(stored);
            if let Some(first) = first
                && first.holds(&budget, now)
                && !planted!(DedupKeyForgotten)
            {
                outcomes.push(Ok(ReportUsageResult::AlreadyApplied(first.outcome.clone())));
                continue;
            }
            if let Some(expired) = stored.filter(|stored| stored.budget == budget.uid) {
                window = window.and(Window::from(expired.expires_at));
            }
            let before = budget.dimensions.clone();
            let outcome = budget.apply(charge);
            applied |= before != budget.dimensions;
            if let (Some(place), Ok(outcome)) = (place, &outcome) {
                written.insert(*place, ChargeRecord::new(&budget, outcome.clone(), now));
            }
            outcomes.push(outcome.map(ReportUsageResult::from));
        }
        if !applied && written.is_empty() {
            return Ok(Changed::keep(outcomes));
        }
        let mut changed = Changed::put(budget, outcomes).within(window);
        changed.beside = written.into_iter().collect();
        Ok(changed)
    }
}
