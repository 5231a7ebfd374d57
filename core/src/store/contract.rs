//! Requests and replies of a store, as values.

use std::sync::Arc;

use uuid::Uuid;

use crate::execution::Purpose;
use crate::partition::Partition;
use crate::score::Score;
use crate::time::{DurationMs, TimestampMs, Window};

use super::keys::{IndexName, RecordKey, StreamName, Topic, ValueKey};

/// An immutable piece of data; cloning is cheap.
pub type Bytes = Arc<[u8]>;

/// A member of an index: the uuid of an execution, or of a signal among those of one execution.
pub type Member = Uuid;

/// What a store is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Swap records if nobody changed them.
    Commit(Commit),
    /// Hand out the next entries of an index.
    Take(Take),
    /// The first score of one index in many partitions.
    Poll(Poll),
    /// Records and values by key.
    Read(Read),
    /// A page of an index with its records.
    Scan(Scan),
    /// A page of a stream.
    Stream(StreamPage),
}

impl Request {
    /// The partition that it concerns; of a poll the first.
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
}

/// The version of a record: a number that grows by one and a nonce drawn by the committer. All of
/// it is compared, so that a version that was lost in a failover or removed by retention is never
/// mistaken for another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Grows by one with each commit of the record.
    pub count: u64,
    /// Drawn by the committer.
    pub nonce: u64,
}

impl Version {
    /// The version of a record that does not exist.
    pub const ABSENT: Self = Self { count: 0, nonce: 0 };

    /// The version that a commit with that nonce gives a record of this version.
    #[must_use]
    pub const fn next(self, nonce: u64) -> Self {
        Self { count: self.count.saturating_add(1), nonce }
    }
}

/// A record as the store holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its version.
    pub version: Version,
    /// Its encoded body.
    pub bytes: Bytes,
}

/// One or more units of one partition. Each unit is all or nothing with a reply of its own:
/// batching never couples unrelated executions. No record stands in two units, and all units have
/// the same purpose: a full store allows a call or refuses it as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    /// Where all keys live.
    pub partition: Partition,
    /// Run one after the other: the checks of a unit, then its writes, then the next unit.
    pub units: Vec<Unit>,
}

/// Writes that happen together or not at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// Every record that the decision looked at, with the version that it saw.
    pub expect: Vec<(RecordKey, Version)>,
    /// When the decision holds, by the store's clock.
    pub window: Window,
    /// Whether it is allowed when the store's memory is full.
    pub purpose: Purpose,
    /// The nonce of the versions that this unit writes.
    pub nonce: u64,
    /// Records to write; each is among the expected ones.
    pub put: Vec<(RecordKey, Bytes)>,
    /// Records to remove; each is among the expected ones.
    pub remove: Vec<RecordKey>,
    /// Values to write or remove.
    pub values: Vec<ValueWrite>,
    /// Index entries to put or remove.
    pub index: Vec<IndexWrite>,
    /// Entries to append to streams.
    pub append: Vec<StreamAppend>,
    /// Streams that go as a whole, none of which the unit appends to. One that went is as one that
    /// never was: what is appended later begins it anew, and a reader finds no gap.
    pub drop_streams: Vec<StreamName>,
    /// Whom to wake.
    pub ring: Vec<Topic>,
    /// Values to return with the reply, as they are after the writes.
    pub fetch: Vec<ValueKey>,
}

impl Unit {
    /// A unit that expects nothing, holds at any time, and neither writes, rings nor fetches.
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
            append: Vec::new(),
            drop_streams: Vec::new(),
            ring: Vec::new(),
            fetch: Vec::new(),
        }
    }
}

/// A value to write, or to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueWrite {
    /// Its key.
    pub key: ValueKey,
    /// Its content; `None` removes it.
    pub value: Option<Bytes>,
}

/// An index entry to put, wherever it stood before, or to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexWrite {
    /// The index.
    pub index: IndexName,
    /// Whose entry.
    pub member: Member,
    /// Its place; `None` removes it.
    pub score: Option<Score>,
}

/// An entry to append to a stream. The store numbers it, and drops the oldest ones that are beyond
/// the stream's caps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamAppend {
    /// The stream.
    pub stream: StreamName,
    /// The entry.
    pub entry: Bytes,
}

/// A wake-up: a hint that nothing may depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wake {
    /// What happened.
    pub topic: Topic,
    /// Where.
    pub partition: Partition,
}

/// Hands the first entries of an index to one caller. Each stays in `due` at min(present due, now +
/// hold), or at now + hold when it is taken from `due` itself, so that a caller who dies loses
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Take {
    /// Where.
    pub partition: Partition,
    /// From which index.
    pub index: IndexName,
    /// How many entries to look at, at most. One whose record is gone is dropped, so that fewer
    /// may be handed out though some are left.
    pub count: u32,
    /// How far.
    pub until: TakeUntil,
    /// How long the caller has before others are offered the entries.
    pub hold: DurationMs,
    /// Whether to ring the index's topic when some are left. A caller that goes on here by itself
    /// need not do so each time.
    pub ring_rest: bool,
}

