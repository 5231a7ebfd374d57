//! `offer`: hand an execution to a worker that took it from a lane: grant and claim in one
//! decision, by whichever of the three ways its situation asks for (`docs/spec.md`, 7).

use crate::capability::Capabilities;
use crate::error::Rejection;
use crate::execution::record::{BlockKind, Execution, Phase, Ruling, Verdict};
use crate::policy::ReclaimMode;
use crate::time::TimestampMs;

use super::block::{Block, block};
use super::claim::{claim, repeated};
use super::claim_resumed::claim_resumed;
use super::issue_claim_grant::{IssueClaimGrant, issue_claim_grant, unused_from};
use super::issue_reclaim_grant::{IssueReclaimGrant, ReclaimGranted, issue_reclaim_grant};
use super::lease::{Claim, Claimed};
use super::on_due::on_due;
use super::reclaim::reclaim;

/// Offers an execution to a worker. Identity: the lease id of its last command.
#[derive(Clone, Debug)]
pub struct Offer {
    /// How the worker would take it; its grant is issued and consumed in the same commit.
    pub claim: Claim,
    /// What the worker can do.
    pub capabilities: Capabilities,
}

/// What came of an offer.
#[derive(Clone, Debug, PartialEq)]
pub enum Offered {
    /// The worker has it.
    Claimed(Box<Claimed>),
    /// It was reclaimed too often and has failed.
    CapExceeded {
        /// How often it was reclaimed.
        reclaims: u32,
    },
    /// The worker lacks a capability: it waits for another one, out of the way of others.
    BlockedByRoute(Rejection),
    /// It cannot be taken now; its index entries are as they should be again.
    GivenBack(Rejection),
}

/// Takes an execution if it can be taken, and puts it where it belongs if not, so that an entry
/// that cannot be claimed never blocks those behind it.
///
/// # Errors
///
/// `InvalidInput` for a ttl.
pub fn offer(current: &Execution, command: &Offer, now: TimestampMs) -> Ruling<Offered> {
    if let Some(claimed) = repeated(current, &command.claim) {
        return Ok(Verdict::Repeat(Offered::Claimed(Box::new(claimed))));
    }
    let attempted = match &current.phase {
        Phase::Active(_) => take_over(current, command, now),
        _ => take(current, command, now),
    };
    match attempted {
        Err(rejection @ Rejection::InvalidInput { .. }) => Err(rejection),
        Err(rejection) => Ok(set_aside(current, &rejection, now)?.map(|blocked| match blocked {
            true => Offered::BlockedByRoute(rejection),
            false => Offered::GivenBack(rejection),
        })),
        Ok(verdict) => Ok(verdict),
    }
}

/// Puts an execution that was not taken where it belongs. Where the worker lacks a capability it
/// waits for another one, and the outcome is true; otherwise whatever is due about it is applied,
/// or only its index entries are written again.
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

/// Refuses to take over what is taken over on request only.
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
    let rule = if granted.outcome.resumes { claim_resumed } else { claim };
    let claimed = granted.then(|next| rule(next, &command.claim, now))?;
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
        grant_id: command.claim.grant_id,
        worker: command.claim.worker.clone(),
        capabilities: command.capabilities.clone(),
        ttl: command.claim.lease_ttl.min(super::guard::MAX_GRANT_TTL),
        audit: None,
    }
}

impl Offered {
    /// The claim, if the worker has it.
    pub const fn claimed(&self) -> Option<&Claimed> {
        match self {
            Self::Claimed(claimed) => Some(claimed),
            _ => None,
        }
    }
}
