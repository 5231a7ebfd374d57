//! The grant under which an execution runs or may be claimed, and the slots that it takes for it.

use crate::execution::record::{Execution, LeaseFate, Phase};
use crate::id::{GrantId, SlotId};

/// Returns the grant under which a worker runs an execution, or may still claim it. `None` if it
/// waits, is suspended or over, or its lease was lost.
pub fn grant_in_use(execution: &Execution) -> Option<GrantId> {
    match &execution.phase {
        Phase::Runnable(runnable) => runnable.grant.as_ref().map(|grant| grant.id),
        Phase::Active(active) if active.fate == LeaseFate::Held => Some(active.lease.grant.id),
        Phase::Active(active) => active.grant.as_ref().map(|grant| grant.id),
        Phase::Suspended(_) | Phase::Terminal(_) => None,
    }
}

/// Returns the slot that an execution takes in each of its quotas: the one that was taken for the
/// grant that it has.
pub fn slot_of(execution: &Execution) -> Option<SlotId> {
    let taken = execution.limits.as_ref()?.slot?;
    (grant_in_use(execution) == Some(taken.grant)).then_some(taken.slot)
}
