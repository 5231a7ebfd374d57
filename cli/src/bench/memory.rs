//! Scenario memory: how many bytes of the store an execution needs.

use serde_json::json;

use super::BenchArgs;
use super::figures::{Figures, figures};
use super::fixture::Fixture;
use super::work::{drain_all, submit_all};
use crate::exit::CliError;

/// Runs the scenario without payloads, so that the figures are what the engine itself needs.
pub async fn run(args: &BenchArgs, fixture: &Fixture) -> Result<Figures, CliError> {
    let args = BenchArgs { payload: 0, ..args.clone() };
    let before = fixture.report().await?;
    let submitted = submit_all(&args, fixture).await?;
    let pending = fixture.report().await?;
    drain_all(&args, fixture, submitted).await?;
    let completed = fixture.report().await?;
    let per_task =
        |before: u64, after: u64| ((after as f64 - before as f64) / f64::from(args.tasks)).round();
    Ok(figures(json!({
        "pending_bytes_per_task": per_task(before.used_bytes, pending.used_bytes),
        "completed_bytes_per_task": per_task(before.used_bytes, completed.used_bytes),
        "completed_added_bytes_per_task": per_task(pending.used_bytes, completed.used_bytes),
        "journal_bytes_per_task": per_task(before.stream_bytes, completed.stream_bytes),
    })))
}
