//! The index entries of an execution: one function of its record, so that no rule writes an index
//! by hand. A change of this function is a change of the record's format.

use uuid::Uuid;

use crate::execution::record::{BlockKind, Execution, LeaseFate, Phase};
use crate::policy::ReclaimMode;
use crate::resource::{ResourceKind, uuid_of};
use crate::score::Score;

use super::due::next_due;

/// The scores of an execution in the indexes of its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntries {
    /// Its position in its lane, if a worker may take it.
    pub eligible: Option<Score>,
    /// When something about it is due, if it is not over.
    pub due: Option<Score>,
    /// When the next step of its removal is due, if it is over.
    pub retention: Option<Score>,
    /// Its position among those for which no worker had the capabilities.
    pub blocked_route: Option<Score>,
    /// Its position among those that wait for a slot of a quota.
    pub awaits_slot: Option<Score>,
    /// Its position in lists by creation time.
    pub all: Score,
}

/// The index entries of an execution. \[INV-INDEX-1\]
pub fn index_entries(execution: &Execution) -> IndexEntries {
    let place = Score::in_lane(execution.created_at, execution.position, execution.priority);
    let blocks = execution.blocks();
    let free = blocks.is_some_and(|blocks| blocks.is_empty());
    let unroutable = blocks.is_some_and(|blocks| blocks.get(BlockKind::Route).is_some());
    let awaits_slot = blocks.is_some_and(|blocks| blocks.is_only(BlockKind::Quota))
        && execution.limits.as_ref().is_some_and(|limited| limited.awaited().is_some());
    let over = matches!(execution.phase, Phase::Terminal(_));
    let next = next_due(execution).map(|(at, _)| Score::at(at));
    IndexEntries {
        eligible: (free && waits(execution)).then_some(place),
        due: next.filter(|_| !over),
        retention: next.filter(|_| over),
        blocked_route: unroutable.then_some(place),
        awaits_slot: awaits_slot.then_some(place),
        all: Score::at(execution.created_at),
    }
}

/// Returns the uuid of the record of the quota's use that an execution waits for a slot of.
pub fn awaited_use(execution: &Execution) -> Option<Uuid> {
    let of = execution.limits.as_ref()?.awaited()?;
    Some(uuid_of(ResourceKind::QuotaUses, &of.names(&execution.namespace)))
}

/// Whether an execution waits for nothing but a worker that has its capabilities.
pub fn waits_for_capabilities(execution: &Execution) -> bool {
    let blocks = execution.blocks();
    waits(execution) && blocks.is_some_and(|blocks| blocks.is_only(BlockKind::Route))
}

/// Whether an execution waits for a worker, unless something blocks it.
fn waits(execution: &Execution) -> bool {
    match &execution.phase {
        Phase::Runnable(runnable) => runnable.not_before.is_none() && runnable.grant.is_none(),
        Phase::Active(active) => {
            active.fate != LeaseFate::Held
                && active.grant.is_none()
                && execution.policy.reclaim_mode == ReclaimMode::Automatic
        }
        Phase::Suspended(_) | Phase::Terminal(_) => false,
    }
}
