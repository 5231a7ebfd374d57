//! Bugs in timers: what is due, and when.

use ff_core::execution::{
    AnyCommand, AnyOutcome, Asked, Continuation, Decide, DueKind, Phase, next_due,
};
use ff_core::time::{DurationMs, Window};

use super::{Ruled, decision, next};

/// The timers that `on_due` has applied.
fn applied(ruled: &Ruled) -> &[DueKind] {
    match ruled.as_ref().map(|verdict| verdict.outcome()) {
        Ok(AnyOutcome::OnDue(due)) => &due.applied,
        _ => &[],
    }
}

/// If two timers are due, only the first is applied.
pub fn first_due_only(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let first = asked.facts.record.and_then(next_due);
    let (AnyCommand::OnDue(_), Some((at, _)), true) =
        (asked.command, first, applied(&ruled).len() > 1)
    else {
        return ruled;
    };
    let mut ruled = asked.command.decide(&asked.facts, at);
    if let Some(next) = next(&mut ruled) {
        next.updated_at = asked.now;
    }
    ruled
}

/// Timers are applied without a time window.
pub fn due_window_forgotten(_: Asked<'_>, mut ruled: Ruled) -> Ruled {
    if !applied(&ruled).is_empty()
        && let Some(decision) = decision(&mut ruled)
    {
        decision.window = Window::ALWAYS;
    }
    ruled
}

/// When retention is over the values are removed, and the record does not note the next step.
pub fn continuation_forgotten(_: Asked<'_>, ruled: Ruled) -> Ruled {
    after_values(ruled, |_| None)
}

/// Retention leaves the signals.
pub fn signals_left_behind(_: Asked<'_>, ruled: Ruled) -> Ruled {
    after_values(ruled, |framed| {
        Some(if framed == 0 { Continuation::RemoveRecord } else { Continuation::RemoveFrames(0) })
    })
}

/// The ruling with another step after the removal of payload and result.
fn after_values(mut ruled: Ruled, step: fn(u32) -> Option<Continuation>) -> Ruled {
    if !applied(&ruled).contains(&DueKind::Retention) {
        return ruled;
    }
    if let Some(next) = next(&mut ruled) {
        next.continuation = step(next.framed);
    }
    if let Some(AnyOutcome::OnDue(due)) = decision(&mut ruled).map(|made| &mut made.outcome) {
        due.forgets = false;
    }
    ruled
}

/// Retention is counted from the creation.
pub fn retention_from_creation(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    let was_over =
        asked.facts.record.is_none_or(|record| matches!(record.phase, Phase::Terminal(_)));
    if let (Some(next), false) = (next(&mut ruled), was_over)
        && let Phase::Terminal(terminal) = &mut next.phase
    {
        terminal.at = next.created_at;
    }
    ruled
}

/// A delay ends one second early.
pub fn delay_ended_early(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    let delay = |phase: &Phase| match phase {
        Phase::Runnable(runnable) => runnable.not_before.map(|delay| delay.until),
        _ => None,
    };
    let before = asked.facts.record.and_then(|record| delay(&record.phase));
    if let Some(next) = next(&mut ruled)
        && delay(&next.phase) != before
        && let Phase::Runnable(runnable) = &mut next.phase
        && let Some(delay) = &mut runnable.not_before
    {
        delay.until = delay.until.minus(DurationMs::from_secs(1));
    }
    ruled
}
