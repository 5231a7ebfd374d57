//! \[INV-DURABLE-1\] Readers of the journals get each event once, in order, and are notified of the
//! gap where entries were dropped or the store's history has changed.

use std::collections::BTreeMap;

use ff_core::partition::Partition;
use ff_core::store::{Cursor, Reply, ReplyBody, Request, StreamName, StreamPage, Streamed};

use crate::model::Model;
use crate::report::invariants::Invariant;
use crate::report::{Broken, ensure, when_watched};

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
    let journal = model.journals.get(&partition);
    let entries = journal.map(|journal| journal.entries.as_slice()).unwrap_or_default();
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
        let found = first.map(|first| entries.iter().position(|entry| entry == first));
        next = found.flatten().unwrap_or(0);
        ensure!(
            !model.watched.contains(Invariant::Durable)
                || next <= journal.map_or(0, |journal| journal.dropped),
            TAG,
            "the journal of {partition} was read from entry {next}, and not from {:?}",
            journal.map(|journal| journal.dropped)
        );
    }
    for entry in &page.entries {
        ensure!(
            !model.watched.contains(Invariant::Durable) || entries.get(next) == Some(entry),
            TAG,
            "a reader of {partition} got {:?} as entry {next}, which is {:?}",
            entry.id,
            entries.get(next).map(|entry| entry.id)
        );
        next += 1;
    }
    followed.insert(partition, next);
    Ok(())
}

/// Each journal has dropped exactly the entries that are too old or too many.
pub fn check_kept(
    model: &Model,
    mut ask: impl FnMut(Request) -> Result<Reply, Broken>,
) -> Result<(), Broken> {
    when_watched!(model, Durable);
    for (partition, journal) in &model.journals {
        let (stream, from) = (StreamName::Journal, Cursor::Start);
        let page = StreamPage { partition: *partition, stream, from, limit: 1 };
        let ReplyBody::Stream(page) = ask(Request::Stream(page))?.body else { continue };
        let (first, expected) = (page.entries.first(), journal.kept().first());
        ensure!(
            first == expected,
            TAG,
            "the journal of {partition} begins with {:?} instead of {:?}",
            first.map(|entry| entry.id),
            expected.map(|entry| entry.id)
        );
    }
    Ok(())
}

/// The partitions whose journals a reader has not read to the end.
pub fn behind(model: &Model, followed: &Followed) -> Vec<Partition> {
    let read = |partition| followed.get(partition).copied().unwrap_or(0);
    let journals = model.journals.iter().filter(|(at, journal)| read(at) < journal.entries.len());
    journals.map(|(partition, _)| *partition).collect()
}
