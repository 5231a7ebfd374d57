//! The store contract, which every backend implements identically, and its reference
//! implementation in memory.
//!
//! A store has two atomic operations: `Commit` replaces records if their versions are unchanged,
//! and `Take` takes the next entries of an index for one caller. All other requests only read. The
//! store never interprets the content of a record (`docs/architecture.md`, The store contract).

pub mod bounds;
pub mod codec;
pub mod contract;
mod cursor;
pub mod journal;
pub mod keys;
pub mod memory;
pub mod meta;
mod poll;

pub use contract::{
    Bytes, Commit, CountChange, Cursor, DUE_SOON, Failure, Fetched, IndexWrite, Member, OverBound,
    Read, Reply, ReplyBody, Request, Scan, ScanEntry, ScanOrder, ScanPosition, Scanned, Stored,
    StreamAppend, StreamCaps, StreamEntry, StreamId, StreamPage, Streamed, Take, TakeUntil, Taken,
    TakenEntry, Unit, UnitReply, ValueWrite, Values, Version, Wake,
};
pub use cursor::InvalidCursor;
pub use journal::JournalEntry;
pub use keys::{CountName, IndexName, RecordKey, StreamName, Topic, ValueKey};
pub use memory::MemoryStore;
pub use meta::StoreMeta;
pub use poll::{CountOf, FirstOf, Firsts, Poll, PollOf, Polled};
