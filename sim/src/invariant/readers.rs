//! \[INV-DURABLE-1\] Readers of the journals get each event once, in order, and are notified of the
//! gap where entries were dropped or the store's history has changed.

use std::collections::BTreeMap;

use ff_core::partition::Partition;
use ff_core::store::bounds::{MAX_JOURNAL_AGE_MS, MAX_JOURNAL_BYTES};
use ff_core::store::{Cursor, StreamEntry, Streamed};
use ff_core::time::DurationMs;

use crate::model::Model;
use crate::report::invariants::Invariant;
use crate::report::{Broken, ensure};

const TAG: &str = "INV-DURABLE-1";

/// How many entries of each journal a reader has read.
pub type Followed = BTreeMap<Partition, usize>;

/// A page continues exactly at its reader's position, or reports a gap.
pub fn check(
    model: &Model,
    followed: &mut Followed,
    partition: Partition,
    from: Cursor,
    page: &Streamed,
) -> Result<(), Broken> {
    let journal = model.journals.get(&partition).map(Vec::as_slice).unwrap_or_default();
    if let (Cursor::After { history: was, .. }, Cursor::After { history: is, .. }) =
        (from, page.next)
        && model.watched.contains(Invariant::Durable)
    {
        ensure!(
            was == is || page.gap,
            TAG,
            "a reader of {partition} was not told that the store's history changed"
        );
    }
    let mut next = followed.get(&partition).copied().unwrap_or(0);
    if page.gap || from == Cursor::Start {
        let first = page.entries.first();
        let found = first.map(|first| journal.iter().position(|entry| entry == first));
        next = found.flatten().unwrap_or(0);
        check_dropped(model, journal, next, partition)?;
    }
    for entry in &page.entries {
        ensure!(
            !model.watched.contains(Invariant::Durable) || journal.get(next) == Some(entry),
            TAG,
            "a reader of {partition} got {:?} as entry {next}, which is {:?}",
            entry.id,
            journal.get(next).map(|entry| entry.id)
        );
        next += 1;
    }
    followed.insert(partition, next);
    Ok(())
}

/// Dropped entries were too old or too many.
fn check_dropped(
    model: &Model,
    journal: &[StreamEntry],
    first_kept: usize,
    partition: Partition,
) -> Result<(), Broken> {
    let (Some(dropped), Some(last)) = (first_kept.checked_sub(1), journal.last()) else {
        return Ok(());
    };
    let oldest = last.id.at.minus(DurationMs::new(MAX_JOURNAL_AGE_MS));
    let bytes: usize = journal[dropped..].iter().map(|entry| entry.entry.len()).sum();
    ensure!(
        !model.watched.contains(Invariant::Durable)
            || journal[dropped].id.at < oldest
            || bytes > MAX_JOURNAL_BYTES,
        TAG,
        "the journal of {partition} has dropped {:?} too early",
        journal[dropped].id
    );
    Ok(())
}

/// The partitions whose journals a reader has not read to the end.
pub fn behind(model: &Model, followed: &Followed) -> Vec<Partition> {
    let read = |partition| followed.get(partition).copied().unwrap_or(0);
    let journals = model.journals.iter().filter(|(at, journal)| read(at) < journal.len());
    journals.map(|(partition, _)| *partition).collect()
}
