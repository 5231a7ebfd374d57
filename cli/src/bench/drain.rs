//! Submit everything, then start the workers and the clock.

use serde_json::json;

use super::BenchArgs;
use super::figures::{Figures, figures, percentiles_ms, short};
use super::ground::Ground;
use super::work::{drain_all, submit_all};
use crate::outcome::Failed;

/// Runs the scenario.
pub async fn run(args: &BenchArgs, ground: &Ground) -> Result<Figures, Failed> {
    let tasks = f64::from(args.tasks);
    let before = ground.report().await?;
    let submitted = submit_all(args, ground).await?;
    let submit_s = submitted.took.as_secs_f64();
    let pending = ground.report().await?;
    let drained = drain_all(args, ground, submitted).await?;
    let drain_s = drained.took.as_secs_f64();
    let after = ground.report().await?;
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
            cpu_us.map(|(before, after)| short(after.saturating_sub(before) as f64 / tasks)),
        "store_calls_per_task": short((after.calls - before.calls) as f64 / tasks),
    })))
}
