//! Entries of a partition's journal: who did what to which execution
//! (`docs/architecture.md`, Journal).

use serde::{Deserialize, Serialize};

use crate::execution::Event;
use crate::id::{AttemptIndex, ExecutionId, LeaseEpoch};

/// What one commit did to one execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// The execution.
    pub execution: ExecutionId,
    /// The count of the record's version after the commit.
    pub version: u64,
    /// The fencing token of its latest lease.
    pub epoch: LeaseEpoch,
    /// The attempt that runs, is interrupted, or ran last.
    pub attempt: Option<AttemptIndex>,
    /// What happened, in order.
    pub events: Vec<Event>,
}
