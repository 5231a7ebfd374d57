//! \[INV-SUSPEND-1\] A suspension ends at most once, as its record says: by signals that satisfy
//! its condition, by an operator, or by its timeout. The claim that follows gets the resumption.

use std::collections::BTreeSet;

use ff_core::condition::TimeoutBehaviour;
use ff_core::error::EngineError;
use ff_core::execution::{
    AnyCommand, AnyOutcome, BindWaitpoint, Execution, IssuedWaitpoint, Phase, ResumedBy,
    Resumption, SignalEffect, SignalRecord, SuspendOutcome, WaitpointState,
};
use ff_core::id::SignalId;
use ff_core::op::Committed;
use ff_core::time::{DurationMs, TimestampMs};

use crate::model::Model;
use crate::model::caller::Caller;
use crate::model::change::{Change, is_terminal};
use crate::model::waits::condition::{counted, is_satisfied, satisfying};
use crate::model::waits::{Suspension, began};
use crate::report::{Broken, ensure, when_watched};

const TAG: &str = "INV-SUSPEND-1";

/// A step begins, continues, or ends a suspension as the specification says.
pub fn check(model: &Model, change: &Change<'_>) -> Result<(), Broken> {
    let Some(after) = &change.after else { return Ok(()) };
    check_claim(model, change, after)?;
    if began(change).is_some() {
        return check_began(model, change, after);
    }
    let (was, is) = (change.suspended_before(), change.suspended_after());
    ensure!(
        was.is_some() || is.is_none(),
        TAG,
        "{} is suspended without a command for it",
        change.id
    );
    let (Some(was), false) = (was, change.kept) else { return Ok(()) };
    let known = model.waits.waiting.get(&change.id).and_then(|waits| waits.suspension.as_ref());
    let Some(known) = known else {
        ensure!(false, TAG, "{} waits for a suspension that never began", change.id);
        return Ok(());
    };
    let same = known.id == was.suspension.id;
    ensure!(same, TAG, "{} waits for {} and for {}", change.id, was.suspension.id, known.id);
    match is {
        Some(is) if is.suspension.id == known.id => check_continues(change, known),
        Some(is) => {
            ensure!(false, TAG, "{} changed to the suspension {}", change.id, is.suspension.id);
            Ok(())
        }
        None => check_ended(change, after, known),
    }
}

/// The records of a suspension's signals, with those of this step.
fn heard<'s>(change: &'s Change<'_>, known: &'s Suspension) -> Vec<&'s SignalRecord> {
    let own = |signal: &&SignalRecord| known.bound.contains(&signal.waitpoint_id);
    let new = change.side_writes.signals.iter().map(|(signal, _)| signal).filter(own);
    known.records().into_iter().chain(new).collect()
}

fn check_began(model: &Model, change: &Change<'_>, after: &Execution) -> Result<(), Broken> {
    let Some(known) = Suspension::of(&model.waits, change) else { return Ok(()) };
    let id = change.id;
    ensure!(change.active_before().is_some(), TAG, "{id} was suspended without an owner");
    let open = change.before.iter().flat_map(|before| &before.waiting);
    let open = open.flat_map(|waiting| &waiting.open);
    let expired = open.filter(|waitpoint| waitpoint.is_expired(change.now));
    let expired = expired.map(|waitpoint| waitpoint.id).find(|id| known.bound.contains(id));
    ensure!(expired.is_none(), TAG, "{id} was suspended with {expired:?}, which has expired");
    let signals = known.records();
    let satisfied = is_satisfied(&known.condition, &signals);
    let Some(suspended) = change.suspended_after() else {
        ensure!(
            satisfied,
            TAG,
            "{id} was not suspended although {:?} is not satisfied",
            known.condition
        );
        let resumption = after.waiting.as_ref().and_then(|waiting| waiting.resumption.as_ref());
        let until = known.satisfied_by().unwrap_or_default();
        let signals: Vec<_> = signals.into_iter().filter(|one| one.number < until).collect();
        return check_signals(change, &known, resumption, &signals);
    };
    ensure!(!satisfied, TAG, "{id} was suspended although {:?} is satisfied", known.condition);
    let suspension = &suspended.suspension;
    let timeout = suspension.timeout.map(|timeout| (timeout.at, timeout.behaviour));
    let right = suspension.id == known.id
        && timeout == known.timeout
        && suspension.policy == known.policy
        && suspension.escalated_at.is_none();
    ensure!(right, TAG, "{id} was suspended as {suspension:?} instead of {known:?}");
    let resumption = after.waiting.as_ref().and_then(|waiting| waiting.resumption.as_ref());
    ensure!(resumption.is_none(), TAG, "{id} was suspended with {resumption:?} left");
    Ok(())
}

