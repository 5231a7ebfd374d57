//! `offer`: give an execution to a worker that took its entry from a lane: grant and claim in one
//! decision, of the kind that its situation asks for (`docs/spec.md`, 7).

use crate::capability::Capabilities;
use crate::error::Rejection;
use crate::execution::record::{BlockKind, Execution, GrantAudit, Phase, Ruling, Verdict};
use crate::policy::ReclaimMode;
use crate::time::TimestampMs;

use super::block::{Block, block, unblock_for};
use super::claim::{Claim, Claimed, check_claim, claim_granted, reclaim, repeated};
use super::issue_claim_grant::{IssueClaimGrant, issue_claim_grant, unused_from};
use super::issue_reclaim_grant::{IssueReclaimGrant, ReclaimGranted, issue_reclaim_grant};
use super::on_due::on_due;

/// Offers an execution to a worker. Identity: the lease id of its last command.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// The worker's claim; its grant is issued and consumed in the same commit.
    pub claim: Claim,
    /// The worker's capabilities.
    pub capabilities: Capabilities,
}

/// The outcome of `offer`.
#[derive(Clone, Debug, PartialEq)]
pub enum Offered {
    /// The worker has claimed it.
    Claimed(Box<Claimed>),
    /// The execution reached its reclaim limit and has failed.
    CapExceeded {
        /// How often it was reclaimed.
        reclaims: u32,
    },
    /// The worker lacks a capability. The execution is blocked by route, where it does not hold up
    /// others, until a worker that fits claims it.
    BlockedByRoute(Rejection),
    /// A budget or a quota does not let it start now. It is blocked until that is looked at again,
    /// or until a slot is free.
    HeldByLimit(Rejection),
    /// The execution cannot be claimed now. Its index entries were written again.
    GivenBack(Rejection),
}

/// Claims an execution if it can be claimed, also if it is blocked by route alone; otherwise sets
/// it aside, so that its entry does not hold up those after it.
///
/// # Errors
///
/// `InvalidInput` for a ttl or the lane.
pub fn offer(current: &Execution, command: &Offer, now: TimestampMs) -> Ruling<Offered> {
    if let Some(claimed) = repeated(current, &command.claim) {
        return Ok(Verdict::Repeat(Offered::Claimed(Box::new(claimed))));
    }
    // Before anything of the execution changes: the same command is refused in every state of it.
    check_claim(current, &command.claim)?;
    let attempt = |current: &Execution| match &current.phase {
        Phase::Active(_) => take_over(current, command, now),
        _ => take(current, command, now),
    };
    match routed(current, &command.capabilities, now, attempt) {
        Err(rejection @ Rejection::InvalidInput { .. }) => Err(rejection),
        Err(rejection) => Ok(set_aside(current, &rejection, now)?.map(|blocked| match blocked {
            true => Offered::BlockedByRoute(rejection),
            false => Offered::GivenBack(rejection),
        })),
        Ok(verdict) => Ok(verdict),
    }
}

/// Applies a rule to an execution. If it is only held back because no worker fitted, and this one
/// fits, its block ends in the same decision.
pub(super) fn routed<T>(
    current: &Execution,
    worker: &Capabilities,
    now: TimestampMs,
    rule: impl FnOnce(&Execution) -> Ruling<T>,
) -> Ruling<T> {
    match unblock_for(worker, current, now) {
        Some(unblocked) => Ok(unblocked.then(rule)?.map(|(_, outcome)| outcome)),
        None => rule(current),
    }
}

/// Sets aside an execution that could not be claimed. If the worker lacks a capability, it is
/// blocked by route and the outcome is true. Otherwise whatever is due is applied, or only its
/// index entries are written again.
pub(super) fn set_aside(
    current: &Execution,
    rejection: &Rejection,
    now: TimestampMs,
) -> Ruling<bool> {
    if let Rejection::CapabilityMismatch { .. } = rejection {
        let (execution_id, kind) = (current.id, BlockKind::Route);
        match block(current, &Block { execution_id, kind, recheck_at: None }, now) {
            Ok(Verdict::Apply(blocked)) => {
                return Ok(blocked.within(unused_from(current)).map(|_| true).into());
            }
            Ok(Verdict::Repeat(_)) => return Ok(Verdict::Repeat(true)),
            Err(_) => {}
        }
    }
    Ok(on_due(current, now)?.map(|_| false))
}

/// Refuses an execution that is taken over on request only.
pub(super) fn check_taken_over_unasked(current: &Execution) -> Result<(), Rejection> {
    match current.policy.reclaim_mode {
        ReclaimMode::Automatic => Ok(()),
        ReclaimMode::OnRequest => Err(Rejection::ExecutionNotReclaimable),
    }
}

fn take(current: &Execution, command: &Offer, now: TimestampMs) -> Ruling<Offered> {
    let Verdict::Apply(granted) = issue_claim_grant(current, &asking(command), now)? else {
        return Err(Rejection::InvalidClaimGrant);
    };
    let claimed = granted.then(|next| claim_granted(next, &command.claim, now))?;
    Ok(claimed.map(|(_, claimed)| Offered::Claimed(Box::new(claimed))))
}

fn take_over(current: &Execution, command: &Offer, now: TimestampMs) -> Ruling<Offered> {
    check_taken_over_unasked(current)?;
    let request = IssueReclaimGrant(asking(command));
    let Verdict::Apply(granted) = issue_reclaim_grant(current, &request, now)? else {
        return Err(Rejection::InvalidClaimGrant);
    };
    if let ReclaimGranted::CapExceeded { reclaims } = granted.outcome {
        return Ok(granted.map(|_| Offered::CapExceeded { reclaims }).into());
    }
    let claimed = granted.then(|next| reclaim(next, &command.claim, now))?;
    Ok(claimed.map(|(_, claimed): (ReclaimGranted, Claimed)| Offered::Claimed(Box::new(claimed))))
}

/// The request for the grant that the claim consumes in the same commit.
fn asking(command: &Offer) -> IssueClaimGrant {
    IssueClaimGrant {
        execution_id: command.claim.execution_id,
        lane: None,
        grant_id: command.claim.grant_id,
        worker: command.claim.worker.clone(),
        capabilities: command.capabilities.clone(),
        ttl: command.claim.lease_ttl.min(super::guard::MAX_GRANT_TTL),
        audit: GrantAudit::default(),
    }
}

impl Offered {
    /// The claim, if the worker has claimed it.
    pub const fn claimed(&self) -> Option<&Claimed> {
        match self {
            Self::Claimed(claimed) => Some(claimed),
            _ => None,
        }
    }
}
