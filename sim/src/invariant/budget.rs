//! \[INV-BUDGET-1\] The usage of a budget is the sum of the charges that were applied in its
//! period, each once and as a whole, and no charge takes it above a hard limit.

use std::collections::BTreeMap;

use ff_core::budget::{
    Budget, BudgetReset, Charge, ChargeOutcome, ChargeRecord, DimensionLimits, ReportUsageResult,
    Usage,
};
use ff_core::error::Rejection;
use ff_core::id::Dimension;
use ff_core::store::Member;
use ff_core::time::TimestampMs;

use crate::model::Model;
use crate::model::budgets::{BudgetCall, ChargeEffect, KnownBudget};
use crate::report::{Broken, ensure};

const TAG: &str = "INV-BUDGET-1";

/// A commit of a budget.
#[derive(Debug)]
pub struct BudgetCommit<'c> {
    /// The operation that made it.
    pub call: &'c BudgetCall,
    /// The budget as it was.
    pub before: Option<&'c KnownBudget>,
    /// The budget as it was written.
    pub after: &'c Budget,
    /// The records of charges that were written with it.
    pub charges: &'c BTreeMap<Member, ChargeRecord>,
    /// The store's clock.
    pub now: TimestampMs,
}

type Used = BTreeMap<Dimension, u64>;

