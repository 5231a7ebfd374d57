//! Submit everything, with no worker.

use serde_json::json;

use super::BenchArgs;
use super::figures::{Figures, figures};
use super::ground::Ground;
use super::work::submit_all;
use crate::outcome::Failed;

/// Runs the scenario.
pub async fn run(args: &BenchArgs, ground: &Ground) -> Result<Figures, Failed> {
    let submitted = submit_all(args, ground).await?;
    let per_s = (f64::from(args.tasks) / submitted.took.as_secs_f64()).round();
    Ok(figures(json!({ "submit_per_s": per_s })))
}
