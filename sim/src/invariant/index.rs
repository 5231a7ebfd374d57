//! \[INV-INDEX-1\] Indexes equal the function of the records; an entry that a `Take` holds may
//! stand in `due` alone until the hold ends.

use std::collections::BTreeMap;

use ff_core::id::ExecutionId;
use ff_core::op::load;
use ff_core::partition::Partition;
use ff_core::store::codec::Codec;
use ff_core::store::{IndexName, RecordKey, ScanPosition, Stored};

use crate::model::Model;
use crate::model::index_positions::Places;
use crate::report::invariants::Invariant;
use crate::report::{Broken, ensure};

const TAG: &str = "INV-INDEX-1";

/// Each entry of a partition's indexes is where the record and the takes since want it.
///
/// # Errors
///
/// When an entry is missing, elsewhere, in a wrong index, or without a record.
pub fn check<'s>(
    model: &Model,
    entries: impl Iterator<Item = (&'s IndexName, ScanPosition)>,
    partition: Partition,
) -> Result<(), Broken> {
    if !model.watched.contains(Invariant::Index) {
        return Ok(());
    }
    let mut found: BTreeMap<ExecutionId, Places> = BTreeMap::new();
    for (index, position) in entries {
        let id = Model::id(partition.index, position.member);
        note(model, id, index, position, found.entry(id).or_default())?;
    }
    for id in model.places.keys().filter(|id| id.partition() == partition) {
        compare(model, id, found.get(id).copied().unwrap_or_default())?;
    }
    Ok(())
}

/// The entries of one execution are where its record and the takes since want them.
///
/// # Errors
///
/// When an entry is missing, elsewhere, in a wrong index, or without a record.
pub fn check_one<'s>(
    model: &Model,
    entries: impl Iterator<Item = (&'s IndexName, ScanPosition)>,
    id: ExecutionId,
) -> Result<(), Broken> {
    if !model.watched.contains(Invariant::Index) {
        return Ok(());
    }
    let mut places = Places::default();
    for (index, position) in entries {
        note(model, id, index, position, &mut places)?;
    }
    compare(model, &id, places)
}

/// Notes where an entry stands.
fn note(
    model: &Model,
    id: ExecutionId,
    index: &IndexName,
    position: ScanPosition,
    places: &mut Places,
) -> Result<(), Broken> {
    if matches!(index, IndexName::Signals { .. }) {
        // Its members are signals, not executions: they are looked at by themselves.
        return Ok(());
    }
    let record = model.records.get(&id);
    let adrift = model.adrift.contains_key(&id);
    ensure!(
        record.is_some() || adrift,
        TAG,
        "{index:?} has an entry of {id}, which does not exist"
    );
    let Some(record) = record else { return Ok(()) };
    let place = match index {
        IndexName::Eligible { namespace, lane } => {
            let own = *namespace == record.namespace && *lane == record.lane;
            ensure!(own || adrift, TAG, "{id} stands in {index:?}");
            &mut places.eligible
        }
        IndexName::Due => &mut places.due,
        IndexName::BlockedRoute { .. } => &mut places.blocked_route,
        IndexName::All { .. } => &mut places.all,
        IndexName::Quarantine | IndexName::Signals { .. } => {
            ensure!(false, TAG, "{id} is in {index:?}");
            return Ok(());
        }
    };
    *place = Some(position.score);
    Ok(())
}

/// Compares where an execution stands with where it should.
fn compare(model: &Model, id: &ExecutionId, places: Places) -> Result<(), Broken> {
    let Some(expected) = model.places.get(id) else { return Ok(()) };
    let expected = match model.adrift.get(id) {
        None => *expected,
        // The others are written where they change.
        Some(due) if due.contains(&places.due) => places,
        Some(_) => *expected,
    };
    ensure!(places == expected, TAG, "{id} stands at {places:?} instead of {expected:?}");
    Ok(())
}

/// The store holds the records that the steps have written, and no others.
///
/// # Errors
///
/// When a record differs.
pub fn check_records<'s>(
    model: &Model,
    records: impl Iterator<Item = (&'s RecordKey, &'s Stored)>,
    partition: Partition,
) -> Result<(), Broken> {
    if !model.watched.contains(Invariant::Index) {
        return Ok(());
    }
    let (codec, mut count) = (Codec::default(), 0);
    for (key, stored) in records {
        let RecordKey::Execution(uuid) = key else { continue };
        let id = Model::id(partition.index, *uuid);
        let loaded = load(stored, &codec);
        let same = loaded.as_ref().ok().map(|loaded| &*loaded.execution)
            == model.records.get(&id).map(AsRef::as_ref);
        ensure!(same, TAG, "the record of {id} is not what was written: {loaded:?}");
        count += 1;
    }
    let expected = model.records.keys().filter(|id| id.partition() == partition).count();
    ensure!(count == expected, TAG, "{partition} has {count} records instead of {expected}");
    Ok(())
}
