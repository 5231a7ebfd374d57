//! The configuration of workers and clients.

use std::fmt;
use std::time::Duration;

use ff_core::capability::Capabilities;
use ff_core::id::{LaneId, Namespace, WorkerId, WorkerInstanceId};
use ff_core::kinds::Kinds;
use ff_core::partition::PartitionConfig;
use ff_core::store::bounds::MAX_VALUE_BYTES;
use ff_core::store::codec::FORMAT;
use ff_io_http::{ClaimForWorkerRequest, IssueReclaimGrantRequest};

use crate::error::SdkError;
use crate::host::ClockSource;

/// The configuration of a worker (`docs/spec.md`, 11).
///
/// ```
/// use ff_sdk::{LaneId, WorkerConfig};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = WorkerConfig::builder("resizer", "media")
///     .lanes(["images"])
///     .capabilities(["gpu"])
///     .max_concurrent_tasks(8)
///     .build()?;
/// assert_eq!(config.lanes, [LaneId::new("images")]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct WorkerConfig {
    /// The URL of the store that [`FlowFabricWorker::connect`](crate::FlowFabricWorker::connect)
    /// opens, as for [`open`](crate::open). Default: `None`, for a backend that is passed to
    /// [`connect_with`](crate::FlowFabricWorker::connect_with).
    pub backend: Option<String>,
    /// The worker's name; grants are bound to it. All instances of one worker share it.
    pub worker_id: WorkerId,
    /// The name of this process. A process that connects under the name of another live one is
    /// refused with `WorkerInstanceInUse`. Workers of one process should have different names: of
    /// those that share one, the registry shows the latest.
    pub worker_instance_id: WorkerInstanceId,
    /// Whether it takes its name over from another live process, which then claims nothing more
    /// after its next heartbeat. For processes that are restarted under the same name, as in a
    /// stateful set. Default: `false`.
    pub take_over: bool,
    /// The build of the program, for `ff workers`; at most 128 bytes. Default: that of this
    /// library.
    pub version: String,
    /// The namespace whose executions it claims.
    pub namespace: Namespace,
    /// The lanes (named queues) that it claims from, in rotation; at least one. Default: `default`.
    pub lanes: Vec<LaneId>,
    /// The kinds of executions that it serves. It is never offered another kind. A
    /// [`WorkerRuntime`](crate::WorkerRuntime) serves those of them that have a handler. Default:
    /// all.
    pub kinds: Kinds,
    /// The capabilities it offers; it runs executions that require no others. Default: none.
    pub capabilities: Capabilities,
    /// The lifetime of a lease from its last renewal: 1 ms to 24 h. The worker renews at a third of
    /// it. Default: 30 s.
    pub lease_ttl: Duration,
    /// The longest wait for a wake-up before looking for work again; at least 1 ms. Default: 1 s.
    pub claim_poll_interval: Duration,
    /// The number of slots: tasks held at the same time; at least 1. Default: 1.
    pub max_concurrent_tasks: usize,
    /// The partition counts that the store must have; `None` accepts any. A store that is not set
    /// up yet gets these. Default: `None`.
    pub partition_config: Option<PartitionConfig>,
    /// Whether a store that is not set up yet keeps counts of executions by lane and state, which
    /// [`Client::stats`](crate::Client::stats) reads. Programs do as the store was set up; this
    /// never changes. Default: `true`.
    pub keep_counts: bool,
    /// The time limit of one call while the store does not answer; at least 1 ms. Default: 30 s.
    pub call_timeout: Duration,
    /// Whether this process runs a timekeeper, which applies due timers (lease expiries, delays,
    /// timeouts, retention) for the whole store. Default: `true`.
    pub timekeeper: bool,
    /// The seed of ids, nonces and jitter; `None` takes one from the operating system.
    pub seed: Option<u64>,
    /// The source of this process's time. Default: the machine.
    pub clock: ClockSource,
    /// The highest record format that it reads and writes. Default: the highest of this build; a
    /// lower one makes it behave like an older program.
    pub known_format: u8,
}

/// The lane of submissions and workers that do not name one.
pub(crate) const DEFAULT_LANE: &str = "default";

/// The longest lifetime of a lease.
pub(crate) const MAX_LEASE_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest duration of a setting: the store counts in milliseconds.
const LEAST: Duration = Duration::from_millis(1);

