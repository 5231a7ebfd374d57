//! `claim`: consume a claim grant and start a new attempt (`docs/spec.md`, 1 and 4).

use crate::error::Rejection;
use crate::execution::record::{
    AttemptKind, ClaimKind, Execution, Grant, NextAttempt, Phase, Ruling, Verdict,
};
use crate::execution::view::eligibility;
use crate::planted::planted;
use crate::state::EligibilityState;
use crate::time::TimestampMs;

use super::guard::{MAX_LEASE_TTL, check_ttl, deadline_passed};
use super::lease::{Claim, Claimed, new_attempt, start_lease};

/// Starts a new attempt: initial, retry or replay.
///
/// # Errors
///
/// `InvalidClaimGrant`, `UseClaimResumedExecution`, `ClaimGrantExpired`, `ExecutionNotLeaseable`,
/// `InvalidInput` for the ttl.
pub fn claim(current: &Execution, command: &Claim, now: TimestampMs) -> Ruling<Claimed> {
    if let Some(claimed) = repeated(current, command) {
        return Ok(Verdict::Repeat(claimed));
    }
    check_ttl("lease_ttl_ms", command.lease_ttl, MAX_LEASE_TTL)?;
    let grant = admission(current, command)?;
    let kind = match &current.phase {
        Phase::Runnable(runnable) => match runnable.next {
            NextAttempt::First => AttemptKind::Initial,
            NextAttempt::Retry => AttemptKind::Retry,
            NextAttempt::Replay => AttemptKind::Replay,
            NextAttempt::Resume { .. } => return Err(Rejection::UseClaimResumedExecution),
        },
        _ => return Err(Rejection::InvalidClaimGrant),
    };
    check_grant_is_live(grant, now)?;
    check_leaseable(current, now)?;
    let mut next = current.clone();
    let attempt = new_attempt(&mut next, command, kind, now);
    Ok(start_lease(next, command, (attempt, ClaimKind::New), grant, now).into())
}

/// The lease of this id, if it was given before. \[INV-IDENTITY-1\]
pub(super) fn repeated(current: &Execution, command: &Claim) -> Option<Claimed> {
    match &current.phase {
        Phase::Active(active)
            if active.lease.id == command.lease_id && !planted!(ClaimRepeatUnknown) =>
        {
            Some(Claimed::of(current, active))
        }
        _ => None,
    }
}

/// The grant of this id for this worker. \[INV-GRANT-1\]
pub(super) fn admission<'e>(
    current: &'e Execution,
    command: &Claim,
) -> Result<&'e Grant, Rejection> {
    let fits = |grant: &&Grant| {
        grant.id == command.grant_id
            && (grant.worker == command.worker || planted!(GrantForAnybody))
    };
    current.grant().filter(fits).ok_or(Rejection::InvalidClaimGrant)
}

pub(super) fn check_grant_is_live(grant: &Grant, now: TimestampMs) -> Result<(), Rejection> {
    if grant.is_live(now) {
        return Ok(());
    }
    Err(Rejection::ClaimGrantExpired { expired_at: grant.expires_at })
}

/// Refuses a runnable execution that something holds back though a grant is out.
pub(super) fn check_leaseable(current: &Execution, now: TimestampMs) -> Result<(), Rejection> {
    if eligibility(current, now) == EligibilityState::EligibleNow && !deadline_passed(current, now)
    {
        return Ok(());
    }
    Err(Rejection::ExecutionNotLeaseable { lifecycle_phase: current.phase.word() })
}
