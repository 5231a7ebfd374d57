//! `on_due`: what time does to an execution (`docs/spec.md`, 4). This one rule replaces every
//! background scanner.

use crate::execution::record::{
    Active, AttemptEnd, Beside, Continuation, Decision, Event, Execution, Failure, LeaseFate, Next,
    Outcome, Phase, Ruling, ValueEffect, ValueKind,
};
use crate::execution::view::{DueKind, next_due};
use crate::id::{AttemptIndex, ExecutionId, FailureCategory};
use crate::planted::planted;
use crate::time::{TimestampMs, Window};

use super::fail::fail_attempt;
use super::lease::{end_life, lease_end};
use super::resume::time_out;
use super::waitpoint::close_expired;

/// Applies whatever is due. Identity: the record itself; what was applied is not due any more.
#[derive(Clone, Debug)]
pub struct OnDue {
    /// The execution.
    pub execution_id: ExecutionId,
}

/// What was due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueOutcome {
    /// In the order of time; empty when nothing was.
    pub applied: Vec<DueKind>,
    /// Whether signals are left that retention takes away: `forget_signals` does.
    pub forgets: bool,
}

/// More than can be due about one execution at a time; what is left is due at once again.
const MAX_AT_ONCE: usize = 16;

/// The category of an attempt that took too long.
const ATTEMPT_TIMEOUT: &str = "attempt_timeout";

/// Applies whatever is due, in the order of time; on a tie deadline, attempt timeout, lease.
/// \[INV-TIME-1\]
///
/// When nothing is due the record stays and its index entries are written again: that is how an
/// entry comes back whose taker died.
///
/// # Errors
///
/// None of its own.
pub fn on_due(current: &Execution, now: TimestampMs) -> Ruling<DueOutcome> {
    let mut next = current.clone();
    let mut outcome = DueOutcome::default();
    let (mut events, mut values, mut since) = (Vec::new(), Vec::new(), TimestampMs::ZERO);
    let mut dropped = Vec::new();
    for _ in 0..MAX_AT_ONCE {
        let Some((at, kind)) = next_due(&next).filter(|(at, _)| *at <= now) else { break };
        if next.continuation == Some(Continuation::RemoveSignals) {
            outcome.forgets = true;
            break;
        }
        since = since.max(at);
        outcome.applied.push(kind);
        match kind {
            DueKind::Continuation => {
                if let Some(Continuation::RemoveFrames(from)) = next.continuation {
                    dropped = drop_frames(&mut next, from);
                    break;
                }
                let mut removed = Decision::keep(outcome).event(Event::Removed);
                removed.next = Next::Remove;
                return Ok(removed.into());
            }
            DueKind::Retention => {
                // What is beside the record goes first and the record last, each step in a commit
                // of its own.
                next.continuation = (!planted!(ContinuationForgotten)).then(|| after_values(&next));
                outcome.forgets = next.continuation == Some(Continuation::RemoveSignals);
                let kinds = [ValueKind::Payload, ValueKind::Result];
                values.extend(kinds.map(ValueEffect::Remove));
                break;
            }
            _ => events.push(apply(&mut next, kind, now)),
        }
        if planted!(FirstDueOnly) {
            break;
        }
    }
    if outcome.applied.is_empty() {
        return Ok(match anchored_again(current, now) {
            Some((next, until)) => {
                Decision::put(next, now, outcome).within(Window::until(until)).into()
            }
            None => Decision::keep(outcome).into(),
        });
    }
    let window = if planted!(DueWindowForgotten) { Window::ALWAYS } else { Window::from(since) };
    let (next, window) = match anchored_again(&next, now) {
        Some((next, until)) => (next, window.and(Window::until(until))),
        None => (next, window),
    };
    let mut decision = Decision::put(next, now, outcome).within(window);
    decision.events = events;
    decision.values = values;
    if !dropped.is_empty() {
        decision = decision.beside(Beside { dropped, ..Beside::default() });
    }
    Ok(decision.into())
}

