//! Capped streams. The store's time numbers the entries, and the oldest are dropped first.

use ff_core::partition::Partition;
use ff_core::store::{
    Cursor, StreamAppend, StreamEntry, StreamId, StreamName, StreamPage, Streamed,
};
use ff_core::time::{DurationMs, TimestampMs};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use crate::rows;

/// The state of a stream beside its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tail {
    last: StreamId,
    bytes: u64,
    entries: u64,
    /// The latest entry that was dropped.
    dropped: Option<StreamId>,
}

impl Tail {
    fn read(db: &Connection, p: i64, name: &[u8]) -> Result<Self> {
        let mut select = db.prepare_cached(
            "SELECT at, seq, bytes, entries, dropped_at, dropped_seq FROM ff_tail
             WHERE p = ?1 AND name = ?2",
        )?;
        let tail = |row: &Row<'_>| {
            let dropped: (Option<u64>, Option<u64>) = (row.get(4)?, row.get(5)?);
            Ok(Self {
                last: stream_id(row.get(0)?, row.get(1)?),
                bytes: row.get(2)?,
                entries: row.get(3)?,
                dropped: dropped.0.zip(dropped.1).map(|(at, sequence)| stream_id(at, sequence)),
            })
        };
        Ok(select.query_row(params![p, name], tail).optional()?.unwrap_or_default())
    }

    fn write(&self, db: &Connection, p: i64, name: &[u8]) -> Result<()> {
        let mut insert = db.prepare_cached(
            "INSERT INTO ff_tail (p, name, at, seq, bytes, entries, dropped_at, dropped_seq)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (p, name) DO UPDATE
             SET at = excluded.at, seq = excluded.seq, bytes = excluded.bytes,
                 entries = excluded.entries, dropped_at = excluded.dropped_at,
                 dropped_seq = excluded.dropped_seq",
        )?;
        let (at, seq) = (self.last.at.get(), self.last.sequence);
        let dropped_at = self.dropped.map(|dropped| dropped.at.get());
        let dropped_seq = self.dropped.map(|dropped| dropped.sequence);
        let (bytes, entries) = (self.bytes, self.entries);
        let row = params![p, name, at, seq, bytes, entries, dropped_at, dropped_seq];
        insert.execute(row).map(drop)
    }
}

const fn stream_id(at: u64, sequence: u64) -> StreamId {
    StreamId { at: TimestampMs::new(at), sequence }
}

/// Appends an entry, and drops the oldest entries until the stream is within its caps.
pub(crate) fn append(
    db: &Connection,
    partition: Partition,
    append: &StreamAppend,
    now: TimestampMs,
) -> Result<()> {
    let StreamAppend { stream, entry, caps } = append;
    let (p, name) = (partition.column(), stream.column());
    let mut tail = Tail::read(db, p, &name)?;
    tail.last = if now > tail.last.at {
        StreamId { at: now, sequence: 0 }
    } else {
        StreamId { at: tail.last.at, sequence: tail.last.sequence + 1 }
    };
    tail.bytes += entry.len() as u64;
    tail.entries += 1;
    let mut insert = db.prepare_cached(
        "INSERT INTO ff_stream (p, name, at, seq, entry) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    insert.execute(params![p, name, tail.last.at.get(), tail.last.sequence, &entry[..]])?;
    let oldest_kept = now.minus(DurationMs::new(caps.age_ms));
    let (most_bytes, most_entries) = (caps.bytes as u64, caps.entries as u64);
    while let Some((id, bytes)) = first(db, p, &name)? {
        let fits = tail.bytes <= most_bytes && tail.entries <= most_entries;
        if fits && id.at >= oldest_kept {
            break;
        }
        let mut delete = db.prepare_cached(
            "DELETE FROM ff_stream WHERE p = ?1 AND name = ?2 AND at = ?3 AND seq = ?4",
        )?;
        delete.execute(params![p, name, id.at.get(), id.sequence])?;
        tail.bytes -= bytes;
        tail.entries -= 1;
        tail.dropped = Some(id);
    }
    tail.write(db, p, &name)
}

/// Returns the ID of the first entry and its size in bytes.
fn first(db: &Connection, p: i64, name: &[u8]) -> Result<Option<(StreamId, u64)>> {
    let mut select = db.prepare_cached(
        "SELECT at, seq, length(entry) FROM ff_stream WHERE p = ?1 AND name = ?2
         ORDER BY at, seq LIMIT 1",
    )?;
    let first = |row: &Row<'_>| Ok((stream_id(row.get(0)?, row.get(1)?), row.get(2)?));
    select.query_row(params![p, name], first).optional()
}

/// Removes a stream as a whole.
pub(crate) fn remove(db: &Connection, partition: Partition, stream: &StreamName) -> Result<()> {
    let (p, name) = (partition.column(), stream.column());
    let mut tail = db.prepare_cached("DELETE FROM ff_tail WHERE p = ?1 AND name = ?2")?;
    if tail.execute(params![p, name])? > 0 {
        let mut entries = db.prepare_cached("DELETE FROM ff_stream WHERE p = ?1 AND name = ?2")?;
        entries.execute(params![p, name])?;
    }
    Ok(())
}

/// Returns a page after a cursor.
pub(crate) fn page(db: &Connection, page: &StreamPage) -> Result<Streamed> {
    let (p, name) = (page.partition.column(), page.stream.column());
    let mut select = db.prepare_cached("SELECT history FROM ff_store")?;
    let history = select.query_row([], |row| row.get(0).map(i64::cast_unsigned))?;
    let tail = Tail::read(db, p, &name)?;
    let (after, gap) = match page.from {
        Cursor::Start => (None, false),
        Cursor::End => (Some(tail.last), false),
        Cursor::After { history: read_in, id } => {
            let lost = read_in != history || tail.dropped.is_some_and(|dropped| id < dropped);
            // After a gap the page begins with the first entry that is kept.
            if lost { (None, true) } else { (Some(id), false) }
        }
    };
    let entries = entries(db, p, &name, after, page.limit)?;
    let last = entries.last().map(|entry| entry.id);
    let id = last.or(after).unwrap_or(tail.dropped.unwrap_or_default());
    Ok(Streamed { entries, next: Cursor::After { history, id }, gap })
}

/// Returns the entries after an ID; without one, from the first.
fn entries(
    db: &Connection,
    p: i64,
    name: &[u8],
    after: Option<StreamId>,
    limit: u32,
) -> Result<Vec<StreamEntry>> {
    let mut select = db.prepare_cached(
        "SELECT at, seq, entry FROM ff_stream
         WHERE p = ?1 AND name = ?2 AND (at, seq) > (?3, ?4) ORDER BY at, seq LIMIT ?5",
    )?;
    // No stored sequence is as high as the greatest of a cursor, so it may be lowered.
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let (at, sequence) = after.map_or((-1, 0), |id| (signed(id.at.get()), signed(id.sequence)));
    let entry = |row: &Row<'_>| {
        let id = stream_id(row.get(0)?, row.get(1)?);
        Ok(StreamEntry { id, entry: rows::bytes(row, 2)? })
    };
    select.query_map(params![p, name, at, sequence, limit], entry)?.collect()
}
