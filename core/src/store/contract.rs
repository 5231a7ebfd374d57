//! The requests and replies of the store contract, as values.

use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use crate::partition::Partition;
use crate::purpose::Purpose;
use crate::score::Score;
use crate::time::{DurationMs, TimestampMs, Window};

use super::keys::{CountName, IndexName, RecordKey, StreamName, Topic, ValueKey};
use super::poll::{FirstOf, Poll, Polled};

/// An immutable piece of data. Cloning is cheap.
pub type Bytes = Arc<[u8]>;

/// A member of an index: the uuid of an execution, or of a signal in the index of one execution.
pub type Member = Uuid;

/// A request to a store.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Replaces records if their versions are unchanged.
    Commit(Commit),
    /// Takes the next entries of an index for one caller.
    Take(Take),
    /// Returns the first score of one index or of all queues of a namespace, or the counts of a
    /// namespace, in many partitions.
    Poll(Poll),
    /// Returns records and values by key.
    Read(Read),
    /// Returns a page of an index with its records.
    Scan(Scan),
    /// Returns a page of a stream.
    Stream(StreamPage),
}

impl Request {
    /// Returns the partition of the request; for a poll, the first one.
    pub fn partition(&self) -> Partition {
        match self {
            Self::Commit(commit) => commit.partition,
            Self::Take(take) => take.partition,
            Self::Poll(poll) => poll.partitions.first().copied().unwrap_or(Partition::META),
            Self::Read(read) => read.partition,
            Self::Scan(scan) => scan.partition,
            Self::Stream(page) => page.partition,
        }
    }

    /// Returns the topics that the request may ring.
    pub fn topics(&self) -> BTreeSet<Topic> {
        match self {
            Self::Commit(commit) => {
                let named = commit.units.iter().flat_map(|unit| unit.ring.iter().cloned());
                let written = commit.units.iter().flat_map(|unit| &unit.index);
                named.chain(written.filter_map(|write| write.index.topic())).collect()
            }
            Self::Take(take) => take.from.iter().filter_map(IndexName::topic).collect(),
            _ => BTreeSet::new(),
        }
    }
}

/// The version of a record: a count that grows by one, and a nonce drawn by the committer. Both are
/// compared, so that a version that was lost in a failover or removed by retention is never
/// mistaken for another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The number of commits of the record so far.
    pub count: u64,
    /// A random number drawn by the committer.
    pub nonce: u64,
}

impl Version {
    /// The version of a record that does not exist.
    pub const ABSENT: Self = Self { count: 0, nonce: 0 };

    /// Returns the version of the record after a commit with this nonce.
    #[must_use]
    pub const fn next(self, nonce: u64) -> Self {
        Self { count: self.count.saturating_add(1), nonce }
    }
}

/// A record as the store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The version of the record.
    pub version: Version,
    /// The encoded body.
    pub bytes: Bytes,
}

impl Stored {
    /// Returns the number of bytes that count for the bounds of replies: a version has 16.
    pub fn size(&self) -> usize {
        VERSION_BYTES + self.bytes.len()
    }
}

/// The bytes of a stored version.
const VERSION_BYTES: usize = 16;

/// One or more units of one partition. Each unit is atomic and has its own reply, so batching never
/// couples unrelated executions. A record is expected by at most one unit. All units have the same
/// purpose, because a full store allows or refuses a call as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// The partition of all keys.
    pub partition: Partition,
    /// The units, processed in order: the checks of a unit, then its writes, then the next unit.
    pub units: Vec<Unit>,
}

