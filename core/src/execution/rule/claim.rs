//! `claim`, `claim_resumed` and `reclaim`: consume a grant and start a lease (`docs/spec.md`, 1 and
//! 4). They share one rule; each name accepts only executions in the state that it is for.

use crate::error::Rejection;
use crate::execution::record::{
    Active, Attempt, AttemptEnd, AttemptKind, Blocks, ClaimKind, ConsumedGrant, Counts, Decision,
    Event, Execution, Fence, Grant, Interruption, Lease, LeaseFate, NextAttempt, Phase, Resumption,
    Ruling, Verdict,
};
use crate::execution::view::eligibility;
use crate::id::{
    AttemptId, AttemptIndex, ExecutionId, ExecutionKind, GrantId, LaneId, LeaseEpoch, LeaseId,
    WorkerId, WorkerInstanceId,
};
use crate::state::EligibilityState;
use crate::tags::Tags;
use crate::time::{DurationMs, TimestampMs, Window};

use super::guard::{MAX_LEASE_TTL, check_lane, check_ttl, deadline_passed};
use super::issue_reclaim_grant::failed_by_cap;
use super::lease::{end_attempt, forget_resumption, lease_end};

/// Claims an execution under a grant. Identity: the lease id.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The grant to consume.
    pub grant_id: GrantId,
    /// The worker that the grant was issued to.
    pub worker: WorkerId,
    /// The process that claims. Any instance of the worker may use the grant.
    pub instance: WorkerInstanceId,
    /// The lane in which the caller expects the execution, if it expects one.
    pub lane: Option<LaneId>,
    /// The id of the new lease, chosen by the caller.
    pub lease_id: LeaseId,
    /// The id of a new attempt, chosen by the caller. A resumed attempt keeps its own id.
    pub attempt_id: AttemptId,
    /// How long the lease lasts unless it is renewed, 1 ms to 24 h.
    pub lease_ttl: DurationMs,
}

/// An execution that a worker has claimed, as the worker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Its lane (queue).
    pub lane: LaneId,
    /// The kind of work, which selects the handler.
    pub kind: ExecutionKind,
    /// Its labels.
    pub tags: Tags,
    /// When it was created. The epochs of its leases count on from there.
    pub created_at: TimestampMs,
    /// The attempt that runs.
    pub attempt: Attempt,
    /// The lease.
    pub lease_id: LeaseId,
    /// The fencing epoch of the lease.
    pub lease_epoch: LeaseEpoch,
    /// When the lease ends unless it is renewed.
    pub expires_at: TimestampMs,
    /// The ttl that the claim requested.
    pub lease_ttl: DurationMs,
    /// How it was claimed.
    pub how: ClaimKind,
    /// Retries, reclaims and lives so far.
    pub counts: Counts,
    /// The suspension that this claim continues from, and the cause of its end; `None` if the claim
    /// continues from no suspension.
    pub resumption: Option<Resumption>,
}

