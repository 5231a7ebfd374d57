//! \[INV-BUDGET-2\] Nothing starts that names a budget at its hard limit, or one that does not
//! exist: a program looks at a budget at most 100 ms before it starts something.

use ff_core::budget::{Budget, BudgetReset};
use ff_core::store::Member;

use crate::model::Model;
use crate::model::change::Change;
use crate::report::{Broken, ensure};

use crate::model::quotas::starts;

const TAG: &str = "INV-BUDGET-2";

/// How long a program relies on a budget that it has read, in milliseconds, with a margin for its
/// clock, which may be slow.
const RELIED_ON_MS: u64 = 100 + 30;

/// An execution that starts names no budget that has admitted nothing since a time before the
/// operation began that starts it, as long as a program relies on what it has read.
pub fn check(model: &Model, change: &Change<'_>) -> Result<(), Broken> {
    let Some((after, _)) = starts(change) else { return Ok(()) };
    let Some(limited) = &after.limits else { return Ok(()) };
    for id in &limited.limits.budgets {
        let key = Budget::key(&after.namespace, id, &model.partitions).uuid;
        let known = model.budgets.records.get(&key).map(|known| &known.budget);
        let is_over = known.is_some_and(|budget| match budget.reset {
            BudgetReset::Never => false,
            BudgetReset::Every { every, .. } => {
                budget.period_start.plus(every) <= change.now.plus(model.clocks_differ_by)
            }
        });
        let begun = change.caller.begun;
        let since = stopped(model, key, begun);
        ensure!(
            is_over || since.is_none(),
            TAG,
            "{} starts in a call that began at {begun} ms, but since {since:?} ms {id} admits \
             nothing: {known:?}",
            change.id
        );
    }
    Ok(())
}

/// Since when a budget has admitted nothing, in simulated time, if that is for longer than an
/// operation that began at this time relies on what its program has read.
pub fn stopped(model: &Model, budget: Member, begun: u64) -> Option<u64> {
    model.budgets.stops_since(budget).filter(|since| since + RELIED_ON_MS < begun)
}
