//! How each fault happens: when it strikes, for how long, and what callers learn.
//!
//! [`FaultKind`](crate::plan::FaultKind) lists the kinds and their weights. Each fault draws from its
//! own stream, so that leaving one out leaves the others as they were.

pub mod chances;
pub mod clock;
pub mod journey;
pub mod planned;
pub mod process;
pub mod store;
