//! Bugs in waitpoints, signals and suspensions.

use ff_core::condition::{CountKind, SignalMatcher};
use ff_core::error::Rejection;
use ff_core::execution::{
    AnyCommand, AnyOutcome, Asked, BufferedSignals, DelayReason, Execution, Facts, FoundSignal,
    Phase, ResumedBy, Resumes, SuspendOutcome, Tallies, Tally, Verdict, WaitpointState,
};
use ff_core::id::SignalId;
use ff_core::time::Window;

use super::{Ruled, decision, instead, is_repeat, next, on, suspended, with};

/// The parts of the condition that a suspended execution waits for.
fn tallies(record: &mut Execution) -> Option<&mut Tallies> {
    match &mut suspended(record)?.suspension.resumes {
        Resumes::Signals(tallies) => Some(tallies),
        Resumes::OperatorOnly | Resumes::TimeoutOnly => None,
    }
}

/// The ruling on a signal, with other parts of the condition; the parts are put back if the
/// execution stays suspended.
fn with_other_parts(asked: Asked<'_>, ruled: Ruled, change: fn(&mut Tally)) -> Ruled {
    let (AnyCommand::DeliverSignal(_), Some(record)) = (asked.command, asked.facts.record) else {
        return ruled;
    };
    let mut other = record.clone();
    let Some(changed) = tallies(&mut other) else { return ruled };
    let parts: Vec<_> = changed.parts.iter().map(|tally| tally.part.clone()).collect();
    changed.parts.iter_mut().for_each(change);
    let mut ruled = on(asked, &other);
    if let Some(tallies) = next(&mut ruled).and_then(tallies) {
        for (tally, part) in tallies.parts.iter_mut().zip(parts) {
            tally.part = part;
        }
    }
    ruled
}

/// A condition counts signals of any name.
pub fn signal_name_ignored(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    with_other_parts(asked, ruled, |tally| tally.part.matcher = SignalMatcher::Wildcard)
}

/// Each signal counts as its own source.
pub fn sources_counted_by_signal(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    with_other_parts(asked, ruled, |tally| {
        if tally.part.kind == CountKind::DistinctSources {
            tally.part.kind = CountKind::DistinctSignals;
        }
    })
}

/// One part of a condition satisfies all of it.
pub fn one_part_satisfies_all(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    let (AnyCommand::DeliverSignal(_), Some(record)) = (asked.command, asked.facts.record) else {
        return ruled;
    };
    let Some(counted) = next(&mut ruled).and_then(tallies) else { return ruled };
    let is_satisfied = |tally: &Tally| tally.counted.len() >= tally.part.n as usize;
    let satisfied: Vec<bool> = counted.parts.iter().map(is_satisfied).collect();
    let mut other = record.clone();
    match tallies(&mut other) {
        Some(tallies) if satisfied.contains(&true) => {
            let mut satisfied = satisfied.into_iter();
            tallies.parts.retain(|_| satisfied.next().unwrap_or_default());
            tallies.joins.clear();
            on(asked, &other)
        }
        _ => ruled,
    }
}

/// A condition with alternatives needs all of them.
pub fn alternatives_all_needed(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let (AnyCommand::DeliverSignal(_), Some(record)) = (asked.command, asked.facts.record) else {
        return ruled;
    };
    let mut other = record.clone();
    let Some(changed) = tallies(&mut other).filter(|tallies| !tallies.joins.is_empty()) else {
        return ruled;
    };
    let joins = std::mem::take(&mut changed.joins);
    let mut ruled = on(asked, &other);
    if let Some(tallies) = next(&mut ruled).and_then(tallies) {
        tallies.joins = joins;
    }
    ruled
}

/// A repeated signal is not recognised.
pub fn signal_repeat_unknown(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    match asked.command {
        AnyCommand::DeliverSignal(_) if is_repeat(&ruled) => {
            with(asked, Facts { signal: Some(&FoundSignal::Absent), ..asked.facts })
        }
        _ => ruled,
    }
}

/// A signal that arrives after the resumption is added to the resumption.
pub fn resumed_twice(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    let before = asked.facts.record.and_then(|record| record.waiting.as_ref()?.resumption.as_ref());
    if let (AnyCommand::DeliverSignal(signal), Some(before)) = (asked.command, before)
        && let Some(waiting) = next(&mut ruled).and_then(|next| next.waiting.as_mut())
        && let Some(resumption) = &mut waiting.resumption
        && resumption.suspension_id == before.suspension_id
    {
        resumption.signals.push(signal.signal_id);
    }
    ruled
}

/// A signal or an operator resumes a suspension that has timed out.
pub fn timeout_and_signal_both_win(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let resumes = matches!(asked.command, AnyCommand::DeliverSignal(_) | AnyCommand::Resume(_));
    let (Some(record), true) = (asked.facts.record, resumes) else { return ruled };
    let mut endless = record.clone();
    let Some(waits) = suspended(&mut endless) else { return ruled };
    let timeout = waits.suspension.timeout.take();
    let mut ruled = on(asked, &endless);
    if let Some(waits) = next(&mut ruled).and_then(suspended) {
        waits.suspension.timeout = timeout;
    }
    ruled
}

