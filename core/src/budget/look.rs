//! Reading a budget at the time of the store.

use crate::error::Rejection;
use crate::id::{BudgetId, Namespace};
use crate::partition::PartitionConfig;
use crate::resource::{Change, Changed, Decided, Facts, ResourceId};
use crate::time::TimestampMs;

use super::record::Budget;

/// Reads a budget. It writes nothing.
#[derive(Clone, Debug)]
pub struct LookAtBudget {
    /// The namespace.
    pub namespace: Namespace,
    /// The id of the budget.
    pub id: BudgetId,
    /// The partitions of the store.
    pub partitions: PartitionConfig,
}

impl Change for LookAtBudget {
    type Record = Budget;
    type Beside = Budget;
    /// The budget at the store's time.
    type Outcome = Budget;

    const NAME: &'static str = "read_budget";

    fn target(&self) -> ResourceId {
        Budget::key(&self.namespace, &self.id, &self.partitions)
    }

    /// # Errors
    ///
    /// `BudgetNotFound`.
    fn decide(&self, facts: &Facts<'_, Budget, Budget>, now: TimestampMs) -> Decided<Self> {
        let missing = || Rejection::BudgetNotFound { budget: self.id.clone() };
        Ok(Changed::keep(facts.record.ok_or_else(missing)?.at(now)))
    }
}
