//! The end of an execution's life in the store: when its retention is over, and in which order it
//! is removed (`docs/spec.md`, 4).
//!
//! `on_due` removes a terminal execution that has no signals, and output of few attempts, in one
//! commit. It removes any other one in steps, each of a bounded size and in its own commit. The
//! record goes last: its [`Continuation`] names the next step and makes it due immediately.
//!
//! 1. Payload and result.
//! 2. Signals, [`FORGOTTEN_AT_ONCE`] in a step. Only the store knows their ids, so `on_due`
//!    reports that there are some ([`DueOutcome::forgets`](super::DueOutcome::forgets)); the
//!    timekeeper reads a page of them and removes it with [`forget_signals`].
//! 3. The output of attempts, [`DROPPED_AT_ONCE`] attempts in a step.
//! 4. The record, with all its index entries.

use crate::id::{AttemptIndex, ExecutionId, SignalId};
use crate::time::{DurationMs, TimestampMs};

use super::record::{
    Continuation, Decision, Execution, Phase, Ruling, SideEffects, ValueEffect, ValueKind, Verdict,
};

/// How many signals are removed in one step.
pub const FORGOTTEN_AT_ONCE: u32 = 100;

/// How many attempts lose their output in one step.
const DROPPED_AT_ONCE: u32 = 100;

/// How long a record is kept from its creation on, however short its retention is: longer than a
/// copy of its submission may be under way, which would create it again. \[INV-IDENTITY-1\]
const KEPT_AT_LEAST: DurationMs = DurationMs::from_secs(60);

/// How long a submission is retried after it was first sent, and how long each copy of it can be
/// applied: 30 s.
pub(super) const CREATE_WITHIN: DurationMs = DurationMs::from_secs(30);

/// When the retention of a terminal execution is over, unless its removal has begun.
pub(super) fn over_at(execution: &Execution) -> Option<TimestampMs> {
    let Phase::Terminal(terminal) = &execution.phase else { return None };
    if execution.continuation.is_some() {
        return None;
    }
    let until = terminal.at.plus(execution.policy.retention_ms);
    // A later execution with this id has a creation time at most CREATE_WITHIN before its commit,
    // and epochs above that time. [INV-EPOCH-1]
    let past_epochs = TimestampMs::new(execution.epoch.0).plus(CREATE_WITHIN);
    Some(until.max(execution.created_at.plus(KEPT_AT_LEAST)).max(past_epochs))
}

/// The data that one step removes.
pub(super) enum Removal {
    /// Everything: payload and result, the output of these attempts, and the record.
    All(Vec<AttemptIndex>),
    /// Payload and result.
    Values,
    /// The output of these attempts.
    Frames(Vec<AttemptIndex>),
    /// The record.
    Record,
}

/// Whether the next step is to remove signals, which `forget_signals` does.
pub(super) fn is_at_signals(execution: &Execution) -> bool {
    execution.continuation == Some(Continuation::RemoveSignals)
}

/// Takes the next step, unless it is that of the signals, and notes in the record which one
/// follows. If `may_remove`, the first step can remove everything.
pub(super) fn remove_next(next: &mut Execution, may_remove: bool) -> Removal {
    match next.continuation {
        // An execution that never waited has no signals.
        None if may_remove && next.waiting.is_none() && next.framed <= DROPPED_AT_ONCE => {
            Removal::All((0..next.framed).map(AttemptIndex).collect())
        }
        None | Some(Continuation::RemoveSignals) => {
            next.continuation = Some(after_values(next));
            Removal::Values
        }
        Some(Continuation::RemoveFrames(from)) => {
            let until = from.saturating_add(DROPPED_AT_ONCE).min(next.framed);
            next.continuation = Some(match until < next.framed {
                true => Continuation::RemoveFrames(until),
                false => Continuation::RemoveRecord,
            });
            Removal::Frames((from..until).map(AttemptIndex).collect())
        }
        Some(Continuation::RemoveRecord) => Removal::Record,
    }
}

fn after_values(execution: &Execution) -> Continuation {
    // An error inside a function may have left the entry of a signal that was never taken.
    if execution.waiting.is_some() {
        return Continuation::RemoveSignals;
    }
    after_signals(execution)
}

const fn after_signals(execution: &Execution) -> Continuation {
    match execution.framed {
        0 => Continuation::RemoveRecord,
        _ => Continuation::RemoveFrames(0),
    }
}

/// Removes these signals. Identity: the record itself; what is removed is not there any more.
#[derive(Clone, Debug, PartialEq)]
pub struct ForgetSignals {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The next signals in the order of their numbers, at most [`FORGOTTEN_AT_ONCE`], with the
    /// nonces of their records' versions, where there are any: a signal's record is written once.
    pub signals: Vec<(SignalId, Option<u64>)>,
    /// Whether there are no others.
    pub last: bool,
}

/// The outcome of `forget_signals`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Whether there are signals left.
    pub more: bool,
}

/// Removes signals with their payloads; after the last ones the next step is due.
/// Before and after that step of retention there is nothing to do.
///
/// # Errors
///
/// None.
pub fn forget_signals(
    current: &Execution,
    command: &ForgetSignals,
    now: TimestampMs,
) -> Ruling<Forgotten> {
    if !is_at_signals(current) {
        return Ok(Verdict::Repeat(Forgotten { more: false }));
    }
    let mut next = current.clone();
    if command.last {
        next.continuation = Some(after_signals(current));
    }
    let gone = SideEffects { forgotten: command.signals.clone(), ..SideEffects::default() };
    let outcome = Forgotten { more: !command.last };
    let mut decision = Decision::put(next, now, outcome).side_effects(gone);
    let payload = |(id, _): &(SignalId, Option<u64>)| ValueEffect::Remove(ValueKind::Signal(*id));
    decision.values = command.signals.iter().map(payload).collect();
    Ok(decision.into())
}
