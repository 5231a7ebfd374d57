//! `change_priority`: serve an execution earlier or later (`docs/spec.md`, 4).

use crate::execution::facts::Facts;
use crate::execution::record::{Decision, Event, OperatorOutcome, Ruling, Verdict};
use crate::id::ExecutionId;
use crate::policy::Priority;
use crate::time::TimestampMs;

use super::cancel::check_not_over;
use super::operator_call::{OperatorCall, check_life};

/// Changes the priority. Identity: the request id.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangePriority {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The operator's call.
    pub call: OperatorCall,
    /// The new priority.
    pub priority: Priority,
}

/// Changes the priority of an execution that is not over. Among those of the new priority it is
/// ordered by its creation time; one that is not eligible now takes that position once it is.
///
/// # Errors
///
/// `Superseded`; `ExecutionNotActive` if the execution is over.
pub fn change_priority(
    facts: &Facts<'_>,
    command: &ChangePriority,
    now: TimestampMs,
) -> Ruling<Priority> {
    let current = facts.execution()?;
    let changed = |outcome: &OperatorOutcome| match outcome {
        OperatorOutcome::PriorityChanged(priority) => Some(*priority),
        _ => None,
    };
    if let Some(priority) = command.call.repeated(current, changed) {
        return Ok(Verdict::Repeat(priority));
    }
    check_life(current, facts.first_seen)?;
    check_not_over(current)?;
    let priority = command.priority;
    let mut next = current.clone();
    next.priority = priority;
    command.call.remember(&mut next, OperatorOutcome::PriorityChanged(priority));
    Ok(Decision::put(next, now, priority).event(Event::PriorityChanged { priority }).into())
}
