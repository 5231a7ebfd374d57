//! The peers benchmark's processes on the published crates of FlowFabric 0.15.
//!
//! As in the benchmark of that version, the client creates executions directly in the backend, each
//! in a random partition, and the workers claim them directly from it. The engine, with its
//! periodic scans, runs in the process of the workers; a deployment has it in a server.

#[path = "../../ours/src/protocol.rs"]
mod protocol;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use flowfabric::core::backend::BackendConfig;
use flowfabric::core::contracts::CreateExecutionArgs;
use flowfabric::core::engine_backend::EngineBackend;
use flowfabric::core::partition::PartitionConfig;
use flowfabric::core::types::{
    ExecutionId, FlowId, LaneId, Namespace, TimestampMs, WorkerId, WorkerInstanceId,
};
use flowfabric::engine::{Engine, EngineConfig};
use flowfabric::sdk::{FlowFabricWorker, WorkerConfig};
use flowfabric::valkey::{ValkeyBackend, build_client};
use protocol::{Arguments, Peer, Recorder, fail, now_ns};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

const NAMESPACE: &str = "peers";
const LANE: &str = "default";
/// Initialization wants a secret for waitpoint tokens, which this benchmark does not use.
const SECRET: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// The pause of a worker that finds nothing, as in the benchmark of that version.
const POLL: Duration = Duration::from_millis(50);

struct FlowFabric15 {
    config: BackendConfig,
    backend: Arc<ValkeyBackend>,
    workers: usize,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: watch::Sender<bool>,
    workers: JoinSet<Result<()>>,
    engine: Engine,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse()?;
    if arguments.system != "flowfabric15" || arguments.slots != 1 {
        bail!("expected system flowfabric15 with workers of one slot");
    }
    protocol::serve(FlowFabric15::connect(&arguments).await?).await
}

impl FlowFabric15 {
    async fn connect(arguments: &Arguments) -> Result<Self> {
        let config = BackendConfig::valkey("127.0.0.1", arguments.port);
        let client = build_client(&config).await?;
        let backend = ValkeyBackend::from_client_and_partitions(client, PartitionConfig::default());
        backend.initialize_deployment(SECRET, &[LaneId::new(LANE)], false).await?;
        let (workers, running) = (arguments.workers, Mutex::default());
        Ok(Self { config, backend, workers, running })
    }

    async fn worker(&self, number: usize) -> Result<FlowFabricWorker> {
        let config = WorkerConfig {
            backend: Some(self.config.clone()),
            worker_id: WorkerId::new(format!("peers-{number}")),
            // Two live instances must not share a name, and a name outlives its instance.
            worker_instance_id: WorkerInstanceId::new(format!("peers-{number}-{}", now_ns())),
            namespace: Namespace::new(NAMESPACE),
            lanes: vec![LaneId::new(LANE)],
            capabilities: Vec::new(),
            lease_ttl_ms: 30_000,
            claim_poll_interval_ms: POLL.as_millis() as u64,
            max_concurrent_tasks: 1,
            partition_config: None,
        };
        Ok(FlowFabricWorker::connect(config).await?)
    }
}

impl Peer for FlowFabric15 {
    async fn submit(&self, payload: Vec<u8>) -> Result<()> {
        let partitions = PartitionConfig::default();
        let execution_id = ExecutionId::for_flow(&FlowId::new(), &partitions);
        let partition_id = execution_id.partition();
        let create = CreateExecutionArgs {
            execution_id,
            namespace: Namespace::new(NAMESPACE),
            lane_id: LaneId::new(LANE),
            execution_kind: "task".to_owned(),
            input_payload: payload,
            payload_encoding: Some("binary".to_owned()),
            priority: 100,
            creator_identity: "peers".to_owned(),
            idempotency_key: None,
            tags: HashMap::new(),
            policy: None,
            delay_until: None,
            execution_deadline_at: None,
            partition_id,
            now: TimestampMs::now(),
        };
        self.backend.create_execution(create).await?;
        Ok(())
    }

    async fn submit_bulk(&self, _: Vec<Vec<u8>>) -> Result<()> {
        bail!("FlowFabric 0.15 has no call that submits many executions")
    }

    async fn start(&self, recorder: Arc<Recorder>) -> Result<u64> {
        let mut connected = Vec::new();
        for number in 0..self.workers {
            connected.push(self.worker(number).await?);
        }
        let (stop, stopped) = watch::channel(false);
        let mut workers = JoinSet::new();
        let started_ns = now_ns();
        let engine = Engine::start(EngineConfig::default(), self.backend.clone());
        for worker in connected {
            let (recorder, stopped) = (recorder.clone(), stopped.clone());
            workers.spawn(async move {
                let worked = work(&worker, &recorder, stopped).await;
                if let Err(error) = &worked {
                    fail(error);
                }
                worked
            });
        }
        *self.running.lock().await = Some(Running { stop, workers, engine });
        Ok(started_ns)
    }

    async fn stop(&self) -> Result<()> {
        let running = self.running.lock().await.take();
        let Running { stop, mut workers, engine } =
            running.context("the workers were not started")?;
        stop.send_replace(true);
        while let Some(ended) = workers.join_next().await {
            ended??;
        }
        engine.shutdown().await;
        Ok(())
    }
}

async fn work(
    worker: &FlowFabricWorker,
    recorder: &Recorder,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    while !*stopped.borrow() {
        match worker.claim_next_via_backend().await? {
            Some(task) => {
                recorder.handled(task.input_payload())?;
                task.complete(None).await?;
                recorder.completed();
            }
            None => {
                let _ = tokio::time::timeout(POLL, stopped.wait_for(|stopped| *stopped)).await;
            }
        }
    }
    Ok(())
}
