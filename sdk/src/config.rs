//! How workers and clients are set up.

use std::time::Duration;

use ff_core::capability::Capabilities;
use ff_core::id::{LaneId, Namespace, WorkerId, WorkerInstanceId};
use ff_core::partition::PartitionConfig;
use ff_core::store::codec::FORMAT;

use crate::error::SdkError;
use crate::host::ClockSource;

/// How a worker is set up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WorkerConfig {
    /// The store that [`FlowFabricWorker::connect`](crate::FlowFabricWorker::connect) opens, by its
    /// address as for [`open`](crate::open); `valkey://127.0.0.1:6379` unless set.
    pub backend: String,
    /// The worker: grants are bound to it.
    pub worker_id: WorkerId,
    /// This process; two live processes must not share it.
    pub worker_instance_id: WorkerInstanceId,
    /// Whose executions it sees.
    pub namespace: Namespace,
    /// The queues that it draws from, in turn; `default` unless set.
    pub lanes: Vec<LaneId>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// How long a lease is good unless it is renewed, in milliseconds; 30,000 unless set. Renewal
    /// runs at a third of it.
    pub lease_ttl_ms: u64,
    /// How long to wait for a wake-up before looking for work again, in milliseconds; 1,000 unless
    /// set.
    pub claim_poll_interval_ms: u64,
    /// How many tasks it holds at once; 1 unless set.
    pub max_concurrent_tasks: usize,
    /// What the store must be configured with; `None` takes what it has.
    pub partition_config: Option<PartitionConfig>,
    /// How long one call tries while the store does not answer, in milliseconds; 30,000 unless
    /// set.
    pub call_timeout_ms: u64,
    /// Whether this process also applies what is due; on unless switched off.
    pub timekeeper: bool,
    /// The seed of all randomness; `None` asks the operating system.
    pub seed: Option<u64>,
    /// Where its time comes from; the machine unless set.
    pub clock: ClockSource,
    /// The highest record format that it reads and writes: what this build knows, unless it is told
    /// to do as an older program.
    pub known_format: u8,
}

/// The lane of submissions and workers that name none.
pub(crate) const DEFAULT_LANE: &str = "default";

/// The store of workers that name none.
const DEFAULT_STORE: &str = "valkey://127.0.0.1:6379";

impl WorkerConfig {
    /// A worker of a namespace, on the lane `default`.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `Validation` when a text is no id.
    pub fn new(
        worker_id: impl AsRef<str>,
        worker_instance_id: impl AsRef<str>,
        namespace: impl AsRef<str>,
    ) -> Result<Self, SdkError> {
        Ok(Self {
            backend: DEFAULT_STORE.to_owned(),
            worker_id: WorkerId::try_new(worker_id)?,
            worker_instance_id: WorkerInstanceId::try_new(worker_instance_id)?,
            namespace: Namespace::try_new(namespace)?,
            lanes: vec![LaneId::try_new(DEFAULT_LANE)?],
            capabilities: Capabilities::default(),
            lease_ttl_ms: 30_000,
            claim_poll_interval_ms: 1_000,
            max_concurrent_tasks: 1,
            partition_config: None,
            call_timeout_ms: 30_000,
            timekeeper: true,
            seed: None,
            clock: ClockSource::default(),
            known_format: FORMAT,
        })
    }

    pub(crate) fn check(&self) -> Result<(), SdkError> {
        const CONTEXT: &str = "worker configuration";
        let wrong = |field, message: &str| Err(SdkError::config(CONTEXT, field, message));
        if self.lanes.is_empty() {
            return wrong("lanes", "must name at least one lane");
        }
        if self.max_concurrent_tasks == 0 {
            return wrong("max_concurrent_tasks", "must be at least 1");
        }
        if !(1..=86_400_000).contains(&self.lease_ttl_ms) {
            return wrong("lease_ttl_ms", "must be 1 to 86400000");
        }
        if self.claim_poll_interval_ms == 0 {
            return wrong("claim_poll_interval_ms", "must be at least 1");
        }
        if self.call_timeout_ms == 0 {
            return wrong("call_timeout_ms", "must be at least 1");
        }
        check_format(CONTEXT, self.known_format)?;
        check_partitions(CONTEXT, self.partition_config.as_ref())
    }
}

/// How a client is set up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientConfig {
    /// Whose executions it submits and sees.
    pub namespace: Namespace,
    /// What the store must be configured with; `None` takes what it has.
    pub partition_config: Option<PartitionConfig>,
    /// The largest payload, in bytes; 1 MiB unless set, 16 MiB at most.
    pub payload_limit: usize,
    /// Batches of submissions under way at once; 16 unless set.
    pub max_in_flight: usize,
    /// How long one call tries while the store does not answer; 30 s unless set.
    pub call_timeout: Duration,
    /// The seed of all randomness; `None` asks the operating system.
    pub seed: Option<u64>,
    /// Where its time comes from; the machine unless set.
    pub clock: ClockSource,
    /// The highest record format that it reads and writes: what this build knows, unless it is told
    /// to do as an older program.
    pub known_format: u8,
}

impl ClientConfig {
    /// A client of a namespace.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `Validation` when the text is no namespace.
    pub fn new(namespace: impl AsRef<str>) -> Result<Self, SdkError> {
        Ok(Self {
            namespace: Namespace::try_new(namespace)?,
            partition_config: None,
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
        if self.payload_limit > ff_core::store::bounds::MAX_VALUE_BYTES {
            return Err(SdkError::config(CONTEXT, "payload_limit", "must be at most 16777216"));
        }
        if self.call_timeout.is_zero() {
            return Err(SdkError::config(CONTEXT, "call_timeout", "must be more than zero"));
        }
        if self.max_in_flight == 0 {
            return Err(SdkError::config(CONTEXT, "max_in_flight", "must be at least 1"));
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
    let message = format!("is {known}, and must be 1 to {FORMAT}");
    Err(SdkError::config(context, "known_format", message))
}
