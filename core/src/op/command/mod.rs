//! Carrying commands to their executions: read, decide, commit, and decide again after a conflict.

mod batch;
mod commit_unit;
mod informed;
mod transact;

pub use batch::Batch;
pub(super) use commit_unit::{put_back, quarantine};
pub use informed::Informed;
pub use transact::{Committed, Known, Transact};