impl WorkerConfig {
    /// Creates a configuration with defaults: lane `default`, one slot.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `Validation` when an argument is not a valid id (1 to 64 printable
    /// ASCII bytes without space).
    pub fn new(
        worker_id: impl AsRef<str>,
        worker_instance_id: impl AsRef<str>,
        namespace: impl AsRef<str>,
    ) -> Result<Self, SdkError> {
        Ok(Self {
            backend: None,
            worker_id: WorkerId::try_new(worker_id)?,
            worker_instance_id: WorkerInstanceId::try_new(worker_instance_id)?,
            take_over: false,
            version: concat!("flowfabric ", env!("CARGO_PKG_VERSION")).to_owned(),
            namespace: Namespace::try_new(namespace)?,
            lanes: vec![LaneId::try_new(DEFAULT_LANE)?],
            kinds: Kinds::All,
            capabilities: Capabilities::default(),
            lease_ttl: Duration::from_secs(30),
            claim_poll_interval: Duration::from_secs(1),
            max_concurrent_tasks: 1,
            partition_config: None,
            keep_counts: true,
            call_timeout: Duration::from_secs(30),
            timekeeper: true,
            seed: None,
            clock: ClockSource::default(),
            known_format: FORMAT,
        })
    }

    /// Creates a request of this worker for a grant in a lane, for
    /// [`FlowFabricAdminClient::claim_for_worker`](crate::FlowFabricAdminClient::claim_for_worker).
    /// The grant is valid for `grant_ttl_ms`, 1 to 60,000 milliseconds.
    pub fn claim_request(&self, lane: LaneId, grant_ttl_ms: u64) -> ClaimForWorkerRequest {
        let (worker, instance) = (self.worker_id.clone(), self.worker_instance_id.clone());
        let namespace = self.namespace.clone();
        let mut request =
            ClaimForWorkerRequest::new(worker, instance, namespace, lane, grant_ttl_ms);
        request.kinds = self.kinds.clone();
        request.worker_capabilities = self.capabilities.clone();
        request
    }

    /// Creates a request of this worker to reclaim an execution of a lane, for
    /// [`FlowFabricAdminClient::issue_reclaim_grant`]. The grant is valid for `grant_ttl_ms`, 1 to
    /// 60,000 milliseconds.
    ///
    /// [`FlowFabricAdminClient::issue_reclaim_grant`]:
    ///     crate::FlowFabricAdminClient::issue_reclaim_grant
    pub fn reclaim_request(&self, lane: LaneId, grant_ttl_ms: u64) -> IssueReclaimGrantRequest {
        IssueReclaimGrantRequest {
            worker_id: self.worker_id.clone(),
            worker_instance_id: self.worker_instance_id.clone(),
            lane_id: lane,
            capability_hash: None,
            grant_ttl_ms,
            route_snapshot_json: None,
            admission_summary: None,
            worker_capabilities: self.capabilities.clone(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), SdkError> {
        const CONTEXT: &str = "worker configuration";
        let invalid = |field, message: &str| Err(SdkError::config(CONTEXT, field, message));
        if self.lanes.is_empty() {
            return invalid("lanes", "is empty: name at least one lane");
        }
        if self.max_concurrent_tasks == 0 {
            return invalid("max_concurrent_tasks", "is 0: it must be at least 1");
        }
        if !(LEAST..=MAX_LEASE_TTL).contains(&self.lease_ttl) {
            let message = format!("is {:?}: it must be 1 ms to 24 h", self.lease_ttl);
            return invalid("lease_ttl", &message);
        }
        if self.claim_poll_interval < LEAST {
            return invalid("claim_poll_interval", "is too short: it must be at least 1 ms");
        }
        if self.call_timeout < LEAST {
            return invalid("call_timeout", "is too short: it must be at least 1 ms");
        }
        check_format(CONTEXT, self.known_format)?;
        check_partitions(CONTEXT, self.partition_config.as_ref())
    }
}

impl fmt::Debug for WorkerConfig {
    /// Shows only the scheme of the store's URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.backend.as_deref().map(|url| url.split(':').next().unwrap_or_default());
        f.debug_struct("WorkerConfig")
            .field("backend", &scheme)
            .field("worker_id", &self.worker_id)
            .field("worker_instance_id", &self.worker_instance_id)
            .field("namespace", &self.namespace)
            .field("lanes", &self.lanes)
            .field("kinds", &self.kinds)
            .field("capabilities", &self.capabilities)
            .field("max_concurrent_tasks", &self.max_concurrent_tasks)
            .field("lease_ttl", &self.lease_ttl)
            .finish_non_exhaustive()
    }
}

/// The configuration of a client.
///
/// ```
/// use std::time::Duration;
/// use ff_sdk::ClientConfig;
///
/// # fn main() -> Result<(), ff_sdk::SdkError> {
/// let mut config = ClientConfig::new("media")?;
/// config.call_timeout = Duration::from_secs(5);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientConfig {
    /// The namespace whose executions it submits and sees.
    pub namespace: Namespace,
    /// The partition counts that the store must have; `None` accepts any. A store that is not set
    /// up yet gets these. Default: `None`.
    pub partition_config: Option<PartitionConfig>,
    /// Whether a store that is not set up yet keeps counts of executions by lane and state, which
    /// [`Client::stats`](crate::Client::stats) reads. Programs do as the store was set up; this
    /// never changes. Default: `true`.
    pub keep_counts: bool,
    /// The largest payload of a submission, in bytes; at most 16 MiB. Default: 1 MiB.
    pub payload_limit: usize,
    /// The number of submission batches in flight at the same time; at least 1. Default: 16.
    pub max_in_flight: usize,
    /// The time limit of one call while the store does not answer; above zero. Default: 30 s.
    pub call_timeout: Duration,
    /// The seed of ids, nonces and jitter; `None` takes one from the operating system.
    pub seed: Option<u64>,
    /// The source of this process's time. Default: the machine.
    pub clock: ClockSource,
    /// The highest record format that it reads and writes. Default: the highest of this build; a
    /// lower one makes it behave like an older program.
    pub known_format: u8,
}

