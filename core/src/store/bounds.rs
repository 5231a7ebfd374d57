//! Every bound of the store contract, in one place. Over a bound is a typed error before anything
//! is sent.

use super::contract::{Commit, OverBound, Request, StreamAppend, Unit};
use super::keys::{RecordKey, StreamName};

/// Units in one commit.
pub const MAX_UNITS: usize = 64;
/// Records, values and streams that go, index entries, or stream entries in one unit, each.
pub const MAX_ENTRIES_PER_UNIT: usize = 255;
/// Members in one take.
pub const MAX_TAKE: usize = 256;
/// Partitions in one poll.
pub const MAX_POLL_PARTITIONS: usize = 65_536;
/// Keys in one read.
pub const MAX_READ_KEYS: usize = 1_024;
/// Entries on one page of an index or a stream.
pub const MAX_PAGE: usize = 1_024;
/// Bytes in one record.
pub const MAX_RECORD_BYTES: usize = 1 << 18;
/// Bytes in one value: 16 MiB.
pub const MAX_VALUE_BYTES: usize = 1 << 24;
/// Bytes in one entry of a stream: the end of a life tells all its tags, of 128 KiB at most.
pub const MAX_STREAM_ENTRY_BYTES: usize = 1 << 18;
/// Bytes of values in one request, and in one reply: what is beyond is deferred.
pub const MAX_MESSAGE_BYTES: usize = 1 << 25;
/// Bytes of a partition's journal; the oldest entries go first.
pub const MAX_JOURNAL_BYTES: usize = 1 << 20;
/// How long an entry of a journal is kept, at most: 24 h, in milliseconds.
pub const MAX_JOURNAL_AGE_MS: u64 = 24 * 60 * 60 * 1_000;
/// Bytes of the output of one attempt: 8 MiB; the oldest frames go first.
pub const MAX_FRAMES_BYTES: usize = 1 << 23;
/// Frames of the output of one attempt; the oldest ones go first.
pub const MAX_FRAMES: usize = 10_000;

/// As many entries as no stream reaches.
const ANY_ENTRIES: usize = u32::MAX as usize;
/// As long as no instant lies from another, and exact as a number of Lua, in milliseconds.
const ANY_AGE_MS: u64 = 1 << 52;

// A page of a stream holds no more than the stream, so that every page fits into a reply; and the
// latest entry always fits into its stream.
const _: () = assert!(MAX_JOURNAL_BYTES <= MAX_MESSAGE_BYTES);
const _: () = assert!(MAX_FRAMES_BYTES <= MAX_MESSAGE_BYTES);
const _: () = assert!(MAX_STREAM_ENTRY_BYTES <= MAX_JOURNAL_BYTES);
const _: () = assert!(MAX_STREAM_ENTRY_BYTES <= MAX_FRAMES_BYTES);

/// What a stream keeps: its latest entries, and never more than any of these allows. The caps are
/// applied when an entry is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamCaps {
    /// Bytes of all entries.
    pub bytes: usize,
    /// How many entries.
    pub entries: usize,
    /// How old an entry may be when a later one is appended, in milliseconds.
    pub age_ms: u64,
}

impl StreamName {
    /// What the stream keeps.
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
    /// [`OverBound`] names the first bound that is exceeded.
    pub fn check(&self) -> Result<(), OverBound> {
        match self {
            Self::Commit(commit) => check_commit(commit),
            Self::Take(take) => within("members in a take", take.count as usize, MAX_TAKE),
            Self::Poll(poll) => {
                within("partitions in a poll", poll.partitions.len(), MAX_POLL_PARTITIONS)
            }
            Self::Read(read) => {
                within("keys in a read", read.records.len() + read.values.len(), MAX_READ_KEYS)
            }
            Self::Scan(scan) => within("entries on a page", scan.limit as usize, MAX_PAGE),
            Self::Stream(page) => within("entries on a page", page.limit as usize, MAX_PAGE),
        }
    }
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

fn check_unit(unit: &Unit) -> Result<(), OverBound> {
    let lengths = [
        unit.expect.len(),
        unit.put.len(),
        unit.remove.len(),
        // Streams that go are written among the values.
        unit.values.len() + unit.drop_streams.len(),
        unit.index.len(),
        unit.append.len(),
        unit.ring.len(),
        unit.fetch.len(),
    ];
    for length in lengths {
        within("entries in a unit", length, MAX_ENTRIES_PER_UNIT)?;
    }
    for (_, bytes) in &unit.put {
        within("bytes in a record", bytes.len(), MAX_RECORD_BYTES)?;
    }
    for write in &unit.values {
        let bytes = write.value.as_ref().map_or(0, |value| value.len());
        within("bytes in a value", bytes, MAX_VALUE_BYTES)?;
    }
    for append in &unit.append {
        within("bytes in a stream entry", append.entry.len(), MAX_STREAM_ENTRY_BYTES)?;
    }
    let goes = |append: &&StreamAppend| unit.drop_streams.contains(&append.stream);
    within("appends to a stream that goes", unit.append.iter().filter(goes).count(), 0)?;
    let unexpected = |key: &RecordKey| !unit.expect.iter().any(|(expected, _)| expected == key);
    let written = unit.put.iter().map(|(key, _)| key).chain(&unit.remove);
    within("records written without a version", written.filter(|key| unexpected(key)).count(), 0)
}
