//! The rules of budgets.

use uuid::Uuid;

use crate::error::Rejection;
use crate::id::{BudgetId, Dimension, Namespace, RequestId};
use crate::partition::PartitionConfig;
use crate::resource::{Change, Changed, Facts, NextResource};
use crate::time::{DurationMs, TimestampMs};

use super::*;

const HOUR: u64 = 3_600_000;

fn at(ms: u64) -> TimestampMs {
    TimestampMs::new(ms)
}

fn tokens() -> Dimension {
    Dimension::new("tokens")
}

fn create(soft: u64, hard: u64, reset: BudgetReset) -> CreateBudget {
    CreateBudget {
        namespace: Namespace::new("ns"),
        id: BudgetId::new("llm"),
        uid: Uuid::from_u128(7),
        limits: vec![DimensionLimits { dimension: tokens(), soft, hard }],
        reset,
        request_id: RequestId::new("create"),
        partitions: PartitionConfig::default(),
    }
}

fn budget(soft: u64, hard: u64, reset: BudgetReset, now: u64) -> Budget {
    let facts = Facts { record: None, beside: &[], late: 0 };
    create(soft, hard, reset).decide(&facts, at(now)).unwrap().outcome.budget
}

fn hourly() -> BudgetReset {
    BudgetReset::Every { every: DurationMs::new(HOUR), anchor: at(HOUR / 2) }
}

type Reported = Changed<Budget, ChargeRecord, Vec<Result<ReportUsageResult, Rejection>>>;

fn report(budget: &Budget, charges: Vec<Charge>, now: u64) -> Reported {
    knowing(budget, charges, &[], now)
}

fn knowing(
    budget: &Budget,
    charges: Vec<Charge>,
    beside: &[Option<ChargeRecord>],
    now: u64,
) -> Reported {
    let config = PartitionConfig::default();
    let change = ReportUsage::new(&budget.namespace, budget.id.clone(), charges, &config);
    change.decide(&Facts { record: Some(budget), beside, late: 0 }, at(now)).unwrap()
}

fn charge(amounts: &[(&str, u64)], key: Option<&str>) -> Charge {
    Charge::try_new(amounts, key).unwrap()
}

fn after(changed: &Reported) -> Budget {
    match &changed.next {
        NextResource::Put(budget) => budget.clone(),
        next => panic!("{next:?}"),
    }
}

fn breach(current: u64, limit: u64) -> ReportUsageResult {
    ReportUsageResult::HardBreach { dimension: tokens(), current, limit }
}

#[test]
fn a_charge_over_the_hard_limit_is_refused_as_a_whole() {
    let full =
        report(&budget(0, 100, BudgetReset::Never, 0), vec![charge(&[("tokens", 100)], None)], 0);
    assert_eq!(full.outcome, [Ok(ReportUsageResult::Ok)]);
    let full = after(&full);
    assert_eq!(full.dimensions[0].used, 100);
    assert_eq!(full.exhausted(at(1)).map(|found| found.limit), Some(100));
    let refused = report(&full, vec![charge(&[("tokens", 1)], None)], 0);
    assert_eq!(refused.outcome, [Ok(breach(100, 100))]);
    assert_eq!(refused.next, NextResource::Keep);
    let twice = charge(&[("tokens", 60), ("tokens", 60)], None);
    let refused = report(&budget(0, 100, BudgetReset::Never, 0), vec![twice], 0);
    assert_eq!(refused.outcome, [Ok(breach(0, 100))]);
}

#[test]
fn a_charge_above_the_soft_limit_is_applied_and_reported() {
    let charges = [80, 1].map(|amount| charge(&[("tokens", amount)], None));
    let changed = report(&budget(80, 100, BudgetReset::Never, 0), charges.to_vec(), 0);
    let soft = ReportUsageResult::SoftBreach { dimension: tokens(), current: 81, limit: 80 };
    assert_eq!(changed.outcome, [Ok(ReportUsageResult::Ok), Ok(soft)]);
    assert_eq!(after(&changed).dimensions[0].used, 81);
}

