//! The soak: crash scenarios with real processes.

use crate::shell::{Outcome, cargo, run as run_command};

/// Arguments of the soak.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Arguments of the program `soak`, such as `--only memory-full --times 3 --executions 500`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Runs it.
///
/// # Errors
///
/// When a scenario fails.
pub fn run(args: &Args) -> Outcome {
    let mut soak = cargo(&["run", "--release", "--package", "ff-tests", "--bin", "soak", "--"]);
    soak.args(&args.rest);
    run_command(soak)
}
