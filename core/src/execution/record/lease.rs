//! Leases: who owns an execution, until when, and how the ownership was given back.

use serde::{Deserialize, Serialize};

use crate::id::{AttemptId, LeaseEpoch, LeaseId, WorkerId, WorkerInstanceId};
use crate::time::{DurationMs, TimestampMs};

use super::grant::ConsumedGrant;

/// A worker's ownership of an execution until a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its id, chosen by the claimer.
    pub id: LeaseId,
    /// Its fencing token.
    pub epoch: LeaseEpoch,
    /// The worker that holds it.
    pub worker: WorkerId,
    /// The process that holds it.
    pub instance: WorkerInstanceId,
    /// How it was claimed.
    pub how: ClaimKind,
    /// When it was given; the attempt timeout counts from here.
    pub acquired_at: TimestampMs,
    /// When it ends unless it is renewed.
    pub expires_at: TimestampMs,
    /// The ttl of its latest renewal.
    pub ttl_ms: DurationMs,
    /// The grant that it consumed.
    pub grant: ConsumedGrant,
}

/// How an execution was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimKind {
    /// With a new attempt.
    New,
    /// With its interrupted attempt.
    Resumed,
    /// Taken over from an owner that lost its lease.
    Reclaimed,
}

/// The state of a lease that its holder did not give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaseFate {
    /// It is held, or it expired and no command has marked that yet.
    Held,
    /// It expired and was marked so; it stays expired if the clock steps back.
    Expired,
    /// An operator revoked it.
    Revoked,
}

/// The proof of ownership that each call of a lease's holder carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fence {
    /// The lease.
    pub lease_id: LeaseId,
    /// Its fencing token.
    pub lease_epoch: LeaseEpoch,
    /// The attempt that runs under it.
    pub attempt_id: AttemptId,
}

/// How a lease was given back by its holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The fence of the call.
    pub fence: Fence,
    /// The kind of the call and its outcome.
    pub outcome: ReleaseOutcome,
}

/// The kind and outcome of a call that gave a lease back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReleaseOutcome {
    /// `complete`.
    Completed,
    /// `fail`.
    Failed(FailOutcome),
    /// `delay_execution`.
    Delayed,
    /// `move_to_waiting_children`.
    WaitingChildren,
    /// `cancel` by the holder.
    Cancelled,
}

/// The outcome of a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailOutcome {
    /// It will be retried.
    RetryScheduled {
        /// Not before this instant.
        delay_until: TimestampMs,
    },
    /// The life is over.
    TerminalFailed,
}
