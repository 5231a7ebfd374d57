//! Grants: single-use admissions of one worker to one execution.

use serde::{Deserialize, Serialize};

use crate::error::Rejection;
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
    /// How the routing decision was made, as JSON.
    pub route_snapshot_json: Option<String>,
    /// Why the worker was admitted.
    pub admission_summary: Option<String>,
}

impl GrantAudit {
    /// The maximum length of the hash over the worker's capabilities: 128 bytes.
    pub const CAPABILITY_HASH_MAX_BYTES: usize = 128;
    /// The maximum length of the snapshot of the routing decision: 4 KiB.
    pub const ROUTE_SNAPSHOT_MAX_BYTES: usize = 4 << 10;
    /// The maximum length of the summary of the admission: 1 KiB.
    pub const ADMISSION_SUMMARY_MAX_BYTES: usize = 1 << 10;

    /// Checks the length of each text.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a text that is too long.
    pub fn check(&self) -> Result<(), Rejection> {
        let texts = [
            ("capability_hash", &self.capability_hash, Self::CAPABILITY_HASH_MAX_BYTES),
            ("route_snapshot_json", &self.route_snapshot_json, Self::ROUTE_SNAPSHOT_MAX_BYTES),
            ("admission_summary", &self.admission_summary, Self::ADMISSION_SUMMARY_MAX_BYTES),
        ];
        for (field, text, limit) in texts {
            let bytes = text.as_ref().map_or(0, String::len);
            if bytes > limit {
                let problem = format!("has {bytes} bytes, and may have {limit}");
                return Err(Rejection::InvalidInput { field, problem });
            }
        }
        Ok(())
    }
}

impl Grant {
    /// Whether the grant can still be used.
    pub fn is_live(&self, now: TimestampMs) -> bool {
        now < self.expires_at
    }
}
