//! What a worker asks of the store while there is nothing to do.

use std::time::{Duration, Instant};

use ff_sdk::WorkerRuntime;
use serde_json::json;
use tokio::sync::oneshot;

use super::BenchArgs;
use super::figures::{Figures, figures, short};
use super::ground::{Ground, bar};
use super::work::KIND;
use crate::outcome::Failed;

/// What a worker does when it has just begun is not counted.
const SETTLE: Duration = Duration::from_secs(1);

/// Runs the scenario.
pub async fn run(args: &BenchArgs, ground: &Ground) -> Result<Figures, Failed> {
    let worker = ground.worker(args, 0).await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let runtime = WorkerRuntime::new(worker).handle(KIND, async || ());
    let running = tokio::spawn(runtime.run_until(stopped));
    tokio::time::sleep(SETTLE).await;
    let bar = bar(u64::from(args.idle_seconds), "idle");
    let (before, begun) = (ground.report().await?, Instant::now());
    for _ in 0..args.idle_seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bar.inc(1);
    }
    let (seconds, after) = (begun.elapsed().as_secs_f64(), ground.report().await?);
    bar.finish_and_clear();
    drop(stop);
    let _ = running.await.map_err(Failed::runtime)??;
    let per_s = |before: u64, after: u64| short(after.saturating_sub(before) as f64 / seconds);
    let commands = before.commands.zip(after.commands);
    Ok(figures(json!({
        "idle_calls_per_s": per_s(before.calls, after.calls),
        "idle_commands_per_s": commands.map(|(before, after)| per_s(before, after)),
    })))
}
