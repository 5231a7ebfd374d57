//! The bounds of the store contract. A request over a bound is a typed error, before anything is
//! sent.

pub use super::contract::MAX_CONFLICT_BYTES;
use super::contract::{Bytes, Commit, OverBound, Request, StreamAppend, StreamCaps, Unit};
use super::keys::{IndexName, RecordKey, StreamName};

/// The maximum number of units in one commit.
pub const MAX_UNITS: usize = 64;
/// The maximum number of elements of each kind in one unit: records, values together with dropped
/// streams, index entries, changes of counts, stream entries, topics.
pub const MAX_ENTRIES_PER_UNIT: usize = 255;
/// The maximum number of members in one take.
pub const MAX_TAKE: usize = 256;
/// The maximum number of indexes in one take.
pub const MAX_TAKE_INDEXES: usize = 16;
/// The maximum number of partitions in one poll.
pub const MAX_POLL_PARTITIONS: usize = 65_536;
/// The maximum number of keys in one read.
pub const MAX_READ_KEYS: usize = 1_024;
/// The maximum number of records in one read. So many records of the maximum size are 32 MiB.
pub const MAX_READ_RECORDS: usize = 128;
/// The maximum number of entries on one page of an index or a stream.
pub const MAX_PAGE: usize = 1_024;
/// The maximum size of a record, in bytes: 256 KiB.
pub const MAX_RECORD_BYTES: usize = 1 << 18;
/// The maximum size of a value, in bytes: 16 MiB.
pub const MAX_VALUE_BYTES: usize = 1 << 24;
/// The maximum size of a stream entry, in bytes: 256 KiB. The event for the end of a life contains
/// all tags, up to 128 KiB.
pub const MAX_STREAM_ENTRY_BYTES: usize = 1 << 18;
/// The maximum number of bytes of records after which a take and a page of an index end: 8 MiB.
pub const MAX_PAGE_BYTES: u32 = 1 << 23;
/// The maximum size of all values in one request, and in one reply, in bytes: 32 MiB. A reply
/// defers the values beyond it.
pub const MAX_MESSAGE_BYTES: usize = 1 << 25;
/// The maximum size of a partition's journal, in bytes: 1 MiB. The oldest entries are dropped
/// first.
pub const MAX_JOURNAL_BYTES: usize = 1 << 20;
/// The maximum age of a journal entry, in milliseconds: 24 h.
pub const MAX_JOURNAL_AGE_MS: u64 = 24 * 60 * 60 * 1_000;
/// The maximum size of the output of one attempt, in bytes: 8 MiB. The oldest frames are dropped
/// first.
pub const MAX_FRAMES_BYTES: usize = 1 << 23;
/// The maximum number of frames in the output of one attempt. The oldest frames are dropped first.
pub const MAX_FRAMES: usize = 10_000;

/// A number of entries that no stream reaches.
const ANY_ENTRIES: usize = u32::MAX as usize;
/// An age that no entry reaches, in milliseconds. Lua represents it exactly.
const ANY_AGE_MS: u64 = 1 << 52;

// A page of a stream is at most as large as the stream, so these assertions prove that every page
// fits into a reply, and that the latest entry always fits into its stream.
const _: () = assert!(MAX_JOURNAL_BYTES <= MAX_MESSAGE_BYTES);
const _: () = assert!(MAX_FRAMES_BYTES <= MAX_MESSAGE_BYTES);
const _: () = assert!(MAX_STREAM_ENTRY_BYTES <= MAX_JOURNAL_BYTES);
// The records in a reply fit too: the last one of a page may begin just below the bound.
const _: () = assert!(MAX_PAGE_BYTES as usize + MAX_RECORD_BYTES <= MAX_MESSAGE_BYTES);
const _: () = assert!(MAX_UNITS * MAX_CONFLICT_BYTES as usize <= MAX_MESSAGE_BYTES);
const _: () = assert!(MAX_READ_RECORDS * MAX_RECORD_BYTES <= MAX_MESSAGE_BYTES);
const _: () = assert!(MAX_STREAM_ENTRY_BYTES <= MAX_FRAMES_BYTES);

impl StreamAppend {
    /// Creates an append under the caps of the stream.
    pub const fn new(stream: StreamName, entry: Bytes) -> Self {
        Self { caps: stream.caps(), stream, entry }
    }
}

impl StreamName {
    /// Returns the caps of the stream, which an append must not exceed.
    pub const fn caps(&self) -> StreamCaps {
        match self {
            Self::Journal => StreamCaps {
                bytes: MAX_JOURNAL_BYTES,
                entries: ANY_ENTRIES,
                age_ms: MAX_JOURNAL_AGE_MS,
            },
            Self::Frames { .. } => {
                StreamCaps { bytes: MAX_FRAMES_BYTES, entries: MAX_FRAMES, age_ms: ANY_AGE_MS }
            }
        }
    }
}

fn within(what: &'static str, given: usize, bound: usize) -> Result<(), OverBound> {
    if given <= bound { Ok(()) } else { Err(OverBound { what, given, bound }) }
}

