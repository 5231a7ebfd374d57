//! How leases, attempts and lives end: steps that several rules share.

use crate::execution::record::{
    Active, Attempt, AttemptEnd, AttemptSummary, Blocks, Event, Execution, Fence, LeaseFate,
    NextAttempt, NotBefore, Outcome, Phase, Release, ReleaseOutcome, Runnable, Terminal,
};
use crate::time::{DurationMs, TimestampMs};

/// The expiry of a lease that starts or is renewed now: never after the attempt timeout or the
/// deadline.
pub(super) fn lease_end(
    execution: &Execution,
    acquired_at: TimestampMs,
    ttl: DurationMs,
    now: TimestampMs,
) -> TimestampMs {
    let mut end = now.plus(ttl);
    if let Some(timeout) = execution.policy.timeout.attempt_timeout_ms {
        end = end.min(acquired_at.plus(timeout));
    }
    execution.deadline.map_or(end, |deadline| end.min(deadline))
}

/// Marks a lease as expired, so that it stays expired if the clock steps back.
pub(super) fn mark_expired(next: &mut Execution) -> Option<Event> {
    match &mut next.phase {
        Phase::Active(Active { fate: fate @ LeaseFate::Held, lease, .. }) => {
            *fate = LeaseFate::Expired;
            Some(Event::LeaseExpired { epoch: lease.epoch })
        }
        _ => None,
    }
}

/// Forgets how a suspension was resumed: the next claim does not go on from it.
pub(super) fn forget_resumption(execution: &mut Execution) {
    if let Some(waiting) = &mut execution.waiting {
        waiting.resumption = None;
    }
}

/// Moves an attempt to the past ones and closes its waitpoints.
pub(super) fn end_attempt(
    execution: &mut Execution,
    attempt: Attempt,
    end: AttemptEnd,
    now: TimestampMs,
) {
    if let Some(waiting) = &mut execution.waiting {
        waiting.close(|_| true);
    }
    execution.past_attempts.push(AttemptSummary { attempt, ended_at: now, end });
}

/// Records how the holder gave its lease back, so that a repeat is recognised.
pub(super) fn remember_release(execution: &mut Execution, fence: Fence, outcome: ReleaseOutcome) {
    execution.last_release = Some(Release { fence, outcome });
}

/// Makes the execution wait for its next attempt.
pub(super) fn wait_for(
    execution: &mut Execution,
    next: NextAttempt,
    not_before: Option<NotBefore>,
) {
    let blocks = Blocks::default();
    execution.phase = Phase::Runnable(Runnable { next, not_before, blocks, grant: None });
}

/// Ends the life, with the attempt, the lease and the grant if there are any.
/// \[INV-TERMINAL-1\]
pub(super) fn end_life(
    execution: &mut Execution,
    outcome: Outcome,
    end: AttemptEnd,
    now: TimestampMs,
) -> Event {
    let attempt = execution.attempt().copied();
    if let Some(attempt) = attempt {
        end_attempt(execution, attempt, end, now);
    }
    let last = attempt.or_else(|| execution.past_attempts.last().map(|past| past.attempt));
    let failure = match &outcome {
        Outcome::Failed(failure) => Some(failure.shortened()),
        _ => None,
    };
    let event = Event::Ended {
        namespace: execution.namespace.clone(),
        lane: execution.lane.clone(),
        tags: execution.tags.clone(),
        outcome: outcome.word(),
        failure,
    };
    execution.phase = Phase::Terminal(Terminal { outcome, attempt: last, at: now });
    event
}
