//! The parts that the two requests for grants share.

use ff_core::error::Rejection;
use ff_core::execution::GrantAudit;

/// The bounds of the validity period of a grant, in milliseconds.
const GRANT_TTL_MS: std::ops::RangeInclusive<u64> = 1..=60_000;

/// Checks the validity period of a grant, and the data to store with it.
pub(crate) fn check_grant(grant_ttl_ms: u64, audit: &GrantAudit) -> Result<(), Rejection> {
    if !GRANT_TTL_MS.contains(&grant_ttl_ms) {
        let problem = format!("is {grant_ttl_ms}: it must be 1 to 60000");
        return Err(Rejection::InvalidInput { field: "grant_ttl_ms", problem });
    }
    audit.check()
}

/// Gives a request for a grant the method `audit`.
macro_rules! audited {
    ($request:ty) => {
        impl $request {
            /// Returns the data to store with the grant.
            pub fn audit(&self) -> ff_core::execution::GrantAudit {
                ff_core::execution::GrantAudit {
                    instance: Some(self.worker_instance_id.clone()),
                    capability_hash: self.capability_hash.clone(),
                    route_snapshot_json: self.route_snapshot_json.clone(),
                    admission_summary: self.admission_summary.clone(),
                }
            }
        }
    };
}

pub(crate) use audited;