/// \[INV-BUDGET-1\]
#[test]
fn a_dedup_key_returns_the_first_outcome_also_within_one_commit() {
    let keyed = |amount| charge(&[("tokens", amount)], Some("k"));
    let budget = budget(0, 100, BudgetReset::Never, 0);
    let changed = report(&budget, vec![keyed(101), keyed(1)], 5);
    let first = ChargeOutcome::HardBreach { dimension: tokens(), current: 0, limit: 100 };
    let repeated = ReportUsageResult::AlreadyApplied(first.clone());
    assert_eq!(changed.outcome, [Ok(first.into()), Ok(repeated.clone())]);
    let [(0, record)] = &changed.beside[..] else { panic!("{changed:?}") };
    let day = 24 * HOUR;
    let again = |budget, now| knowing(budget, vec![keyed(1)], &[Some(record.clone())], now);
    assert_eq!(again(&budget, day + 4).outcome, [Ok(repeated)]);
    assert_eq!(again(&budget, day + 5).outcome, [Ok(ReportUsageResult::Ok)], "it is forgotten");
    let other = Budget { uid: Uuid::from_u128(8), ..budget.clone() };
    assert_eq!(again(&other, 5).outcome, [Ok(ReportUsageResult::Ok)], "another budget");
}

#[test]
fn an_unknown_dimension_or_budget_is_an_error_and_changes_nothing() {
    let budget = budget(0, 100, BudgetReset::Never, 0);
    let charges =
        vec![charge(&[("tokens", 1), ("cents", 1)], Some("k")), charge(&[("tokens", 2)], None)];
    let changed = report(&budget, charges.clone(), 0);
    let unknown = Rejection::UnknownDimension {
        budget: budget.id.clone(),
        dimension: Dimension::new("cents"),
    };
    assert_eq!(changed.outcome, [Err(unknown), Ok(ReportUsageResult::Ok)]);
    assert_eq!(after(&changed).dimensions[0].used, 2);
    assert!(changed.beside.is_empty());
    let config = PartitionConfig::default();
    let change = ReportUsage::new(&budget.namespace, budget.id.clone(), charges, &config);
    let missing = change.decide(&Facts { record: None, beside: &[], late: 0 }, at(0));
    assert_eq!(missing.unwrap_err(), Rejection::BudgetNotFound { budget: budget.id });
}

#[test]
fn sums_never_wrap() {
    let most = charge(&[("tokens", u64::MAX), ("tokens", 9)], None);
    let full = after(&report(&budget(0, 0, BudgetReset::Never, 0), vec![most.clone()], 0));
    assert_eq!(full.dimensions[0].used, u64::MAX);
    assert_eq!(report(&full, vec![most.clone()], 0).outcome, [Ok(ReportUsageResult::Ok)]);
    let limited = budget(0, u64::MAX, BudgetReset::Never, 0);
    let limited = after(&report(&limited, vec![charge(&[("tokens", 5)], None)], 0));
    assert_eq!(report(&limited, vec![most], 0).outcome, [Ok(breach(5, u64::MAX))]);
}

#[test]
fn a_period_begins_by_the_clock_and_never_goes_back() {
    let start = 10 * HOUR + HOUR / 2;
    let budget = budget(0, 100, hourly(), start + 7);
    assert_eq!(budget.period_start, at(start));
    let full = after(&report(&budget, vec![charge(&[("tokens", 100)], None)], start + 8));
    let exhausted = full.exhausted(at(start + HOUR - 1)).expect("it is full");
    assert_eq!(exhausted.resets_at, Some(at(start + HOUR)));
    assert_eq!(full.exhausted(at(start + HOUR)), None);
    let next = report(&full, vec![charge(&[("tokens", 1)], None)], start + HOUR);
    assert_eq!(
        (next.window.not_before, next.window.not_after),
        (at(start + HOUR), at(start + 2 * HOUR))
    );
    let next = after(&next);
    assert_eq!((next.dimensions[0].used, next.period_start), (1, at(start + HOUR)));
    let back = after(&report(&next, vec![charge(&[("tokens", 1)], None)], start));
    assert_eq!((back.dimensions[0].used, back.period_start), (2, at(start + HOUR)));
}

