//! The grant under which an execution takes slots of its quotas.

use crate::execution::record::{Execution, LeaseFate, Phase};
use crate::id::GrantId;

/// Returns the grant under which an execution takes a slot of each of its quotas: the one that its
/// worker runs it under, or may still claim it under. `None` if it takes none: it waits, is
/// suspended or over, or its lease was lost.
pub fn slot_of(execution: &Execution) -> Option<GrantId> {
    match &execution.phase {
        Phase::Runnable(runnable) => runnable.grant.as_ref().map(|grant| grant.id),
        Phase::Active(active) if active.fate == LeaseFate::Held => Some(active.lease.grant.id),
        Phase::Active(active) => active.grant.as_ref().map(|grant| grant.id),
        Phase::Suspended(_) | Phase::Terminal(_) => None,
    }
}