/// What retention does when payload and result are gone.
fn after_values(execution: &Execution) -> Continuation {
    // An error inside a function may have left the entry of a signal that was never taken.
    if execution.waiting.is_some() && !planted!(SignalsLeftBehind) {
        return Continuation::RemoveSignals;
    }
    after_signals(execution)
}

/// What retention does when the signals are gone too.
pub(super) const fn after_signals(execution: &Execution) -> Continuation {
    match execution.framed {
        0 => Continuation::RemoveRecord,
        _ => Continuation::RemoveFrames(0),
    }
}

/// How many attempts' output goes in one step.
const DROPPED_AT_ONCE: u32 = 100;

/// Lets the output of some attempts go; after the last ones the record does.
fn drop_frames(next: &mut Execution, from: u32) -> Vec<AttemptIndex> {
    let until = from.saturating_add(DROPPED_AT_ONCE).min(next.framed);
    next.continuation = Some(match until < next.framed {
        true => Continuation::RemoveFrames(until),
        false => Continuation::RemoveRecord,
    });
    (from..until).map(AttemptIndex).collect()
}

/// Applies one thing that is due, so that it is not due any more.
fn apply(next: &mut Execution, kind: DueKind, now: TimestampMs) -> Event {
    match (kind, &mut next.phase) {
        (DueKind::Deadline, _) => end_life(next, Outcome::Expired, AttemptEnd::Expired, now),
        (DueKind::AttemptTimeout, Phase::Active(active)) => {
            let attempt = active.attempt;
            let timeout = next.policy.timeout.attempt_timeout_ms.unwrap_or_default();
            let failure = Failure {
                category: FailureCategory::try_new(ATTEMPT_TIMEOUT).expect("a valid category"),
                reason: format!("the attempt took longer than {timeout}"),
            };
            fail_attempt(next, attempt, failure, false, now).1
        }
        (DueKind::SuspensionTimeout, Phase::Suspended(_)) => time_out(next, now),
        (DueKind::WaitpointExpiry, _) => close_expired(next, now),
        (DueKind::LeaseExpiry, Phase::Active(active)) => {
            active.fate = LeaseFate::Expired;
            Event::LeaseExpired { epoch: active.lease.epoch }
        }
        (DueKind::GrantExpiry, Phase::Runnable(runnable)) => {
            runnable.grant = None;
            Event::GrantExpired
        }
        (DueKind::GrantExpiry, Phase::Active(active)) => {
            active.grant = None;
            Event::GrantExpired
        }
        (DueKind::DelayOver, Phase::Runnable(runnable)) => {
            runnable.not_before = None;
            Event::DelayOver
        }
        (DueKind::Recheck(kind), _) => {
            next.counts.rechecks = next.counts.rechecks.saturating_add(1);
            if let Some(blocks) = next.blocks_mut() {
                blocks.remove(kind);
            }
            Event::Unblocked { kind }
        }
        (kind, phase) => unreachable!("{kind:?} is never due in {:?}", phase.word()),
    }
}

/// The record with its lease's expiry counted from now, where the store's clock has stepped back so
/// far that it would last longer than its ttl and a minute; and until when that is so, since a
/// caller whose own clock is behind must not cut a lease short.
fn anchored_again(current: &Execution, now: TimestampMs) -> Option<(Execution, TimestampMs)> {
    let Phase::Active(Active { lease, fate: LeaseFate::Held, .. }) = &current.phase else {
        return None;
    };
    let until = lease.expires_at.minus(lease.ttl_ms).minus(Active::CLOCK_STEP);
    if now >= until {
        return None;
    }
    let expires_at = lease_end(current, lease.acquired_at, lease.ttl_ms, now);
    let mut next = current.clone();
    if let Phase::Active(active) = &mut next.phase {
        active.lease.expires_at = expires_at;
    }
    Some((next, until))
}
