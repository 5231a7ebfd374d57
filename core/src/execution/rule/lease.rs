//! How leases begin and attempts and lives end: the steps that several rules have in common.

use crate::execution::record::{
    Active, Attempt, AttemptEnd, AttemptKind, AttemptSummary, Blocks, ClaimKind, ConsumedGrant,
    Counts, Decision, Event, Execution, Fence, Grant, Lease, LeaseFate, NextAttempt, NotBefore,
    Outcome, Phase, Release, ReleaseOutcome, Resumption, Runnable, Terminal,
};
use crate::id::{
    AttemptId, AttemptIndex, ExecutionId, ExecutionKind, GrantId, LaneId, LeaseEpoch, LeaseId,
    WorkerId, WorkerInstanceId,
};
use crate::planted::planted;
use crate::tags::Tags;
use crate::time::{DurationMs, TimestampMs, Window};

/// Takes an execution under a grant; the arguments of `claim`, `claim_resumed` and `reclaim`.
/// Identity: the lease id.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The grant to consume.
    pub grant_id: GrantId,
    /// The worker that the grant was issued to.
    pub worker: WorkerId,
    /// The process that takes it; any instance of the worker may.
    pub instance: WorkerInstanceId,
    /// Chosen by the caller.
    pub lease_id: LeaseId,
    /// Chosen by the caller, for a new attempt; a resumed one keeps its id.
    pub attempt_id: AttemptId,
    /// How long the lease is good unless it is renewed, 1 ms to 24 h.
    pub lease_ttl: DurationMs,
}

/// What a worker knows of an execution that it has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Its queue.
    pub lane: LaneId,
    /// Which handler it is for.
    pub kind: ExecutionKind,
    /// Its labels.
    pub tags: Tags,
    /// The attempt that runs.
    pub attempt: Attempt,
    /// The lease.
    pub lease_id: LeaseId,
    /// The fencing token.
    pub lease_epoch: LeaseEpoch,
    /// When the lease ends unless it is renewed.
    pub expires_at: TimestampMs,
    /// The ttl that it was taken with.
    pub lease_ttl: DurationMs,
    /// How it was taken.
    pub how: ClaimKind,
    /// Retries, reclaims and lives so far.
    pub counts: Counts,
    /// The suspension that this claim resumed, and by what, if it resumed one.
    pub resumption: Option<Resumption>,
}

impl Claimed {
    pub(super) fn of(execution: &Execution, active: &Active) -> Self {
        Self {
            execution_id: execution.id,
            lane: execution.lane.clone(),
            kind: execution.kind.clone(),
            tags: execution.tags.clone(),
            attempt: active.attempt,
            lease_id: active.lease.id,
            lease_epoch: active.lease.epoch,
            expires_at: active.lease.expires_at,
            lease_ttl: active.lease.ttl_ms,
            how: active.lease.how,
            counts: execution.counts,
            resumption: execution.waiting.as_ref().and_then(|waiting| waiting.resumption.clone()),
        }
    }

    /// The proof of ownership that each lease-bound call carries.
    pub const fn fence(&self) -> Fence {
        Fence {
            lease_id: self.lease_id,
            lease_epoch: self.lease_epoch,
            attempt_id: self.attempt.id,
        }
    }
}

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

/// The next new attempt. Its index follows the last one without a gap. \[INV-EPOCH-1\]
pub(super) fn new_attempt(
    execution: &mut Execution,
    command: &Claim,
    kind: AttemptKind,
    now: TimestampMs,
) -> Attempt {
    let index = AttemptIndex(execution.attempts_total);
    let taken = if planted!(AttemptIndexSkipped) && kind == AttemptKind::Reclaim { 2 } else { 1 };
    execution.attempts_total = execution.attempts_total.saturating_add(taken);
    execution.progress = None;
    forget_resumption(execution);
    Attempt { id: command.attempt_id, index, kind, started_at: now, frames: 0 }
}

/// Consumes the grant and gives the lease. \[INV-LEASE-1\] \[INV-EPOCH-1\] \[INV-GRANT-1\]
pub(super) fn start_lease(
    mut next: Execution,
    command: &Claim,
    (attempt, how): (Attempt, ClaimKind),
    grant: &Grant,
    now: TimestampMs,
) -> Decision<Claimed> {
    if !(planted!(EpochNotRaised) && how == ClaimKind::Reclaimed) {
        next.epoch = next.epoch.next();
    }
    next.counts.rechecks = 0;
    let lease = Lease {
        id: command.lease_id,
        epoch: next.epoch,
        worker: command.worker.clone(),
        instance: command.instance.clone(),
        how,
        acquired_at: now,
        expires_at: lease_end(&next, now, command.lease_ttl, now),
        ttl_ms: command.lease_ttl,
        grant: ConsumedGrant { id: grant.id, expires_at: grant.expires_at },
    };
    next.last_fence =
        Some(Fence { lease_id: lease.id, lease_epoch: lease.epoch, attempt_id: attempt.id });
    let event = Event::Claimed {
        how,
        instance: lease.instance.clone(),
        attempt: attempt.index,
        epoch: lease.epoch,
    };
    let left = planted!(GrantKept).then(|| grant.clone());
    let active =
        Active { attempt, lease, fate: LeaseFate::Held, blocks: Blocks::default(), grant: left };
    let claimed = Claimed::of(&next, &active);
    let window = if planted!(ClaimWindowForgotten) {
        Window::ALWAYS
    } else {
        Window::until(grant.good_until()).and(next.deadline.map_or(Window::ALWAYS, Window::until))
    };
    next.phase = Phase::Active(active);
    Decision::put(next, now, claimed).within(window).storing_ttl(command.lease_ttl).event(event)
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
