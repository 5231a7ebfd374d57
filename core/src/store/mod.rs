//! The store contract: what every backend answers identically, and the reference that says how.
//!
//! Two things happen atomically in a store: swap these records if nobody changed them (`Commit`),
//! and hand out the next entries of an index (`Take`). Everything else is reading. The store never
//! looks inside a record (`docs/architecture.md`, The store contract).

pub mod bounds;
pub mod codec;
pub mod contract;
mod cursor;
pub mod journal;
pub mod keys;
pub mod memory;
pub mod meta;

pub use contract::{
    Bytes, Commit, Cursor, Failure, Fetched, IndexWrite, Member, OverBound, Poll, Read, Reply,
    ReplyBody, Request, Scan, ScanEntry, ScanPosition, Scanned, Stored, StreamAppend, StreamEntry,
    StreamId, StreamPage, Streamed, Take, TakeUntil, Taken, Unit, UnitReply, ValueWrite, Values,
    Version, Wake,
};
pub use cursor::InvalidCursor;
pub use journal::JournalEntry;
pub use keys::{IndexName, RecordKey, StreamName, Topic, ValueKey};
pub use memory::MemoryStore;
pub use meta::StoreMeta;
