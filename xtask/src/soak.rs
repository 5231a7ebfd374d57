//! The soak: crash scenarios with real processes, the fuzz targets, and random requests to
//! `ff serve`.

use crate::fuzz;
use crate::proof;
use crate::routes;
use crate::shell::{Failed, Outcome, cargo, run as run_command};
use crate::simulate;

/// On how many inputs each fuzz target runs.
const FUZZ_INPUTS: u64 = 20_000;

/// Arguments of the soak.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Arguments of the program `soak`, such as `--only memory-full --times 3 --executions 500`;
    /// or `--only routes` for the requests to `ff serve`, which need the program `schemathesis`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Runs it.
///
/// # Errors
///
/// When a scenario fails, or an answer of `ff serve` is wrong.
pub fn run(args: &Args) -> Outcome {
    if args.rest == ["--only", "routes"] {
        return routes::run();
    }
    let mut soak = cargo(&["run", "--release", "--package", "ff-tests", "--bin", "soak", "--"]);
    let report = proof::path("soak-report")?;
    soak.arg("--report").arg(&report).args(&args.rest);
    run_command(soak)?;
    let text = std::fs::read_to_string(&report);
    let text = text.map_err(|error| Failed(format!("{}: {error}", report.display())))?;
    proof::keep("soak", &proof::parse(&text)?)?;
    if args.rest.iter().any(|arg| arg.starts_with("--only")) {
        return Ok(());
    }
    let seed = simulate::first_seed() % 1_000_000;
    fuzz::run_all(FUZZ_INPUTS, u32::try_from(seed).unwrap_or_default())?;
    routes::run()
}
