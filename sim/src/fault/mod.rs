//! How each fault happens: when, for how long, and what callers learn of it.
//!
//! [`FaultKind`](crate::plan::FaultKind) lists the kinds and their weights. Each fault draws from
//! its own stream, so that leaving one out does not change the others.

pub mod border;
pub mod chances;
pub mod clock;
pub mod journey;
pub mod other_record;
pub mod planned;
pub mod process;
pub mod store;