impl BudgetCommit<'_> {
    /// The commit does to the usage what its operation is for, and nothing else. Returns what
    /// became of each charge; `None` if that depends on when it was decided.
    pub fn check(&self, model: &Model) -> Result<Option<Vec<ChargeEffect>>, Broken> {
        let Self { call, before, after, .. } = self;
        let used = used(after);
        if let Some(before) = before {
            let request = call.request_id().filter(|id| before.requests.contains(id));
            ensure!(request.is_none(), TAG, "request {request:?} was applied again: {after:?}");
        }
        match (call, before) {
            (BudgetCall::Create(_, limits), None) => {
                let unused = used.values().all(|used| *used == 0);
                ensure!(unused, TAG, "a new budget is used: {after:?}");
                self.check_limits(&[], limits)?;
                Ok(Some(Vec::new()))
            }
            (BudgetCall::Create(..), Some(before)) => {
                ensure!(false, TAG, "{before:?} was created again");
                Ok(None)
            }
            (_, None) => {
                ensure!(false, TAG, "{call:?} made {after:?} of nothing");
                Ok(None)
            }
            (BudgetCall::Reset(_), Some(before)) => {
                let unused = used.values().all(|used| *used == 0);
                ensure!(unused, TAG, "{before:?} was reset to {after:?}");
                self.check_limits(&before.budget.dimensions, &[])?;
                Ok(Some(Vec::new()))
            }
            (BudgetCall::Update(_, limits), Some(before)) => {
                let mut expected = self.usage_before(before)?;
                for limit in limits {
                    expected.entry(limit.dimension.clone()).or_default();
                }
                ensure!(used == expected, TAG, "an update made {after:?} of {before:?}");
                self.check_limits(&before.budget.dimensions, limits)?;
                Ok(Some(Vec::new()))
            }
            (BudgetCall::Report(charges), Some(before)) => {
                self.check_limits(&before.budget.dimensions, &[])?;
                let mut expected = self.usage_before(before)?;
                let at_first = expected.clone();
                let Some(effects) = self.effects(model, charges, &mut expected) else {
                    return Ok(None);
                };
                ensure!(
                    used == expected,
                    TAG,
                    "{charges:?} made {after:?} of {before:?}: {effects:?}, expected {expected:?}"
                );
                for Usage { dimension, hard, used, .. } in &after.dimensions {
                    let within =
                        *hard == 0 || used <= hard || at_first.get(dimension) == Some(used);
                    ensure!(within, TAG, "{dimension} of {after:?} went above its hard limit");
                }
                self.check_keys(charges, &effects)?;
                Ok(Some(effects))
            }
        }
    }

    /// The usage that the operation begins with: none if it begins a period. A period lies around
    /// the time of the commit, and none begins again.
    fn usage_before(&self, before: &KnownBudget) -> Result<Used, Broken> {
        let (earlier, after, now) = (&before.budget, self.after, self.now);
        let mut usage = used(earlier);
        let BudgetReset::Every { every, anchor } = after.reset else {
            let same = earlier.period_start == after.period_start;
            ensure!(same, TAG, "a period began at {now}: {before:?}, {after:?}");
            return Ok(usage);
        };
        let (start, end) = (after.period_start, after.period_start.plus(every));
        ensure!(now < end, TAG, "at {now} the period of {after:?} is over");
        if start != earlier.period_start {
            let is_start = start.get().abs_diff(anchor.get()) % every.get() == 0;
            let begins = earlier.period_start < start && start <= now && is_start;
            ensure!(begins, TAG, "at {now} the period of {after:?} began, after {before:?}");
            usage.values_mut().for_each(|used| *used = 0);
        }
        Ok(usage)
    }

    /// Applies charges one after the other.
    fn effects(
        &self,
        model: &Model,
        charges: &[(Charge, Option<Member>)],
        used: &mut Used,
    ) -> Option<Vec<ChargeEffect>> {
        let (mut effects, mut decided) = (Vec::new(), Vec::new());
        for (charge, key) in charges {
            let stored = key.and_then(|key| model.budgets.charges.get(&key));
            let stored = stored.filter(|stored| stored.budget == self.after.uid);
            let decided_now = key.is_some_and(|key| decided.contains(&key));
            if !decided_now && stored.is_some_and(|stored| stored.expires_at <= self.now) {
                // It may have been decided before the key was forgotten.
                return None;
            }
            let effect = if decided_now || stored.is_some() {
                ChargeEffect::Repeated
            } else {
                self.apply(charge, used)
            };
            if matches!(effect, ChargeEffect::Applied | ChargeEffect::Refused) {
                decided.extend(*key);
            }
            effects.push(effect);
        }
        Some(effects)
    }

    fn apply(&self, charge: &Charge, used: &mut Used) -> ChargeEffect {
        let mut next = used.clone();
        let mut refused = false;
        for (dimension, amount) in charge.amounts() {
            let usage = self.after.dimensions.iter().find(|usage| usage.dimension == *dimension);
            let (Some(usage), Some(used)) = (usage, next.get_mut(dimension)) else {
                return ChargeEffect::Unknown;
            };
            *used += amount;
            refused |= usage.hard > 0 && *used > usage.hard;
        }
        if refused {
            return ChargeEffect::Refused;
        }
        *used = next;
        ChargeEffect::Applied
    }

    /// The limits are those before with the new ones, and no dimension is lost.
    fn check_limits(&self, before: &[Usage], set: &[DimensionLimits]) -> Result<(), Broken> {
        let mut expected: BTreeMap<&Dimension, (u64, u64)> =
            before.iter().map(|usage| (&usage.dimension, (usage.soft, usage.hard))).collect();
        expected.extend(set.iter().map(|set| (&set.dimension, (set.soft, set.hard))));
        let found = self.after.dimensions.iter();
        let found: BTreeMap<_, _> =
            found.map(|usage| (&usage.dimension, (usage.soft, usage.hard))).collect();
        ensure!(found == expected, TAG, "the limits of {:?} are not {expected:?}", self.after);
        Ok(())
    }

    /// Each dedup key of a charge that was decided has a record with its outcome, and no other one
    /// has.
    fn check_keys(
        &self,
        charges: &[(Charge, Option<Member>)],
        effects: &[ChargeEffect],
    ) -> Result<(), Broken> {
        let decided = charges.iter().zip(effects).filter_map(|((_, key), effect)| match effect {
            ChargeEffect::Applied => Some(((*key)?, true)),
            ChargeEffect::Refused => Some(((*key)?, false)),
            ChargeEffect::Repeated | ChargeEffect::Unknown => None,
        });
        let decided: BTreeMap<Member, bool> = decided.collect();
        let applied =
            |record: &ChargeRecord| !matches!(record.outcome, ChargeOutcome::HardBreach { .. });
        let written = self.charges.iter().map(|(key, record)| (*key, applied(record)));
        let written: BTreeMap<Member, bool> = written.collect();
        ensure!(written == decided, TAG, "{charges:?} left {written:?}, not {decided:?}");
        Ok(())
    }
}

fn used(budget: &Budget) -> Used {
    budget.dimensions.iter().map(|usage| (usage.dimension.clone(), usage.used)).collect()
}

/// An operation that answers what it did has committed it once, and an operation that did nothing
/// has committed nothing. `wrote`: whether it answers that it wrote something; `None` if it does
/// not know.
pub fn check_answer(model: &Model, number: u64, wrote: Option<bool>) -> Result<(), Broken> {
    let changes = model.resource_changes.get(&number).copied().unwrap_or(0);
    let right = wrote.is_none_or(|wrote| changes == u64::from(wrote));
    ensure!(right, TAG, "it was committed {changes} times, and is answered: written {wrote:?}");
    Ok(())
}

/// The answer reports the right result for each charge.
pub fn check_outcomes(
    model: &Model,
    number: u64,
    outcomes: &[Result<ReportUsageResult, Rejection>],
) -> Result<(), Broken> {
    let Some(effects) = model.budgets.effects.get(&number) else { return Ok(()) };
    let told: Vec<ChargeEffect> = outcomes.iter().map(ChargeEffect::from).collect();
    ensure!(told == *effects, TAG, "the charges were {effects:?}, and are answered {outcomes:?}");
    Ok(())
}
