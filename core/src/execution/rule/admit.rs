//! `admit`: issue the grant that an execution's situation asks for, to a worker that claims it in
//! another process (`docs/spec.md`, 7: `claim_for_worker`).

use crate::error::Rejection;
use crate::execution::record::{Execution, Phase, Ruling, Verdict};
use crate::time::TimestampMs;

use super::issue_claim_grant::{
    Granted, IssueClaimGrant, check_request, issue_claim_grant, repeated,
};
use super::issue_reclaim_grant::{IssueReclaimGrant, ReclaimGranted, issue_reclaim_grant};
use super::offer::{check_taken_over_unasked, routed, set_aside};

/// Admits a worker to an execution that was taken from a lane. Identity: the grant id.
#[derive(Clone, Debug, PartialEq)]
pub struct Admit(
    /// The request for the grant.
    pub IssueClaimGrant,
);

/// The outcome of `admit`.
#[derive(Clone, Debug, PartialEq)]
pub enum Admitted {
    /// A claim or resume grant was issued.
    Granted(Granted),
    /// A reclaim grant was issued.
    ReclaimGranted(Granted),
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

/// Issues a grant if the execution can be claimed, also if it is blocked by route alone; otherwise
/// sets it aside, so that its entry does not hold up those after it.
///
/// # Errors
///
/// `InvalidInput` for the ttl, the audit data or the lane.
pub fn admit(current: &Execution, command: &Admit, now: TimestampMs) -> Ruling<Admitted> {
    if repeated(current, command.0.grant_id).is_none() {
        // Before anything of the execution changes: it is refused in every state of it.
        check_request(current, &command.0)?;
    }
    let grant = |current: &Execution| grant(current, &command.0, now);
    let granted = match repeated(current, command.0.grant_id) {
        Some(_) => grant(current),
        None => routed(current, &command.0.capabilities, now, grant),
    };
    match granted {
        Err(rejection @ Rejection::InvalidInput { .. }) => Err(rejection),
        Err(rejection) => Ok(set_aside(current, &rejection, now)?.map(|blocked| match blocked {
            true => Admitted::BlockedByRoute(rejection),
            false => Admitted::GivenBack(rejection),
        })),
        Ok(verdict) => Ok(verdict),
    }
}

fn grant(current: &Execution, request: &IssueClaimGrant, now: TimestampMs) -> Ruling<Admitted> {
    if let Phase::Active(_) = &current.phase {
        if repeated(current, request.grant_id).is_none() {
            check_taken_over_unasked(current)?;
        }
        let request = IssueReclaimGrant(request.clone());
        let verdict = issue_reclaim_grant(current, &request, now)?;
        return Ok(verdict.map(|granted| match granted {
            ReclaimGranted::Granted(granted) => Admitted::ReclaimGranted(granted),
            ReclaimGranted::CapExceeded { reclaims } => Admitted::CapExceeded { reclaims },
        }));
    }
    let verdict: Verdict<Granted> = issue_claim_grant(current, request, now)?;
    Ok(verdict.map(Admitted::Granted))
}
