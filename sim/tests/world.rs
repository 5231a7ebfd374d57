//! Runs of the small world: no invariant breaks, runs repeat, and all of it is met.
//!
//! \[INV-LEASE-1\] \[INV-EPOCH-1\] \[INV-FENCE-1\] \[INV-GRANT-1\] \[INV-TERMINAL-1\]
//! \[INV-DURABLE-1\] \[INV-IDENTITY-1\] \[INV-INDEX-1\] \[INV-TIME-1\] \[INV-HEALTH-1\] are checked
//! after every step of every run.

use std::collections::BTreeSet;

use ff_core::error::RejectionKind;
use ff_core::execution::EventKind;
use ff_sim::{FaultKind, Options, Report, check_determinism, run, run_with};

fn passes(seed: u64) -> Report {
    run(seed).unwrap_or_else(|violation| panic!("{violation}"))
}

/// Seeds that find a defect when its mending is taken back; they pass as it is.
#[test]
fn seeds_that_find_a_mended_defect_pass() {
    // 3: an entry that a `Take` had left in `due` stayed there for good.
    // 955: a claim whose reply was lost was carried out a second time under the same lease id.
    for seed in [3, 955] {
        passes(seed);
    }
}

/// The same seed gives the same run, watched or not.
#[test]
fn a_seed_decides_everything() {
    for seed in 0..10 {
        let first = check_determinism(seed).unwrap_or_else(|violation| panic!("{violation}"));
        let options = Options { trace: true, ..Options::default() };
        let watched = run_with(seed, options).unwrap_or_else(|violation| panic!("{violation}"));
        assert_eq!(first.state_hash, watched.state_hash, "seed {seed}");
        assert_eq!(first.steps, watched.steps, "seed {seed}");
    }
}

/// Different seeds give different runs.
#[test]
fn seeds_differ() {
    let hashes: BTreeSet<u64> = (0..20).map(|seed| passes(seed).state_hash).collect();
    assert_eq!(hashes.len(), 20);
}

/// Two hundred seeds break no rule, and meet every fault, every event and nearly every rejection:
/// a world that never gets into trouble proves nothing.
#[test]
fn two_hundred_seeds_meet_everything() {
    let (mut faults, mut events) = (BTreeSet::new(), BTreeSet::new());
    let (mut rejections, mut commands) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..200 {
        let report = passes(seed);
        faults.extend(report.faults.into_keys());
        events.extend(report.events.into_keys());
        rejections.extend(report.rejections.into_keys());
        commands.extend(report.commands.into_keys());
    }
    use FaultKind::{ClockOffset, Crash, LateExecution, ReplyLost, RequestLost};
    assert_eq!(faults, [RequestLost, ReplyLost, Crash, ClockOffset, LateExecution].into());
    assert_eq!(events, EVENTS.into());
    let missing: Vec<_> = REJECTIONS.iter().filter(|kind| !rejections.contains(kind)).collect();
    assert!(missing.is_empty(), "never met: {missing:?}");
    assert_eq!(commands.len(), 18, "{commands:?}");
}

const EVENTS: [EventKind; 15] = [
    EventKind::Created,
    EventKind::GrantIssued,
    EventKind::GrantExpired,
    EventKind::Claimed,
    EventKind::LeaseExpired,
    EventKind::LeaseRevoked,
    EventKind::RetryScheduled,
    EventKind::Released,
    EventKind::Blocked,
    EventKind::Unblocked,
    EventKind::DelayOver,
    EventKind::PriorityChanged,
    EventKind::Ended,
    EventKind::Replayed,
    EventKind::Removed,
];

/// Those that two hundred seeds are sure to meet.
const REJECTIONS: [RejectionKind; 17] = [
    RejectionKind::NotFound,
    RejectionKind::PayloadTooLarge,
    RejectionKind::InvalidInput,
    RejectionKind::FenceRequired,
    RejectionKind::PartialFenceTriple,
    RejectionKind::IdempotencyMismatch,
    RejectionKind::StaleLease,
    RejectionKind::ExecutionNotActive,
    RejectionKind::LeaseRevoked,
    RejectionKind::LeaseExpired,
    RejectionKind::InvalidClaimGrant,
    RejectionKind::NotAResumedExecution,
    RejectionKind::ExecutionNotEligible,
    RejectionKind::CapabilityMismatch,
    RejectionKind::ExecutionNotReclaimable,
    RejectionKind::ExecutionNotRunnable,
    RejectionKind::ExecutionNotTerminal,
];
