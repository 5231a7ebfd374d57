//! The simulator's copy of budgets and of the records of their charges, and the operations on them.

use std::collections::BTreeMap;

use ff_core::budget::{
    Budget, BudgetReset, Charge, ChargeRecord, CreateBudget, DimensionLimits, ReportUsage,
    ReportUsageResult, ResetBudget, UpdateLimits,
};
use ff_core::error::Rejection;
use ff_core::id::{BudgetId, Namespace, RequestId};
use ff_core::partition::PartitionConfig;
use ff_core::resource::Change;
use ff_core::store::Member;
use ff_core::time::TimestampMs;

/// How many requests of operators a budget remembers.
const REQUESTS: usize = 8;

/// An operation on a budget, as the checks know it.
#[derive(Clone, Debug)]
pub enum BudgetCall {
    /// Creates it with these limits.
    Create(RequestId, Vec<DimensionLimits>),
    /// Sets these limits.
    Update(RequestId, Vec<DimensionLimits>),
    /// Resets its usage.
    Reset(RequestId),
    /// Charges it, with the ids of the records of the dedup keys.
    Report(Vec<(Charge, Option<Member>)>),
}

impl From<&CreateBudget> for BudgetCall {
    fn from(create: &CreateBudget) -> Self {
        Self::Create(create.request_id.clone(), create.limits.clone())
    }
}

impl From<&UpdateLimits> for BudgetCall {
    fn from(update: &UpdateLimits) -> Self {
        Self::Update(update.request_id.clone(), update.limits.clone())
    }
}

impl From<&ResetBudget> for BudgetCall {
    fn from(reset: &ResetBudget) -> Self {
        Self::Reset(reset.request_id.clone())
    }
}

impl BudgetCall {
    /// The call that reports these charges.
    pub fn report(
        namespace: &Namespace,
        id: &BudgetId,
        charges: &[Charge],
        partitions: &PartitionConfig,
    ) -> Self {
        let key_of = |charge: &Charge| {
            let alone = ReportUsage::new(namespace, id.clone(), vec![charge.clone()], partitions);
            alone.beside().first().copied()
        };
        Self::Report(charges.iter().map(|charge| (charge.clone(), key_of(charge))).collect())
    }

    /// The id of the request, if an operator's request is meant to be recognised.
    pub const fn request_id(&self) -> Option<&RequestId> {
        match self {
            Self::Create(id, _) | Self::Update(id, _) | Self::Reset(id) => Some(id),
            Self::Report(_) => None,
        }
    }
}

/// The result of a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChargeEffect {
    /// It was applied.
    Applied,
    /// Nothing of it was applied, because of a hard limit.
    Refused,
    /// Its dedup key was known.
    Repeated,
    /// The budget lacks one of its dimensions.
    Unknown,
}

impl From<&Result<ReportUsageResult, Rejection>> for ChargeEffect {
    fn from(outcome: &Result<ReportUsageResult, Rejection>) -> Self {
        match outcome {
            Ok(ReportUsageResult::AlreadyApplied(_)) => Self::Repeated,
            Ok(ReportUsageResult::HardBreach { .. }) => Self::Refused,
            Ok(_) => Self::Applied,
            Err(_) => Self::Unknown,
        }
    }
}

/// A budget as it was committed last.
#[derive(Clone, Debug)]
pub struct KnownBudget {
    /// The record.
    pub budget: Budget,
    /// The latest requests of operators, the latest last.
    pub requests: Vec<RequestId>,
}

/// The budgets and charges as they should be.
#[derive(Clone, Debug, Default)]
pub struct Budgets {
    /// The budgets.
    pub records: BTreeMap<Member, KnownBudget>,
    /// The records of charges that have dedup keys.
    pub charges: BTreeMap<Member, ChargeRecord>,
    /// Since when each budget has admitted nothing, in simulated time; `None` if it admits
    /// executions. One that is missing has never existed.
    stops_since: BTreeMap<Member, Option<u64>>,
    /// The results of the charges of each operation that committed some.
    pub effects: BTreeMap<u64, Vec<ChargeEffect>>,
}

impl Budgets {
    /// Takes over a commit of a budget at a simulated time.
    pub fn note(&mut self, id: Member, budget: Budget, request: Option<&RequestId>, at: u64) {
        let known = self.records.get(&id).filter(|known| known.budget.uid == budget.uid);
        let mut requests = known.map(|known| known.requests.clone()).unwrap_or_default();
        if requests.len() == REQUESTS && request.is_some() {
            requests.remove(0);
        }
        requests.extend(request.cloned());
        let same = known.is_some_and(|known| known.budget.period_start == budget.period_start);
        let since = self.stops_since(id).filter(|_| same).unwrap_or(at);
        self.stops_since.insert(id, is_exhausted(&budget).then_some(since));
        self.records.insert(id, KnownBudget { budget, requests });
    }

    /// Takes over that a budget was removed.
    pub fn note_removed(&mut self, id: Member, at: u64) {
        if self.records.remove(&id).is_some() {
            self.stops_since.insert(id, Some(at));
        }
    }

    /// Since when a budget has admitted nothing, in simulated time; `None` if it admits executions.
    pub fn stops_since(&self, id: Member) -> Option<u64> {
        self.stops_since.get(&id).copied().unwrap_or(Some(0))
    }

    /// Whether a budget admits nothing at a time of the store's clock.
    pub fn admits_nothing(&self, id: Member, now: TimestampMs) -> bool {
        let Some(KnownBudget { budget, .. }) = self.records.get(&id) else { return true };
        let begins = match budget.reset {
            BudgetReset::Never => false,
            BudgetReset::Every { every, anchor } => {
                let [now, anchor, every, before] =
                    [now.get(), anchor.get(), every.get(), budget.period_start.get()]
                        .map(i128::from);
                anchor + (now - anchor).div_euclid(every) * every > before
            }
        };
        is_exhausted(budget) && !begins
    }

    /// Takes over that the store's clock has stepped: a period may have begun or begin again.
    pub fn note_clock_step(&mut self, at: u64) {
        self.stops_since.values_mut().flatten().for_each(|since| *since = at);
    }

    /// Takes over that the store has lost what was committed since `then`.
    #[must_use]
    pub fn after_loss(&self, then: &Self, at: u64) -> Self {
        let ids = self.stops_since.keys().chain(then.stops_since.keys());
        let stops = |id: &Member| {
            then.records.get(id).is_none_or(|known| is_exhausted(&known.budget)).then_some(at)
        };
        let stops_since = ids.map(|id| (*id, stops(id))).collect();
        Self { stops_since, ..then.clone() }
    }
}

/// Whether a dimension is at its hard limit, in the period of the record.
fn is_exhausted(budget: &Budget) -> bool {
    budget.dimensions.iter().any(|usage| usage.hard > 0 && usage.used >= usage.hard)
}
