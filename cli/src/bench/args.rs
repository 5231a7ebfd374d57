//! The arguments of `ff bench`.

use clap::{Args, ValueEnum};

use crate::args::SetUpArgs;

/// The arguments of `ff bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// The URL of the store: memory: for a store in this process, valkey: for a private server that
    /// is started for this command, sqlite:PATH for a file, or the URL of a running server, for
    /// example valkey://127.0.0.1:6379.
    #[arg(
        long,
        value_name = "URL",
        default_value = "memory:",
        env = "FF_BACKEND",
        hide_env_values = true
    )]
    pub backend: String,
    #[command(flatten)]
    pub set_up: SetUpArgs,
    /// The scenario to measure.
    #[arg(long, value_enum, default_value_t = Scenario::Drain)]
    pub scenario: Scenario,
    /// The number of executions. Scenario dispatch submits at most 500 and resume at most 5,000;
    /// frames appends ten frames for each of them, at most 100,000.
    #[arg(long, value_name = "N", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub tasks: u32,
    /// The number of workers, in one process with one connection. Scenarios dispatch, resume,
    /// frames and idle have one worker.
    #[arg(long, value_name = "W", default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub workers: u32,
    /// How many executions a worker runs concurrently. Scenarios resume and frames use 16.
    #[arg(long, value_name = "K", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=64))]
    pub slots: u32,
    /// The bytes of payload of each execution. Scenarios memory and frames use none.
    #[arg(long, value_name = "BYTES", default_value_t = 0,
        value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    pub payload: u32,
    /// The number of partitions of a new store. The default is 256. A store that has partitions
    /// must have this number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub partitions: Option<u16>,
    /// The number of kinds of the executions of scenario drain. With more than one, every second
    /// worker serves only one of them.
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub kinds: u32,
    /// How long scenario idle watches its worker.
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub idle_seconds: u32,
    /// Run on a server that holds other executions, and compete with them.
    #[arg(long)]
    pub force: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Submit all executions, then start the workers: how fast they claim and complete them.
    Drain,
    /// Submit all executions without a worker: how fast the store accepts them.
    Submit,
    /// Submit one execution at a time to an idle worker: how long until its handler starts.
    Dispatch,
    /// Suspend all executions, then signal them: how long until the resumed handler starts.
    Resume,
    /// Append output from 16 tasks, with and without readers: how fast it is stored.
    Frames,
    /// Run one worker that has nothing to do: how often it calls the store.
    Idle,
    /// Submit and complete executions without payload: how many bytes each needs.
    Memory,
    /// Run all the others, and print one object with all figures.
    All,
}