impl ClientConfig {
    /// Creates a configuration with defaults.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `Validation` when the argument is not a valid namespace (1 to 64
    /// printable ASCII bytes without space).
    pub fn new(namespace: impl AsRef<str>) -> Result<Self, SdkError> {
        Ok(Self {
            namespace: Namespace::try_new(namespace)?,
            partition_config: None,
            keep_counts: true,
            payload_limit: ff_core::execution::DEFAULT_PAYLOAD_LIMIT,
            max_in_flight: 16,
            call_timeout: Duration::from_secs(30),
            seed: None,
            clock: ClockSource::default(),
            known_format: FORMAT,
        })
    }

    pub(crate) fn check(&self) -> Result<(), SdkError> {
        const CONTEXT: &str = "client configuration";
        let invalid = |field, message: &str| Err(SdkError::config(CONTEXT, field, message));
        if self.payload_limit > MAX_VALUE_BYTES {
            let message = format!("is {}: at most {MAX_VALUE_BYTES} bytes", self.payload_limit);
            return invalid("payload_limit", &message);
        }
        if self.call_timeout.is_zero() {
            return invalid("call_timeout", "is zero: it must be longer");
        }
        if self.max_in_flight == 0 {
            return invalid("max_in_flight", "is 0: it must be at least 1");
        }
        check_format(CONTEXT, self.known_format)?;
        check_partitions(CONTEXT, self.partition_config.as_ref())
    }
}

fn check_partitions(
    context: &'static str,
    partitions: Option<&PartitionConfig>,
) -> Result<(), SdkError> {
    let checked = partitions.map_or(Ok(()), PartitionConfig::check);
    checked.map_err(|error| SdkError::config(context, "partition_config", error.to_string()))
}

fn check_format(context: &'static str, known: u8) -> Result<(), SdkError> {
    if (1..=FORMAT).contains(&known) {
        return Ok(());
    }
    let message = format!("is {known}: it must be 1 to {FORMAT}");
    Err(SdkError::config(context, "known_format", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debug_form_hides_the_password_of_the_store() {
        let mut config = WorkerConfig::new("worker", "worker-1", "here").unwrap();
        for url in ["valkey://app:hunter2@db:6379", "valkey:/app:hunter2@db"] {
            config.backend = Some(url.to_owned());
            let shown = format!("{config:?}");
            assert!(shown.contains("valkey") && !shown.contains("hunter2"), "{shown}");
        }
        config.backend = Some("app:hunter2@db:6379".to_owned());
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
