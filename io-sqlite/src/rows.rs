//! Records, values, index entries, lists and counts by key.

use ff_core::partition::Partition;
use ff_core::score::Score;
use ff_core::store::bounds::MAX_MESSAGE_BYTES;
use ff_core::store::{
    Bytes, CountChange, Fetched, IndexName, Member, RecordKey, ScanPosition, Stored, ValueKey,
    Version,
};
use rusqlite::types::FromSqlError;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use uuid::Uuid;

/// An unsigned number in a signed column, bit by bit. It is only compared for equality.
pub(crate) const fn bits(number: u64) -> i64 {
    number.cast_signed()
}

/// Reads a blob column.
pub(crate) fn bytes(row: &Row<'_>, column: usize) -> Result<Bytes> {
    Ok(Bytes::from(row.get_ref(column)?.as_blob()?))
}

/// Reads the columns `score, member`.
pub(crate) fn position(row: &Row<'_>) -> Result<ScanPosition> {
    let member = row.get_ref(1)?.as_blob()?;
    let member = Uuid::from_slice(member).map_err(FromSqlError::other)?;
    Ok(ScanPosition { score: Score::new(row.get(0)?), member })
}

fn version_of(row: &Row<'_>) -> Result<Version> {
    let (count, nonce): (i64, i64) = (row.get(0)?, row.get(1)?);
    Ok(Version { count: count.cast_unsigned(), nonce: nonce.cast_unsigned() })
}

/// Returns the version of a record.
pub(crate) fn version(db: &Connection, partition: Partition, key: &RecordKey) -> Result<Version> {
    let mut select =
        db.prepare_cached("SELECT count, nonce FROM ff_record WHERE p = ?1 AND key = ?2")?;
    let found = select.query_row(params![partition.column(), key.column()], version_of);
    Ok(found.optional()?.unwrap_or(Version::ABSENT))
}

/// Returns a record.
pub(crate) fn record(
    db: &Connection,
    partition: Partition,
    key: &RecordKey,
) -> Result<Option<Stored>> {
    let mut select =
        db.prepare_cached("SELECT count, nonce, body FROM ff_record WHERE p = ?1 AND key = ?2")?;
    let stored = |row: &Row<'_>| Ok(Stored { version: version_of(row)?, bytes: bytes(row, 2)? });
    select.query_row(params![partition.column(), key.column()], stored).optional()
}

/// Writes a record.
pub(crate) fn put(
    db: &Connection,
    partition: Partition,
    key: &RecordKey,
    version: Version,
    body: &[u8],
) -> Result<()> {
    let mut insert = db.prepare_cached(
        "INSERT INTO ff_record (p, key, count, nonce, body) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (p, key) DO UPDATE
         SET count = excluded.count, nonce = excluded.nonce, body = excluded.body",
    )?;
    let (count, nonce) = (bits(version.count), bits(version.nonce));
    insert.execute(params![partition.column(), key.column(), count, nonce, body]).map(drop)
}

/// Removes a record.
pub(crate) fn remove(db: &Connection, partition: Partition, key: &RecordKey) -> Result<()> {
    let mut delete = db.prepare_cached("DELETE FROM ff_record WHERE p = ?1 AND key = ?2")?;
    delete.execute(params![partition.column(), key.column()]).map(drop)
}

/// Writes or removes a value.
pub(crate) fn set_value(
    db: &Connection,
    partition: Partition,
    key: &ValueKey,
    value: Option<&Bytes>,
) -> Result<()> {
    let (p, key) = (partition.column(), key.column());
    match value {
        Some(value) => {
            let mut insert = db.prepare_cached(
                "INSERT INTO ff_value (p, key, body) VALUES (?1, ?2, ?3)
                 ON CONFLICT (p, key) DO UPDATE SET body = excluded.body",
            )?;
            insert.execute(params![p, key, &value[..]]).map(drop)
        }
        None => {
            let mut delete = db.prepare_cached("DELETE FROM ff_value WHERE p = ?1 AND key = ?2")?;
            delete.execute(params![p, key]).map(drop)
        }
    }
}

/// Returns the values in order. Values that would make the reply too large are deferred, but never
/// the first one, so that each request makes progress.
pub(crate) fn fetch(
    db: &Connection,
    partition: Partition,
    keys: &[ValueKey],
) -> Result<Vec<Fetched>> {
    let mut select = db.prepare_cached("SELECT body FROM ff_value WHERE p = ?1 AND key = ?2")?;
    let mut total = 0;
    let mut fetch = |key: &ValueKey| {
        let mut rows = select.query(params![partition.column(), key.column()])?;
        let Some(row) = rows.next()? else { return Ok(Fetched::Absent) };
        let value = row.get_ref(0)?.as_blob()?;
        let before = total;
        total += value.len();
        let is_deferred = before > 0 && !value.is_empty() && total > MAX_MESSAGE_BYTES;
        Ok(if is_deferred { Fetched::Deferred } else { Fetched::Value(Bytes::from(value)) })
    };
    keys.iter().map(&mut fetch).collect()
}

