//! `POST /v1/workers/{worker_id}/claim`: asks for a grant for one worker.

use ff_core::agent::WorkerGrant;
use ff_core::capability::Capabilities;
use ff_core::error::Rejection;
use ff_core::id::{LaneId, Namespace, WorkerId, WorkerInstanceId};
use ff_core::kinds::Kinds;
use ff_core::null::or_default;
use serde::{Deserialize, Serialize};

use crate::grant::{audited, check_grant};
use crate::kinds;

/// The longest time that a request for work waits, in milliseconds.
pub const MAX_WAIT_MS: u64 = 30_000;

/// A request for a grant for one worker. The answer is [`ClaimForWorkerResponse`] with status 200,
/// or an empty body with status 204 if there is no work.
///
/// The path has the worker's ID too, so that access rules and logs of a proxy can tell workers
/// apart. A server refuses a request whose path names another worker than its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ClaimForWorkerRequest {
    /// The worker that may use the grant.
    pub worker_id: WorkerId,
    /// The process that asks; it is stored with the grant.
    pub worker_instance_id: WorkerInstanceId,
    /// The lane to take from.
    pub lane_id: LaneId,
    /// The namespace of the worker.
    pub namespace: Namespace,
    /// The kinds that the worker serves, a list in JSON. Absent: every kind.
    #[serde(default, skip_serializing_if = "kinds::is_all", with = "kinds")]
    pub kinds: Kinds,
    /// The worker's capabilities. Absent: none.
    #[serde(default, deserialize_with = "or_default")]
    pub worker_capabilities: Capabilities,
    /// The validity period of the grant, 1 to 60,000 milliseconds.
    pub grant_ttl_ms: u64,
    /// How long to wait for work if there is none, 0 to [`MAX_WAIT_MS`] milliseconds. Absent: 0.
    #[serde(default, deserialize_with = "or_default")]
    pub wait_ms: u64,
    /// A hash over the worker's capabilities, stored with the grant; at most 128 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability_hash: Option<String>,
    /// How the routing decision was made, stored with the grant: JSON of at most 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_snapshot_json: Option<String>,
    /// Why the worker was admitted, stored with the grant; at most 1 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission_summary: Option<String>,
}

impl ClaimForWorkerRequest {
    /// Creates a request of a worker without capabilities that serves every kind. It does not
    /// wait, and stores nothing for audit except the instance.
    pub fn new(
        worker_id: WorkerId,
        worker_instance_id: WorkerInstanceId,
        namespace: Namespace,
        lane_id: LaneId,
        grant_ttl_ms: u64,
    ) -> Self {
        Self {
            worker_id,
            worker_instance_id,
            lane_id,
            namespace,
            kinds: Kinds::All,
            worker_capabilities: Capabilities::default(),
            grant_ttl_ms,
            wait_ms: 0,
            capability_hash: None,
            route_snapshot_json: None,
            admission_summary: None,
        }
    }

    /// Checks the bounds of each field.
    ///
    /// # Errors
    ///
    /// [`Rejection::InvalidInput`] with the first field that is out of its bounds.
    pub fn check(&self) -> Result<(), Rejection> {
        if matches!(self.worker_id.as_str(), "." | "..") {
            let problem = format!("is {}, which cannot stand in a path", self.worker_id);
            return Err(Rejection::InvalidInput { field: "worker_id", problem });
        }
        if self.wait_ms > MAX_WAIT_MS {
            let problem = format!("is {}: it must be 0 to {MAX_WAIT_MS}", self.wait_ms);
            return Err(Rejection::InvalidInput { field: "wait_ms", problem });
        }
        check_grant(self.grant_ttl_ms, &self.audit())
    }
}

audited!(ClaimForWorkerRequest);

/// The grant that a worker gets. In JSON, `kind` is `claim`, `resume` or `reclaim`, beside the
/// fields of the grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimForWorkerResponse(WorkerGrant);

impl ClaimForWorkerResponse {
    /// Returns the grant.
    pub const fn grant(&self) -> &WorkerGrant {
        &self.0
    }

    /// Returns the grant, of any of the three kinds.
    pub fn into_grant(self) -> WorkerGrant {
        self.0
    }
}

impl From<WorkerGrant> for ClaimForWorkerResponse {
    fn from(grant: WorkerGrant) -> Self {
        Self(grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_core::id::ExecutionKind;
    use serde_json::json;

    fn request() -> ClaimForWorkerRequest {
        ClaimForWorkerRequest::new(
            WorkerId::new("mailer"),
            WorkerInstanceId::new("mailer-1"),
            Namespace::new("shop"),
            LaneId::new("default"),
            5_000,
        )
    }

    #[test]
    fn a_request_is_json_with_stable_names() {
        let smallest = json!({
            "worker_id": "mailer", "worker_instance_id": "mailer-1", "lane_id": "default",
            "namespace": "shop", "grant_ttl_ms": 5000,
        });
        let written = json!({
            "worker_id": "mailer", "worker_instance_id": "mailer-1", "lane_id": "default",
            "namespace": "shop", "worker_capabilities": [], "grant_ttl_ms": 5000, "wait_ms": 0,
        });
        assert_eq!(serde_json::to_value(request()).unwrap(), written);
        let read = |value: &serde_json::Value| serde_json::from_value(value.clone());
        assert_eq!(read(&smallest).ok(), Some(request()));
        assert_eq!(read(&written).ok(), Some(request()));

        let mut nulls = written;
        for field in ["kinds", "worker_capabilities", "wait_ms", "capability_hash"] {
            nulls[field] = json!(null);
        }
        assert_eq!(read(&nulls).ok(), Some(request()));

        let mut limited = request();
        limited.kinds = [ExecutionKind::new("send")].into_iter().collect();
        let written = serde_json::to_value(&limited).unwrap();
        assert_eq!(written["kinds"], json!(["send"]));
        assert_eq!(read(&written).ok(), Some(limited));
    }

    #[test]
    fn a_request_with_an_unknown_field_or_an_invalid_text_is_refused() {
        let good = serde_json::to_value(request()).unwrap();
        for (field, value) in [
            ("lane", json!("x")),
            ("lane_id", json!("a b")),
            ("worker_id", json!("")),
            ("worker_capabilities", json!(["a,b"])),
            ("kinds", json!([""])),
            ("grant_ttl_ms", json!(-1)),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            assert!(serde_json::from_value::<ClaimForWorkerRequest>(bad).is_err(), "{field}");
        }
    }

    #[test]
    fn the_bounds_are_checked() {
        let refused = |change: fn(&mut ClaimForWorkerRequest)| {
            let mut request = request();
            change(&mut request);
            match request.check() {
                Err(Rejection::InvalidInput { field, .. }) => field,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(request().check(), Ok(()));
        assert_eq!(refused(|it| it.grant_ttl_ms = 0), "grant_ttl_ms");
        assert_eq!(refused(|it| it.grant_ttl_ms = 60_001), "grant_ttl_ms");
        assert_eq!(refused(|it| it.wait_ms = 30_001), "wait_ms");
        assert_eq!(refused(|it| it.worker_id = WorkerId::new("..")), "worker_id");
        let long = |it: &mut ClaimForWorkerRequest| it.capability_hash = Some("x".repeat(129));
        assert_eq!(refused(long), "capability_hash");
    }
}
