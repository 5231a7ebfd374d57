//! Every interleaving of the smallest worlds; the command explores the larger ones.
//!
//! \[INV-LEASE-1\] \[INV-EPOCH-1\] \[INV-FENCE-1\] \[INV-GRANT-1\] \[INV-TERMINAL-1\]
//! \[INV-DURABLE-1\] \[INV-IDENTITY-1\] \[INV-INDEX-1\] \[INV-COUNT-1\] \[INV-TIME-1\]
//! \[INV-HEALTH-1\] are checked after every step.

use std::collections::BTreeSet;

use ff_sim::explore::{ExploreReport, WORLDS, explore, replay};

/// The smallest world is explored to exhaustion, breaks no rule, and has its known counts.
#[test]
fn the_smallest_world_is_explored_to_exhaustion() {
    let report = explore(&WORLDS[0], |_| ()).unwrap_or_else(|violation| panic!("{violation}"));
    assert_eq!(Some(&report), ExploreReport::golden(&WORLDS[0]).as_ref(), "golden.txt");
}

/// The worlds that are explored within minutes have known counts.
#[test]
fn worlds_that_take_minutes_have_known_counts() {
    let known = WORLDS.iter().filter_map(ExploreReport::golden).collect::<Vec<_>>();
    let names: BTreeSet<&str> = known.iter().map(|report| report.world).collect();
    let minutes = [
        "one-calm",
        "one-lossy",
        "one-operated",
        "one-waiting",
        "one-waiting-lossy",
        "one-waiting-operated",
        "two-calm",
    ];
    assert_eq!(names, minutes.into());
    assert!(known.iter().all(|report| report.transitions > report.states && report.ends > 0));
}

/// A path can be followed again, with its steps.
#[test]
fn a_path_is_replayed() {
    let told = replay(&WORLDS[0], &[0; 20]).unwrap_or_else(|violation| panic!("{violation}"));
    assert!(told.iter().any(|line| line.contains("Complete")), "{told:?}");
}