/// Writes that are applied together or not at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// Every record that the decision depends on, with the version that it saw.
    pub expect: Vec<(RecordKey, Version)>,
    /// The window in which the decision holds, by the store's clock.
    pub window: Window,
    /// The purpose, which determines whether a store with full memory allows the unit.
    pub purpose: Purpose,
    /// The nonce of the versions that this unit writes.
    pub nonce: u64,
    /// Records to write. Each must be in `expect`.
    pub put: Vec<(RecordKey, Bytes)>,
    /// Records to remove. Each must be in `expect`.
    pub remove: Vec<RecordKey>,
    /// Values to write or remove.
    pub values: Vec<ValueWrite>,
    /// Index entries to write or remove.
    pub index: Vec<IndexWrite>,
    /// Changes of counts. A count is the sum of all changes of it; a sum of 0 takes no space.
    /// \[INV-COUNT-1\]
    pub counts: Vec<CountChange>,
    /// Entries to append to streams.
    pub append: Vec<StreamAppend>,
    /// Streams to remove as a whole. The unit must not append to them. A removed stream is like one
    /// that never existed: a later append starts it again, and a reader finds no gap.
    pub drop_streams: Vec<StreamName>,
    /// Topics to ring, once for all units of a commit that name them: their subscribers are woken.
    /// The topic of a lane rings by itself when an index entry lowers the first score of a queue.
    /// [`Topic::Due`] rings once for a commit if the first score of `due` is then one that its
    /// units have written, and due within [`DUE_SOON`].
    pub ring: Vec<Topic>,
    /// Values to return with the reply, as they are after the writes.
    pub fetch: Vec<ValueKey>,
    /// The bytes of records that the reply to a conflict may have. If they have more, the reply has
    /// none of them. The first record is always returned if it is the only one.
    pub conflict_bytes: u32,
}

/// How near the store's present time, before or after it, an entry of `due` must be for its commit
/// to ring [`Topic::Due`]. Timekeepers find later entries in time by polling.
pub const DUE_SOON: DurationMs = DurationMs::from_secs(5);

/// The maximum number of bytes of records in the reply to a unit that met a conflict: 256 KiB.
pub const MAX_CONFLICT_BYTES: u32 = 1 << 18;

impl Unit {
    /// Creates a unit that expects nothing, holds at any time, and neither writes, rings nor
    /// fetches.
    #[must_use]
    pub const fn new(purpose: Purpose, nonce: u64) -> Self {
        Self {
            expect: Vec::new(),
            window: Window::ALWAYS,
            purpose,
            nonce,
            put: Vec::new(),
            remove: Vec::new(),
            values: Vec::new(),
            index: Vec::new(),
            counts: Vec::new(),
            append: Vec::new(),
            drop_streams: Vec::new(),
            ring: Vec::new(),
            fetch: Vec::new(),
            conflict_bytes: MAX_CONFLICT_BYTES,
        }
    }
}

/// A value to write or to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueWrite {
    /// The key of the value.
    pub key: ValueKey,
    /// The new content; `None` removes the value.
    pub value: Option<Bytes>,
}

/// An index entry to write or to remove. A write replaces an earlier score of the member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexWrite {
    /// The index.
    pub index: IndexName,
    /// The member.
    pub member: Member,
    /// The new score; `None` removes the entry.
    pub score: Option<Score>,
}

/// A change of a count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountChange {
    /// The count.
    pub name: CountName,
    /// The number that is added to it.
    pub by: i8,
}

/// An entry to append to a stream. The store numbers it, and drops the oldest entries beyond the
/// caps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamAppend {
    /// The stream.
    pub stream: StreamName,
    /// The entry.
    pub entry: Bytes,
    /// The caps of the stream with the entry. Programs use [`StreamName::caps`]; tests use smaller
    /// ones, to fill streams with few entries.
    pub caps: StreamCaps,
}

/// The caps of a stream. A stream keeps its latest entries within all of these caps. They are
/// applied when an entry is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamCaps {
    /// The maximum size of all entries, in bytes.
    pub bytes: usize,
    /// The maximum number of entries.
    pub entries: usize,
    /// The maximum age of an entry when a later one is appended, in milliseconds.
    pub age_ms: u64,
}

/// A wake-up: a hint. Nothing may depend on its arrival.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wake {
    /// The topic that rang.
    pub topic: Topic,
    /// The partition of the change.
    pub partition: Partition,
    /// The queue that the wake-up of a lane is about, or `Due`, and its first score. `None` in a
    /// wake-up of [`Topic::Due`] means that the partition has no timers.
    pub first: Option<FirstOf>,
}