/// The suspension continues: its condition is not satisfied, and only time escalates it.
fn check_continues(change: &Change<'_>, known: &Suspension) -> Result<(), Broken> {
    let (Some(was), Some(is)) = (change.suspended_before(), change.suspended_after()) else {
        return Ok(());
    };
    let (was, is, id) = (&was.suspension, &is.suspension, change.id);
    let signals = heard(change, known);
    let satisfied = is_satisfied(&known.condition, &signals);
    ensure!(!satisfied, TAG, "{id} still waits although {:?} is satisfied", known.condition);
    for (signal, _) in &change.side_writes.signals {
        let expected = effect_of(known, &signals, signal);
        let right = signal.effect == expected;
        ensure!(right, TAG, "{signal:?} of {id} should have the effect {expected:?}");
    }
    if was.timeout != is.timeout || was.escalated_at != is.escalated_at {
        let due = known.timeout.filter(|(at, behaviour)| {
            *behaviour == TimeoutBehaviour::Escalate && *at <= change.now
        });
        let escalated = is.timeout.is_none() && is.escalated_at == due.map(|(at, _)| at);
        ensure!(due.is_some() && escalated, TAG, "{id} was escalated at {}: {is:?}", change.now);
    }
    Ok(())
}

/// The effect of a signal that resumes nothing.
fn effect_of(known: &Suspension, all: &[&SignalRecord], signal: &SignalRecord) -> SignalEffect {
    if !known.bound.contains(&signal.waitpoint_id) {
        return SignalEffect::Buffered;
    }
    if counted(&known.condition, all).contains(&signal.id) {
        SignalEffect::Counted
    } else {
        SignalEffect::Recorded
    }
}

fn check_ended(change: &Change<'_>, after: &Execution, known: &Suspension) -> Result<(), Broken> {
    let (id, now) = (change.id, change.now);
    let over = known.timeout.filter(|(at, _)| *at <= now);
    if is_terminal(Some(after)) {
        let cancelled = matches!(change.caller.command, Some(AnyCommand::Cancel(_)));
        let expired = change.before.as_ref().and_then(|before| before.deadline);
        let timed_out = over.is_some_and(|(_, behaviour)| {
            use TimeoutBehaviour::{Cancel, Expire, Fail};
            matches!(behaviour, Fail | Cancel | Expire)
        });
        // An execution that was resumed in time may end in the same step by its deadline.
        let ended = cancelled || timed_out || expired.is_some_and(|at| at <= now);
        ensure!(ended, TAG, "{id} ended at {now} while it waited for {known:?}");
        return Ok(());
    }
    let waiting = after.waiting.as_ref();
    let resumption = waiting.and_then(|waiting| waiting.resumption.as_ref());
    let Some(found) = resumption.filter(|found| found.suspension_id == known.id) else {
        ensure!(false, TAG, "{id} was resumed by {resumption:?} while it waited for {}", known.id);
        return Ok(());
    };
    check_by(change, after, known, found)?;
    check_left(change, after, known)?;
    let Phase::Runnable(runnable) = &after.phase else {
        ensure!(false, TAG, "{id} was resumed and is in {:?}", after.phase);
        return Ok(());
    };
    let delay = known.policy.resume_delay_ms;
    let until = (delay > DurationMs::ZERO).then(|| after.updated_at.plus(delay));
    let found = runnable.not_before.map(|delay| delay.until);
    // A timer that is due meanwhile is applied in the same step.
    let passed = until.is_some_and(|until| found.is_none() && until <= now);
    ensure!(found == until || passed, TAG, "{id} was resumed until {found:?}, not {until:?}");
    Ok(())
}

/// Checks that the recorded cause of a resumption is the real one.
fn check_by(
    change: &Change<'_>,
    after: &Execution,
    known: &Suspension,
    found: &Resumption,
) -> Result<(), Broken> {
    let (id, now) = (change.id, change.now);
    let escalates = |behaviour: TimeoutBehaviour| matches!(behaviour, TimeoutBehaviour::Escalate);
    let deadline = change.before.as_ref().and_then(|before| before.deadline);
    let waits = known.timeout.is_none_or(|(at, behaviour)| now < at || escalates(behaviour))
        && deadline.is_none_or(|deadline| now < deadline);
    match found.by {
        ResumedBy::Signals => {
            let signals = heard(change, known);
            let last = change.side_writes.signals.iter().any(|(signal, _)| {
                signal.effect == SignalEffect::Resumed && known.bound.contains(&signal.waitpoint_id)
            });
            let before = is_satisfied(&known.condition, &known.records());
            let satisfied = is_satisfied(&known.condition, &signals) && !before;
            ensure!(
                last && satisfied && waits,
                TAG,
                "{id} was resumed at {now} by {signals:?} while it waited for {known:?}"
            );
            check_signals(change, known, Some(found), &signals)
        }
        ResumedBy::Operator => {
            let called = match &change.caller.command {
                Some(AnyCommand::Resume(resume)) => {
                    resume.suspension.is_none_or(|seen| seen == known.id)
                }
                _ => false,
            };
            let right = called && waits && found.signals.is_empty();
            ensure!(right, TAG, "{id} was resumed at {now} by an operator: {found:?}");
            Ok(())
        }
        ResumedBy::Timeout { signal, at } => {
            use TimeoutBehaviour::{AutoResume, AutoResumeWithTimeoutSignal};
            let right = known.timeout.is_some_and(|(due, behaviour)| {
                let told = match behaviour {
                    AutoResume => !signal,
                    AutoResumeWithTimeoutSignal => signal,
                    _ => false,
                };
                told && due == at && at <= now && after.updated_at >= at
            });
            let right = right && found.signals.is_empty();
            ensure!(right, TAG, "{id} was resumed at {now} by {found:?} after {known:?}");
            Ok(())
        }
    }
}

