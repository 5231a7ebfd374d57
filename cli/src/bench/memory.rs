//! What each execution needs of the store's memory.

use serde_json::json;

use super::BenchArgs;
use super::figures::{Figures, figures};
use super::ground::Ground;
use super::work::{drain_all, submit_all};
use crate::outcome::Failed;

/// Runs the scenario, without payloads: what is left is what the engine itself needs.
pub async fn run(args: &BenchArgs, ground: &Ground) -> Result<Figures, Failed> {
    let args = BenchArgs { payload: 0, ..args.clone() };
    let before = ground.report().await?;
    let submitted = submit_all(&args, ground).await?;
    let pending = ground.report().await?;
    drain_all(&args, ground, submitted).await?;
    let completed = ground.report().await?;
    let per_task =
        |before: u64, after: u64| ((after as f64 - before as f64) / f64::from(args.tasks)).round();
    Ok(figures(json!({
        "pending_bytes_per_task": per_task(before.used_bytes, pending.used_bytes),
        "completed_bytes_per_task": per_task(before.used_bytes, completed.used_bytes),
        "completed_added_bytes_per_task": per_task(pending.used_bytes, completed.used_bytes),
        "journal_bytes_per_task": per_task(before.stream_bytes, completed.stream_bytes),
    })))
}