#[test]
fn requests_are_recognised_and_a_reset_keeps_the_periods() {
    let budget = budget(0, 100, hourly(), HOUR);
    let full = after(&report(&budget, vec![charge(&[("tokens", 100)], None)], HOUR));
    let reset = ResetBudget {
        namespace: budget.namespace.clone(),
        id: budget.id.clone(),
        request_id: RequestId::new("reset"),
        partitions: PartitionConfig::default(),
    };
    let facts = |record| Facts { record: Some(record), beside: &[], late: 0 };
    let done = reset.decide(&facts(&full), at(HOUR + 1)).unwrap().outcome;
    assert!(!done.repeated);
    assert_eq!((done.budget.dimensions[0].used, done.budget.period_start), (0, at(HOUR / 2)));
    let charged = after(&report(&done.budget, vec![charge(&[("tokens", 9)], None)], HOUR + 2));
    let repeated = reset.decide(&facts(&charged), at(HOUR + 3)).unwrap();
    assert_eq!(repeated.next, NextResource::Keep);
    assert!(repeated.outcome.repeated && repeated.outcome.budget.dimensions[0].used == 9);
    let created = create(0, 5, BudgetReset::Never);
    assert!(created.decide(&facts(&charged), at(HOUR)).unwrap().outcome.repeated);
    let other = CreateBudget { uid: Uuid::nil(), request_id: RequestId::new("two"), ..created };
    let exists = other.decide(&facts(&charged), at(HOUR)).unwrap_err();
    assert_eq!(exists, Rejection::BudgetExists { budget: budget.id.clone() });
    let mixed = ResetBudget { request_id: RequestId::new("create"), ..reset };
    let refused = mixed.decide(&facts(&charged), at(HOUR)).unwrap_err();
    assert!(matches!(refused, Rejection::InvalidInput { field: "request id", .. }), "{refused}");
}

#[test]
fn limits_change_and_the_usage_stays() {
    let budget = budget(0, 100, BudgetReset::Never, 0);
    let full = after(&report(&budget, vec![charge(&[("tokens", 100)], None)], 0));
    let update = |limits: Vec<(&str, u64, u64)>| {
        let limits = limits.into_iter().map(|(name, soft, hard)| DimensionLimits {
            dimension: Dimension::new(name),
            soft,
            hard,
        });
        let change = UpdateLimits {
            namespace: full.namespace.clone(),
            id: full.id.clone(),
            limits: limits.collect(),
            reset: None,
            request_id: RequestId::new("update"),
            partitions: PartitionConfig::default(),
        };
        let facts = Facts { record: Some(&full), beside: &[], late: 0 };
        change.decide(&facts, at(0)).map(|changed| changed.outcome.budget)
    };
    let lowered = update(vec![("tokens", 0, 50)]).unwrap();
    assert_eq!(lowered.exhausted(at(0)).map(|found| found.limit), Some(50));
    let raised = update(vec![("tokens", 0, 101), ("cents", 0, 5)]).unwrap();
    assert_eq!(raised.exhausted(at(0)), None);
    assert_eq!(raised.dimensions.iter().map(|usage| usage.used).collect::<Vec<_>>(), [100, 0]);
    assert!(update(vec![("tokens", 9, 8)]).is_err(), "a soft limit above the hard one");
    let names: Vec<String> = (0..16).map(|number| format!("d{number}")).collect();
    assert!(update(names.iter().map(|name| (&**name, 0, 1)).collect()).is_err(), "17 dimensions");
}
