//! How leases begin and attempts and lives end: the steps that several rules have in common.

use crate::execution::record::{
    Active, Attempt, AttemptEnd, AttemptSummary, Blocks, Event, Execution, Fence, LeaseFate,
    NextAttempt, NotBefore, Outcome, Phase, Release, ReleaseOutcome, Runnable, Terminal,
};
use crate::planted::planted;
use crate::time::{DurationMs, TimestampMs};

/// When a lease that is given or renewed now ends: never after the attempt timeout or the deadline.
pub(super) fn lease_end(
    execution: &Execution,
    acquired_at: TimestampMs,
    ttl: DurationMs,
    now: TimestampMs,
) -> TimestampMs {
    let mut end = now.plus(ttl);
    if planted!(LeaseOutlivesDeadline) {
        return end;
    }
    if let Some(timeout) = execution.policy.timeout.attempt_timeout_ms {
        end = end.min(acquired_at.plus(timeout));
    }
    execution.deadline.map_or(end, |deadline| end.min(deadline))
}

/// Marks a lease that ran out unnoticed, so that it stays expired.
pub(super) fn mark_expired(next: &mut Execution) -> Option<Event> {
    match &mut next.phase {
        Phase::Active(Active { fate: fate @ LeaseFate::Held, lease, .. }) => {
            *fate = LeaseFate::Expired;
            Some(Event::LeaseExpired { epoch: lease.epoch })
        }
        _ => None,
    }
}

/// Lets go of how a suspension was resumed: what comes next is not the claim that it resumed.
pub(super) fn forget_resumption(execution: &mut Execution) {
    if let Some(waiting) = &mut execution.waiting
        && !planted!(ResumptionKept)
    {
        waiting.resumption = None;
    }
}

/// Moves an attempt to the past ones. Its waitpoints take no signals any more.
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

/// Remembers how the holder gave its lease back, so that a repeat is recognised.
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

/// Ends the life: whatever attempt there is ends too, the lease and grant are gone.
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
