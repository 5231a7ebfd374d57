//! `cancel`: end an execution that is no longer wanted (`docs/spec.md`, 4).

use crate::bounded::truncated;
use crate::error::Rejection;
use crate::execution::facts::Facts;
use crate::execution::record::{
    AttemptEnd, Decision, Execution, OperatorOutcome, Outcome, Phase, ReleaseOutcome, Ruling,
    Verdict, WorkFailure,
};
use crate::id::ExecutionId;
use crate::time::{TimestampMs, Window};

use super::guard::{FenceParts, current_holder, not_active, released};
use super::lease::{end_life, remember_release};
use super::operator_call::{OperatorCall, check_life};

/// Cancels an execution. Identity: the fence of a holder, the request id of an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Cancel {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The caller that cancels it.
    pub by: CancelledBy,
    /// A text for people, truncated to 4,096 bytes.
    pub reason: String,
}

/// The caller that cancels an execution.
#[derive(Clone, Debug, PartialEq)]
pub enum CancelledBy {
    /// The worker that holds the lease.
    Holder(FenceParts),
    /// An operator, from any phase, without a fence.
    Operator(OperatorCall),
}

/// Cancels an execution that is not over. Its holder learns of it with its next call.
///
/// # Errors
///
/// By the holder: those of a call under a lease. By an operator: `Superseded`, and
/// `ExecutionNotActive` if the execution is over.
pub fn cancel(facts: &Facts<'_>, command: &Cancel, now: TimestampMs) -> Ruling<()> {
    let current = facts.execution()?;
    let mut next = current.clone();
    let window = match &command.by {
        CancelledBy::Holder(parts) => {
            let cancelled =
                |outcome: &ReleaseOutcome| (*outcome == ReleaseOutcome::Cancelled).then_some(());
            if released(current, parts, cancelled).is_some() {
                return Ok(Verdict::Repeat(()));
            }
            let (active, fence) = current_holder(current, parts, now)?;
            remember_release(&mut next, fence, ReleaseOutcome::Cancelled);
            Window::until(active.expires_at(now))
        }
        CancelledBy::Operator(call) => {
            let cancelled =
                |outcome: &OperatorOutcome| (*outcome == OperatorOutcome::Cancelled).then_some(());
            if call.repeated(current, cancelled).is_some() {
                return Ok(Verdict::Repeat(()));
            }
            check_life(current, facts.first_seen)?;
            check_not_over(current)?;
            call.remember(&mut next, OperatorOutcome::Cancelled);
            Window::ALWAYS
        }
    };
    let reason = truncated(&command.reason, WorkFailure::REASON_MAX_BYTES).to_owned();
    let ended = end_life(&mut next, Outcome::Cancelled { reason }, AttemptEnd::Cancelled, now);
    Ok(Decision::put(next, now, ()).within(window).event(ended).into())
}

/// Refuses an execution that is over.
pub(super) fn check_not_over(current: &Execution) -> Result<(), Rejection> {
    match current.phase {
        Phase::Terminal(_) => Err(not_active(current)),
        _ => Ok(()),
    }
}
