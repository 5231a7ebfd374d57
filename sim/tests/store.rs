//! Each fault of the store alone, as often as it can happen, breaks no rule.

use std::collections::BTreeMap;

use ff_sim::{FaultKind, Options, Plan, World};

const OF_THE_STORE: [FaultKind; 9] = [
    FaultKind::StoreClockStep,
    FaultKind::Failover,
    FaultKind::LibraryMissing,
    FaultKind::ReadOnly,
    FaultKind::OutOfMemory,
    FaultKind::Busy,
    FaultKind::Loading,
    FaultKind::ErrorInside,
    FaultKind::SlowStore,
];

/// Runs with only one kind of fault meet it, and end well.
#[test]
fn each_fault_of_the_store_is_survived_alone() {
    for kind in OF_THE_STORE {
        let mut met = 0;
        for seed in 0..6 {
            let mut plan = Plan::from(seed);
            let none = FaultKind::ALL.iter().map(|kind| (*kind, 0));
            plan.overrides.weights = none.collect::<BTreeMap<_, _>>();
            let often = if kind == FaultKind::ErrorInside { 60 } else { 4 };
            plan.overrides.weights.insert(kind, often);
            let run = World::new(&plan, Options::default()).run();
            let report = run.unwrap_or_else(|violation| panic!("{kind:?}: {violation}"));
            met += report.coverage.faults.get(&kind).copied().unwrap_or(0);
            assert!(
                report.coverage.faults.keys().all(|met| *met == kind),
                "{:?}",
                report.coverage.faults
            );
        }
        assert!(met >= 12, "{kind:?} was met {met} times");
    }
}
