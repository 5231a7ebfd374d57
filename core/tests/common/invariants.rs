//! The invariants of `docs/architecture.md`, Simulation, as far as one record and one step can
//! show them. Each check panics with what is wrong.

use std::collections::BTreeSet;

use ff_core::condition::MAX_WAITPOINTS;
use ff_core::execution::{
    Active, AnyCommand, AnyOutcome, BlockKind, Claim, ClaimKind, Continuation, Decide, Decision,
    DueKind, Event, EventKind, Execution, Interruption, LeaseFate, Next, NextAttempt, Offered,
    Phase, Resumes, Runnable, Tally, Verdict, WaitpointState, due_times, index_entries, next_due,
    snapshot, state_vector,
};
use ff_core::policy::ReclaimMode;
use ff_core::score::Score;
use ff_core::state::{
    AttemptState, EligibilityState, LifecyclePhase, OwnershipState, PublicState, TerminalOutcome,
};
use ff_core::time::TimestampMs;

use super::suspending::decide;
use super::{Bench, offer, on_due};

/// Checks what holds of a record at any time.
pub fn check_record(record: &Execution, now: TimestampMs) {
    check_attempts(record);
    check_lease(record, now);
    check_waiting(record);
    check_terminal(record);
    check_entries(record);
    check_eligible(record, now);
    check_on_due(record, now);
    check_vector(record, now);
    let encoded = postcard::to_allocvec(record).expect("a record always encodes");
    let decoded: Execution = postcard::from_bytes(&encoded).expect("what was encoded decodes");
    assert_eq!(decoded, *record);
}

/// Attempt indexes are contiguous. \[INV-EPOCH-1\]
fn check_attempts(record: &Execution) {
    let mut indexes: Vec<u32> =
        record.past_attempts.iter().map(|past| past.attempt.index.0).collect();
    let over = matches!(record.phase, Phase::Terminal(_));
    if let Some(attempt) = record.attempt().filter(|_| !over) {
        indexes.push(attempt.index.0);
    }
    for pair in indexes.windows(2) {
        assert_eq!(pair[1], pair[0] + 1, "attempt indexes {indexes:?}");
    }
    let last = indexes.last().map_or(0, |last| last + 1);
    assert_eq!(record.attempts_total, last, "the number of attempts, {indexes:?}");
    if let Phase::Terminal(terminal) = &record.phase {
        assert_eq!(terminal.attempt, record.past_attempts.last().map(|past| past.attempt));
    }
}

/// The lease's fence is the latest, and the lease ends in time. \[INV-FENCE-1\] \[INV-LEASE-1\]
fn check_lease(record: &Execution, now: TimestampMs) {
    assert_eq!(record.last_fence.map_or(0, |fence| fence.lease_epoch.0), record.epoch.0);
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

/// Waitpoints are told apart, take signals for a living attempt only, and a suspension holds what
/// was not satisfied. \[INV-SUSPEND-1\]
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
    assert!(waiting.open.is_empty() || (record.attempt().is_some() && !over), "open for nobody");
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
        assert!(tallies.iter().all(|tally| tally.counted.len() <= tally.part.n as usize));
        assert!(!tallies.iter().all(full), "satisfied and still suspended");
    }
}

