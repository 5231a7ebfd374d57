//! `release_grant`: give back a grant that will not be used (`docs/spec.md`, 4).

use serde::{Deserialize, Serialize};

use crate::execution::record::{Decision, Event, Execution, Grant, Phase, Ruling, Verdict};
use crate::id::{ExecutionId, GrantId, WorkerId};
use crate::time::{TimestampMs, Window};

/// Gives a grant back. Identity: the grant; a repeat changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseGrant {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The grant.
    pub grant_id: GrantId,
    /// The worker that it was issued to.
    pub worker: WorkerId,
}

/// Ends a grant that no claim has consumed: the execution returns to its old position immediately.
/// A grant that has expired, was consumed or belongs to another worker is left as it is.
///
/// # Errors
///
/// None.
pub fn release_grant(current: &Execution, command: &ReleaseGrant, now: TimestampMs) -> Ruling<()> {
    let is_meant = |grant: &&Grant| {
        grant.id == command.grant_id && grant.worker == command.worker && grant.is_live(now)
    };
    let Some(grant) = current.grant().filter(is_meant) else { return Ok(Verdict::Repeat(())) };
    let holds = Window::until(grant.expires_at);
    let mut next = current.clone();
    match &mut next.phase {
        Phase::Runnable(runnable) => runnable.grant = None,
        Phase::Active(active) => active.grant = None,
        Phase::Suspended(_) | Phase::Terminal(_) => {}
    }
    Ok(Decision::put(next, now, ()).within(holds).event(Event::GrantReleased).into())
}
