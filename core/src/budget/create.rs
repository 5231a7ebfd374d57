//! Creating a budget.

use uuid::Uuid;

use crate::bounded::Bounded;
use crate::error::Rejection;
use crate::id::{BudgetId, Namespace, RequestId};
use crate::partition::PartitionConfig;
use crate::resource::{Change, Changed, Decided, Facts, ResourceId};
use crate::time::TimestampMs;

use super::record::{Budget, BudgetRequest, BudgetReset, DimensionLimits};
use super::request::BudgetChanged;

/// Creates a budget that does not exist.
#[derive(Clone, Debug)]
pub struct CreateBudget {
    /// The namespace.
    pub namespace: Namespace,
    /// The id of the budget.
    pub id: BudgetId,
    /// The uuid that distinguishes it from other budgets with the same id, drawn by the caller.
    pub uid: Uuid,
    /// Its dimensions, 1 to [`MAX_DIMENSIONS`](super::MAX_DIMENSIONS).
    pub limits: Vec<DimensionLimits>,
    /// When it resets itself.
    pub reset: BudgetReset,
    /// The id of the request.
    pub request_id: RequestId,
    /// The partitions of the store.
    pub partitions: PartitionConfig,
}

impl Change for CreateBudget {
    type Record = Budget;
    type Beside = Budget;
    type Outcome = BudgetChanged;

    const NAME: &'static str = "create_budget";

    fn target(&self) -> ResourceId {
        Budget::key(&self.namespace, &self.id, &self.partitions)
    }

    /// # Errors
    ///
    /// `BudgetExists`, unless this request created it; `InvalidInput` for limits, dimensions or an
    /// interval out of bounds.
    fn decide(&self, facts: &Facts<'_, Budget, Budget>, now: TimestampMs) -> Decided<Self> {
        if let Some(existing) = facts.record {
            let create = BudgetRequest::Create;
            if existing.uid == self.uid || existing.remembers(&self.request_id, create)? {
                let budget = existing.at(now);
                return Ok(Changed::keep(BudgetChanged { budget, repeated: true }));
            }
            return Err(Rejection::BudgetExists { budget: self.id.clone() });
        }
        self.reset.check()?;
        let mut requests = Bounded::new();
        requests.push((self.request_id.clone(), BudgetRequest::Create));
        let mut budget = Budget {
            namespace: self.namespace.clone(),
            id: self.id.clone(),
            uid: self.uid,
            dimensions: Vec::new(),
            reset: self.reset,
            period_start: self.reset.start_of(now),
            created_at: now,
            requests,
        };
        budget.set_limits(&self.limits)?;
        let window = budget.window(true);
        let changed = BudgetChanged { budget: budget.clone(), repeated: false };
        Ok(Changed::put(budget, changed).within(window))
    }
}
