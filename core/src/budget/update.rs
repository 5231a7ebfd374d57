//! Changing the limits of a budget.

use crate::error::Rejection;
use crate::id::{BudgetId, Namespace, RequestId};
use crate::partition::PartitionConfig;
use crate::resource::{Change, Changed, Decided, Facts, ResourceId};
use crate::time::TimestampMs;

use super::record::{Budget, BudgetRequest, BudgetReset, DimensionLimits};
use super::request::BudgetChanged;

/// Changes the limits of dimensions, adds dimensions, or changes when a budget resets itself. The
/// usage stays the same, also if it is above a new limit.
#[derive(Clone, Debug)]
pub struct UpdateLimits {
    /// The namespace.
    pub namespace: Namespace,
    /// The id of the budget.
    pub id: BudgetId,
    /// The limits to set. The other dimensions keep theirs.
    pub limits: Vec<DimensionLimits>,
    /// When it resets itself from now on; `None` keeps that.
    pub reset: Option<BudgetReset>,
    /// The id of the request.
    pub request_id: RequestId,
    /// The partitions of the store.
    pub partitions: PartitionConfig,
}

impl Change for UpdateLimits {
    type Record = Budget;
    type Beside = Budget;
    type Outcome = BudgetChanged;

    const NAME: &'static str = "update_budget";

    fn target(&self) -> ResourceId {
        Budget::key(&self.namespace, &self.id, &self.partitions)
    }

    fn is_contended(&self) -> bool {
        true
    }

    /// # Errors
    ///
    /// `BudgetNotFound`; `InvalidInput` for limits, dimensions or an interval out of bounds.
    fn decide(&self, facts: &Facts<'_, Budget, Budget>, now: TimestampMs) -> Decided<Self> {
        let missing = || Rejection::BudgetNotFound { budget: self.id.clone() };
        let mut budget = facts.record.ok_or_else(missing)?.clone();
        let begins = budget.roll(now);
        if budget.remembers(&self.request_id, BudgetRequest::Update)? {
            return Ok(Changed::keep(BudgetChanged { budget, repeated: true }));
        }
        let window = budget.window(begins);
        budget.set_limits(&self.limits)?;
        if let Some(reset) = self.reset.filter(|reset| *reset != budget.reset) {
            reset.check()?;
            // The usage of the present period counts towards the first period of the new interval.
            budget.reset = reset;
            budget.period_start = reset.start_of(now);
        }
        budget.requests.push((self.request_id.clone(), BudgetRequest::Update));
        let changed = BudgetChanged { budget: budget.clone(), repeated: false };
        Ok(Changed::put(budget, changed).within(window))
    }
}
