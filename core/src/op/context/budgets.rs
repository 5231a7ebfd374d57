//! Whether budgets are at their hard limits, as a program has read it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::budget::Exhausted;
use crate::id::{BudgetId, Namespace};
use crate::planted::planted;
use crate::time::{DurationMs, HostTime, TimestampMs};

/// How long a program relies on a budget that it has read: 100 ms.
const BUDGETS_FOR: DurationMs = DurationMs::new(100);

/// The most budgets that are remembered.
const MAX_BUDGETS: usize = 1_024;

/// Whether the budgets that a program has read are at their hard limits. Clones share it.
/// \[INV-BUDGET-2\]
#[derive(Clone, Default)]
pub struct BudgetsCache(Arc<Mutex<BTreeMap<(Namespace, BudgetId), Cached>>>);

struct Cached {
    exhausted: Option<Exhausted>,
    /// When it was requested, by the host's clock.
    asked_at: TimestampMs,
}

impl BudgetsCache {
    /// Returns whether a budget is at its hard limit, if it was requested less than 100 ms ago. One
    /// that has reset itself since is read again: what it holds back would be looked at again
    /// without a wait.
    pub(in crate::op) fn fresh(
        &self,
        namespace: &Namespace,
        budget: &BudgetId,
        now: HostTime,
    ) -> Option<Option<Exhausted>> {
        let cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Cached { exhausted, asked_at } = cached.get(&(namespace.clone(), budget.clone()))?;
        let is_fresh = now.local >= *asked_at && now.local.since(*asked_at) < BUDGETS_FOR;
        let resets_at = exhausted.as_ref().and_then(|exhausted| exhausted.resets_at);
        let is_over = resets_at.is_some_and(|at| at <= now.store);
        (is_fresh && !is_over || planted!(BudgetReadOnce)).then(|| exhausted.clone())
    }

    /// Notes a budget that was requested at this time of the host's clock.
    pub(in crate::op) fn put(
        &self,
        namespace: &Namespace,
        budget: &BudgetId,
        exhausted: Option<Exhausted>,
        asked_at: TimestampMs,
    ) {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.len() >= MAX_BUDGETS {
            cached.clear();
        }
        let key = (namespace.clone(), budget.clone());
        cached.insert(key, Cached { exhausted, asked_at });
    }
}

impl fmt::Debug for BudgetsCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What other operations read is not part of the one that shares the cache.
        f.write_str("BudgetsCache(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Dimension;

    /// Otherwise an execution that waits for the reset is blocked again until now, over and over.
    #[test]
    fn an_exhausted_budget_is_read_again_at_its_reset() {
        let (namespace, budget) = (Namespace::new("shop"), BudgetId::new("llm"));
        let reset = TimestampMs::new(10_000);
        let (dimension, resets_at) = (Dimension::new("tokens"), Some(reset));
        let exhausted = Some(Exhausted { dimension, limit: 10, resets_at });
        let (cache, local) = (BudgetsCache::default(), TimestampMs::new(500));
        cache.put(&namespace, &budget, exhausted.clone(), local);
        let fresh = |store| cache.fresh(&namespace, &budget, HostTime { store, local });
        assert_eq!(fresh(reset.minus(DurationMs::new(1))), Some(exhausted));
        assert_eq!(fresh(reset), None);
    }
}
