//! The wire form: the arguments and replies of the function library.
//!
//! The table in the head of `lua/flowfabric.lua` describes it. [`SECTIONS`] repeats that table, and
//! a test compares the two. The library counts the arguments of a call before it writes anything,
//! so that a call with an argument too many or too few is refused.

mod decode;
mod encode;
mod library;
mod tag;

pub use decode::{Answer, WireError, decode, firsts, wake};
pub use encode::{Call, SECTIONS, count_listeners, encode, poll};
pub use library::{Function, Library};
pub use tag::Tag;