impl Claimed {
    fn of(execution: &Execution, active: &Active) -> Self {
        Self {
            execution_id: execution.id,
            lane: execution.lane.clone(),
            kind: execution.kind.clone(),
            tags: execution.tags.clone(),
            created_at: execution.created_at,
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

    /// The proof of ownership that each call of the holder carries.
    pub const fn fence(&self) -> Fence {
        Fence {
            lease_id: self.lease_id,
            lease_epoch: self.lease_epoch,
            attempt_id: self.attempt.id,
        }
    }
}

/// Starts a new attempt: initial, retry or replay.
///
/// # Errors
///
/// `InvalidClaimGrant`, `UseClaimResumedExecution`, `ClaimGrantExpired`, `ExecutionNotLeaseable`,
/// `InvalidInput` for the ttl or the lane.
pub fn claim(current: &Execution, command: &Claim, now: TimestampMs) -> Ruling<Claimed> {
    take(current, command, Accepts::New, now)
}

/// Continues the interrupted attempt, with the same index and id, under a new epoch.
///
/// # Errors
///
/// `InvalidClaimGrant`, `NotAResumedExecution`, `ClaimGrantExpired`, `ExecutionNotLeaseable`,
/// `InvalidInput` for the ttl or the lane.
pub fn claim_resumed(current: &Execution, command: &Claim, now: TimestampMs) -> Ruling<Claimed> {
    take(current, command, Accepts::Resumed, now)
}

/// Starts a new attempt or continues the interrupted one; the state of the execution decides which.
///
/// # Errors
///
/// `InvalidClaimGrant`, `ClaimGrantExpired`, `ExecutionNotLeaseable`, `InvalidInput` for the ttl or
/// the lane.
pub fn claim_granted(current: &Execution, command: &Claim, now: TimestampMs) -> Ruling<Claimed> {
    take(current, command, Accepts::NewOrResumed, now)
}

/// Takes over from a worker that lost its lease: the attempt of that worker ends as interrupted,
/// and a new attempt starts. A reclaim consumes no retry. \[INV-TIME-1\]
///
/// # Errors
///
/// `ReclaimCapExceeded`, `InvalidClaimGrant`, `ClaimGrantExpired`, `ExecutionNotLeaseable`,
/// `InvalidInput` for the ttl or the lane.
pub fn reclaim(current: &Execution, command: &Claim, now: TimestampMs) -> Ruling<Claimed> {
    take(current, command, Accepts::Lost, now)
}

/// The executions that a claim accepts, by the attempt that would run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Accepts {
    New,
    Resumed,
    NewOrResumed,
    Lost,
}

/// The attempt that runs under the new lease.
enum NextRun<'e> {
    New(AttemptKind),
    Resumed(Attempt, Interruption),
    Reclaimed(&'e Active),
}

fn take(
    current: &Execution,
    command: &Claim,
    accepts: Accepts,
    now: TimestampMs,
) -> Ruling<Claimed> {
    if let Some(claimed) = repeated(current, command) {
        return Ok(Verdict::Repeat(claimed));
    }
    if accepts == Accepts::Lost
        && let Some(reclaims) = failed_by_cap(current)
    {
        return Err(Rejection::ReclaimCapExceeded { reclaims });
    }
    check_claim(current, command)?;
    let grant = admission(current, command)?;
    let run = next_run(current, accepts)?;
    if !grant.is_live(now) {
        return Err(Rejection::ClaimGrantExpired { expired_at: grant.expires_at });
    }
    check_leaseable(current, now)?;
    let mut next = current.clone();
    let mut holds = Window::ALWAYS;
    let (attempt, how) = match run {
        NextRun::New(kind) => (new_attempt(&mut next, command, kind, now), ClaimKind::New),
        NextRun::Resumed(attempt, interruption) => {
            if interruption != Interruption::Suspension {
                forget_resumption(&mut next);
            }
            (attempt, ClaimKind::Resumed)
        }
        NextRun::Reclaimed(lost) => {
            holds = Window::from(lost.lost_from());
            end_attempt(&mut next, lost.attempt, AttemptEnd::Interrupted, now);
            next.counts.reclaims = next.counts.reclaims.saturating_add(1);
            let attempt = new_attempt(&mut next, command, AttemptKind::Reclaim, now);
            (attempt, ClaimKind::Reclaimed)
        }
    };
    Ok(start_lease(next, command, attempt, how, grant, now).within(holds).into())
}

/// The outcome of this claim, if it was applied before: the present lease has its lease id.
/// \[INV-IDENTITY-1\]
pub(super) fn repeated(current: &Execution, command: &Claim) -> Option<Claimed> {
    match &current.phase {
        Phase::Active(active) if active.lease.id == command.lease_id => {
            Some(Claimed::of(current, active))
        }
        _ => None,
    }
}

/// The grant that the command names, if the execution has it and it is for this worker.
/// \[INV-GRANT-1\]
fn admission<'e>(current: &'e Execution, command: &Claim) -> Result<&'e Grant, Rejection> {
    let fits = |grant: &&Grant| grant.id == command.grant_id && grant.worker == command.worker;
    current.grant().filter(fits).ok_or(Rejection::InvalidClaimGrant)
}

