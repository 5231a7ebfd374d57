//! Measuring the engine with `ff bench`.

use crate::shell::{Outcome, cargo, run as run_command};

/// Arguments of the measurement.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Arguments of `ff bench`; unless given, a drain of 100,000 executions on `memory:` and of
    /// 10,000 with 4 KiB payloads on `valkey:`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Measures.
///
/// # Errors
///
/// When the build or a measurement fails.
pub fn run(args: &Args) -> Outcome {
    let memory = ["--backend", "memory:", "--tasks", "100000"];
    let valkey = ["--backend", "valkey:", "--tasks", "10000", "--payload", "4096"];
    if !args.rest.is_empty() {
        return bench(args.rest.iter().map(String::as_str));
    }
    bench(memory.into_iter())?;
    bench(valkey.into_iter())
}

fn bench<'a>(args: impl Iterator<Item = &'a str>) -> Outcome {
    let mut bench = cargo(&["run", "--release", "--package", "flowfabric-cli", "--", "bench"]);
    bench.args(args);
    run_command(bench)
}
