//! `claim_resumed`: consume a resume grant and go on with the interrupted attempt
//! (`docs/spec.md`, 1 and 4).

use crate::error::Rejection;
use crate::execution::record::{
    ClaimKind, Execution, Interruption, NextAttempt, Phase, Ruling, Verdict,
};
use crate::time::TimestampMs;

use super::claim::{admission, check_grant_is_live, check_leaseable, repeated};
use super::guard::{MAX_LEASE_TTL, check_ttl};
use super::lease::{Claim, Claimed, forget_resumption, start_lease};

/// Goes on with the same attempt, index and id, under a new epoch.
///
/// # Errors
///
/// `InvalidClaimGrant`, `NotAResumedExecution`, `ClaimGrantExpired`, `ExecutionNotLeaseable`,
/// `InvalidInput` for the ttl.
pub fn claim_resumed(current: &Execution, command: &Claim, now: TimestampMs) -> Ruling<Claimed> {
    if let Some(claimed) = repeated(current, command) {
        return Ok(Verdict::Repeat(claimed));
    }
    check_ttl("lease_ttl_ms", command.lease_ttl, MAX_LEASE_TTL)?;
    let grant = admission(current, command)?;
    let (attempt, interruption) = match &current.phase {
        Phase::Runnable(runnable) => match runnable.next {
            NextAttempt::Resume { attempt, interruption } => (attempt, interruption),
            _ => return Err(Rejection::NotAResumedExecution),
        },
        _ => return Err(Rejection::InvalidClaimGrant),
    };
    check_grant_is_live(grant, now)?;
    check_leaseable(current, now)?;
    let resumed = (attempt, ClaimKind::Resumed);
    let mut next = current.clone();
    if interruption != Interruption::Suspension {
        forget_resumption(&mut next);
    }
    Ok(start_lease(next, command, resumed, grant, now).into())
}
