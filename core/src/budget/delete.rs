//! Deleting a budget.

use uuid::Uuid;

use crate::id::{BudgetId, Namespace};
use crate::partition::PartitionConfig;
use crate::purpose::Purpose;
use crate::resource::{Change, Changed, Decided, Facts, ResourceId};
use crate::time::TimestampMs;

use super::record::Budget;

/// Deletes one budget, and no later one with the same id.
#[derive(Clone, Debug)]
pub struct DeleteBudget {
    /// The namespace.
    pub namespace: Namespace,
    /// The id of the budget.
    pub id: BudgetId,
    /// The uuid of the budget to delete.
    pub uid: Uuid,
    /// The partitions of the store.
    pub partitions: PartitionConfig,
}

impl Change for DeleteBudget {
    type Record = Budget;
    type Beside = Budget;
    /// Whether there was such a budget. `false` also if a first reply was lost.
    type Outcome = bool;

    const NAME: &'static str = "delete_budget";

    fn target(&self) -> ResourceId {
        Budget::key(&self.namespace, &self.id, &self.partitions)
    }

    fn purpose(&self) -> Purpose {
        Purpose::Finish
    }

    /// No budget has the uuid of a deleted one.
    fn is_absolute(&self) -> bool {
        true
    }

    fn is_contended(&self) -> bool {
        true
    }

    fn decide(&self, facts: &Facts<'_, Budget, Budget>, _now: TimestampMs) -> Decided<Self> {
        match facts.record {
            Some(budget) if budget.uid == self.uid => Ok(Changed::remove(true)),
            _ => Ok(Changed::keep(false)),
        }
    }
}
