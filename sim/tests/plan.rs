//! Plans: a part that is left out does not happen, and does not change the run before it.

use std::collections::BTreeSet;

use ff_sim::{FaultKind, Options, Overrides, Parts, Plan, Report, run_plan};

fn passes(plan: &Plan) -> Report {
    run_plan(plan, Options::default()).unwrap_or_else(|violation| panic!("{violation}"))
}

/// The faults before the one that is left out are the same, and it does not happen.
#[test]
fn a_fault_that_is_left_out_does_not_happen() {
    let mut tried = 0;
    for seed in 0..40 {
        let whole = passes(&Plan::from(seed)).injected;
        let Some(middle) = whole.get(whole.len() / 2).copied() else { continue };
        let plan = Plan { without_faults: [middle].into(), ..Plan::from(seed) };
        let rest = passes(&plan).injected;
        assert_eq!(rest[..whole.len() / 2], whole[..whole.len() / 2], "seed {seed}");
        assert!(!rest.contains(&middle), "seed {seed}: {middle:?}");
        tried += 1;
    }
    assert!(tried > 20, "{tried} seeds had faults");
}

/// The actions before the one that is left out are the same, and it does not happen.
#[test]
fn an_action_that_is_left_out_does_not_happen() {
    for seed in 0..20 {
        let whole = passes(&Plan::from(seed)).actions;
        let middle = whole[whole.len() / 2];
        let plan = Plan { without_actions: [middle].into(), ..Plan::from(seed) };
        let rest = passes(&plan).actions;
        assert_eq!(rest[..whole.len() / 2], whole[..whole.len() / 2], "seed {seed}");
        assert!(!rest.contains(&middle), "seed {seed}: {middle:?}");
    }
}

/// A plan that names its faults and actions has no others.
#[test]
fn only_the_faults_and_actions_that_a_plan_names_happen() {
    let (mut faults, mut actions) = (0, 0);
    for seed in 0..20 {
        let whole = passes(&Plan::from(seed));
        let only = Parts {
            faults: whole.injected.iter().copied().step_by(2).collect(),
            actions: whole.actions.iter().copied().step_by(2).collect(),
        };
        let rest = passes(&Plan { only: Some(only.clone()), ..Plan::from(seed) });
        assert!(rest.injected.iter().all(|fault| only.faults.contains(fault)), "seed {seed}");
        assert!(rest.actions.iter().all(|action| only.actions.contains(action)), "seed {seed}");
        (faults, actions) = (faults + rest.injected.len(), actions + rest.actions.len());
    }
    assert!(faults > 20 && actions > 100, "{faults} faults and {actions} actions happened");
}

/// The draws of one step do not depend on the others: most of the client's actions stay the same
/// when all faults are left out.
#[test]
fn actions_do_not_depend_on_faults() {
    for seed in 0..20 {
        let whole: BTreeSet<_> = passes(&Plan::from(seed)).actions.into_iter().collect();
        let weights = FaultKind::ALL.iter().map(|kind| (*kind, 0)).collect();
        let overrides = Overrides { weights, ..Overrides::default() };
        let calm = passes(&Plan { overrides, ..Plan::from(seed) });
        assert_eq!(calm.injected, [], "seed {seed}");
        let same = calm.actions.iter().filter(|wish| whole.contains(wish)).count();
        assert!(same * 3 > whole.len(), "seed {seed}: {same} of {}", whole.len());
    }
}

/// Settings can be replaced, down to the smallest world.
#[test]
fn settings_can_be_replaced() {
    let overrides = Overrides {
        workers: Some(1),
        busy_ms: Some(300),
        executions: Some(1),
        ..Overrides::default()
    };
    for seed in 0..20 {
        let report = passes(&Plan { overrides: overrides.clone(), ..Plan::from(seed) });
        assert!(report.executions <= 1, "seed {seed}: {}", report.executions);
    }
}

/// The chosen bytes decide the draws of faults, and the seed decides the rest.
#[test]
fn choices_decide_before_the_seed() {
    let mut plan = Plan::from(7);
    // Small, so that the chosen bytes decide most of it.
    (plan.overrides.executions, plan.overrides.busy_ms) = (Some(5), Some(1_000));
    plan.overrides.weights = FaultKind::ALL.iter().map(|kind| (*kind, 0)).collect();
    plan.overrides.weights.insert(FaultKind::RequestLost, 100);
    let run = |byte| {
        let choices = Some(vec![byte; 2_000]);
        run_plan(&plan, Options { choices, ..Options::default() })
            .unwrap_or_else(|violation| panic!("{violation}"))
    };
    let count =
        |report: Report| report.coverage.faults.get(&FaultKind::RequestLost).copied().unwrap_or(0);
    assert!(count(run(0)) > 2 * count(run(255)));
    assert_eq!(run(3), run(3));
}