/// Refuses a ttl that is out of its bounds, and an execution of another lane than the caller
/// expects.
pub(super) fn check_claim(current: &Execution, command: &Claim) -> Result<(), Rejection> {
    check_ttl("lease_ttl_ms", command.lease_ttl, MAX_LEASE_TTL)?;
    check_lane(current, command.lane.as_ref())
}

/// The attempt that would run, if the claim accepts an execution in this state.
fn next_run(current: &Execution, accepts: Accepts) -> Result<NextRun<'_>, Rejection> {
    let runnable = match &current.phase {
        Phase::Runnable(runnable) if accepts != Accepts::Lost => runnable,
        Phase::Active(active) if accepts == Accepts::Lost => return Ok(NextRun::Reclaimed(active)),
        _ => return Err(Rejection::InvalidClaimGrant),
    };
    let kind = match runnable.next {
        NextAttempt::First => AttemptKind::Initial,
        NextAttempt::Retry => AttemptKind::Retry,
        NextAttempt::Replay => AttemptKind::Replay,
        NextAttempt::Resume { attempt, interruption } => {
            return match accepts {
                Accepts::New => Err(Rejection::UseClaimResumedExecution),
                _ => Ok(NextRun::Resumed(attempt, interruption)),
            };
        }
    };
    match accepts {
        Accepts::Resumed => Err(Rejection::NotAResumedExecution),
        _ => Ok(NextRun::New(kind)),
    }
}

/// Refuses an execution that is not eligible now or has a live lease, although it has a grant; also
/// one whose deadline has passed.
fn check_leaseable(current: &Execution, now: TimestampMs) -> Result<(), Rejection> {
    let free = match &current.phase {
        Phase::Active(active) => !active.is_leased(now),
        _ => eligibility(current, now) == EligibilityState::EligibleNow,
    };
    if free && !deadline_passed(current, now) {
        return Ok(());
    }
    Err(Rejection::ExecutionNotLeaseable { lifecycle_phase: current.phase.word() })
}

/// Creates a new attempt. Its index follows that of the last attempt without a gap.
/// \[INV-EPOCH-1\]
fn new_attempt(
    execution: &mut Execution,
    command: &Claim,
    kind: AttemptKind,
    now: TimestampMs,
) -> Attempt {
    let index = AttemptIndex(execution.attempts_total);
    execution.attempts_total = execution.attempts_total.saturating_add(1);
    execution.progress = None;
    forget_resumption(execution);
    Attempt { id: command.attempt_id, index, kind, started_at: now, frames: 0 }
}

/// Consumes the grant and starts the lease. \[INV-LEASE-1\] \[INV-EPOCH-1\] \[INV-GRANT-1\]
fn start_lease(
    mut next: Execution,
    command: &Claim,
    attempt: Attempt,
    how: ClaimKind,
    grant: &Grant,
    now: TimestampMs,
) -> Decision<Claimed> {
    // Above the epochs of an earlier execution with this id, which the store no longer knows.
    next.epoch = next.epoch.max(LeaseEpoch(next.created_at.get())).next();
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
    let active =
        Active { attempt, lease, fate: LeaseFate::Held, blocks: Blocks::default(), grant: None };
    let claimed = Claimed::of(&next, &active);
    let before = next.deadline.map_or(Window::ALWAYS, Window::until);
    let window = Window::until(grant.expires_at).and(before);
    next.phase = Phase::Active(active);
    Decision::put(next, now, claimed).within(window).storing_ttl(command.lease_ttl).event(event)
}
