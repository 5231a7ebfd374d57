//! The arguments of the command.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ff_sim::Invariant;

const EXAMPLES: &str = "\
Examples:
  ff-sim run --seeds 10000       run ten thousand worlds of faults
  ff-sim seed 17 --trace         show every step of one of them
  ff-sim shrink 17               find the fewest faults and actions that still break the rule
  ff-sim replay sim/corpus       replay the plans of fixed defects

Exit codes: 0 success, 1 a rule was broken, 2 work did not end, 3 coverage or known counts missed,
4 a seed gave two different runs, 64 wrong usage, 130 interrupted.";

/// Simulates FlowFabric: runs the real operations and agents in seeded worlds of faults.
#[derive(Debug, Parser)]
#[command(name = "ff-sim", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub task: Task,
    /// Run with this planted bug; `ff-sim bugs` lists them.
    #[cfg(feature = "planted-bugs")]
    #[arg(long, global = true, value_name = "BUG")]
    pub planted: Option<ff_sim::bugs::PlantedBug>,
}

#[derive(Debug, Subcommand)]
pub enum Task {
    /// Run many seeds, and stop at the first that breaks a rule
    ///
    /// With --json, print one object at the end:
    ///
    ///     seeds, from                the seeds that were run
    ///     store_calls, executions    totals of all seeds
    ///     calls_per_s                store calls per second of one core's time
    ///     simulated_ms, elapsed_ms   simulated and real time
    ///     calls_per_seed             distribution of store calls over the seeds: min, p5, p25,
    ///                                p50, p75, p95, max
    ///     executions_per_seed        the same for executions
    ///     failures                   the seeds that failed, each with the broken rule, the file of
    ///                                its plan and the command that reproduces it
    #[command(verbatim_doc_comment)]
    Run(RunArgs),
    /// Run one seed and show its report
    ///
    /// The output depends only on the seed and the options.
    Seed(SeedArgs),
    /// Run plans from files or folders, such as those that failures have written
    Replay(ReplayArgs),
    /// Leave out faults and actions of a failing seed or plan while it still fails
    ///
    /// Also simplifies the settings, and tries small worlds with other seeds. Goes on until nothing
    /// helps, the time is over, or Ctrl-C; then it writes the smallest plan to a file, and shows
    /// its last events.
    Shrink(ShrinkArgs),
    /// Run each seed twice in lockstep and once in a second process, and compare the runs
    Determinism(DeterminismArgs),
    /// Crash at every effect boundary of every operation
    CrashPoints(CrashPointsArgs),
    /// Explore every interleaving of small worlds, and count the states
    ///
    /// With --json, print one object for each world.
    Explore(ExploreArgs),
    /// Search for each planted bug, with all invariants and with each alone
    ///
    /// Needs a build with the feature planted-bugs:
    /// cargo run --release -p ff-sim --features planted-bugs -- bugs
    Bugs(BugsArgs),
    /// Show the coverage of many seeds: the situations, effects, rejections, events and faults
    Coverage(CoverageArgs),
}

/// The store that answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Store {
    #[default]
    Memory,
    Lua,
}

#[derive(Clone, Debug, Args)]
pub struct WorldArgs {
    /// The store that answers: memory (the reference store) or lua (the real function library).
    #[arg(long, value_enum, default_value_t, hide_possible_values = true, value_name = "STORE")]
    pub store: Store,
    /// Check only these invariants, for example INV-LEASE-1,INV-EPOCH-1 [default: all].
    #[arg(long, value_name = "TAGS", value_delimiter = ',')]
    pub invariants: Vec<Invariant>,
}

#[derive(Clone, Debug, Args)]
pub struct SeedsArgs {
    /// Number of seeds.
    #[arg(long, value_name = "N", default_value_t = 1_000,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// First seed.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub from: u64,
    /// Number of seeds that run in parallel [default: number of cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub jobs: Option<u32>,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct OutputArgs {
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

// Runs that are shown one by one.
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    /// Show every step.
    #[arg(long)]
    pub trace: bool,
    #[command(flatten)]
    pub world: WorldArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub seeds: SeedsArgs,
    #[command(flatten)]
    pub world: WorldArgs,
    /// Start no more seeds after this time, for example 90s or 10m.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub time_limit: Option<Duration>,
    /// Stop after this number of failures.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub max_failures: u64,
    /// Folder for the plans of failing seeds.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub plans: PathBuf,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub struct SeedArgs {
    /// The seed.
    pub seed: u64,
    #[command(flatten)]
    pub show: ShowArgs,
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Plan files, and folders of plan files (*.json).
    #[arg(required = true, value_name = "PLAN")]
    pub plans: Vec<PathBuf>,
    #[command(flatten)]
    pub show: ShowArgs,
}

#[derive(Debug, Args)]
pub struct ShrinkArgs {
    /// A seed, or a plan file.
    #[arg(value_name = "SEED|PLAN")]
    pub subject: String,
    /// File for the shrunk plan [default: ff-sim-SEED.min.json].
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Longest time that the search takes.
    #[arg(long, value_name = "N", default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    #[command(flatten)]
    pub world: WorldArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub struct DeterminismArgs {
    #[command(flatten)]
    pub seeds: SeedsArgs,
    #[command(flatten)]
    pub world: WorldArgs,
    /// Print the hash of each seed and compare nothing, as the second process does.
    #[arg(long, hide = true)]
    pub hashes: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub struct CrashPointsArgs {
    /// Run only the crash points whose names begin with this, and show the steps of the last one.
    #[arg(long, value_name = "NAME")]
    pub only: Option<String>,
    /// List the operations and their situations, with which the names of crash points begin.
    #[arg(long)]
    pub list: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub struct ExploreArgs {
    /// Explore this world [default: every world with known counts; the others take hours].
    #[arg(long, value_name = "NAME")]
    pub world: Option<String>,
    /// Follow one path through the world, as a failure has printed it, and show its steps.
    #[arg(long, value_name = "STEPS", requires = "world")]
    pub path: Option<String>,
    /// Number of worlds that are explored in parallel [default: number of cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub jobs: Option<u32>,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub struct BugsArgs {
    /// Search for this bug [default: all].
    #[arg(long, value_name = "NAME")]
    pub bug: Option<String>,
    /// Number of seeds after which a bug counts as missed.
    #[arg(long, value_name = "N", default_value_t = 2_000,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// Number of seeds that run in parallel [default: number of cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub jobs: Option<u32>,
    /// Print the table of docs/simulation.md.
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
    /// Shrink the first failing seed of each bug, and report the faults and actions that are left.
    #[arg(long, conflicts_with = "markdown")]
    pub shrink: bool,
    /// Longest time that shrinking takes for each bug.
    #[arg(long, value_name = "N", default_value_t = 60, requires = "shrink",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub struct CoverageArgs {
    #[command(flatten)]
    pub seeds: SeedsArgs,
    #[command(flatten)]
    pub world: WorldArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}
