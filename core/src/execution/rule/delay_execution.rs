//! `delay_execution`: give the work back until a time, at which its attempt goes on
//! (`docs/spec.md`, 4).

use serde::{Deserialize, Serialize};

use crate::execution::record::{
    Decision, DelayReason, Event, Execution, Interruption, NextAttempt, NotBefore, ReleaseOutcome,
    Ruling, Verdict,
};
use crate::id::ExecutionId;
use crate::null::or_default;
use crate::time::{TimestampMs, Window};

use super::guard::{FenceParts, current_holder, released};
use super::lease::{remember_release, wait_for};

/// Gives the lease back until a time. Identity: the fence and the command's kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelayExecution {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The fence of the caller's lease.
    #[serde(flatten)]
    pub fence: FenceParts,
    /// The first instant at which the attempt may go on.
    pub until: TimestampMs,
    /// Whether the next claim gets the resumption of this one too, as if this lease had never been.
    /// Otherwise its signals count as handled.
    #[serde(default, deserialize_with = "or_default")]
    pub keeps_resumption: bool,
}

/// Delays an execution: it becomes runnable with its attempt interrupted.
///
/// # Errors
///
/// Those of a call under a lease.
pub fn delay_execution(
    current: &Execution,
    command: &DelayExecution,
    now: TimestampMs,
) -> Ruling<()> {
    let delayed = |outcome: &ReleaseOutcome| (*outcome == ReleaseOutcome::Delayed).then_some(());
    if released(current, &command.fence, delayed).is_some() {
        return Ok(Verdict::Repeat(()));
    }
    let (active, fence) = current_holder(current, &command.fence, now)?;
    let holds = Window::until(active.expires_at(now));
    let resumed = current.waiting.as_ref().is_some_and(|waiting| waiting.resumption.is_some());
    let kept = command.keeps_resumption && resumed;
    let interruption = if kept { Interruption::Suspension } else { Interruption::Delay };
    let resume = NextAttempt::Resume { attempt: active.attempt, interruption };
    let delay = NotBefore { until: command.until, reason: DelayReason::Requested };
    // One that goes on immediately must not be committed before that time.
    let over = if command.until > now { Window::ALWAYS } else { Window::from(command.until) };
    let mut next = current.clone();
    remember_release(&mut next, fence, ReleaseOutcome::Delayed);
    let waits = command.until > now;
    wait_for(&mut next, resume, waits.then_some(delay));
    let event = Event::Released { how: ReleaseOutcome::Delayed };
    Ok(Decision::put(next, now, ()).within(holds.and(over)).event(event).into())
}
