//! Scenario idle: how often a worker without work calls the store.

use std::time::{Duration, Instant};

use ff_sdk::WorkerRuntime;
use serde_json::json;
use tokio::sync::oneshot;

use super::BenchArgs;
use super::figures::{Figures, figures, rounded};
use super::fixture::{Fixture, KIND, bar};
use crate::exit::CliError;

/// The start of the worker is not measured.
const WARM_UP: Duration = Duration::from_secs(1);

/// Runs the scenario.
pub async fn run(args: &BenchArgs, fixture: &Fixture) -> Result<Figures, CliError> {
    let worker = fixture.worker(args, 0).await?;
    let (stop, stopped) = oneshot::channel::<()>();
    let runtime = WorkerRuntime::new(worker).handle(KIND, async || ());
    let running = tokio::spawn(runtime.run_until(stopped));
    tokio::time::sleep(WARM_UP).await;
    let bar = bar(u64::from(args.idle_seconds), "idle");
    let (before, started) = (fixture.report().await?, Instant::now());
    for _ in 0..args.idle_seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bar.inc(1);
    }
    let (seconds, after) = (started.elapsed().as_secs_f64(), fixture.report().await?);
    bar.finish_and_clear();
    drop(stop);
    let _ = running.await.map_err(CliError::runtime)??;
    let per_s = |before: u64, after: u64| rounded(after.saturating_sub(before) as f64 / seconds);
    let commands = before.commands.zip(after.commands);
    Ok(figures(json!({
        "idle_calls_per_s": per_s(before.calls, after.calls),
        "idle_commands_per_s": commands.map(|(before, after)| per_s(before, after)),
    })))
}
