//! Checks of a record at any time, and of its views, which agree with each other. A check panics if
//! the record is wrong. The simulator runs the same sequences and checks each step by its
//! invariants (`sim/tests/operations/sequences.rs`).

use std::collections::BTreeSet;

use ff_core::condition::MAX_WAITPOINTS;
use ff_core::execution::{
    Active, AnyOutcome, BlockKind, Continuation, Decision, DueKind, Execution, Join, LeaseFate,
    Next, NextAttempt, Offered, Phase, Resumes, Tally, Verdict, WaitpointState, counted_state,
    due_times, index_entries, next_due, snapshot, state_vector,
};
use ff_core::score::Score;
use ff_core::state::{
    AttemptState, CountedState, EligibilityState, LifecyclePhase, OwnershipState, PublicState,
    TerminalOutcome,
};
use ff_core::time::TimestampMs;

use crate::common::limits::admission;
use crate::common::suspending::{Reads, decide};
use crate::common::{offer, on_due, unblock};

/// Checks a record at any time.
pub fn check_record(record: &Execution, now: TimestampMs) {
    check_lease(record, now);
    check_waiting(record);
    check_terminal(record);
    check_entries(record);
    check_counted(record, now);
    check_eligible(record, now);
    check_on_due(record, now);
    check_vector(record, now);
    let encoded = postcard::to_allocvec(record).expect("a record always encodes");
    let decoded: Execution = postcard::from_bytes(&encoded).expect("what was encoded decodes");
    assert_eq!(decoded, *record);
}

/// The lease's fence is the latest, its epoch is above the creation time, and the lease ends in
/// time. \[INV-FENCE-1\] \[INV-LEASE-1\] \[INV-EPOCH-1\]
fn check_lease(record: &Execution, now: TimestampMs) {
    assert_eq!(record.last_fence.map_or(0, |fence| fence.lease_epoch.0), record.epoch.0);
    assert!(record.epoch.0 == 0 || record.epoch.0 > record.created_at.get());
    let Phase::Active(active) = &record.phase else { return };
    let fence = record.last_fence.expect("an active execution was leased");
    let lease = &active.lease;
    assert_eq!(
        (fence.lease_id, fence.lease_epoch, fence.attempt_id),
        (lease.id, lease.epoch, active.attempt.id)
    );
    let bounds = [record.attempt_times_out_at(lease), record.deadline];
    for bound in bounds.into_iter().flatten() {
        assert!(lease.expires_at <= bound, "the lease ends after {bound}");
    }
    if active.is_leased(now) {
        assert_eq!(active.grant, None, "a grant is out beside a live lease");
    }
}

/// Waitpoints are distinct, take signals for a living attempt only, and a suspension holds what was
/// not satisfied. \[INV-SUSPEND-1\]
fn check_waiting(record: &Execution) {
    let Some(waiting) = &record.waiting else {
        assert_eq!(record.suspension(), None);
        return;
    };
    let all = || waiting.open.iter().chain(waiting.closed.iter());
    let ids: BTreeSet<_> = all().map(|waitpoint| waitpoint.id).collect();
    let keys: BTreeSet<_> = waiting.open.iter().map(|waitpoint| &waitpoint.key).collect();
    assert_eq!((ids.len(), keys.len()), (all().count(), waiting.open.len()), "one of each");
    assert!(waiting.open.len() <= MAX_WAITPOINTS);
    let over = matches!(record.phase, Phase::Terminal(_));
    assert!(
        waiting.open.is_empty() || (record.attempt().is_some() && !over),
        "open without an attempt"
    );
    assert!(all().all(|waitpoint| waitpoint.counts_from <= waiting.signals));
    let used: Vec<_> = waiting
        .open
        .iter()
        .filter(|waitpoint| waitpoint.state == WaitpointState::Active)
        .map(|waitpoint| waitpoint.id)
        .collect();
    let Some(suspension) = record.suspension() else {
        assert_eq!(used, [], "used by no suspension");
        return;
    };
    let latest = waiting.latest.as_ref().expect("the present one is the latest");
    assert_eq!(latest.id, suspension.id);
    let bound: BTreeSet<_> = latest.waitpoints.iter().copied().collect();
    assert_eq!(used.into_iter().collect::<BTreeSet<_>>(), bound);
    assert_eq!(waiting.resumption, None, "of the suspension before");
    if let Resumes::Signals(tallies) = &suspension.resumes {
        let full = |tally: &Tally| tally.counted.len() == tally.part.n as usize;
        assert!(tallies.parts.iter().all(|tally| tally.counted.len() <= tally.part.n as usize));
        let satisfied = match tallies.joins.last() {
            Some(Join::AnyOf(_)) => tallies.parts.iter().any(full),
            _ => tallies.parts.iter().all(full),
        };
        assert!(!satisfied, "satisfied and still suspended");
    }
}

