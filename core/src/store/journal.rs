//! The entries of a partition's journal: the events of its executions (`docs/architecture.md`,
//! Journal).

use serde::{Deserialize, Serialize};

use crate::execution::Event;
use crate::id::{AttemptIndex, ExecutionId, LeaseEpoch};

/// The events of one commit on one execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// The execution.
    pub execution: ExecutionId,
    /// The `count` of the record's version after the commit.
    pub version: u64,
    /// The fencing epoch of the execution's latest lease.
    pub epoch: LeaseEpoch,
    /// The attempt that runs, is interrupted, or ran last.
    pub attempt: Option<AttemptIndex>,
    /// The events, in order.
    pub events: Vec<Event>,
}
