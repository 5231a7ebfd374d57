//! The arguments of the command.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ff_sim::Invariant;

const EXAMPLES: &str = "\
Examples:
  ff-sim run --seeds 10000                 ten thousand worlds of faults
  ff-sim seed 17 --trace                   every step of one of them
  ff-sim shrink 17                         the fewest faults and wishes that still break the rule
  ff-sim replay sim/corpus                 what was found once stays mended

Exit code: 0 all is well, 1 a rule was broken, 2 work did not come to an end, 3 something was never
met, 4 the same seed gave two runs, 64 wrong usage, 130 interrupted.";

/// Simulates FlowFabric: the real operations and agents in seeded worlds of faults.
#[derive(Debug, Parser)]
#[command(name = "ff-sim", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub task: Task,
    /// Run with this bug, to see what it breaks: `ff-sim bugs` names them.
    #[cfg(feature = "planted-bugs")]
    #[arg(long, global = true, value_name = "BUG")]
    pub planted: Option<ff_sim::bugs::PlantedBug>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Run many seeds, and stop at the first that breaks a rule
    ///
    /// With --json it prints one object at the end:
    ///
    ///     seeds, from                what was run
    ///     store_calls, executions    over all seeds
    ///     calls_per_s                store calls in a second of one core's time
    ///     simulated_ms, elapsed_ms   simulated and real time
    ///     calls_per_seed             how store calls are distributed over the seeds: min, p5, p25,
    ///                                p50, p75, p95, max
    ///     executions_per_seed        the same for executions
    ///     failures                   the seeds that failed, each with what was broken, the plan's
    ///                                file and the command that shows it again
    #[command(verbatim_doc_comment)]
    Run(RunArgs),
    /// Run one seed and show what it met
    ///
    /// What it prints depends on nothing but the seed and the options.
    Seed(SeedArgs),
    /// Run plans again: files that a failure has left, or folders of them
    Replay(ReplayArgs),
    /// Leave out faults and wishes of a failing seed or plan for as long as it fails
    ///
    /// The shrunk plan is written to a file, and its last steps are shown.
    Shrink(ShrinkArgs),
    /// Run seeds twice, step by step beside each other and in a second process, and compare
    Determinism(DeterminismArgs),
    /// Crash at every effect boundary of every operation
    CrashPoints(CrashPointsArgs),
    /// Go through every interleaving of small worlds, and count the states
    ///
    /// With --json one object for each world.
    Explore(ExploreArgs),
    /// Look for each planted bug, with all invariants and with each by itself
    ///
    /// Needs a build that has them: cargo run --release -p ff-sim --features planted-bugs -- bugs
    Bugs(BugsArgs),
    /// Say what a run over many seeds has met and what it has missed
    Coverage(CoverageArgs),
}

/// Which store answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Store {
    /// The reference store.
    #[default]
    Memory,
    /// The real function library, in process.
    Lua,
}

/// Which worlds, and how they are watched.
#[derive(Clone, Debug, Args)]
pub struct WorldArgs {
    /// Which store answers: memory is the reference store, lua the real function library.
    #[arg(long, value_enum, default_value_t, hide_possible_values = true, value_name = "STORE")]
    pub store: Store,
    /// Check these invariants only, for example INV-LEASE-1,INV-EPOCH-1; all unless set.
    #[arg(long, value_name = "TAGS", value_delimiter = ',')]
    pub invariants: Vec<Invariant>,
}

/// Which seeds.
#[derive(Clone, Debug, Args)]
pub struct SeedsArgs {
    /// How many seeds.
    #[arg(long, value_name = "N", default_value_t = 1_000,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// The first seed.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub from: u64,
    /// How many run at a time; as many as there are cores unless set.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub jobs: Option<u32>,
}

/// How results are shown.
#[derive(Clone, Copy, Debug, Args)]
pub struct OutputArgs {
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `ff-sim run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Which seeds.
    #[command(flatten)]
    pub seeds: SeedsArgs,
    /// Which worlds.
    #[command(flatten)]
    pub world: WorldArgs,
    /// Begin no more seeds after this time, for example 90s or 10m.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub time_limit: Option<Duration>,
    /// Stop after so many failures.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub max_failures: u64,
    /// Where the plans of failing seeds are written.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub plans: PathBuf,
    /// How results are shown.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The arguments of `ff-sim seed`.
#[derive(Debug, Args)]
pub struct SeedArgs {
    /// The seed.
    pub seed: u64,
    /// Show every step.
    #[arg(long)]
    pub trace: bool,
    /// Which worlds.
    #[command(flatten)]
    pub world: WorldArgs,
    /// How results are shown.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The arguments of `ff-sim replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Files of plans, and folders with such files (*.json).
    #[arg(required = true, value_name = "PLAN")]
    pub plans: Vec<PathBuf>,
    /// Show every step.
    #[arg(long)]
    pub trace: bool,
    /// Which worlds.
    #[command(flatten)]
    pub world: WorldArgs,
    /// How results are shown.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The arguments of `ff-sim shrink`.
#[derive(Debug, Args)]
pub struct ShrinkArgs {
    /// The seed, or the file of a plan.
    #[arg(value_name = "SEED|PLAN")]
    pub what: String,
    /// Where the shrunk plan is written; ff-sim-SEED.min.json unless set.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Which worlds.
    #[command(flatten)]
    pub world: WorldArgs,
    /// How results are shown.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The arguments of `ff-sim determinism`.
#[derive(Debug, Args)]
pub struct DeterminismArgs {
    /// Which seeds.
    #[command(flatten)]
    pub seeds: SeedsArgs,
    /// Which worlds.
    #[command(flatten)]
    pub world: WorldArgs,
    /// Print the hash of each seed and compare nothing: what the second process does.
    #[arg(long, hide = true)]
    pub hashes: bool,
    /// How results are shown.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The arguments of `ff-sim crash-points`.
#[derive(Debug, Args)]
pub struct CrashPointsArgs {
    /// Only the runs whose names begin with this, and the steps of the last of them.
    #[arg(long, value_name = "NAME")]
    pub only: Option<String>,
    /// List the operations in their situations, with which the names of runs begin.
    #[arg(long)]
    pub list: bool,
    /// How results are shown.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The arguments of `ff-sim explore`.
#[derive(Debug, Args)]
pub struct ExploreArgs {
    /// One world instead of all whose counts are known; some are too large for a few minutes.
    #[arg(long, value_name = "NAME")]
    pub world: Option<String>,
    /// Go one way through the world, as a failure has told it, and show its steps.
    #[arg(long, value_name = "STEPS", requires = "world")]
    pub path: Option<String>,
    /// How results are shown.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The arguments of `ff-sim bugs`.
#[derive(Debug, Args)]
pub struct BugsArgs {
    /// One bug instead of all.
    #[arg(long, value_name = "NAME")]
    pub bug: Option<String>,
    /// How many seeds each bug may take.
    #[arg(long, value_name = "N", default_value_t = 2_000,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// How many seeds run at a time; as many as there are cores unless set.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub jobs: Option<u32>,
    /// Print the table as it stands in docs/simulation.md.
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
    /// How results are shown.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The arguments of `ff-sim coverage`.
#[derive(Debug, Args)]
pub struct CoverageArgs {
    /// Which seeds.
    #[command(flatten)]
    pub seeds: SeedsArgs,
    /// Which worlds.
    #[command(flatten)]
    pub world: WorldArgs,
    /// How results are shown.
    #[command(flatten)]
    pub output: OutputArgs,
}
