//! `POST /v1/executions/{id}/reclaim`: asks for a grant for an execution whose lease was lost.

use ff_core::capability::Capabilities;
use ff_core::error::Rejection;
use ff_core::grant::ReclaimGrant;
use ff_core::id::{LaneId, WorkerId, WorkerInstanceId};
use ff_core::null::or_default;
use serde::{Deserialize, Serialize};

use crate::grant::{audited, check_grant};

/// A request for a reclaim grant. The answer is [`IssueReclaimGrantResponse`] with status 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssueReclaimGrantRequest {
    /// The worker that may use the grant.
    pub worker_id: WorkerId,
    /// The process that asks; it is stored with the grant.
    pub worker_instance_id: WorkerInstanceId,
    /// The lane in which the caller expects the execution. If it is in another lane, the request
    /// is refused.
    pub lane_id: LaneId,
    /// A hash over the worker's capabilities, stored with the grant; at most 128 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability_hash: Option<String>,
    /// The validity period of the grant, 1 to 60,000 milliseconds.
    pub grant_ttl_ms: u64,
    /// How the routing decision was made, stored with the grant: JSON of at most 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_snapshot_json: Option<String>,
    /// Why the worker was admitted, stored with the grant; at most 1 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission_summary: Option<String>,
    /// The worker's capabilities. Absent: none.
    #[serde(default, deserialize_with = "or_default")]
    pub worker_capabilities: Capabilities,
}

impl IssueReclaimGrantRequest {
    /// Checks the bounds of each field.
    ///
    /// # Errors
    ///
    /// [`Rejection::InvalidInput`] with the first field that is out of its bounds.
    pub fn check(&self) -> Result<(), Rejection> {
        check_grant(self.grant_ttl_ms, &self.audit())
    }
}

audited!(IssueReclaimGrantRequest);

/// The outcome of a request for a reclaim grant. In JSON, `status` is `granted`, beside the fields
/// of the grant, or `reclaim_cap_exceeded`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum IssueReclaimGrantResponse {
    /// The worker may reclaim the execution.
    Granted(ReclaimGrant),
    /// The execution was reclaimed too often. This outcome is applied: the execution has failed.
    ReclaimCapExceeded {
        /// How often it was reclaimed.
        reclaims: u32,
    },
}

impl IssueReclaimGrantResponse {
    /// Returns the grant.
    ///
    /// # Errors
    ///
    /// [`Rejection::ReclaimCapExceeded`].
    pub fn into_grant(self) -> Result<ReclaimGrant, Rejection> {
        match self {
            Self::Granted(grant) => Ok(grant),
            Self::ReclaimCapExceeded { reclaims } => {
                Err(Rejection::ReclaimCapExceeded { reclaims })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_core::id::ExecutionId;
    use ff_core::partition::PartitionKey;
    use ff_core::time::TimestampMs;
    use serde_json::json;

    #[test]
    fn a_request_has_exactly_the_specified_fields() {
        let all = json!({
            "worker_id": "mailer", "worker_instance_id": "mailer-1", "lane_id": "default",
            "capability_hash": "h", "grant_ttl_ms": 5000, "route_snapshot_json": "{}",
            "admission_summary": "s", "worker_capabilities": ["gpu"],
        });
        let request: IssueReclaimGrantRequest = serde_json::from_value(all.clone()).unwrap();
        assert_eq!(serde_json::to_value(&request).unwrap(), all);
        assert_eq!(request.check(), Ok(()));
        let audit = request.audit();
        assert_eq!(audit.instance, Some(WorkerInstanceId::new("mailer-1")));
        assert_eq!(audit.capability_hash.as_deref(), Some("h"));
        assert_eq!(audit.route_snapshot_json.as_deref(), Some("{}"));
        assert_eq!(audit.admission_summary.as_deref(), Some("s"));

        let mut more = all;
        more["priority"] = json!(1);
        assert!(serde_json::from_value::<IssueReclaimGrantRequest>(more).is_err());
        let long = IssueReclaimGrantRequest { grant_ttl_ms: 60_001, ..request };
        assert!(matches!(long.check(), Err(Rejection::InvalidInput { field: "grant_ttl_ms", .. })));
    }

    #[test]
    fn a_response_is_a_grant_or_the_end_of_the_execution() {
        let id: ExecutionId = "{fp:7}:00000000-0000-0000-0000-000000000000".parse().unwrap();
        let key = PartitionKey::from(id.partition());
        let grant = ReclaimGrant::new(id, key, "g", TimestampMs::new(5), LaneId::new("default"));
        let granted = json!({
            "status": "granted", "execution_id": id.to_string(), "partition_key": "{fp:7}",
            "grant_key": "g", "expires_at_ms": 5, "lane_id": "default",
        });
        let response: IssueReclaimGrantResponse = serde_json::from_value(granted.clone()).unwrap();
        assert_eq!(serde_json::to_value(&response).unwrap(), granted);
        assert_eq!(response.into_grant(), Ok(grant));

        let ended = json!({ "status": "reclaim_cap_exceeded", "reclaims": 3 });
        let response: IssueReclaimGrantResponse = serde_json::from_value(ended.clone()).unwrap();
        assert_eq!(serde_json::to_value(&response).unwrap(), ended);
        let exceeded = Rejection::ReclaimCapExceeded { reclaims: 3 };
        assert_eq!(response.into_grant(), Err(exceeded));
    }
}
