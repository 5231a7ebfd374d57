//! Grants: single-use admissions of one worker to one execution.

use serde::{Deserialize, Serialize};

use crate::id::{GrantId, WorkerId, WorkerInstanceId};
use crate::time::TimestampMs;

/// The grant that a lease consumed, so that a repeated request for it is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumedGrant {
    /// Its id.
    pub id: GrantId,
    /// When it would have ended.
    pub expires_at: TimestampMs,
}

/// A single-use admission of one worker to this execution. Its kind follows from the phase: a
/// claim grant, a resume grant where an attempt was interrupted, a reclaim grant where a lease was
/// lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its id, chosen by the caller that asked for it.
    pub id: GrantId,
    /// The worker that may use it, with any instance.
    pub worker: WorkerId,
    /// When it ends.
    pub expires_at: TimestampMs,
    /// Data that the caller wants to be stored with it; it plays no part in admission.
    pub audit: Option<Box<GrantAudit>>,
}

/// The data that the caller of a grant request wants to be stored with the grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantAudit {
    /// The process that sent the request.
    pub instance: Option<WorkerInstanceId>,
    /// A hash over the worker's capabilities.
    pub capability_hash: Option<String>,
    /// How the routing decision was made.
    pub route_snapshot_json: Option<String>,
    /// Why the worker was admitted.
    pub admission_summary: Option<String>,
}

impl Grant {
    /// Whether the grant can still be used.
    pub fn is_live(&self, now: TimestampMs) -> bool {
        now < self.expires_at
    }
}
