//! `deliver_signal`: send a signal to a waitpoint, with the waitpoint's token (`docs/spec.md`, 5).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Missing, Rejection};
use crate::execution::facts::{Facts, FoundSignal};
use crate::execution::record::{
    Decision, Event, Execution, Phase, ResumedBy, Resumes, Ruling, SideEffects, SignalContext,
    SignalEffect, SignalOutcome, SignalRecord, ValueEffect, ValueKind, Verdict, WaitpointState,
};
use crate::id::{ExecutionId, Nonce, SignalId, SignalName, SignalSource, WaitpointId};
use crate::time::{TimestampMs, Window};
use crate::token::WaitpointToken;

use super::guard::deadline_passed;
use super::resume::{past_timeout, resume_now, waits_until};
use super::tally;

/// The maximum number of signals that one execution accepts, over all its waitpoints and lives.
pub const MAX_SIGNALS: u32 = 10_000;
/// The largest payload of a signal: 256 KiB.
pub const MAX_SIGNAL_PAYLOAD: usize = 256 << 10;

/// Delivers a signal to a waitpoint. Identity: the signal id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliverSignal {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The waitpoint.
    pub waitpoint_id: WaitpointId,
    /// The token of the waitpoint: proof that the caller may signal it.
    pub token: WaitpointToken,
    /// The id of the signal: chosen by the caller, or derived from an idempotency key. Signals to
    /// different waitpoints need different ids.
    pub signal_id: SignalId,
    /// Its name.
    pub name: SignalName,
    /// The source that the sender claims.
    #[serde(default)]
    pub source: Option<SignalSource>,
    /// The context that the sender gives it.
    #[serde(flatten)]
    pub context: SignalContext,
    /// The payload that the worker gets, at most 256 KiB.
    #[serde(default)]
    pub payload: Option<Arc<[u8]>>,
    /// A nonce that is drawn once for this call. It distinguishes a repeat of this call from
    /// another call with the same id.
    #[serde(skip)]
    pub creator: Nonce,
}

/// Accepts a signal, once. The rule checks the token first, so that a refusal reveals nothing to a
/// caller without a valid token. \[INV-SIGNAL-1\] \[INV-TOKEN-1\]
///
/// # Errors
///
/// In this order: `InvalidToken`, also if the execution or the waitpoint does not exist;
/// `InvalidInput` if a signal to another waitpoint has this id; `PayloadTooLarge`;
/// `WaitpointClosed`; `SignalLimitExceeded`. `Unread` if the operation has to read more facts
/// first.
pub fn deliver_signal(
    facts: &Facts<'_>,
    command: &DeliverSignal,
    now: TimestampMs,
) -> Ruling<SignalOutcome> {
    let good_until = check_token(facts, command, now)?;
    match facts.signal {
        None => return Err(Rejection::Unread { what: Missing::Signal }),
        // The token of one waitpoint gives no right to the id of a signal to another waitpoint.
        Some(FoundSignal::Taken(first)) if first.waitpoint_id != command.waitpoint_id => {
            let problem = "belongs to a signal to another waitpoint: choose another id".to_owned();
            return Err(Rejection::InvalidInput { field: "signal_id", problem });
        }
        Some(FoundSignal::Taken(first)) => {
            return Ok(Verdict::Repeat(repeated(first, command)));
        }
        _ => {}
    }
    let current = facts.record.ok_or(Rejection::InvalidToken)?;
    let bytes = command.payload.as_ref().map_or(0, |payload| payload.len());
    if bytes > MAX_SIGNAL_PAYLOAD {
        return Err(Rejection::PayloadTooLarge { bytes, limit: MAX_SIGNAL_PAYLOAD });
    }
    let (mut next, timed_out, mut window) = past_timeout(current, now);
    let taken = take(&mut next, command, now)?;
    if let (Some(suspension), None) = (current.suspension(), &timed_out) {
        window = window.and(waits_until(current, suspension));
    }
    window = window.and(takes_until(current, taken.waitpoint_id));
    let effect = taken.effect;
    let event = Event::SignalTaken {
        signal_id: taken.id,
        waitpoint_id: taken.waitpoint_id,
        name: taken.name.clone(),
        effect,
    };
    let mut decision = Decision::put(next, now, SignalOutcome::taken(taken.id, effect))
        .within(window.and(Window::until(good_until)).and(facts.keyring_window()))
        .side_effects(SideEffects { signal: Some(taken), ..SideEffects::default() });
    decision.events.extend(timed_out);
    decision = decision.event(event);
    if effect == SignalEffect::Resumed
        && let Phase::Suspended(_) = &current.phase
    {
        let resumed = current.suspension().map(|suspension| suspension.id);
        let by = ResumedBy::Signals;
        decision.events.extend(resumed.map(|suspension_id| Event::Resumed { suspension_id, by }));
    }
    if let Some(payload) = &command.payload {
        let kind = ValueKind::Signal(command.signal_id);
        decision = decision.value(ValueEffect::Put(kind, payload.clone()));
    }
    Ok(decision.into())
}

