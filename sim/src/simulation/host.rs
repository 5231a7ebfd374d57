//! The host of a simulated process: everything that it needs to connect.

use std::sync::Arc;

use ff_core::backend::EngineBackend;
use ff_core::partition::PartitionConfig;
use ff_core::time::TimestampMs;
use ff_sdk::{ClientConfig, ClockSource, FlowFabricWorker, SdkError, WorkerConfig, WorkerRuntime};

use super::backend::SimulatedBackend;
use super::outbox::{Content, Start};
use super::upkeep::Watched;

/// The namespace of a simulation's workers and clients, unless they are set up otherwise.
pub const NAMESPACE: &str = "simulation";

/// Few partitions, so that executions meet.
const PARTITIONS: PartitionConfig =
    PartitionConfig { num_flow_partitions: 4, num_budget_partitions: 1, num_quota_partitions: 1 };

/// One start of a simulated process: its backend, and configurations in which every random value
/// comes from the seed.
#[derive(Clone, Debug)]
pub struct Host(Start);

impl Host {
    pub(super) const fn new(start: Start) -> Self {
        Self(start)
    }

    /// The process's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How often it was started before.
    pub const fn starts_before(&self) -> u64 {
        self.0.count
    }

    /// A seed for the random values of the process.
    pub const fn seed(&self) -> u64 {
        self.0.seed
    }

    /// Its wall clock at the start, which may be off.
    pub const fn wall_clock(&self) -> TimestampMs {
        self.0.wall
    }

    /// The backend through which it reaches the store.
    pub fn backend(&self) -> Arc<dyn EngineBackend> {
        Arc::new(SimulatedBackend(self.0.outbox.clone()))
    }

    /// The configuration of a worker of this process, with the name of the process. After a crash
    /// it comes back as a new instance, or under the previous instance id.
    pub fn worker_config(&self) -> WorkerConfig {
        let name = &self.0.name;
        let count =
            if self.0.same_instance { self.0.count.saturating_sub(1) } else { self.0.count };
        let instance = format!("{name}.{count}");
        let config = WorkerConfig::new(name, instance, NAMESPACE);
        let mut config = config.expect("the name of a process is an id");
        config.seed = Some(self.0.seed);
        // As in a stateful set, whose processes come back under the same name.
        config.take_over = self.0.same_instance;
        config.clock = self.clock();
        config.partition_config = Some(PARTITIONS);
        config
    }

    /// The configuration of a client of this process.
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new(NAMESPACE).expect("the namespace is an id");
        config.seed = Some(self.0.seed);
        config.clock = self.clock();
        config.partition_config = Some(PARTITIONS);
        config
    }

    /// Connects a worker with this configuration and returns its runtime.
    ///
    /// # Errors
    ///
    /// As for [`FlowFabricWorker::connect_with`]. Cancel safe.
    pub async fn runtime(&self, config: WorkerConfig) -> Result<WorkerRuntime, SdkError> {
        let worker = FlowFabricWorker::connect_with(config, self.backend(), None).await?;
        Ok(WorkerRuntime::new(worker))
    }

    /// Adds a line to the trace.
    pub fn note(&self, text: impl Into<String>) {
        self.0.outbox.put(Content::Note(text.into()));
    }

    /// Has the simulation check the upkeep of a worker of this process.
    pub(super) fn watch(&self, watched: Watched) {
        self.0.outbox.put(Content::Watch(watched));
    }

    const fn clock(&self) -> ClockSource {
        ClockSource::Runtime { wall: self.0.wall }
    }
}
