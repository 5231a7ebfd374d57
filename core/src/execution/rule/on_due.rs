//! `on_due`: apply the timers of an execution that are due (`docs/spec.md`, 4). This one rule
//! replaces background scanners.

use crate::execution::record::{
    Active, AttemptEnd, Decision, Event, Execution, LeaseFate, Outcome, Phase, Ruling, SideEffects,
    ValueEffect, ValueKind, WorkFailure,
};
use crate::execution::retention::{self, Removal};
use crate::execution::view::{DueKind, next_due};
use crate::id::{ExecutionId, FailureCategory};
use crate::time::{TimestampMs, Window};

use super::fail::{RetryAdvice, fail_attempt};
use super::lease::{end_life, lease_end};
use super::resume::time_out;
use super::waitpoint::close_expired;

/// Applies the timers that are due. Identity: the record itself; an applied timer is no longer due.
#[derive(Clone, Debug, PartialEq)]
pub struct OnDue {
    /// The execution.
    pub execution_id: ExecutionId,
}

/// The outcome of `on_due`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueOutcome {
    /// The timers that were applied, in the order of time; empty if none was due.
    pub applied: Vec<DueKind>,
    /// Whether the next step is to remove signals, which `forget_signals` does.
    pub forgets: bool,
}

/// More timers than can be due for one execution at a time. Any that are left stay due.
const MAX_AT_ONCE: usize = 16;

/// The values of an execution without those of its signals.
const VALUES: [ValueKind; 2] = [ValueKind::Payload, ValueKind::Result];

/// The category of an attempt that timed out.
const ATTEMPT_TIMEOUT: &str = "attempt_timeout";

/// Applies the timers that are due, in the order of time; on a tie deadline, attempt timeout,
/// lease. \[INV-TIME-1\]
///
/// If none is due, the record stays and its index entries are written again, which restores an
/// entry whose taker died.
///
/// # Errors
///
/// None.
pub fn on_due(current: &Execution, now: TimestampMs) -> Ruling<DueOutcome> {
    let mut next = current.clone();
    let mut outcome = DueOutcome::default();
    let (mut since, mut events, mut removal) = (TimestampMs::ZERO, Vec::new(), None);
    for _ in 0..MAX_AT_ONCE {
        let Some((at, kind)) = next_due(&next).filter(|(at, _)| *at <= now) else { break };
        if kind == DueKind::Continuation && retention::is_at_signals(&next) {
            break;
        }
        since = since.max(at);
        outcome.applied.push(kind);
        if let DueKind::Retention | DueKind::Continuation = kind {
            // The end of a life and the removal are two commits, each with its event.
            removal = Some(retention::remove_next(&mut next, events.is_empty()));
            break;
        }
        events.push(apply(&mut next, kind, now));
    }
    outcome.forgets = retention::is_at_signals(&next);
    match removal {
        Some(Removal::Record) => {
            return Ok(Decision::remove(outcome).event(Event::Removed).into());
        }
        Some(Removal::All(dropped)) => {
            let all = Decision::remove(outcome).event(Event::Removed).within(Window::from(since));
            let mut all = all.side_effects(SideEffects { dropped, ..SideEffects::default() });
            all.values = VALUES.map(ValueEffect::Remove).into();
            return Ok(all.into());
        }
        _ => {}
    }
    let is_due = !outcome.applied.is_empty();
    let anchored = anchored_again(&next, now);
    let mut window = Window::ALWAYS;
    if is_due {
        window = Window::from(since);
    }
    if let Some((record, until)) = anchored {
        next = record;
        window = window.and(Window::until(until));
    } else if !is_due {
        return Ok(Decision::keep(outcome).into());
    }
    let mut decision = Decision::put(next, now, outcome).within(window);
    decision.events = events;
    match removal {
        Some(Removal::Values) => {
            decision.values = VALUES.map(ValueEffect::Remove).into();
        }
        Some(Removal::Frames(dropped)) => {
            decision = decision.side_effects(SideEffects { dropped, ..SideEffects::default() });
        }
        Some(Removal::Record | Removal::All(_)) | None => {}
    }
    Ok(decision.into())
}

/// Applies one timer, so that it is no longer due.
fn apply(next: &mut Execution, kind: DueKind, now: TimestampMs) -> Event {
    match (kind, &mut next.phase) {
        (DueKind::Deadline, _) => end_life(next, Outcome::Expired, AttemptEnd::Expired, now),
        (DueKind::AttemptTimeout, Phase::Active(active)) => {
            let attempt = active.attempt;
            let timeout = next.policy.timeout.attempt_timeout_ms.unwrap_or_default();
            let failure = WorkFailure {
                category: FailureCategory::try_new(ATTEMPT_TIMEOUT).expect("a valid category"),
                reason: format!("the attempt took longer than {timeout}"),
            };
            fail_attempt(next, attempt, failure, RetryAdvice::ByPolicy, now).1
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

/// The record with its lease's expiry counted from now, if the store's clock has stepped back so
/// far that the lease would last longer than its ttl and a minute. Also returns until when that is
/// so, because a caller whose own clock is behind must not cut a lease short.
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
