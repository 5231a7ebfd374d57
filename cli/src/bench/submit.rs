//! Scenario submit: submits all executions without a worker.

use serde_json::json;

use super::BenchArgs;
use super::figures::{Figures, figures};
use super::fixture::Fixture;
use super::work::submit_all;
use crate::exit::CliError;

/// Runs the scenario.
pub async fn run(args: &BenchArgs, fixture: &Fixture) -> Result<Figures, CliError> {
    let submitted = submit_all(args, fixture).await?;
    let per_s = (f64::from(args.tasks) / submitted.took.as_secs_f64()).round();
    Ok(figures(json!({ "submit_per_s": per_s })))
}
