//! Carrying commands to their executions: read, decide, commit, and decide again after a conflict.

mod batch;
mod carry;
mod commit_unit;
mod facts;

pub use batch::Batch;
pub use carry::{CarryCommand, Committed, Known};
pub(super) use commit_unit::{put_back, quarantine};
