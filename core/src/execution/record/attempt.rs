//! Attempts: the runs of an execution by workers.

use serde::{Deserialize, Serialize};

use crate::id::{AttemptId, AttemptIndex};
use crate::time::TimestampMs;

use super::outcome::WorkFailure;

/// One run of an execution by workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its id, chosen by the claimer that started it.
    pub id: AttemptId,
    /// Its number, from 0 without gaps.
    pub index: AttemptIndex,
    /// Why it was started.
    pub kind: AttemptKind,
    /// When it was started.
    pub started_at: TimestampMs,
    /// How many frames of output it has appended: the sequence of the last one.
    pub frames: u64,
}

/// Why an attempt was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptKind {
    /// The first of the execution.
    Initial,
    /// After a failed one.
    Retry,
    /// The first of another life.
    Replay,
    /// After one whose lease was lost.
    Reclaim,
}

/// An attempt that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptSummary {
    /// The attempt.
    pub attempt: Attempt,
    /// When it ended.
    pub ended_at: TimestampMs,
    /// How it ended.
    pub end: AttemptEnd,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptEnd {
    /// It completed.
    Succeeded,
    /// It failed.
    Failed(WorkFailure),
    /// Its lease was lost: another attempt took over, or the reclaim limit was reached.
    Interrupted,
    /// The execution was cancelled.
    Cancelled,
    /// The execution's deadline passed.
    Expired,
    /// Its suspension timed out, which ended the execution.
    SuspensionTimedOut,
}
