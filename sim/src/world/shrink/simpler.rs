//! Simpler plans: with simpler settings, or of a small world.

use std::collections::BTreeMap;

use crate::determinism::random::{between, one_of, stream};
use crate::plan::settings::Settings;
use crate::plan::{ActionKind, FaultKind, Overrides, Plan};
use crate::report::Violation;

/// The plans with one simpler setting each, the simplest first.
pub(super) fn simpler(plan: &Plan) -> Vec<Plan> {
    let settings = Settings::of(plan);
    let mut plans = Vec::new();
    let mut with = |change: &dyn Fn(&mut Overrides)| {
        let mut plan = plan.clone();
        change(&mut plan.overrides);
        plans.push(plan);
    };
    for executions in fewer(settings.executions) {
        with(&|overrides| overrides.executions = Some(executions));
    }
    for workers in fewer(settings.workers as u64) {
        with(&|overrides| overrides.workers = Some(workers as usize));
    }
    for timekeepers in fewer(settings.timekeepers as u64) {
        with(&|overrides| overrides.timekeepers = Some(timekeepers as usize));
    }
    for partitions in fewer(u64::from(settings.partitions.num_flow_partitions)) {
        with(&|overrides| overrides.partitions = Some(partitions as u16));
    }
    for slots in fewer(settings.slots) {
        with(&|overrides| overrides.slots = Some(slots));
    }
    if settings.reaction_rate > 0 {
        with(&|overrides| overrides.reactions = Some(0));
    }
    let rates = settings.wait_rates;
    let others = rates.rotates + rates.lanes + rates.budgets + rates.registry;
    if rates.suspends + rates.frames + others > 0 {
        with(&|overrides| overrides.waits = Some(0));
    }
    for busy_ms in fewer(settings.busy_ms) {
        with(&|overrides| overrides.busy_ms = Some(busy_ms));
    }
    // Where the plan names its faults, the others do not happen in any case.
    if plan.only.is_none() {
        let on = |kind: &FaultKind| settings.weights.on(*kind).is_some();
        for kind in FaultKind::of_worlds().filter(on) {
            with(&|overrides| {
                overrides.weights.insert(kind, 0);
            });
        }
    }
    plans
}

/// Smaller numbers, the smallest first.
fn fewer(number: u64) -> Vec<u64> {
    let mut fewer = vec![1, 2, 3, number / 8, number / 4, number / 2, number.saturating_sub(1)];
    if number > 100 {
        // A time: single milliseconds make no difference.
        fewer = vec![100, number / 8, number / 4, number / 2];
    }
    fewer.retain(|fewer| (1..number).contains(fewer));
    fewer.sort_unstable();
    fewer.dedup();
    fewer
}

/// The plan of a small world of that number, with another seed, in which mainly the kinds of faults
/// and actions of this violation happen.
pub(super) fn small_world(like: &Violation, number: u64) -> Plan {
    let settings = Settings::of(&like.plan);
    let entropy = &mut stream(like.plan.seed, "small world", number);
    let has = |kinds: &[ActionKind]| like.actions.iter().any(|a| kinds.contains(&a.kind));
    let executions = between(entropy, 1, 3);
    let each_ms = one_of(entropy, &[50, 150, 400, 1_000, 1_000, 40_000]);
    let waits = has(&[ActionKind::Suspend, ActionKind::Signal, ActionKind::Frame]);
    let mut weights: BTreeMap<_, _> = FaultKind::of_worlds().map(|kind| (kind, 0)).collect();
    for fault in &like.injected {
        let weight = one_of(entropy, fault.kind.weights());
        weights.insert(fault.kind, one_of(entropy, &[0, weight]));
    }
    let overrides = Overrides {
        workers: Some(between(entropy, 1, settings.workers.min(2) as u64) as usize),
        timekeepers: Some(1),
        slots: Some(one_of(entropy, &[1, 1, 2])),
        partitions: Some(one_of(entropy, &[1, 1, 2])),
        busy_ms: Some(executions * each_ms),
        executions: Some(executions),
        waits: Some(if waits { one_of(entropy, &[300, 700, 1_000]) } else { 0 }),
        reactions: Some(if has(&[ActionKind::React]) {
            one_of(entropy, &[0, 150, 400])
        } else {
            0
        }),
        weights,
    };
    Plan { overrides, ..Plan::from(like.plan.seed.wrapping_add(number)) }
}
