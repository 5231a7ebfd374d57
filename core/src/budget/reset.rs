//! Resetting a budget.

use crate::error::Rejection;
use crate::id::{BudgetId, Namespace, RequestId};
use crate::partition::PartitionConfig;
use crate::purpose::Purpose;
use crate::resource::{Change, Changed, Decided, Facts, ResourceId};
use crate::time::TimestampMs;

use super::record::{Budget, BudgetRequest};
use super::request::BudgetChanged;

/// Sets the usage of a budget to zero, on request of an operator. Its periods stay the same. After
/// a clock has stepped back, the budget is in the period of the clock again.
#[derive(Clone, Debug)]
pub struct ResetBudget {
    /// The namespace.
    pub namespace: Namespace,
    /// The id of the budget.
    pub id: BudgetId,
    /// The id of the request.
    pub request_id: RequestId,
    /// The partitions of the store.
    pub partitions: PartitionConfig,
}

impl Change for ResetBudget {
    type Record = Budget;
    type Beside = Budget;
    type Outcome = BudgetChanged;

    const NAME: &'static str = "reset_budget";

    fn target(&self) -> ResourceId {
        Budget::key(&self.namespace, &self.id, &self.partitions)
    }

    fn purpose(&self) -> Purpose {
        Purpose::Finish
    }

    fn is_contended(&self) -> bool {
        true
    }

    /// # Errors
    ///
    /// `BudgetNotFound`; `InvalidInput` if the request id was used for another request.
    fn decide(&self, facts: &Facts<'_, Budget, Budget>, now: TimestampMs) -> Decided<Self> {
        let missing = || Rejection::BudgetNotFound { budget: self.id.clone() };
        let mut budget = facts.record.ok_or_else(missing)?.clone();
        if budget.remembers(&self.request_id, BudgetRequest::Reset)? {
            let budget = budget.at(now);
            return Ok(Changed::keep(BudgetChanged { budget, repeated: true }));
        }
        budget.restart(budget.reset.start_of(now));
        budget.requests.push((self.request_id.clone(), BudgetRequest::Reset));
        let window = match budget.resets_at() {
            Some(_) => budget.window(true),
            None => budget.window(false),
        };
        let changed = BudgetChanged { budget: budget.clone(), repeated: false };
        Ok(Changed::put(budget, changed).within(window))
    }
}