/// Removes an index entry. Returns whether there was one.
pub(crate) fn remove_entry(
    db: &Connection,
    partition: Partition,
    index: &[u8],
    member: Member,
) -> Result<bool> {
    let mut delete =
        db.prepare_cached("DELETE FROM ff_index WHERE p = ?1 AND name = ?2 AND member = ?3")?;
    Ok(delete.execute(params![partition.column(), index, member.as_bytes()])? > 0)
}

/// Writes an index entry; replaces an earlier score of the member.
pub(crate) fn write_entry(
    db: &Connection,
    partition: Partition,
    index: &[u8],
    at: ScanPosition,
) -> Result<()> {
    let mut insert = db.prepare_cached(
        "INSERT INTO ff_index (p, name, score, member) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (p, name, member) DO UPDATE SET score = excluded.score
         WHERE score <> excluded.score",
    )?;
    let member = at.member.as_bytes();
    insert.execute(params![partition.column(), index, at.score.get(), member]).map(drop)
}

/// Writes an entry of `due`, unless the member has a lower score there.
pub(crate) fn hold(db: &Connection, partition: Partition, at: ScanPosition) -> Result<()> {
    let mut insert = db.prepare_cached(
        "INSERT INTO ff_index (p, name, score, member) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (p, name, member) DO UPDATE SET score = excluded.score
         WHERE score > excluded.score",
    )?;
    let (due, member) = (IndexName::Due.column(), at.member.as_bytes());
    insert.execute(params![partition.column(), due, at.score.get(), member]).map(drop)
}

/// Returns the first entries of an index.
pub(crate) fn first_entries(
    db: &Connection,
    partition: Partition,
    index: &[u8],
    limit: u32,
) -> Result<Vec<ScanPosition>> {
    let mut select = db.prepare_cached(
        "SELECT score, member FROM ff_index WHERE p = ?1 AND name = ?2
         ORDER BY score, member LIMIT ?3",
    )?;
    select.query_map(params![partition.column(), index, limit], position)?.collect()
}

/// Returns the first score of an index.
pub(crate) fn first_score(
    db: &Connection,
    partition: Partition,
    index: &[u8],
) -> Result<Option<Score>> {
    let mut select = db.prepare_cached(
        "SELECT score FROM ff_index WHERE p = ?1 AND name = ?2 ORDER BY score, member LIMIT 1",
    )?;
    let score = |row: &Row<'_>| row.get(0).map(Score::new);
    select.query_row(params![partition.column(), index], score).optional()
}

/// Sets the score of a queue in the list of its namespace, or removes the queue.
pub(crate) fn list(
    db: &Connection,
    partition: Partition,
    index: &IndexName,
    score: Option<Score>,
) -> Result<()> {
    let Some(namespace) = index.listed_in() else { return Ok(()) };
    let (p, namespace, name) = (partition.column(), namespace.as_str(), index.listed_name());
    match score {
        Some(score) => {
            let mut insert = db.prepare_cached(
                "INSERT INTO ff_list (p, namespace, name, score) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (p, namespace, name) DO UPDATE SET score = excluded.score
                 WHERE score <> excluded.score",
            )?;
            insert.execute(params![p, namespace, name, score.get()]).map(drop)
        }
        None => {
            let mut delete = db.prepare_cached(
                "DELETE FROM ff_list WHERE p = ?1 AND namespace = ?2 AND name = ?3",
            )?;
            delete.execute(params![p, namespace, name]).map(drop)
        }
    }
}

/// Lowers the score of a queue in the list of its namespace. Returns whether it was higher, or the
/// queue was not listed.
pub(crate) fn lower(
    db: &Connection,
    partition: Partition,
    index: &IndexName,
    score: Score,
) -> Result<bool> {
    let Some(namespace) = index.listed_in() else { return Ok(false) };
    let mut insert = db.prepare_cached(
        "INSERT INTO ff_list (p, namespace, name, score) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (p, namespace, name) DO UPDATE SET score = excluded.score
         WHERE score > excluded.score",
    )?;
    let (p, namespace, name) = (partition.column(), namespace.as_str(), index.listed_name());
    Ok(insert.execute(params![p, namespace, name, score.get()])? > 0)
}

/// Changes a count. A count of 0 takes no space.
pub(crate) fn count(db: &Connection, partition: Partition, change: &CountChange) -> Result<()> {
    let mut insert = db.prepare_cached(
        "INSERT INTO ff_count (p, namespace, name, number) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (p, namespace, name) DO UPDATE SET number = number + excluded.number",
    )?;
    let (p, namespace) = (partition.column(), change.name.namespace.as_str());
    let name = change.name.listed_name();
    insert.execute(params![p, namespace, name, change.by])?;
    let mut delete = db.prepare_cached(
        "DELETE FROM ff_count WHERE p = ?1 AND namespace = ?2 AND name = ?3 AND number = 0",
    )?;
    delete.execute(params![p, namespace, name]).map(drop)
}
