//! The wire form of requests and replies: what the function library takes and gives.
//!
//! The table in the head of `lua/flowfabric.lua` describes it; [`SECTIONS`] repeats that table and
//! a test compares the two. The library measures each call before it reads or writes anything, so
//! that an argument too many or too few is refused.

mod decode;
mod encode;
mod library;

pub use decode::{Answer, WireError, decode, score};
pub use encode::{Call, SECTIONS, encode};
pub use library::{Function, Library};
