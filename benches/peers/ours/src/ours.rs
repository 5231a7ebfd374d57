//! FlowFabric: `Client` submits, and `WorkerRuntime` handles.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use ff_sdk::{
    Client, EngineBackend, FlowFabricWorker, HandlerError, RawPayload, State, Submission,
    WorkerConfig, WorkerRuntime,
};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use super::protocol::{Arguments, Peer, Recorder, fail, now_ns};

const NAMESPACE: &str = "peers";
const KIND: &str = "task";
/// How often the runtimes' counters of completions are read.
const WATCH: Duration = Duration::from_millis(1);

/// A client and the workers of one process, which share one connection.
pub struct Ours {
    backend: Arc<dyn EngineBackend>,
    client: Client,
    workers: usize,
    slots: usize,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: watch::Sender<bool>,
    runtimes: JoinSet<()>,
}

impl Ours {
    /// Connects a client.
    pub async fn connect(arguments: &Arguments) -> Result<Self> {
        let backend = ff_sdk::open(&format!("valkey://127.0.0.1:{}", arguments.port)).await?;
        let client = Client::connect_with(backend.clone(), NAMESPACE).await?;
        let (workers, slots) = (arguments.workers, arguments.slots);
        Ok(Self { backend, client, workers, slots, running: Mutex::default() })
    }

    async fn worker(&self, number: usize) -> Result<FlowFabricWorker> {
        let mut config = WorkerConfig::new("peers", format!("peers-{number}"), NAMESPACE)?;
        config.max_concurrent_tasks = self.slots;
        Ok(FlowFabricWorker::connect_with(config, self.backend.clone(), None).await?)
    }
}

impl Peer for Ours {
    async fn submit(&self, payload: Vec<u8>) -> Result<()> {
        self.client.submit(Submission::new(KIND).payload(payload)).await?;
        Ok(())
    }

    async fn submit_bulk(&self, payloads: Vec<Vec<u8>>) -> Result<()> {
        let submissions = payloads.into_iter().map(|bytes| Submission::new(KIND).payload(bytes));
        for outcome in self.client.submit_many(submissions).await {
            outcome?;
        }
        Ok(())
    }

    async fn start(&self, recorder: Arc<Recorder>) -> Result<u64> {
        let mut runtimes = Vec::new();
        for number in 0..self.workers {
            let runtime = WorkerRuntime::new(self.worker(number).await?);
            runtimes.push(runtime.state(recorder.clone()).handle(KIND, handle));
        }
        let reports: Vec<_> = runtimes.iter().map(WorkerRuntime::reports).collect();
        let (stop, stopped) = watch::channel(false);
        let mut running = JoinSet::new();
        let started_ns = now_ns();
        for runtime in runtimes {
            let mut stopped = stopped.clone();
            running.spawn(async move {
                let stop = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
                if let Err(error) = runtime.run_until(stop).await {
                    fail(&error);
                }
            });
        }
        let mut ended = stopped;
        running.spawn(async move {
            let mut seen = 0;
            loop {
                let reports: Vec<_> = reports.iter().map(|reports| reports.report()).collect();
                let completed = reports.iter().map(|report| report.completed).sum();
                let failed = |report: &&ff_sdk::RuntimeReport| {
                    report.failed + report.retried + report.lost > 0
                };
                if let Some(report) = reports.iter().find(failed) {
                    fail(&format!("a worker lost or failed tasks: {report:?}"));
                }
                if completed > seen {
                    recorder.completed_in_all(completed);
                    seen = completed;
                }
                let stop = tokio::time::timeout(WATCH, ended.wait_for(|ended| *ended)).await;
                if stop.is_ok() {
                    return;
                }
            }
        });
        *self.running.lock().await = Some(Running { stop, runtimes: running });
        Ok(started_ns)
    }

    async fn stop(&self) -> Result<()> {
        let running = self.running.lock().await.take();
        let Running { stop, mut runtimes } = running.context("the workers were not started")?;
        stop.send_replace(true);
        while let Some(ended) = runtimes.join_next().await {
            ended?;
        }
        Ok(())
    }
}

async fn handle(
    RawPayload(payload): RawPayload,
    State(recorder): State<Arc<Recorder>>,
) -> Result<(), HandlerError> {
    recorder
        .handled(payload.as_deref().unwrap_or_default())
        .map_err(|error| HandlerError::new("peers", error.to_string()))
}
