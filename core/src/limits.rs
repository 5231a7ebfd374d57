//! The budgets and quotas that an execution counts towards (`docs/spec.md`, 7).

use serde::{Deserialize, Serialize};

use crate::error::Rejection;
use crate::id::BudgetId;
use crate::null::or_default;
use crate::quota_ref::QuotaRef;

/// The most budgets of an execution.
pub const MAX_BUDGETS: usize = 8;

/// The most quotas of an execution.
pub const MAX_QUOTAS: usize = 4;

/// The budgets and quotas that an execution counts towards: it starts only while all of them allow
/// it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The budgets, without repetition. One at its hard limit lets nothing start.
    #[serde(default, deserialize_with = "or_default")]
    pub budgets: Vec<BudgetId>,
    /// The quotas, each at most once.
    #[serde(default, deserialize_with = "or_default")]
    pub quotas: Vec<QuotaRef>,
}

impl Limits {
    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.budgets.is_empty() && self.quotas.is_empty()
    }

    /// Sorts them, and checks their number.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for more than [`MAX_BUDGETS`] or [`MAX_QUOTAS`], and for a quota with two
    /// keys.
    pub fn checked(mut self) -> Result<Self, Rejection> {
        self.budgets.sort();
        self.budgets.dedup();
        self.quotas.sort();
        self.quotas.dedup();
        let too_many = |field, count, most| {
            let problem = format!("are {count}: at most {most} are allowed");
            Err(Rejection::InvalidInput { field, problem })
        };
        if self.budgets.len() > MAX_BUDGETS {
            return too_many("budgets", self.budgets.len(), MAX_BUDGETS);
        }
        if self.quotas.len() > MAX_QUOTAS {
            return too_many("quotas", self.quotas.len(), MAX_QUOTAS);
        }
        if let Some(two) = self.quotas.windows(2).find(|two| two[0].quota == two[1].quota) {
            let problem = format!("has two keys for {}: give one", two[0].quota);
            return Err(Rejection::InvalidInput { field: "quota", problem });
        }
        Ok(self)
    }
}