/// Checks the token, and returns the time from which it is no longer valid.
fn check_token(
    facts: &Facts<'_>,
    command: &DeliverSignal,
    now: TimestampMs,
) -> Result<TimestampMs, Rejection> {
    let ring = facts.ring(now)?;
    let waitpoint = facts
        .record
        .and_then(|current| current.waiting.as_ref())
        .and_then(|waiting| waiting.waitpoint(command.waitpoint_id));
    let open_or_closed = waitpoint.map(|(waitpoint, _)| waitpoint.subject());
    let subject = match facts.signal {
        Some(FoundSignal::Taken(first)) if first.waitpoint_id == command.waitpoint_id => {
            Some(first.subject())
        }
        _ => open_or_closed,
    };
    ring.verify(&command.token, subject, now)
}

/// The outcome for a signal id that was accepted before: the first outcome if this is the same
/// call, otherwise `Duplicate`. \[INV-IDENTITY-1\]
fn repeated(first: &SignalRecord, command: &DeliverSignal) -> SignalOutcome {
    if first.creator == command.creator {
        return SignalOutcome::taken(first.id, first.effect);
    }
    SignalOutcome::Duplicate { existing_signal_id: first.id }
}

/// The window in which a waitpoint accepts signals unless a command closes it: until its expiry and
/// the execution's deadline.
fn takes_until(current: &Execution, id: WaitpointId) -> Window {
    let mut open = current.waiting.iter().flat_map(|waiting| &waiting.open);
    let own = open.find(|open| open.id == id).and_then(|open| open.expires_at());
    own.into_iter().chain(current.deadline).map(Window::until).fold(Window::ALWAYS, Window::and)
}

/// Adds the signal to the execution: counts it, and resumes the execution if this satisfies the
/// condition of its suspension.
fn take(
    next: &mut Execution,
    command: &DeliverSignal,
    now: TimestampMs,
) -> Result<SignalRecord, Rejection> {
    if matches!(next.phase, Phase::Terminal(_)) || deadline_passed(next, now) {
        return Err(Rejection::WaitpointClosed);
    }
    let waiting = next.waiting_mut();
    let number = waiting.signals;
    let open = waiting.open.iter_mut().find(|waitpoint| waitpoint.id == command.waitpoint_id);
    let waitpoint = open.filter(|open| !open.is_expired(now)).ok_or(Rejection::WaitpointClosed)?;
    if number >= MAX_SIGNALS {
        return Err(Rejection::SignalLimitExceeded { limit: MAX_SIGNALS });
    }
    waitpoint.signals = waitpoint.signals.saturating_add(1);
    let is_active = waitpoint.state == WaitpointState::Active;
    let mut signal = SignalRecord {
        id: command.signal_id,
        number,
        waitpoint_id: waitpoint.id,
        waitpoint_key: waitpoint.key.clone(),
        waitpoint_created_at: waitpoint.created_at,
        name: command.name.clone(),
        source: command.source.clone(),
        context: command.context.clone(),
        at: now,
        creator: command.creator,
        effect: SignalEffect::Buffered,
    };
    waiting.signals = number + 1;
    if is_active {
        signal.effect = count(next, &signal);
    }
    if signal.effect == SignalEffect::Resumed {
        resume_now(next, ResumedBy::Signals, now);
    }
    Ok(signal)
}

/// Counts a signal to an active waitpoint, and returns its effect on the suspension.
fn count(next: &mut Execution, signal: &SignalRecord) -> SignalEffect {
    let Phase::Suspended(suspended) = &mut next.phase else { return SignalEffect::Recorded };
    let Resumes::Signals(tallies) = &mut suspended.suspension.resumes else {
        return SignalEffect::Recorded;
    };
    match (tally::count(tallies, signal), tally::is_satisfied(tallies)) {
        (false, _) => SignalEffect::Recorded,
        (true, false) => SignalEffect::Counted,
        (true, true) => SignalEffect::Resumed,
    }
}
