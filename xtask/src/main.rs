//! Developer tasks behind one entry: `cargo xtask --help`.

mod bench;
mod docs;
mod fuzz;
mod mutants;
mod packages;
mod proof;
mod routes;
mod shell;
mod simulate;
mod soak;
mod steps;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use shell::Failed;

/// Developer tasks of FlowFabric
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run every check that a change has to pass; `./test` installs what it needs first
    Test,
    /// Run the simulator: seeds of this commit, crash points, interleavings, planted bugs
    Simulate(simulate::Args),
    /// Change one place of an area at a time, and see whether a test fails
    Mutants(mutants::Args),
    /// Run the searches of a release, and write docs/proof.md (about an hour and a half)
    Proof(proof::Args),
    /// Run, replay or minimise the fuzz targets
    Fuzz(fuzz::Args),
    /// Measure the engine on memory and on a private Valkey
    Bench(bench::Args),
    /// Run every crash scenario many times with many executions, the fuzz targets, and random
    /// requests to each route of `ff serve` (more than an hour)
    Soak(soak::Args),
    /// Regenerate the generated pages of docs/, and build the API documentation
    Docs,
    /// Package the crates that are published, and compile each from its package
    Package,
}

fn main() -> ExitCode {
    let result = match Args::parse().task {
        Task::Test => test::run(),
        Task::Simulate(args) => simulate::run(&args),
        Task::Mutants(args) => mutants::run(&args),
        Task::Proof(args) => proof::run(&args),
        Task::Fuzz(args) => fuzz::run(args),
        Task::Bench(args) => bench::run(&args),
        Task::Soak(args) => soak::run(&args),
        Task::Docs => docs::run(),
        Task::Package => packages::verify(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(why)) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}