/// Nothing but retention is left of an execution that is over. \[INV-TERMINAL-1\]
fn check_terminal(record: &Execution) {
    let Phase::Terminal(_) = &record.phase else {
        assert_eq!(record.continuation, None);
        return;
    };
    assert_eq!(record.grant(), None);
    assert_eq!(index_entries(record).eligible, None);
    let due: Vec<DueKind> = due_times(record).map(|(_, kind)| kind).collect();
    let wanted = match record.continuation {
        None => DueKind::Retention,
        Some(_) => DueKind::Continuation,
    };
    assert_eq!(due, [wanted]);
}

/// The index entries are what they are said to be. \[INV-INDEX-1\]
fn check_entries(record: &Execution) {
    let entries = index_entries(record);
    let earliest = due_times(record).map(|(at, _)| at).min();
    let over = matches!(record.phase, Phase::Terminal(_));
    let (timer, other) = match over {
        true => (entries.retention, entries.due),
        false => (entries.due, entries.retention),
    };
    assert_eq!((timer, other), (earliest.map(Score::at), None));
    assert_eq!(entries.all, Score::at(record.created_at));
    let place = Score::in_lane(record.created_at, record.position, record.priority);
    assert!([None, Some(place)].contains(&entries.eligible));
    let blocked = record.blocks().is_some_and(|blocks| blocks.get(BlockKind::Route).is_some());
    assert_eq!(entries.blocked_route, blocked.then_some(place));
}

/// A record is counted in the state that users see, if no timer of it is due. \[INV-COUNT-1\]
fn check_counted(record: &Execution, now: TimestampMs) {
    if next_due(record).is_some_and(|(at, _)| at <= now) {
        return;
    }
    let vector = state_vector(record, now);
    let blocked = match vector.eligibility_state {
        EligibilityState::BlockedByOperator => Some(CountedState::BlockedByOperator),
        EligibilityState::BlockedByLaneState => Some(CountedState::BlockedByLaneState),
        EligibilityState::BlockedByDependencies => Some(CountedState::BlockedByDependencies),
        EligibilityState::BlockedByBudget => Some(CountedState::BlockedByBudget),
        EligibilityState::BlockedByQuota => Some(CountedState::BlockedByQuota),
        EligibilityState::BlockedByRoute => Some(CountedState::BlockedByRoute),
        _ => None,
    };
    let counted = counted_state(record);
    assert_eq!(counted, blocked.unwrap_or(counted));
    assert!(blocked.is_some() || counted.as_str() == vector.public_state.as_str(), "{vector:?}");
}

