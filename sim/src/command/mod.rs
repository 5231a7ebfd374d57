//! The command `ff-sim`.

mod args;
mod bugs;
mod coverage;
mod crash_points;
mod determinism;
mod ending;
mod explore;
mod figures;
mod plans;
mod progress;
mod run;
mod seed;
mod seeds;
mod shrink;
mod stopwatch;
mod table;
mod worlds;

use std::process::ExitCode;

use clap::Parser;

use self::args::{Cli, Task};
use self::ending::USAGE;

/// Runs the command.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    #[cfg(feature = "planted-bugs")]
    ff_sim::bugs::select(cli.planted);
    let ended = match &cli.task {
        Task::Run(args) => run::run(args),
        Task::Seed(args) => seed::seed(args),
        Task::Replay(args) => seed::replay(args),
        Task::Shrink(args) => shrink::shrink(args),
        Task::Determinism(args) => determinism::determinism(args),
        Task::CrashPoints(args) => crash_points::crash_points(args),
        Task::Explore(args) => explore::explore(args),
        Task::Bugs(args) => bugs::bugs(args),
        Task::Coverage(args) => coverage::coverage(args),
    };
    match ended {
        Ok(ending) => ending.into(),
        Err(unusable) => unusable.report(),
    }
}
