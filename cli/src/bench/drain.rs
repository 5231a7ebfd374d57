//! Scenario drain: submits all executions, then starts the workers and the clock.

use serde_json::json;

use super::BenchArgs;
use super::figures::{Figures, figures, percentiles_ms, rounded};
use super::fixture::Fixture;
use super::work::{drain_all, submit_all};
use crate::exit::CliError;

/// Runs the scenario.
pub async fn run(args: &BenchArgs, fixture: &Fixture) -> Result<Figures, CliError> {
    let tasks = f64::from(args.tasks);
    let before = fixture.report().await?;
    let submitted = submit_all(args, fixture).await?;
    let submit_s = submitted.took.as_secs_f64();
    let pending = fixture.report().await?;
    let drained = drain_all(args, fixture, submitted).await?;
    let drain_s = drained.took.as_secs_f64();
    let after = fixture.report().await?;
    let per_second = |seconds: f64| (tasks / seconds).round();
    let per_task = |bytes: u64| (bytes.saturating_sub(before.used_bytes) as f64 / tasks).round();
    let cpu_us = before.cpu_us.zip(after.cpu_us);
    Ok(figures(json!({
        "submit_per_s": per_second(submit_s),
        "drain_per_s": per_second(drain_s),
        "end_to_end_per_s": per_second(submit_s + drain_s),
        "latency_ms": percentiles_ms(drained.latencies_us),
        "pending_bytes_per_task": per_task(pending.used_bytes),
        "completed_bytes_per_task": per_task(after.used_bytes),
        "store_cpu_us_per_task":
            cpu_us.map(|(before, after)| rounded(after.saturating_sub(before) as f64 / tasks)),
        "store_calls_per_task": rounded((after.calls - before.calls) as f64 / tasks),
    })))
}
