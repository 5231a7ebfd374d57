//! `issue_reclaim_grant`: admit a worker to an execution whose lease was lost (`docs/spec.md`, 4).

use crate::error::Rejection;
use crate::execution::record::{
    Active, AttemptEnd, BlockKind, Blocks, Decision, Event, Execution, LeaseFate, Outcome, Phase,
    Ruling, Verdict, WorkFailure,
};
use crate::grant::ReclaimGrant;
use crate::id::FailureCategory;
use crate::partition::PartitionKey;
use crate::time::{TimestampMs, Window};

use super::guard::deadline_passed;
use super::issue_claim_grant::{
    Granted, IssueClaimGrant, check_capabilities, check_request, granted, new_grant, repeated,
    unused_from,
};
use super::lease::{end_life, mark_expired};

/// A request for a grant on an execution whose lease expired or was revoked. Identity: the grant
/// id.
#[derive(Clone, Debug, PartialEq)]
pub struct IssueReclaimGrant(
    /// The same arguments as for a claim grant.
    pub IssueClaimGrant,
);

/// The outcome of `issue_reclaim_grant`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReclaimGranted {
    /// The grant was issued.
    Granted(Granted),
    /// The execution reached its reclaim limit: it has failed with reason `max_reclaims_exceeded`.
    /// This outcome is applied; the API reports it as an error.
    CapExceeded {
        /// How often it was reclaimed.
        reclaims: u32,
    },
}

impl Granted {
    /// The grant that the worker gets, for an execution whose lease was lost.
    pub fn reclaim_grant(&self) -> ReclaimGrant {
        let key = PartitionKey::from(self.execution_id.partition());
        let grant_key = self.grant_id.to_string();
        ReclaimGrant::new(self.execution_id, key, grant_key, self.expires_at, self.lane.clone())
    }
}

/// The category and reason of an execution that reached its reclaim limit.
pub(super) const MAX_RECLAIMS_EXCEEDED: &str = "max_reclaims_exceeded";

/// Issues a reclaim grant, or fails an execution that reached its reclaim limit.
///
/// # Errors
///
/// `InvalidInput` for the ttl, the audit data or the lane, `ExecutionNotReclaimable`,
/// `GrantAlreadyExists`, `CapabilityMismatch`.
pub fn issue_reclaim_grant(
    current: &Execution,
    IssueReclaimGrant(command): &IssueReclaimGrant,
    now: TimestampMs,
) -> Ruling<ReclaimGranted> {
    if let Some(granted) = repeated(current, command.grant_id) {
        return Ok(Verdict::Repeat(ReclaimGranted::Granted(granted)));
    }
    if let Some(reclaims) = failed_by_cap(current) {
        return Ok(Verdict::Repeat(ReclaimGranted::CapExceeded { reclaims }));
    }
    check_request(current, command)?;
    let active = match &current.phase {
        Phase::Active(active)
            if !active.is_leased(now)
                && !deadline_passed(current, now)
                && !ends_by_timeout(current, active)
                && !is_limited(&active.blocks) =>
        {
            active
        }
        _ => return Err(Rejection::ExecutionNotReclaimable),
    };
    if let Some(grant) = active.grant.as_ref().filter(|grant| grant.is_live(now)) {
        return Err(Rejection::GrantAlreadyExists { expires_at: grant.expires_at });
    }
    check_capabilities(current, &command.capabilities)?;
    let mut next = current.clone();
    let marked = mark_expired(&mut next);
    let before = current.deadline.map_or(Window::ALWAYS, Window::until);
    let window = Window::from(active.lost_from()).and(before).and(unused_from(current));
    if current.counts.reclaims >= current.policy.max_reclaim_count {
        return Ok(fail_by_cap(next, marked, now).within(window).into());
    }
    let grant = new_grant(command.grant_id, &command.worker, command.ttl, &command.audit, now);
    let expires_at = grant.expires_at;
    if let Phase::Active(active) = &mut next.phase {
        active.blocks = Default::default();
        active.grant = Some(grant);
    }
    let granted = granted(&next, command.grant_id, expires_at);
    let mut decision = Decision::put(next, now, ReclaimGranted::Granted(granted))
        .within(window)
        .storing_ttl(command.ttl);
    decision.events.extend(marked);
    Ok(decision.event(Event::GrantIssued { expires_at }).into())
}

/// Whether a budget or a quota holds the takeover back.
fn is_limited(blocks: &Blocks) -> bool {
    blocks.get(BlockKind::Budget).or_else(|| blocks.get(BlockKind::Quota)).is_some()
}

/// Whether the lease, unless it is marked or revoked, ends with the attempt's timeout: then the
/// attempt fails and is not taken over.
fn ends_by_timeout(current: &Execution, active: &Active) -> bool {
    let timeout = current.attempt_times_out_at(&active.lease);
    active.fate == LeaseFate::Held && timeout.is_some_and(|at| at <= active.lease.expires_at)
}

fn fail_by_cap(
    mut next: Execution,
    marked: Option<Event>,
    now: TimestampMs,
) -> Decision<ReclaimGranted> {
    let reclaims = next.counts.reclaims;
    let failure = WorkFailure {
        category: FailureCategory::try_new(MAX_RECLAIMS_EXCEEDED).expect("a valid category"),
        reason: MAX_RECLAIMS_EXCEEDED.to_owned(),
    };
    let ended = end_life(&mut next, Outcome::Failed(failure), AttemptEnd::Interrupted, now);
    let mut decision = Decision::put(next, now, ReclaimGranted::CapExceeded { reclaims });
    decision.events.extend(marked);
    decision.event(ended)
}

/// How often an execution was reclaimed, if it has failed because it reached its limit.
pub(super) fn failed_by_cap(current: &Execution) -> Option<u32> {
    let Phase::Terminal(terminal) = &current.phase else { return None };
    let failure = terminal.outcome.failure()?;
    // A worker may use the same category, but then its attempt has failed and is not interrupted.
    let interrupted =
        current.past_attempts.last().is_some_and(|last| last.end == AttemptEnd::Interrupted);
    (failure.category.as_str() == MAX_RECLAIMS_EXCEEDED && interrupted)
        .then_some(current.counts.reclaims)
}
