//! A crash at every effect boundary of every operation.
//!
//! \[INV-LEASE-1\] \[INV-EPOCH-1\] \[INV-FENCE-1\] \[INV-GRANT-1\] \[INV-TERMINAL-1\]
//! \[INV-DURABLE-1\] \[INV-IDENTITY-1\] \[INV-INDEX-1\] \[INV-COUNT-1\] \[INV-TIME-1\]
//! \[INV-HEALTH-1\] \[INV-SUSPEND-1\] \[INV-SIGNAL-1\] \[INV-TOKEN-1\] \[INV-FRAME-1\]
//! \[INV-RETRY-1\] are checked after every step of every run.

use ff_sim::crash_points;

/// No boundary of any operation breaks a rule, and none is left out.
#[test]
fn every_operation_survives_a_crash_at_every_boundary() {
    let mut seen = 0;
    let report = crash_points::run(|progress| seen = progress.done)
        .unwrap_or_else(|violation| panic!("{violation}"));
    println!(
        "{} operations, {} boundaries, {} runs, {} store calls",
        report.operations, report.boundaries, report.runs, report.store_calls
    );
    assert_eq!(seen, report.operations);
    assert_eq!(report.operations, crash_points::names().count() as u64);
}

/// One crash point can be replayed by its name, with its steps.
#[test]
fn a_run_is_replayed_by_its_name() {
    let name = "complete/1.applied/takeover/error";
    let report = crash_points::replay(name).unwrap_or_else(|violation| panic!("{violation}"));
    assert_eq!(report.runs, 1);
    assert!(report.trace.iter().any(|line| line.contains(name)), "{:?}", report.trace);
}