impl Request {
    /// Checks the request against every bound.
    ///
    /// # Errors
    ///
    /// [`OverBound`] for the first bound that is exceeded.
    pub fn check(&self) -> Result<(), OverBound> {
        match self {
            Self::Commit(commit) => check_commit(commit),
            Self::Take(take) => {
                within("members in a take", take.count as usize, MAX_TAKE)?;
                within("indexes in a take", take.from.len(), MAX_TAKE_INDEXES)?;
                let others = take.from.len() - taken_together(&take.from);
                within("other indexes in a take", others, 0)?;
                within("bytes on a page", take.bytes as usize, MAX_PAGE_BYTES as usize)
            }
            Self::Poll(poll) => {
                within("partitions in a poll", poll.partitions.len(), MAX_POLL_PARTITIONS)
            }
            Self::Read(read) => {
                within("keys in a read", read.records.len() + read.values.len(), MAX_READ_KEYS)?;
                within("records in a read", read.records.len(), MAX_READ_RECORDS)
            }
            Self::Scan(scan) => {
                within("entries on a page", scan.limit as usize, MAX_PAGE)?;
                within("bytes on a page", scan.bytes as usize, MAX_PAGE_BYTES as usize)
            }
            Self::Stream(page) => within("entries on a page", page.limit as usize, MAX_PAGE),
        }
    }
}

/// How many of these indexes can be taken from together: `Due` or `Retention` alone, or different
/// queues of one lane.
fn taken_together(indexes: &[IndexName]) -> usize {
    if let Some(IndexName::Due | IndexName::Retention) = indexes.first() {
        return 1;
    }
    let fits = |(number, index): &(usize, &IndexName)| {
        let topic = index.topic();
        let same = topic.is_some() && topic == indexes[0].topic();
        same && !indexes[..*number].contains(index)
    };
    indexes.iter().enumerate().filter(fits).count()
}

fn check_commit(commit: &Commit) -> Result<(), OverBound> {
    within("units in a commit", commit.units.len(), MAX_UNITS)?;
    let mut message = 0;
    for unit in &commit.units {
        check_unit(unit)?;
        message +=
            unit.values.iter().flat_map(|write| &write.value).map(|v| v.len()).sum::<usize>();
    }
    within("bytes of values in a commit", message, MAX_MESSAGE_BYTES)?;
    let mut keys: Vec<&RecordKey> =
        commit.units.iter().flat_map(|unit| &unit.expect).map(|(key, _)| key).collect();
    keys.sort_unstable();
    let twice = keys.windows(2).filter(|pair| pair[0] == pair[1]).count();
    within("units for one record", 1 + twice, 1)?;
    let other = |unit: &Unit| unit.purpose != commit.units[0].purpose;
    within("purposes of a commit", 1 + usize::from(commit.units.iter().any(other)), 1)
}

/// An entry fits into its stream, and the stream into the caps of its kind.
fn check_append(append: &StreamAppend) -> Result<(), OverBound> {
    let StreamAppend { stream, entry, caps } = append;
    let most = stream.caps();
    within("bytes in a stream entry", entry.len(), MAX_STREAM_ENTRY_BYTES.min(caps.bytes))?;
    within("entries in an append", 1, caps.entries)?;
    within("bytes in a stream", caps.bytes, most.bytes)?;
    within("entries in a stream", caps.entries, most.entries)?;
    within("milliseconds in a stream", caps.age_ms as usize, most.age_ms as usize)
}

fn check_unit(unit: &Unit) -> Result<(), OverBound> {
    let lengths = [
        unit.expect.len(),
        unit.put.len(),
        unit.remove.len(),
        // A dropped stream is written like a removed value.
        unit.values.len() + unit.drop_streams.len(),
        unit.index.len(),
        unit.counts.len(),
        unit.append.len(),
        unit.ring.len(),
        unit.fetch.len(),
    ];
    for length in lengths {
        within("entries in a unit", length, MAX_ENTRIES_PER_UNIT)?;
    }
    let (bytes, bound) = (unit.conflict_bytes as usize, MAX_CONFLICT_BYTES as usize);
    within("bytes of current records", bytes, bound)?;
    for (_, bytes) in &unit.put {
        within("bytes in a record", bytes.len(), MAX_RECORD_BYTES)?;
    }
    for write in &unit.values {
        let bytes = write.value.as_ref().map_or(0, |value| value.len());
        within("bytes in a value", bytes, MAX_VALUE_BYTES)?;
    }
    for append in &unit.append {
        check_append(append)?;
    }
    let is_dropped = |append: &&StreamAppend| unit.drop_streams.contains(&append.stream);
    within("appends to a dropped stream", unit.append.iter().filter(is_dropped).count(), 0)?;
    let unexpected = |key: &RecordKey| !unit.expect.iter().any(|(expected, _)| expected == key);
    let written = unit.put.iter().map(|(key, _)| key).chain(&unit.remove);
    within("records written without a version", written.filter(|key| unexpected(key)).count(), 0)
}
