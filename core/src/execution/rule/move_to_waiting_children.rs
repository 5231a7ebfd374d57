//! `move_to_waiting_children`: give the work back until its children are done
//! (`docs/spec.md`, 4).

use serde::{Deserialize, Serialize};

use crate::execution::record::{
    Decision, Event, Execution, Interruption, NextAttempt, ReleaseOutcome, Ruling, Verdict,
};
use crate::id::ExecutionId;
use crate::time::{TimestampMs, Window};

use super::guard::{FenceParts, current_holder, released};
use super::lease::{remember_release, wait_for};

/// Gives the lease back until no child is open. Identity: the fence and the command's kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveToWaitingChildren {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The fence of the caller's lease.
    #[serde(flatten)]
    pub fence: FenceParts,
}

/// Makes the execution runnable with its attempt interrupted. An execution that is not a member of
/// a flow has no children, so it is eligible immediately.
///
/// # Errors
///
/// Those of a call under a lease.
pub fn move_to_waiting_children(
    current: &Execution,
    command: &MoveToWaitingChildren,
    now: TimestampMs,
) -> Ruling<()> {
    let waits =
        |outcome: &ReleaseOutcome| (*outcome == ReleaseOutcome::WaitingChildren).then_some(());
    if released(current, &command.fence, waits).is_some() {
        return Ok(Verdict::Repeat(()));
    }
    let (active, fence) = current_holder(current, &command.fence, now)?;
    let holds = Window::until(active.expires_at(now));
    let interruption = Interruption::WaitingChildren;
    let resume = NextAttempt::Resume { attempt: active.attempt, interruption };
    let mut next = current.clone();
    remember_release(&mut next, fence, ReleaseOutcome::WaitingChildren);
    wait_for(&mut next, resume, None);
    let event = Event::Released { how: ReleaseOutcome::WaitingChildren };
    Ok(Decision::put(next, now, ()).within(holds).event(event).into())
}
