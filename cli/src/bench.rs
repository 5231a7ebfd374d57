//! `ff bench`: figures that can be repeated.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use ff_sdk::core::backend::EngineBackend;
use ff_sdk::core::id::ExecutionId;
use ff_sdk::core::partition::PartitionConfig;
use ff_sdk::{Client, ClientConfig, FlowFabricWorker, SdkError, Submission, WorkerConfig};
use serde_json::{Map, Value, json};

use crate::args::{BenchArgs, Scenario};
use crate::backend;
use crate::outcome::{ALL_COMPLETED, Failed, print};
use crate::pool::NAMESPACE;

/// Submissions handed to the client at once.
const CHUNK: usize = 1_000;

/// Runs the command.
pub async fn bench(args: BenchArgs) -> Result<ExitCode, Failed> {
    let store = backend::open(&args.backend).await?;
    let figures = match args.scenario {
        Scenario::Drain => drain(&args, store.backend.clone()).await?,
    };
    if args.json {
        print(&format!("{}\n", Value::Object(figures)))?;
    } else {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header(vec!["figure", "value"]);
        for (name, value) in figures {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            table.add_row(vec![name, text]);
        }
        print(&format!("{table}\n"))?;
    }
    Ok(ExitCode::from(ALL_COMPLETED))
}

/// Submits everything, then starts the workers and the clock.
async fn drain(
    args: &BenchArgs,
    store: Arc<dyn EngineBackend>,
) -> Result<Map<String, Value>, Failed> {
    let partitions =
        PartitionConfig { num_flow_partitions: args.partitions, ..PartitionConfig::default() };
    let mut config = ClientConfig::new(NAMESPACE)?;
    config.partition_config = Some(partitions);
    let client = Client::connect(config, store.clone()).await?;
    let begun = Instant::now();
    let submitted = Arc::new(submit(args, &client, begun).await?);
    let submit_s = begun.elapsed().as_secs_f64();
    let pending = client.report().await?.used_bytes;
    let mut workers = Vec::new();
    for number in 0..args.workers {
        workers.push(connect(args, number, store.clone()).await?);
    }
    let drained = Instant::now();
    let left = Arc::new(AtomicU64::new(u64::from(args.tasks)));
    let running: Vec<_> = workers
        .into_iter()
        .map(|worker| {
            let (submitted, left) = (submitted.clone(), left.clone());
            tokio::spawn(work(worker, submitted, left, begun))
        })
        .collect();
    let mut latencies_us = Vec::with_capacity(args.tasks as usize);
    for worker in running {
        latencies_us.append(&mut worker.await.map_err(Failed::runtime)??);
    }
    let drain_s = drained.elapsed().as_secs_f64();
    let completed = client.report().await?.used_bytes;
    latencies_us.sort_unstable();
    let per_second = |seconds: f64| (f64::from(args.tasks) / seconds).round();
    let per_task = |bytes: u64| (bytes as f64 / f64::from(args.tasks)).round();
    let figures = json!({
        "scenario": "drain",
        "backend": args.backend,
        "tasks": args.tasks,
        "workers": args.workers,
        "slots": args.slots,
        "partitions": args.partitions,
        "payload_bytes": args.payload,
        "submit_per_s": per_second(submit_s),
        "drain_per_s": per_second(drain_s),
        "end_to_end_per_s": per_second(submit_s + drain_s),
        "latency_ms": {
            "p50": percentile_ms(&latencies_us, 50),
            "p95": percentile_ms(&latencies_us, 95),
            "p99": percentile_ms(&latencies_us, 99),
        },
        "pending_bytes_per_task": per_task(pending),
        "completed_bytes_per_task": per_task(completed),
    });
    match figures {
        Value::Object(figures) => Ok(figures),
        other => unreachable!("{other} is an object"),
    }
}

/// When each execution's submit call began, since the bench did, in microseconds.
type SubmittedAt = BTreeMap<ExecutionId, u64>;

async fn submit(args: &BenchArgs, client: &Client, begun: Instant) -> Result<SubmittedAt, Failed> {
    let payload = vec![b'x'; args.payload as usize];
    let mut submitted = Vec::with_capacity(args.tasks as usize);
    let mut left = args.tasks as usize;
    while left > 0 {
        let count = left.min(CHUNK);
        left -= count;
        let at = elapsed_us(begun);
        let submissions = (0..count).map(|_| match payload.is_empty() {
            true => Submission::new("bench"),
            false => Submission::new("bench").payload(&payload),
        });
        for outcome in client.submit_many(submissions).await {
            submitted.push((outcome?.id(), at));
        }
    }
    Ok(submitted.into_iter().collect())
}

async fn connect(
    args: &BenchArgs,
    number: u32,
    store: Arc<dyn EngineBackend>,
) -> Result<FlowFabricWorker, SdkError> {
    let mut config = WorkerConfig::new("bench", format!("bench-{number}"), NAMESPACE)?;
    config.max_concurrent_tasks = args.slots as usize;
    FlowFabricWorker::connect_with(config, store, None).await
}

/// Claims and completes until nothing is left; the time from submit call to completion of each, in
/// microseconds.
async fn work(
    worker: FlowFabricWorker,
    submitted: Arc<SubmittedAt>,
    left: Arc<AtomicU64>,
    begun: Instant,
) -> Result<Vec<u64>, SdkError> {
    let mut latencies = Vec::new();
    while left.load(Ordering::Relaxed) > 0 {
        let tasks = worker.claim_many(worker.config().max_concurrent_tasks).await?;
        if tasks.is_empty() {
            // What is left is with the other workers.
            tokio::task::yield_now().await;
            continue;
        }
        for task in tasks {
            let id = task.execution_id();
            task.complete(None).await?;
            left.fetch_sub(1, Ordering::Relaxed);
            let at = submitted.get(&id).copied().unwrap_or_default();
            latencies.push(elapsed_us(begun).saturating_sub(at));
        }
        // A claim and a completion in this process never wait: let the upkeep run too.
        tokio::task::consume_budget().await;
    }
    Ok(latencies)
}

fn elapsed_us(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn percentile_ms(sorted_us: &[u64], percent: usize) -> f64 {
    let place = (sorted_us.len() * percent / 100).min(sorted_us.len().saturating_sub(1));
    sorted_us.get(place).map_or(0.0, |us| (*us as f64 / 10.0).round() / 100.0)
}