/// What is kept beside the record is what the record says. \[INV-SIGNAL-1\] \[INV-FRAME-1\]
pub fn check_beside(record: &Execution, bench: &Bench) {
    let taken = record.waiting.as_ref().map_or(0, |waiting| waiting.signals);
    let numbers: BTreeSet<u32> = bench.signals.values().map(|signal| signal.number).collect();
    match record.continuation {
        None => assert_eq!(numbers, (0..taken).collect(), "numbered without gaps"),
        Some(Continuation::RemoveSignals) => assert!(numbers.iter().all(|one| *one < taken)),
        Some(_) => assert_eq!(numbers, BTreeSet::new(), "signals go first"),
    }
    let resumption = record.waiting.as_ref().and_then(|waiting| waiting.resumption.as_ref());
    for id in resumption.iter().flat_map(|resumption| &resumption.signals) {
        assert!(record.continuation.is_some() || bench.signals.contains_key(id), "{id} is lost");
    }
    let framed = bench.frames.last_key_value().map_or(0, |(attempt, _)| attempt.0 + 1);
    assert!(framed <= record.framed, "output of which retention does not know");
    if record.continuation.is_some() {
        return;
    }
    let past = record.past_attempts.iter().map(|past| &past.attempt);
    for attempt in past.chain(record.attempt()) {
        let frames = bench.frames.get(&attempt.index).map_or(0, Vec::len);
        assert_eq!(frames as u64, attempt.frames, "frames of {}", attempt.index);
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
    assert_eq!(entries.due, earliest.map(Score::at));
    assert_eq!(entries.all, Score::at(record.created_at));
    let place = Score::in_lane(record.created_at, record.position, record.priority);
    assert!([None, Some(place)].contains(&entries.eligible));
    let blocked = record.blocks().is_some_and(|blocks| blocks.get(BlockKind::Route).is_some());
    assert_eq!(entries.blocked_route, blocked.then_some(place));
}

/// A worker that can do everything gets an execution exactly when it stands in its lane. Where
/// something is due, the timekeeper comes first. \[INV-INDEX-1\]
fn check_eligible(record: &Execution, now: TimestampMs) {
    if next_due(record).is_some_and(|(at, _)| at <= now) {
        return;
    }
    // What waits for a capable worker may be taken over by one that comes for it directly.
    if matches!(&record.phase, Phase::Active(active) if !active.blocks.is_empty()) {
        return;
    }
    let eligible = index_entries(record).eligible.is_some();
    let ruling = decide(&offer(1_000).into(), Some(record), now);
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
        // Retention waits for whoever takes the signals away.
        Next::Keep if record.continuation == Some(Continuation::RemoveSignals) => {}
        Next::Keep => assert_eq!(next_due(record).filter(|(at, _)| *at <= now), None),
        Next::Remove => assert!(record.continuation.is_some()),
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

/// Checks what a step may change.
pub fn check_step(
    before: Option<&Execution>,
    command: &AnyCommand,
    decision: &Decision<AnyOutcome>,
    now: TimestampMs,
) {
    assert!(decision.window.contains(now), "{:?} is without {now}", decision.window);
    let count = |kind| decision.events.iter().filter(|event| event.kind() == kind).count();
    let Next::Put(after) = &decision.next else {
        let removed = usize::from(decision.next == Next::Remove);
        assert_eq!(count(EventKind::Removed), removed);
        assert_eq!(decision.events.len(), removed);
        return;
    };
    let was_over = before.is_some_and(|before| matches!(before.phase, Phase::Terminal(_)));
    let is_over = matches!(after.phase, Phase::Terminal(_));
    // A life ends once. [INV-TERMINAL-1]
    assert_eq!(count(EventKind::Ended), usize::from(is_over && !was_over));
    assert_eq!(count(EventKind::Replayed), usize::from(was_over && !is_over));
    assert_eq!(count(EventKind::Created), usize::from(before.is_none()));
    let Some(before) = before else {
        assert_eq!((after.epoch.0, after.attempts_total), (0, 0));
        return;
    };
    check_suspension(before, after, decision);
    // A lease runs out unless the deadline or the attempt timeout comes first. [INV-TIME-1]
    if count(EventKind::LeaseExpired) > 0 {
        let others = due_times(before).filter(|(_, kind)| *kind != DueKind::WaitpointExpiry);
        let due = others.min().map(|(_, kind)| kind);
        assert_eq!(due, Some(DueKind::LeaseExpiry), "marked as expired");
    }
    // Epochs rise by one with each lease and never otherwise. [INV-EPOCH-1]
    let claims = count(EventKind::Claimed);
    assert_eq!(after.epoch.0, before.epoch.0 + claims as u64);
    let replayed = count(EventKind::Replayed) == 1;
    let retries = count(EventKind::RetryScheduled) as u32;
    let expected = if replayed { 0 } else { before.counts.retries + retries };
    assert_eq!(after.counts.retries, expected);
    match claims {
        0 => assert_eq!(after.last_fence, before.last_fence),
        _ => check_claim(before, after, command, decision, now),
    }
}

/// A suspension begins and ends once, and each signal is taken once. \[INV-SUSPEND-1\]
/// \[INV-SIGNAL-1\]
fn check_suspension(before: &Execution, after: &Execution, decision: &Decision<AnyOutcome>) {
    let count = |kind| decision.events.iter().filter(|event| event.kind() == kind).count();
    let (was, is) = (before.suspension(), after.suspension());
    assert_eq!(count(EventKind::Suspended), usize::from(was.is_none() && is.is_some()));
    let ended = was.is_some() && is.is_none();
    let resumed = count(EventKind::Resumed);
    assert!(resumed <= usize::from(ended), "resumed what was not suspended");
    if ended && resumed == 0 {
        assert!(matches!(after.phase, Phase::Terminal(_)), "it ended in no way");
    }
    let taken = |record: &Execution| record.waiting.as_ref().map_or(0, |waiting| waiting.signals);
    let signals = count(EventKind::SignalTaken);
    assert_eq!(taken(after) as usize, taken(before) as usize + signals);
    let beside = decision.side_effects.as_deref();
    let written = beside.is_some_and(|beside| beside.signal.is_some());
    assert_eq!(usize::from(written), signals);
}

/// Checks a step in which a lease is given.
fn check_claim(
    before: &Execution,
    after: &Execution,
    command: &AnyCommand,
    decision: &Decision<AnyOutcome>,
    now: TimestampMs,
) {
    let Phase::Active(active) = &after.phase else { panic!("claimed, but not active") };
    let how = active.lease.how;
    let claimed =
        |event: &Event| matches!(event, Event::Claimed { epoch, .. } if *epoch == after.epoch);
    assert!(decision.events.iter().any(claimed));
    assert!(before.deadline.is_none_or(|deadline| now < deadline), "claimed after its deadline");
    // There is one live lease, and a lease is lost only when it ran out. [INV-LEASE-1]
    match &before.phase {
        Phase::Runnable(runnable) => {
            assert_ne!(how, ClaimKind::Reclaimed);
            let early = runnable.not_before.is_some_and(|delay| now < delay.until);
            assert!(!early, "started early"); // [INV-TIME-1]
            assert!(runnable.blocks.is_empty(), "claimed though held back");
        }
        Phase::Active(lost) => {
            assert_eq!(how, ClaimKind::Reclaimed);
            assert!(!lost.is_leased(now), "taken from a living owner"); // [INV-TIME-1]
        }
        Phase::Suspended(_) => panic!("claimed though suspended"),
        Phase::Terminal(_) => panic!("claimed though over"),
    }
    check_consumed_grant(before, active, command, now);
    // Only the claim that a suspension resumed tells of it. [INV-SUSPEND-1]
    let resumes = matches!(
        &before.phase,
        Phase::Runnable(Runnable {
            next: NextAttempt::Resume { interruption: Interruption::Suspension, .. },
            ..
        })
    );
    let told = after.waiting.as_ref().is_some_and(|waiting| waiting.resumption.is_some());
    assert_eq!(told, resumes, "what a claim tells of a suspension");
    let reclaims = u32::from(how == ClaimKind::Reclaimed);
    assert_eq!(after.counts.reclaims, before.counts.reclaims + reclaims);
    if how == ClaimKind::Resumed {
        assert_eq!(Some(&active.attempt), before.attempt());
        assert_eq!(after.attempts_total, before.attempts_total);
    } else {
        assert_eq!(active.attempt.index.0, before.attempts_total);
        assert_eq!(active.attempt.started_at, now);
        assert_eq!(after.attempts_total, before.attempts_total + 1);
    }
}

/// A grant is consumed by its worker before its expiry, and only once. \[INV-GRANT-1\]
fn check_consumed_grant(
    before: &Execution,
    active: &Active,
    command: &AnyCommand,
    now: TimestampMs,
) {
    assert_eq!(active.grant, None, "a grant was not consumed");
    let (claim, in_one_go): (&Claim, bool) = match command {
        AnyCommand::Claim(command) => (&command.0, false),
        AnyCommand::ClaimResumed(command) => (&command.0, false),
        AnyCommand::Reclaim(command) => (&command.0, false),
        AnyCommand::Offer(command) => (&command.claim, true),
        other => panic!("{} gave a lease", other.name()),
    };
    assert_eq!(active.lease.grant.id, claim.grant_id);
    assert_eq!(active.lease.worker, claim.worker);
    let live = before.grant().filter(|grant| grant.is_live(now));
    if in_one_go {
        assert_eq!(live, None, "taken in spite of another one's grant");
        let lost = matches!(before.phase, Phase::Active(_));
        assert!(!lost || before.policy.reclaim_mode == ReclaimMode::Automatic);
    } else {
        let grant = live.expect("a live grant");
        assert_eq!((grant.id, &grant.worker), (claim.grant_id, &claim.worker));
    }
}