/// The worker gets the signals that satisfied the condition.
fn check_signals(
    change: &Change<'_>,
    known: &Suspension,
    found: Option<&Resumption>,
    signals: &[&SignalRecord],
) -> Result<(), Broken> {
    let expected = satisfying(&known.condition, signals);
    let told: Vec<SignalId> = found.map(|found| found.signals.clone()).unwrap_or_default();
    let distinct: BTreeSet<SignalId> = told.iter().copied().collect();
    let by = found
        .is_some_and(|found| found.suspension_id == known.id && found.by == ResumedBy::Signals);
    ensure!(
        by && distinct == expected && distinct.len() == told.len(),
        TAG,
        "{} was resumed by {found:?}, but {expected:?} satisfied {:?}",
        change.id,
        known.condition
    );
    Ok(())
}

/// The waitpoints of a suspension that is over are closed, or left open for a later one.
fn check_left(change: &Change<'_>, after: &Execution, known: &Suspension) -> Result<(), Broken> {
    let open = after.waiting.iter().flat_map(|waiting| &waiting.open);
    let mut left = open.filter(|waitpoint| known.bound.contains(&waitpoint.id));
    let right = match known.policy.close_waitpoints {
        true => left.next().is_none(),
        false => {
            let left: Vec<_> = left.collect();
            let pending = |state| matches!(state, WaitpointState::Pending { expires_at: None });
            left.len() == known.bound.len() && left.iter().all(|left| pending(left.state))
        }
    };
    ensure!(right, TAG, "{} left its waitpoints as {:?}", change.id, after.waiting);
    Ok(())
}

/// A resumption is for the claim that it caused, and for no other.
fn check_claim(model: &Model, change: &Change<'_>, after: &Execution) -> Result<(), Broken> {
    if change.new_lease().is_none() {
        return Ok(());
    }
    let expected = model.waits.waiting.get(&change.id).and_then(|waits| waits.resumed.as_ref());
    let found = after.waiting.as_ref().and_then(|waiting| waiting.resumption.as_ref());
    let id = change.id;
    ensure!(found == expected, TAG, "{id} was claimed with {found:?} instead of {expected:?}");
    Ok(())
}

/// The answer to a suspension is about that suspension and its waitpoints. `at`: the store's clock
/// in the answer.
pub fn check_answer(
    model: &Model,
    caller: &Caller,
    result: &Result<Committed<AnyOutcome>, EngineError>,
    at: TimestampMs,
) -> Result<(), Broken> {
    let (Some(AnyCommand::Suspend(command)), Ok(committed)) = (&caller.command, result) else {
        return Ok(());
    };
    when_watched!(model, Suspend);
    let right = match &committed.outcome {
        AnyOutcome::Suspend(SuspendOutcome::Suspended { suspension_id, waitpoints, .. }) => {
            let asked = &command.waitpoints;
            let as_asked = |(asked, found): (&BindWaitpoint, &IssuedWaitpoint)| match asked {
                BindWaitpoint::Open { id } => found.id == *id,
                BindWaitpoint::New { id, key } => found.id == *id || found.key == *key,
            };
            let all = asked.len() == waitpoints.len() && asked.iter().zip(waitpoints).all(as_asked);
            // Waitpoints that were closed long ago are forgotten.
            let own = all || (committed.repeat && waitpoints.len() < 16);
            *suspension_id == command.suspension_id && own
        }
        AnyOutcome::Suspend(SuspendOutcome::AlreadySatisfied { suspension_id, .. }) => {
            *suspension_id == command.suspension_id
        }
        _ => false,
    };
    let (id, outcome) = (command.suspension_id, &committed.outcome);
    ensure!(right, TAG, "suspension {id} was answered with {outcome:?} at {at}");
    Ok(())
}