/// Takes the first entries of `due`, of `retention`, or of some queues of one lane in the order of
/// their scores. A taken entry leaves its queue, and gets the score min(its current score in `due`,
/// now + hold) in `due`. An entry of `due` or `retention` stays there, and gets now + hold. So no
/// entry is lost if the caller dies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Take {
    /// The partition.
    pub partition: Partition,
    /// The indexes to take from: `Due` or `Retention` alone, or indexes `Eligible` of one lane. Of
    /// two entries with equal scores, that of the earlier index here comes first.
    pub from: Vec<IndexName>,
    /// The maximum number of entries to examine. An entry whose record no longer exists is dropped,
    /// so a reply may have fewer entries although others are left.
    pub count: u32,
    /// The bytes of records after which no further entry is taken. At least one entry is examined,
    /// whatever its size; the others remain.
    pub bytes: u32,
    /// The end of the range to take from.
    pub until: TakeUntil,
    /// The time for which the caller holds the entries. After it they are due, and others can take
    /// them.
    pub hold: DurationMs,
    /// Whether to ring the topic of the queues when entries are left in them, whatever the range. A
    /// caller that continues with the rest does not need it. A take from `Due` rings if it took an
    /// entry, with the first score that it left, so that other timekeepers forget what it took.
    pub ring_rest: bool,
}

/// The end of the range of a `Take`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeUntil {
    /// The end of the index.
    End,
    /// A score, inclusive.
    Score(Score),
    /// The store's current time, inclusive.
    Now,
}

/// Reads records and values by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The partition of all keys.
    pub partition: Partition,
    /// The keys of the records.
    pub records: Vec<RecordKey>,
    /// The keys of the values.
    pub values: Vec<ValueKey>,
}

/// Reads a page of an index with its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The partition.
    pub partition: Partition,
    /// The index.
    pub index: IndexName,
    /// The order of the entries.
    pub order: ScanOrder,
    /// Where the page begins: after this position, which need not have an entry.
    pub after: Option<ScanPosition>,
    /// The maximum number of entries.
    pub limit: u32,
    /// The bytes of records after which the page ends, with at least one entry.
    pub bytes: u32,
}

/// The order in which a `Scan` reads an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanOrder {
    /// The lowest position first.
    Ascending,
    /// The highest position first.
    Descending,
}

/// A position in an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScanPosition {
    /// The score.
    pub score: Score,
    /// The member, which orders entries with equal scores.
    pub member: Member,
}

/// Reads a page of a stream, without waiting for entries. A page is at most as large as the caps of
/// its stream ([`StreamName::caps`]), which fit into a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPage {
    /// The partition.
    pub partition: Partition,
    /// The stream.
    pub stream: StreamName,
    /// The position before the first entry of the page.
    pub from: Cursor,
    /// The maximum number of entries.
    pub limit: u32,
}

/// A position in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// Before the first entry that is kept.
    Start,
    /// After the last entry that exists now.
    End,
    /// After an entry, in one history of the store.
    After {
        /// The history in which the entry was read.
        history: u64,
        /// The entry.
        id: StreamId,
    },
}

/// The number of a stream entry: the store's time, and a sequence within the millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// The time of the append. It is never lower than that of the previous entry.
    pub at: TimestampMs,
    /// The sequence within the millisecond, from 0.
    pub sequence: u64,
}

impl StreamId {
    /// Returns the greatest ID below this one. A page that is read from after that ID begins with
    /// this entry.
    #[must_use]
    pub fn before(self) -> Self {
        match self.sequence.checked_sub(1) {
            Some(sequence) => Self { at: self.at, sequence },
            None => {
                let at = TimestampMs::new(self.at.get().saturating_sub(1));
                Self { at, sequence: u64::MAX }
            }
        }
    }
}

/// The reply of a store, with the store's time.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The store's time when it processed the request.
    pub at: TimestampMs,
    /// The body of the reply.
    pub body: ReplyBody,
}

/// The body of a reply, by request.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyBody {
    /// The reply to `Commit`: one element for each unit.
    Commit(Vec<UnitReply>),
    /// The reply to `Take`.
    Take(Taken),
    /// The reply to `Poll`.
    Poll(Polled),
    /// The reply to `Read`.
    Read(Values),
    /// The reply to `Scan`.
    Scan(Scanned),
    /// The reply to `Stream`.
    Stream(Streamed),
    /// The request is over a bound. Nothing was done.
    OverBound(OverBound),
}