/// How far a `Take` goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeUntil {
    /// To the end.
    End,
    /// Up to a score, inclusive.
    Score(Score),
    /// Up to the store's own now, inclusive.
    Now,
}

/// Asks for the first score of one index in many partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// The index.
    pub index: IndexName,
    /// The partitions.
    pub partitions: Vec<Partition>,
}

/// Asks for records and values by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Where all keys live.
    pub partition: Partition,
    /// Records.
    pub records: Vec<RecordKey>,
    /// Values.
    pub values: Vec<ValueKey>,
}

/// Asks for a page of an index with its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Where.
    pub partition: Partition,
    /// The index.
    pub index: IndexName,
    /// The last entry of the page before.
    pub after: Option<ScanPosition>,
    /// How many entries at most.
    pub limit: u32,
}

/// A place in an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScanPosition {
    /// The score.
    pub score: Score,
    /// The member, which decides among equal scores.
    pub member: Member,
}

/// Asks for a page of a stream; never waits. No page is larger than what its stream may hold
/// ([`StreamCaps`](super::bounds::StreamCaps)), which fits into a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPage {
    /// Where.
    pub partition: Partition,
    /// The stream.
    pub stream: StreamName,
    /// From where.
    pub from: Cursor,
    /// How many entries at most.
    pub limit: u32,
}

/// A place in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// Before the first entry that is kept.
    Start,
    /// Behind the last entry that there is now.
    End,
    /// Behind an entry, in one history of the store.
    After {
        /// The history in which the entry was read.
        history: u64,
        /// The entry.
        id: StreamId,
    },
}

/// The number of a stream's entry: the store's time and a sequence within the millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Never lower than that of the entry before.
    pub at: TimestampMs,
    /// Counts from 0 within the millisecond.
    pub sequence: u64,
}

impl StreamId {
    /// The greatest number below it: behind it stand this entry and what follows.
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

/// A store's answer; it carries the store's time.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The store's clock when it answered.
    pub at: TimestampMs,
    /// The answer.
    pub body: ReplyBody,
}

/// What a store answers, by request.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplyBody {
    /// To `Commit`: one for each unit.
    Commit(Vec<UnitReply>),
    /// To `Take`.
    Take(Taken),
    /// To `Poll`: the first score in each partition, in the order of the request. An error
    /// concerns its own partition only.
    Poll(Vec<Result<Option<Score>, String>>),
    /// To `Read`.
    Read(Values),
    /// To `Scan`.
    Scan(Scanned),
    /// To `Stream`.
    Stream(Streamed),
    /// The request is over a bound; nothing was done.
    OverBound(OverBound),
}

/// What became of a unit.
#[derive(Clone, Debug, PartialEq)]
pub enum UnitReply {
    /// All of it is written, and stays. \[INV-DURABLE-1\]
    Committed {
        /// The values that were asked for, in order.
        fetched: Vec<Fetched>,
    },
    /// A record has another version; nothing is written. The records as they are, in the order of
    /// `expect`, so that the next try needs no read.
    Conflict {
        /// The present records.
        current: Vec<Option<Stored>>,
    },
    /// The store's clock is outside of the window; nothing is written.
    OutsideWindow,
}

/// A value that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// There is none.
    Absent,
    /// Its content.
    Value(Bytes),
    /// The reply would have been too large: read it by itself.
    Deferred,
}

/// Entries that were handed out.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// In order; an entry without a record is dropped for good and not among them.
    pub entries: Vec<ScanEntry>,
    /// The first score that is left, within the bound of the request.
    pub rest: Option<Score>,
}

/// An entry of an index with its record.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanEntry {
    /// Its place.
    pub position: ScanPosition,
    /// Its record.
    pub record: Option<Stored>,
}

/// Records and values that were read, in the order of the request.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// Records.
    pub records: Vec<Option<Stored>>,
    /// Values.
    pub values: Vec<Fetched>,
}

/// A page of an index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scanned {
    /// In order.
    pub entries: Vec<ScanEntry>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<ScanPosition>,
}

/// A page of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Streamed {
    /// In order.
    pub entries: Vec<StreamEntry>,
    /// Where the next page begins.
    pub next: Cursor,
    /// Whether entries behind the cursor are not there any more, or the store's history changed:
    /// read again what you wait for.
    pub gap: bool,
}

/// An entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its number.
    pub id: StreamId,
    /// Its content.
    pub entry: Bytes,
}

/// A request that is over a bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {given} is over the bound of {bound}")]
pub struct OverBound {
    /// What is bounded.
    pub what: &'static str,
    /// How much there is.
    pub given: usize,
    /// How much is allowed.
    pub bound: usize,
}

/// Why a call got no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It never left: nothing was applied.
    #[error("the call was not sent: {0}")]
    NotSent(String),
    /// It left and no reply came: it may be applied, now or later.
    #[error("the call was sent and no reply came: {0}")]
    MaybeApplied(String),
    /// The store refused it: nothing was applied.
    #[error("the store refused the call: {0}")]
    Refused(String),
}

impl Request {
    /// Whether the request changes nothing.
    pub const fn is_read_only(&self) -> bool {
        !matches!(self, Self::Commit(_) | Self::Take(_))
    }
}
