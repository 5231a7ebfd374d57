//! The present states of the budgets and quotas that an execution counts towards
//! (`docs/spec.md`, 7).

use serde::{Deserialize, Serialize};

use crate::budget::{Budget, Exhausted};
use crate::execution::record::BlockKind;
use crate::id::{BudgetId, Dimension};
use crate::planted::planted;
use crate::quota::QuotaUsage;
use crate::quota_ref::QuotaRef;
use crate::time::TimestampMs;

/// The present state of a budget or a quota that an execution counts towards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum LimitState {
    /// The quota, with its limits and its use under the key of the execution.
    Quota(QuotaUsage),
    /// The quota does not exist: the execution waits until it is set.
    QuotaNotFound {
        /// The quota and the key.
        of: QuotaRef,
    },
    /// The budget is below its hard limits.
    Budget {
        /// The budget.
        budget: BudgetId,
    },
    /// A dimension of the budget is at its hard limit.
    BudgetExhausted {
        /// The budget.
        budget: BudgetId,
        /// The dimension.
        dimension: Dimension,
        /// The hard limit.
        limit: u64,
        /// When the budget resets itself; `None` if it does not.
        resets_at: Option<TimestampMs>,
    },
    /// The budget does not exist: the execution waits until it is created.
    BudgetNotFound {
        /// The budget.
        budget: BudgetId,
    },
}

impl LimitState {
    /// Returns the state of a budget at a time. `found`: its record, if it exists.
    pub fn of_budget(budget: BudgetId, found: Option<&Budget>, now: TimestampMs) -> Self {
        let Some(found) = found else { return Self::BudgetNotFound { budget } };
        match found.exhausted(now) {
            Some(Exhausted { dimension, limit, resets_at }) => {
                Self::BudgetExhausted { budget, dimension, limit, resets_at }
            }
            None => Self::Budget { budget },
        }
    }

    /// Returns the state of a quota. `found`: its use under the key, if the quota exists.
    pub fn of_quota(of: QuotaRef, found: Option<QuotaUsage>) -> Self {
        found.map_or(Self::QuotaNotFound { of }, Self::Quota)
    }

    /// Returns whether it lets nothing start.
    pub fn holds(&self) -> bool {
        match self {
            Self::Quota(usage) => usage.is_full() && !planted!(FullQuotaNotTold),
            Self::Budget { .. } => false,
            Self::BudgetExhausted { .. } => !planted!(ExhaustedBudgetNotTold),
            Self::QuotaNotFound { .. } | Self::BudgetNotFound { .. } => true,
        }
    }

    /// Returns how an execution is blocked that it does not let start.
    pub(super) const fn blocks(&self) -> BlockKind {
        match self {
            Self::Quota(_) | Self::QuotaNotFound { .. } => BlockKind::Quota,
            Self::Budget { .. } | Self::BudgetExhausted { .. } | Self::BudgetNotFound { .. } => {
                BlockKind::Budget
            }
        }
    }
}
