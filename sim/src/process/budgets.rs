//! The operator and budgets: it creates, charges, changes and resets two of them.

use ff_core::budget::{
    Budget, BudgetReset, Charge, ChargeRecord, CreateBudget, DimensionLimits, ReportUsage,
    ResetBudget, UpdateLimits,
};
use ff_core::entropy::Entropy;
use ff_core::id::{Dimension, RequestId};
use ff_core::op::{ChangeResource, Patience, RemoveExpired};
use ff_core::partition::PartitionConfig;
use ff_core::store::Member;
use ff_core::time::{DurationMs, TimestampMs};

use crate::determinism::random::{between, happens, one_of};
use crate::model::budgets::BudgetCall;
use crate::process::task::Output;

use super::context::{About, Context};
use super::submissions::{BUDGETS, budget, namespace};

/// Their dimensions. No budget has the last one, unless an update adds it.
const DIMENSIONS: [&str; 3] = ["tokens", "cents", "calls"];

/// Starts an operation on a budget.
pub fn begin(
    partitions: PartitionConfig,
    patience: Patience,
    entropy: &mut Entropy,
    cx: &mut Context<'_>,
) {
    let number = entropy.below(BUDGETS);
    let id = budget(number);
    let namespace = namespace();
    let request_id = request_id(entropy);
    match entropy.below(12) {
        0 => {
            // As the programs that run timekeepers do.
            let target = Budget::key(&namespace, &id, &partitions);
            let sweep = RemoveExpired::<ChargeRecord>::new(target.partition, patience);
            cx.begin(About::Nothing, sweep, Output::Swept);
        }
        1..3 => {
            let reset = if number == 0 {
                BudgetReset::Never
            } else {
                let every = DurationMs::from_secs(between(entropy, 1, 20));
                BudgetReset::Every { every, anchor: TimestampMs::new(entropy.below(1_000)) }
            };
            let uid = Member::from_u128(u128::from(entropy.next_u64()));
            let limits = vec![limits(0, entropy), limits(1, entropy)];
            let change = CreateBudget { namespace, id, uid, limits, reset, request_id, partitions };
            let call = BudgetCall::from(&change);
            let operation = ChangeResource::new(change, patience);
            cx.begin(About::Budget(call), operation, Output::BudgetSet);
        }
        3 => {
            let limits = vec![limits(one_of(entropy, &[0, 0, 1, 2]), entropy)];
            let change =
                UpdateLimits { namespace, id, limits, reset: None, request_id, partitions };
            let call = BudgetCall::from(&change);
            let operation = ChangeResource::new(change, patience);
            cx.begin(About::Budget(call), operation, Output::BudgetSet);
        }
        4 => {
            let change = ResetBudget { namespace, id, request_id, partitions };
            let call = BudgetCall::from(&change);
            let operation = ChangeResource::new(change, patience);
            cx.begin(About::Budget(call), operation, Output::BudgetSet);
        }
        _ => {
            let charges: Vec<Charge> =
                (0..between(entropy, 1, 4)).map(|_| charge(entropy)).collect();
            let call = BudgetCall::report(&namespace, &id, &charges, &partitions);
            let change = ReportUsage::new(&namespace, id, charges, &partitions);
            let operation = ChangeResource::new(change, patience);
            cx.begin(About::Budget(call), operation, Output::Charged);
        }
    }
}

/// Makes sure that each budget exists and admits executions.
pub fn restore(
    partitions: PartitionConfig,
    mut patience: impl FnMut(&mut Entropy) -> Patience,
    entropy: &mut Entropy,
    cx: &mut Context<'_>,
) {
    for number in 0..BUDGETS {
        let (namespace, id, reset) = (namespace(), budget(number), BudgetReset::Never);
        let unlimited = DIMENSIONS.map(|name| DimensionLimits {
            dimension: Dimension::new(name),
            soft: 0,
            hard: 0,
        });
        let limits = unlimited.to_vec();
        let uid = Member::from_u128(u128::from(entropy.next_u64()));
        let request_id = restores(entropy);
        let create = CreateBudget {
            namespace: namespace.clone(),
            id: id.clone(),
            uid,
            limits: limits.clone(),
            reset,
            request_id,
            partitions,
        };
        let call = BudgetCall::from(&create);
        let operation = ChangeResource::new(create, patience(entropy));
        cx.begin(About::Budget(call), operation, Output::BudgetSet);
        let request_id = restores(entropy);
        let update = UpdateLimits { namespace, id, limits, reset: None, request_id, partitions };
        let call = BudgetCall::from(&update);
        let operation = ChangeResource::new(update, patience(entropy));
        cx.begin(About::Budget(call), operation, Output::BudgetSet);
    }
}

/// The id of a request that is made once.
fn restores(entropy: &mut Entropy) -> RequestId {
    RequestId::try_new(format!("restores-{}", entropy.next_u64())).expect("a valid id")
}

/// The id of a request, from a few, so that some repeat.
fn request_id(entropy: &mut Entropy) -> RequestId {
    RequestId::try_new(format!("request-{}", entropy.below(40))).expect("a valid id")
}

fn limits(dimension: usize, entropy: &mut Entropy) -> DimensionLimits {
    let hard = if happens(entropy, 200) { 0 } else { between(entropy, 5, 60) };
    let soft = if happens(entropy, 500) { 0 } else { between(entropy, 1, 40) };
    let soft = if hard > 0 { soft.min(hard) } else { soft };
    DimensionLimits { dimension: Dimension::new(DIMENSIONS[dimension]), soft, hard }
}

fn charge(entropy: &mut Entropy) -> Charge {
    let mut amounts = Vec::new();
    for _ in 0..between(entropy, 1, 3) {
        let dimension = one_of(entropy, &[0, 0, 0, 0, 1, 1, 1, 2]);
        amounts.push((DIMENSIONS[dimension], between(entropy, 1, 12)));
    }
    let key = happens(entropy, 500).then(|| format!("key-{}", entropy.below(30)));
    Charge::try_new(&amounts, key.as_deref()).expect("a valid charge")
}
