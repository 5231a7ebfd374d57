//! \[INV-INDEX-1\] Indexes equal the function of the records; an entry that a `Take` holds may
//! be in `due` alone until the hold ends.

use std::collections::BTreeMap;

use ff_core::execution::awaited_use;
use ff_core::id::ExecutionId;
use ff_core::op::load;
use ff_core::partition::Partition;
use ff_core::score::Score;
use ff_core::store::codec::Codec;
use ff_core::store::{FirstOf, IndexName, RecordKey, ScanPosition, Stored};

use crate::model::Model;
use crate::model::index_positions::IndexPositions;
use crate::report::{Broken, ensure, when_watched};

const TAG: &str = "INV-INDEX-1";

/// Each index entry of a partition follows from its record and the takes since.
pub fn check<'s>(
    model: &Model,
    entries: impl Iterator<Item = (&'s IndexName, ScanPosition)>,
    partition: Partition,
) -> Result<(), Broken> {
    when_watched!(model, Index);
    let mut found: BTreeMap<ExecutionId, IndexPositions> = BTreeMap::new();
    for (index, position) in entries {
        let id = Model::id(partition.index, position.member);
        note(model, id, index, position, found.entry(id).or_default())?;
    }
    for id in model.positions.keys().filter(|id| id.partition() == partition) {
        compare(model, id, found.get(id).copied().unwrap_or_default())?;
    }
    Ok(())
}

/// The index entries of one execution follow from its record and the takes since.
pub fn check_one<'s>(
    model: &Model,
    entries: impl Iterator<Item = (&'s IndexName, ScanPosition)>,
    id: ExecutionId,
) -> Result<(), Broken> {
    when_watched!(model, Index);
    let mut positions = IndexPositions::default();
    for (index, position) in entries {
        note(model, id, index, position, &mut positions)?;
    }
    compare(model, &id, positions)
}

/// The lists of queues of a partition name the indexes that have entries, each with its first score
/// or a lower one.
pub fn check_listed<'s>(
    model: &Model,
    entries: impl Iterator<Item = (&'s IndexName, ScanPosition)>,
    listed: impl Iterator<Item = FirstOf>,
) -> Result<(), Broken> {
    when_watched!(model, Index);
    let mut firsts: BTreeMap<&IndexName, Score> = BTreeMap::new();
    for (index, position) in entries.filter(|(index, _)| index.listed_in().is_some()) {
        let first = firsts.entry(index).or_insert(position.score);
        *first = position.score.min(*first);
    }
    let listed: BTreeMap<IndexName, Score> =
        listed.map(|first| (first.index, first.score)).collect();
    let same = firsts.len() == listed.len();
    let lists = |(index, first): (&&IndexName, &Score)| {
        listed.get(*index).is_some_and(|listed| listed <= first)
    };
    let right = same && firsts.iter().all(lists);
    ensure!(right, TAG, "the queues {firsts:?} are listed as {listed:?}");
    Ok(())
}

/// Notes the score of an entry.
fn note(
    model: &Model,
    id: ExecutionId,
    index: &IndexName,
    position: ScanPosition,
    positions: &mut IndexPositions,
) -> Result<(), Broken> {
    if let IndexName::Signals { .. } | IndexName::Resources { .. } | IndexName::Expiry(_) = index {
        // Its members are not executions: other checks read them.
        return Ok(());
    }
    let record = model.records.get(&id);
    let partly_written = model.partly_written.contains_key(&id);
    ensure!(
        record.is_some() || partly_written,
        TAG,
        "{index:?} has an entry of {id}, which does not exist"
    );
    let Some(record) = record else { return Ok(()) };
    let place = match index {
        IndexName::Eligible { namespace, lane, kind } => {
            let queue = (&record.namespace, &record.lane, &record.kind);
            let own = (namespace, lane, kind) == queue;
            ensure!(own || partly_written, TAG, "{id} has an entry in {index:?}");
            &mut positions.eligible
        }
        IndexName::Due => &mut positions.due,
        IndexName::Retention => &mut positions.retention,
        IndexName::BlockedRoute { .. } => &mut positions.blocked_route,
        IndexName::AwaitsSlot { usage } => {
            let own = awaited_use(record) == Some(*usage);
            ensure!(own || partly_written, TAG, "{id} has an entry in {index:?}");
            &mut positions.awaits_slot
        }
        IndexName::All { .. } => &mut positions.all,
        IndexName::Quarantine
        | IndexName::Signals { .. }
        | IndexName::Resources { .. }
        | IndexName::Expiry(_) => {
            ensure!(false, TAG, "{id} has an entry in {index:?}");
            return Ok(());
        }
    };
    *place = Some(position.score);
    Ok(())
}

/// Compares the scores of an execution with the expected ones.
fn compare(model: &Model, id: &ExecutionId, positions: IndexPositions) -> Result<(), Broken> {
    let Some(expected) = model.positions.get(id) else { return Ok(()) };
    let expected = match model.partly_written.get(id) {
        None => *expected,
        // The other entries are written where they change.
        Some(due) if due.contains(&positions.due) => positions,
        Some(_) => *expected,
    };
    ensure!(
        positions == expected,
        TAG,
        "{id} has the entries {positions:?} instead of {expected:?}"
    );
    Ok(())
}

/// The store holds the records that the steps have written, and no others.
pub fn check_records<'s>(
    model: &Model,
    records: impl Iterator<Item = (&'s RecordKey, &'s Stored)>,
    partition: Partition,
) -> Result<(), Broken> {
    when_watched!(model, Index);
    let (codec, mut count) = (Codec::default(), 0);
    for (key, stored) in records {
        let RecordKey::Execution(uuid) = key else { continue };
        let id = Model::id(partition.index, *uuid);
        let loaded = load(stored, &codec);
        let same = loaded.as_ref().ok().map(|loaded| &*loaded.execution)
            == model.records.get(&id).map(AsRef::as_ref);
        ensure!(same, TAG, "the record of {id} differs from the one written: {loaded:?}");
        count += 1;
    }
    let expected = model.records.keys().filter(|id| id.partition() == partition).count();
    ensure!(count == expected, TAG, "{partition} has {count} records instead of {expected}");
    Ok(())
}
