//! `issue_claim_grant`: admit a worker to an eligible execution (`docs/spec.md`, 4 and 7).

use crate::capability::Capabilities;
use crate::error::Rejection;
use crate::execution::record::{
    ClaimKind, Decision, Event, Execution, Grant, GrantAudit, NextAttempt, Phase, Ruling, Verdict,
};
use crate::execution::view::eligibility;
use crate::grant::{ClaimGrant, ResumeGrant};
use crate::id::{ExecutionId, GrantId, LaneId, WorkerId};
use crate::partition::PartitionKey;
use crate::state::EligibilityState;
use crate::time::{DurationMs, TimestampMs, Window};

use super::guard::{MAX_GRANT_TTL, check_lane, check_ttl, deadline_passed};

/// A request for a grant on an eligible execution. Identity: the grant id.
#[derive(Clone, Debug, PartialEq)]
pub struct IssueClaimGrant {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The lane in which the caller expects the execution, if it expects one.
    pub lane: Option<LaneId>,
    /// Chosen by the caller.
    pub grant_id: GrantId,
    /// The worker that may use the grant.
    pub worker: WorkerId,
    /// The worker's capabilities.
    pub capabilities: Capabilities,
    /// How long the grant can be used, 1 to 60,000 milliseconds.
    pub ttl: DurationMs,
    /// The data to store with the grant.
    pub audit: GrantAudit,
}

/// A grant that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Its lane.
    pub lane: LaneId,
    /// The grant.
    pub grant_id: GrantId,
    /// When it ends.
    pub expires_at: TimestampMs,
    /// Whether the execution goes on with an interrupted attempt.
    pub resumes: bool,
}

impl Granted {
    /// The grant that the worker gets, for an execution that starts a new attempt.
    pub fn claim_grant(&self) -> ClaimGrant {
        let key = PartitionKey::from(self.execution_id.partition());
        ClaimGrant::new(self.execution_id, key, self.grant_id.to_string(), self.expires_at)
    }

    /// The grant that the worker gets, for an execution that goes on with its interrupted attempt.
    pub fn resume_grant(&self) -> ResumeGrant {
        let key = PartitionKey::from(self.execution_id.partition());
        let grant_key = self.grant_id.to_string();
        ResumeGrant::new(self.execution_id, key, grant_key, self.expires_at, self.lane.clone())
    }
}

/// Issues a grant. A live grant takes the execution out of the eligible index; if it expires
/// unused, the execution goes back to its old position.
///
/// # Errors
///
/// `InvalidInput` for the ttl, the audit data or the lane, `ExecutionNotEligible`,
/// `GrantAlreadyExists`, `CapabilityMismatch`.
pub fn issue_claim_grant(
    current: &Execution,
    command: &IssueClaimGrant,
    now: TimestampMs,
) -> Ruling<Granted> {
    if let Some(granted) = repeated(current, command.grant_id) {
        return Ok(Verdict::Repeat(granted));
    }
    check_request(current, command)?;
    let eligibility = eligibility(current, now);
    let not_eligible =
        || Rejection::ExecutionNotEligible { lifecycle_phase: current.phase.word(), eligibility };
    let Phase::Runnable(runnable) = &current.phase else {
        return Err(not_eligible());
    };
    if let Some(grant) = runnable.grant.as_ref().filter(|grant| grant.is_live(now)) {
        return Err(Rejection::GrantAlreadyExists { expires_at: grant.expires_at });
    }
    check_capabilities(current, &command.capabilities)?;
    if eligibility != EligibilityState::EligibleNow || deadline_passed(current, now) {
        return Err(not_eligible());
    }
    let since = runnable.not_before.map_or(Window::ALWAYS, |delay| Window::from(delay.until));
    let before = current.deadline.map_or(Window::ALWAYS, Window::until).and(unused_from(current));
    let grant = new_grant(command.grant_id, &command.worker, command.ttl, &command.audit, now);
    let expires_at = grant.expires_at;
    let mut next = current.clone();
    if let Phase::Runnable(runnable) = &mut next.phase {
        runnable.not_before = None;
        runnable.grant = Some(grant);
    }
    let granted = granted(current, command.grant_id, expires_at);
    Ok(Decision::put(next, now, granted)
        .within(since.and(before))
        .storing_ttl(command.ttl)
        .event(Event::GrantIssued { expires_at })
        .into())
}

/// Refuses a ttl or audit data that are out of their bounds, and an execution of another lane than
/// the caller expects.
pub(super) fn check_request(
    current: &Execution,
    command: &IssueClaimGrant,
) -> Result<(), Rejection> {
    check_ttl("grant_ttl_ms", command.ttl, MAX_GRANT_TTL)?;
    command.audit.check()?;
    check_lane(current, command.lane.as_ref())
}

/// The grant of this id, if it is issued or was consumed by the present lease. \[INV-IDENTITY-1\]
pub(super) fn repeated(current: &Execution, id: GrantId) -> Option<Granted> {
    let out = current.grant().filter(|grant| grant.id == id).map(|grant| grant.expires_at);
    let consumed = match &current.phase {
        Phase::Active(active) if active.lease.grant.id == id => Some(active.lease.grant.expires_at),
        _ => None,
    };
    out.or(consumed).map(|expires_at| granted(current, id, expires_at))
}

pub(super) fn granted(current: &Execution, id: GrantId, expires_at: TimestampMs) -> Granted {
    let resumes = match &current.phase {
        Phase::Runnable(runnable) => matches!(runnable.next, NextAttempt::Resume { .. }),
        Phase::Active(active) => active.lease.how == ClaimKind::Resumed,
        Phase::Suspended(_) | Phase::Terminal(_) => false,
    };
    let (execution_id, lane) = (current.id, current.lane.clone());
    Granted { execution_id, lane, grant_id: id, expires_at, resumes }
}

/// The time from which an issued grant, if there is one, has expired unused.
pub(super) fn unused_from(current: &Execution) -> Window {
    current.grant().map_or(Window::ALWAYS, |grant| Window::from(grant.expires_at))
}

pub(super) fn new_grant(
    id: GrantId,
    worker: &WorkerId,
    ttl: DurationMs,
    audit: &GrantAudit,
    now: TimestampMs,
) -> Grant {
    let audit = (*audit != GrantAudit::default()).then(|| Box::new(audit.clone()));
    Grant { id, worker: worker.clone(), expires_at: now.plus(ttl), audit }
}

/// Refuses a worker that lacks a capability; the rejection names those that are missing.
pub(super) fn check_capabilities(
    current: &Execution,
    offered: &Capabilities,
) -> Result<(), Rejection> {
    if current.requires.satisfied_by(offered) {
        return Ok(());
    }
    Err(Rejection::CapabilityMismatch { missing: current.requires.missing_in(offered) })
}
