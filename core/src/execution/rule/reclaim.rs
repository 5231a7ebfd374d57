//! `reclaim`: consume a reclaim grant and start a new attempt; the old one ends interrupted
//! (`docs/spec.md`, 1 and 4).

use crate::error::Rejection;
use crate::execution::record::{
    AttemptEnd, AttemptKind, ClaimKind, Execution, Phase, Ruling, Verdict,
};
use crate::time::{TimestampMs, Window};

use super::claim::{admission, check_grant_is_live, repeated};
use super::guard::{MAX_LEASE_TTL, check_ttl, deadline_passed};
use super::issue_reclaim_grant::failed_by_cap;
use super::lease::{Claim, Claimed, end_attempt, new_attempt, start_lease};

/// Takes over from an owner that lost its lease. Retries are not consumed. \[INV-TIME-1\]
///
/// # Errors
///
/// `ReclaimCapExceeded`, `InvalidClaimGrant`, `ClaimGrantExpired`, `ExecutionNotLeaseable`,
/// `InvalidInput` for the ttl.
pub fn reclaim(current: &Execution, command: &Claim, now: TimestampMs) -> Ruling<Claimed> {
    if let Some(claimed) = repeated(current, command) {
        return Ok(Verdict::Repeat(claimed));
    }
    if let Some(reclaims) = failed_by_cap(current) {
        return Err(Rejection::ReclaimCapExceeded { reclaims });
    }
    check_ttl("lease_ttl_ms", command.lease_ttl, MAX_LEASE_TTL)?;
    let grant = admission(current, command)?;
    let Phase::Active(active) = &current.phase else {
        return Err(Rejection::InvalidClaimGrant);
    };
    check_grant_is_live(grant, now)?;
    if active.is_leased(now) || deadline_passed(current, now) {
        let lifecycle_phase = current.phase.word();
        return Err(Rejection::ExecutionNotLeaseable { lifecycle_phase });
    }
    let mut next = current.clone();
    end_attempt(&mut next, active.attempt, AttemptEnd::Interrupted, now);
    next.counts.reclaims = next.counts.reclaims.saturating_add(1);
    let attempt = new_attempt(&mut next, command, AttemptKind::Reclaim, now);
    let decision = start_lease(next, command, (attempt, ClaimKind::Reclaimed), grant, now);
    Ok(decision.within(Window::from(active.lost_from())).into())
}
