//! Carrying commands to their executions: read, decide, commit, and decide again after a conflict.

mod basis;
mod batch;
mod carry;
mod commit_unit;
mod facts;
mod gating;

pub use batch::Batch;
pub use carry::{CarryCommand, Committed, Known};
pub(super) use commit_unit::{put_back, quarantine};