/// A worker that can do everything gets an execution exactly when it stands in its lane, or would
/// if it were not blocked by route. Where something is due, the timekeeper comes first.
/// \[INV-INDEX-1\]
fn check_eligible(record: &Execution, now: TimestampMs) {
    if next_due(record).is_some_and(|(at, _)| at <= now) {
        return;
    }
    // What waits for a capable worker may be taken over by one that comes for it directly.
    if matches!(&record.phase, Phase::Active(active) if !active.blocks.is_empty()) {
        return;
    }
    let routed = decide(&unblock(BlockKind::Route).into(), Some(record), now);
    let routed = match &routed {
        Ok(Verdict::Apply(Decision { next: Next::Put(unblocked), .. })) => unblocked,
        _ => record,
    };
    let eligible = index_entries(routed).eligible.is_some();
    let command = offer(1_000).into();
    let admission = admission(&command, Some(record));
    let reads = Reads { admission, ..Reads::nothing(&command) };
    let ruling = reads.decide(&command, Some(record), now);
    let taken = match ruling.expect("an offer is never refused").outcome() {
        AnyOutcome::Offer(Offered::Claimed(_) | Offered::CapExceeded { .. }) => true,
        AnyOutcome::Offer(_) => false,
        other => panic!("an offer gave {other:?}"),
    };
    assert_eq!(eligible, taken, "in the eligible index against taken when offered");
}

/// Whatever is due is done with in one go, but for the removal of the record.
fn check_on_due(record: &Execution, now: TimestampMs) {
    let ruling = decide(&on_due().into(), Some(record), now);
    let Ok(Verdict::Apply(decision)) = ruling else { panic!("due work was refused: {ruling:?}") };
    let late = |record: &Execution| {
        next_due(record).filter(|(at, kind)| *at <= now && *kind != DueKind::Continuation)
    };
    match &decision.next {
        Next::Put(after) => assert_eq!(late(after), None),
        // Retention waits until the signals are removed.
        Next::Keep if record.continuation == Some(Continuation::RemoveSignals) => {}
        Next::Keep => assert_eq!(next_due(record).filter(|(at, _)| *at <= now), None),
        Next::Remove => assert!(matches!(record.phase, Phase::Terminal(_))),
    }
}

/// The state that users see fits the phase.
fn check_vector(record: &Execution, now: TimestampMs) {
    let state = state_vector(record, now);
    assert_eq!(snapshot(record, now).state, state);
    let leased = |active: &Active| active.is_leased(now);
    match &record.phase {
        Phase::Runnable(runnable) => {
            assert_eq!(state.lifecycle_phase, LifecyclePhase::Runnable);
            assert_eq!(state.ownership_state, OwnershipState::Unowned);
            assert_ne!(state.eligibility_state, EligibilityState::NotApplicable);
            let resumes = matches!(runnable.next, NextAttempt::Resume { .. });
            assert_eq!(state.attempt_state == AttemptState::AttemptInterrupted, resumes);
            let free = state.eligibility_state == EligibilityState::EligibleNow;
            assert!(!free || runnable.blocks.is_empty());
        }
        Phase::Active(active) => {
            assert_eq!(state.lifecycle_phase, LifecyclePhase::Active);
            assert_eq!(state.public_state, PublicState::Active);
            assert_eq!(state.ownership_state == OwnershipState::Leased, leased(active));
            assert_eq!(state.attempt_state == AttemptState::RunningAttempt, leased(active));
            let revoked = active.fate == LeaseFate::Revoked;
            assert_eq!(state.ownership_state == OwnershipState::LeaseRevoked, revoked);
        }
        Phase::Suspended(_) => {
            assert_eq!(state.lifecycle_phase, LifecyclePhase::Suspended);
            assert_eq!(state.ownership_state, OwnershipState::Unowned);
            assert_eq!(state.attempt_state, AttemptState::AttemptInterrupted);
            assert_eq!(state.public_state, PublicState::Suspended);
        }
        Phase::Terminal(_) => {
            assert_eq!(state.lifecycle_phase, LifecyclePhase::Terminal);
            assert_eq!(state.ownership_state, OwnershipState::Unowned);
        }
    }
    let over = state.lifecycle_phase == LifecyclePhase::Terminal;
    assert_eq!(state.terminal_outcome != TerminalOutcome::None, over);
    assert_eq!(state.public_state.is_terminal(), over);
    let runnable = state.lifecycle_phase == LifecyclePhase::Runnable;
    assert_eq!(state.eligibility_state == EligibilityState::NotApplicable, !runnable);
}
