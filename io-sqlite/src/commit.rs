//! The request `Commit`: the checks of each unit, then its writes, in the order of the units.

use ff_core::partition::Partition;
use ff_core::score::Score;
use ff_core::store::{
    Commit, DUE_SOON, FirstOf, IndexName, IndexWrite, ScanPosition, Stored, Topic, Unit, UnitReply,
    Wake,
};
use ff_core::time::TimestampMs;
use rusqlite::{Connection, Result};

use crate::{rows, stream};

/// The wake-ups of a commit.
#[derive(Default)]
struct Rings {
    /// The wake-ups of queues.
    queues: Vec<Wake>,
    /// The scores that were written into `due` and are soon due.
    soon: Vec<Score>,
    /// The topics that the units name, each once.
    named: Vec<Topic>,
}

/// Processes a commit inside a transaction, and adds its wake-ups.
pub(crate) fn commit(
    db: &Connection,
    commit: &Commit,
    now: TimestampMs,
    wakes: &mut Vec<Wake>,
) -> Result<Vec<UnitReply>> {
    let (partition, mut rings) = (commit.partition, Rings::default());
    let apply = |unit| apply(db, partition, unit, now, &mut rings);
    let replies = commit.units.iter().map(apply).collect::<Result<_>>()?;
    wakes.extend(rings.queues);
    if !rings.soon.is_empty() {
        let index = IndexName::Due;
        let first = rows::first_score(db, partition, &index.column())?;
        let first = first.filter(|first| rings.soon.contains(first));
        wakes.extend(first.map(|score| Wake {
            topic: Topic::Due,
            partition,
            first: Some(FirstOf { index, score }),
        }));
    }
    wakes.extend(rings.named.into_iter().map(|topic| Wake { topic, partition, first: None }));
    Ok(replies)
}

/// Checks a unit and applies it. All checks come before the first write, so that a unit needs no
/// savepoint.
fn apply(
    db: &Connection,
    partition: Partition,
    unit: &Unit,
    now: TimestampMs,
    rings: &mut Rings,
) -> Result<UnitReply> {
    for (key, seen) in &unit.expect {
        if rows::version(db, partition, key)? != *seen {
            return Ok(UnitReply::Conflict { current: current(db, partition, unit)? });
        }
    }
    if !unit.window.contains(now) {
        return Ok(UnitReply::OutsideWindow);
    }
    for write in &unit.index {
        write_index(db, partition, write, now, rings)?;
    }
    for change in &unit.counts {
        rows::count(db, partition, change)?;
    }
    for (key, body) in &unit.put {
        let seen = unit.expect.iter().find(|(expected, _)| expected == key);
        let version = seen.map(|(_, seen)| *seen).unwrap_or_default().next(unit.nonce);
        rows::put(db, partition, key, version, body)?;
    }
    for key in &unit.remove {
        rows::remove(db, partition, key)?;
    }
    for write in &unit.values {
        rows::set_value(db, partition, &write.key, write.value.as_ref())?;
    }
    for name in &unit.drop_streams {
        stream::remove(db, partition, name)?;
    }
    for append in &unit.append {
        stream::append(db, partition, append, now)?;
    }
    for topic in &unit.ring {
        if !rings.named.contains(topic) {
            rings.named.push(topic.clone());
        }
    }
    Ok(UnitReply::Committed { fetched: rows::fetch(db, partition, &unit.fetch)? })
}

/// The current records of a unit; none if they are too large. A single record never is.
fn current(db: &Connection, partition: Partition, unit: &Unit) -> Result<Vec<Option<Stored>>> {
    let (mut records, mut bytes) = (Vec::with_capacity(unit.expect.len()), 0);
    for (key, _) in &unit.expect {
        let record = rows::record(db, partition, key)?;
        bytes += record.as_ref().map_or(0, Stored::size);
        if unit.expect.len() > 1 && bytes > unit.conflict_bytes as usize {
            return Ok(Vec::new());
        }
        records.push(record);
    }
    Ok(records)
}

/// Writes an index entry, and the score of its index in the list of queues.
fn write_index(
    db: &Connection,
    partition: Partition,
    write: &IndexWrite,
    now: TimestampMs,
    rings: &mut Rings,
) -> Result<()> {
    let IndexWrite { index, member, score } = write;
    let name = index.column();
    let Some(score) = *score else {
        let had = rows::remove_entry(db, partition, &name, *member)?;
        let is_listed = had && index.listed_in().is_some();
        if is_listed && rows::first_score(db, partition, &name)?.is_none() {
            rows::list(db, partition, index, None)?;
        }
        return Ok(());
    };
    rows::write_entry(db, partition, &name, ScanPosition { score, member: *member })?;
    if *index == IndexName::Due && score.is_near(now, DUE_SOON) {
        rings.soon.push(score);
    }
    if rows::lower(db, partition, index, score)?
        && let Some(topic) = index.topic()
    {
        let first = Some(FirstOf { index: index.clone(), score });
        rings.queues.push(Wake { topic, partition, first });
    }
    Ok(())
}