/// The result of a unit.
#[derive(Clone, Debug, PartialEq)]
pub enum UnitReply {
    /// All writes are applied and durable. \[INV-DURABLE-1\]
    Committed {
        /// The requested values, in the order of `fetch`.
        fetched: Vec<Fetched>,
    },
    /// A record has another version. Nothing was written.
    Conflict {
        /// The current records in the order of `expect`, so that the next try needs no read; empty
        /// if they have more than `conflict_bytes` bytes, so that they must be read.
        current: Vec<Option<Stored>>,
    },
    /// The store's time is outside of the window. Nothing was written.
    OutsideWindow,
}

/// A requested value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The value does not exist.
    Absent,
    /// The content of the value.
    Value(Bytes),
    /// The reply would have been too large: read this value in its own request.
    Deferred,
}

impl Take {
    /// Returns the wake-up that a store sends after this take, if any: with the first entry that is
    /// left in its queues, so that another program looks for it.
    pub fn wake(&self, taken: &Taken) -> Option<Wake> {
        let rests = taken.rest.iter().zip(&self.from);
        let lowest = rests.filter_map(|(rest, index)| Some(((*rest)?, index)));
        let lowest = lowest.min_by_key(|(score, _)| *score);
        let first = lowest.map(|(score, index)| FirstOf { index: index.clone(), score });
        let rings = match self.from[..] {
            [IndexName::Due] => !taken.entries.is_empty(),
            _ => first.is_some(),
        };
        let topic = self.from.first()?.topic()?;
        (self.ring_rest && rings).then_some(Wake { topic, partition: self.partition, first })
    }
}

/// The entries that a `Take` returned.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// The entries in order. An entry without a record is removed from the index and not returned.
    pub entries: Vec<TakenEntry>,
    /// For each index of the request, the first score among the entries that were not taken,
    /// whatever the range; `None` if there are none. Only this shows that nothing is left: `count`
    /// and `bytes` end a take early.
    pub rest: Vec<Option<Score>>,
}

/// An entry that a `Take` returned.
#[derive(Clone, Debug, PartialEq)]
pub struct TakenEntry {
    /// The number of its index in the request.
    pub from: usize,
    /// The entry.
    pub entry: ScanEntry,
}

/// An entry of an index with its record.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanEntry {
    /// The position of the entry.
    pub position: ScanPosition,
    /// The record of the member.
    pub record: Option<Stored>,
}

/// The records and values of a `Read`, in the order of the request.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// The records.
    pub records: Vec<Option<Stored>>,
    /// The values.
    pub values: Vec<Fetched>,
}

/// A page of an index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scanned {
    /// The entries in order.
    pub entries: Vec<ScanEntry>,
    /// The position after which the next page begins; `None` at the end. Only this shows the end: a
    /// page may have fewer entries than `limit`.
    pub next: Option<ScanPosition>,
}

/// A page of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Streamed {
    /// The entries in order.
    pub entries: Vec<StreamEntry>,
    /// The cursor of the next page.
    pub next: Cursor,
    /// Whether entries after the cursor were dropped, or the store's history changed. If so, the
    /// reader must read again the records that it waits for.
    pub gap: bool,
}

/// An entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntry {
    /// The number of the entry.
    pub id: StreamId,
    /// The content.
    pub entry: Bytes,
}

/// The error for a request over a bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many {what}: {given}; at most {bound} are allowed")]
pub struct OverBound {
    /// The bounded quantity, such as `bytes in a record`.
    pub what: &'static str,
    /// The amount in the request.
    pub given: usize,
    /// The bound.
    pub bound: usize,
}

/// The reason a call has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The call was not sent. Nothing was applied.
    #[error("the call was not sent: {0}")]
    NotSent(String),
    /// The call was sent and no reply arrived. It may be applied, now or later.
    #[error("the call was sent, but no reply arrived: {0}")]
    MaybeApplied(String),
    /// The store refused the call. Nothing was applied.
    #[error("the store refused the call: {0}")]
    Refused(String),
}

impl Request {
    /// Whether the request changes nothing.
    pub const fn is_read_only(&self) -> bool {
        !matches!(self, Self::Commit(_) | Self::Take(_))
    }
}