/// The ruling on a record without its deadline, which is put back.
fn without_deadline(asked: Asked<'_>, record: &Execution) -> Ruled {
    let endless = Execution { deadline: None, ..record.clone() };
    let mut ruled = on(asked, &endless);
    if let Some(next) = next(&mut ruled) {
        next.deadline = record.deadline;
    }
    ruled
}

/// The deadline of an execution is not compared when a signal arrives. Its commit still has to be
/// in time.
pub fn signal_taken_after_deadline(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let closed = ruled == Err(Rejection::WaitpointClosed);
    let (AnyCommand::DeliverSignal(_), Some(record), true) =
        (asked.command, asked.facts.record, closed)
    else {
        return ruled;
    };
    let mut ruled = without_deadline(asked, record);
    if let (Some(deadline), Some(decision)) = (record.deadline, decision(&mut ruled)) {
        decision.window = decision.window.and(Window::until(deadline));
    }
    ruled
}

/// The commit of a signal may be late for the deadline of the execution.
pub fn signal_window_past_deadline(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    match (asked.command, asked.facts.record, &ruled) {
        (AnyCommand::DeliverSignal(_), Some(record), Ok(Verdict::Apply(_))) => {
            without_deadline(asked, record)
        }
        _ => ruled,
    }
}

/// The commit of a suspension may be late for the expiry of a waitpoint that it uses.
pub fn suspension_window_past_expiry(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    let (AnyCommand::Suspend(_), Some(record)) = (asked.command, asked.facts.record) else {
        return ruled;
    };
    let mut endless = record.clone();
    let Some(waiting) = &mut endless.waiting else { return ruled };
    if waiting.open.iter().any(|waitpoint| waitpoint.is_expired(asked.now)) {
        return ruled;
    }
    for waitpoint in &mut waiting.open {
        if let WaitpointState::Pending { expires_at } = &mut waitpoint.state {
            *expires_at = None;
        }
    }
    let late = on(asked, &endless);
    if let (Some(made), Ok(Verdict::Apply(late))) = (decision(&mut ruled), late) {
        made.window = late.window;
    }
    ruled
}

/// After a timeout the worker gets the signals that were counted before it.
pub fn signals_left_after_timeout(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    let mut counted: Vec<SignalId> = Vec::new();
    let suspension = asked.facts.record.and_then(|record| record.suspension());
    if let Some(Resumes::Signals(tallies)) = suspension.map(|waits| &waits.resumes) {
        counted.extend(tallies.parts.iter().flat_map(|tally| &tally.counted).map(|one| one.signal));
    }
    if let Some(waiting) = next(&mut ruled).and_then(|next| next.waiting.as_mut())
        && let Some(resumption) = &mut waiting.resumption
        && matches!(resumption.by, ResumedBy::Timeout { .. })
        && suspension.is_some_and(|waits| waits.id == resumption.suspension_id)
    {
        resumption.signals = counted;
    }
    ruled
}

/// A resumed execution does not wait for its resume delay.
pub fn resume_delay_forgotten(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    let was_suspended = asked.facts.record.is_some_and(|record| record.suspension().is_some());
    if let (Some(next), true) = (next(&mut ruled), was_suspended)
        && let Phase::Runnable(runnable) = &mut next.phase
        && runnable.not_before.is_some_and(|delay| delay.reason == DelayReason::ResumeDelay)
    {
        runnable.not_before = None;
    }
    ruled
}

/// A second suspension gets the outcome of the first.
pub fn suspension_id_ignored(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let latest = asked.facts.record.and_then(|record| record.waiting.as_ref()?.latest.as_ref());
    let (AnyCommand::Suspend(suspend), Some(latest)) = (asked.command, latest) else {
        return ruled;
    };
    let mut first = suspend.clone();
    first.suspension_id = latest.id;
    let again = instead(asked, &first.into());
    if is_repeat(&again) { again } else { ruled }
}

/// A suspension ignores the signals that were buffered for it.
pub fn buffered_signals_forgotten(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let AnyCommand::Suspend(_) = asked.command else { return ruled };
    let none = BufferedSignals { through: u32::MAX, signals: Vec::new() };
    with(asked, Facts { buffered: Some(&none), ..asked.facts })
}

/// A suspension that buffered signals satisfy uses up those that it did not count.
pub fn buffered_signals_consumed(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    let satisfied = match &ruled {
        Ok(verdict) => matches!(
            verdict.outcome(),
            AnyOutcome::Suspend(SuspendOutcome::AlreadySatisfied { .. })
        ),
        Err(_) => false,
    };
    let AnyCommand::Suspend(suspend) = asked.command else { return ruled };
    let consumes = suspend.policy.consume_signals && !suspend.policy.close_waitpoints;
    if let Some(waiting) = next(&mut ruled).and_then(|next| next.waiting.as_mut())
        && satisfied
        && consumes
        && let Some(latest) = &waiting.latest
    {
        for waitpoint in &mut waiting.open {
            if latest.waitpoints.contains(&waitpoint.id) {
                waitpoint.counts_from = waiting.signals;
            }
        }
    }
    ruled
}
