//! \[INV-LANE-1\] A program starts work only in lanes that start work, and submits only to lanes
//! that accept submissions, by the states that it has read; and it reads them at least every
//! second while it starts work.

use ff_core::execution::{Execution, LeaseFate, Phase};
use ff_core::lane::{LANES_FOR, Lanes};
use ff_core::op::load;
use ff_core::partition::Partition;
use ff_core::resource::ResourceKind;
use ff_core::store::codec::Codec;
use ff_core::store::{Bytes, Commit, RecordKey, Stored, Version};
use ff_core::time::TimestampMs;

use crate::model::Model;
use crate::report::invariants::Invariant;
use crate::report::{Broken, ensure};

const TAG: &str = "INV-LANE-1";

/// The use of a lane by a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// It starts work.
    Starts,
    /// It submits.
    Submits,
}

/// A commit starts nothing in a lane that does not start work, and submits nothing to a lane that
/// accepts nothing, by the states that its program has read.
pub fn check_sent(
    model: &Model,
    commit: &Commit,
    does: Does,
    lanes: Option<&Lanes>,
) -> Result<(), Broken> {
    if !model.watched.contains(Invariant::Lane) {
        return Ok(());
    }
    for (key, bytes) in commit.units.iter().flat_map(|unit| &unit.put) {
        let RecordKey::Execution(uuid) = key else { continue };
        let Some(next) = execution(bytes) else { continue };
        let before = model.records.get(&Model::id(commit.partition.index, *uuid));
        let allowed = match does {
            Does::Submits => {
                before.is_some() || lanes.is_some_and(|lanes| lanes.state(&next.lane).accepts())
            }
            Does::Starts => {
                !is_started(before.map(AsRef::as_ref), &next)
                    || lanes.is_some_and(|lanes| lanes.state(&next.lane).starts())
            }
        };
        ensure!(allowed, TAG, "{} of lane {} {does:?}, but {lanes:?}", next.id, next.lane);
    }
    Ok(())
}

/// A program that looks for work has asked for the states of lanes less than a second before, by
/// its clock.
pub fn check_look(
    model: &Model,
    asked_at: Option<TimestampMs>,
    local: TimestampMs,
) -> Result<(), Broken> {
    if !model.watched.contains(Invariant::Lane) {
        return Ok(());
    }
    let recent = asked_at.is_some_and(|at| local < at || local.since(at) < LANES_FOR);
    ensure!(recent, TAG, "lanes were asked for at {asked_at:?}, and work is taken at {local}");
    Ok(())
}

/// Whether a record has a new lease or a new grant.
fn is_started(before: Option<&Execution>, after: &Execution) -> bool {
    let lease = |record: &Execution| match &record.phase {
        Phase::Active(active) if active.fate == LeaseFate::Held => Some(active.lease.id),
        _ => None,
    };
    let grant = |record: &Execution| record.grant().map(|grant| grant.id);
    let new_lease = lease(after).is_some() && lease(after) != before.and_then(lease);
    let new_grant = grant(after).is_some() && grant(after) != before.and_then(grant);
    new_lease || new_grant
}

fn execution(bytes: &Bytes) -> Option<Execution> {
    let stored = Stored { version: Version::ABSENT, bytes: bytes.clone() };
    let loaded = load(&stored, &Codec::default()).ok()?;
    Some((*loaded.execution).clone())
}

/// Whether a read is for the lanes of a namespace.
pub fn is_read_of_lanes(partition: Partition, records: &[RecordKey]) -> bool {
    let of_lanes = |key: &RecordKey| matches!(key, RecordKey::Resource(ResourceKind::Lanes, _));
    partition == Partition::META && matches!(records, [key] if of_lanes(key))
}
