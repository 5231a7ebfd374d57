//! `revoke_lease`: end a lease by an operator's call (`docs/spec.md`, 4).

use crate::error::Rejection;
use crate::execution::facts::Facts;
use crate::execution::record::{
    Decision, Event, LeaseFate, OperatorOutcome, Phase, Ruling, Verdict,
};
use crate::id::{ExecutionId, LeaseEpoch};
use crate::time::{TimestampMs, Window};

use super::guard::not_active;
use super::operator_call::{OperatorCall, check_life};

/// Revokes the present lease. Identity: the request id.
#[derive(Clone, Debug, PartialEq)]
pub struct RevokeLease {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The operator's call.
    pub call: OperatorCall,
}

/// A lease that was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Its fencing token.
    pub lease_epoch: LeaseEpoch,
}

/// Revokes a lease; the execution can be reclaimed immediately. Revoking again has the same
/// outcome.
///
/// # Errors
///
/// `Superseded`; `ExecutionNotActive` if the execution has no lease; `LeaseExpired` if the lease
/// has expired.
pub fn revoke_lease(facts: &Facts<'_>, command: &RevokeLease, now: TimestampMs) -> Ruling<Revoked> {
    let current = facts.execution()?;
    let revoked = |outcome: &OperatorOutcome| match outcome {
        OperatorOutcome::Revoked(epoch) => Some(Revoked { lease_epoch: *epoch }),
        _ => None,
    };
    if let Some(outcome) = command.call.repeated(current, revoked) {
        return Ok(Verdict::Repeat(outcome));
    }
    check_life(current, facts.first_seen)?;
    let Phase::Active(active) = &current.phase else {
        return Err(not_active(current));
    };
    let outcome = Revoked { lease_epoch: active.lease.epoch };
    let mut next = current.clone();
    // Recorded also if the lease is revoked already, or a late copy of this call would revoke the
    // lease of the next owner.
    command.call.remember(&mut next, OperatorOutcome::Revoked(outcome.lease_epoch));
    if active.fate == LeaseFate::Revoked {
        return Ok(Decision::put(next, now, outcome).into());
    }
    if active.is_expired(now) {
        return Err(Rejection::LeaseExpired { expired_at: active.lease.expires_at });
    }
    let holds = Window::until(active.expires_at(now));
    if let Phase::Active(active) = &mut next.phase {
        active.fate = LeaseFate::Revoked;
    }
    let event = Event::LeaseRevoked { epoch: outcome.lease_epoch };
    Ok(Decision::put(next, now, outcome).within(holds).event(event).into())
}
