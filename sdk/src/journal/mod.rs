//! Completions as a stream, read from the journals of all partitions, with a cursor from which a
//! later subscriber can continue.

mod backend;
mod follower;
mod reader;
mod shared;

pub use backend::JournalBackend;
pub use reader::JournalCompletions;
