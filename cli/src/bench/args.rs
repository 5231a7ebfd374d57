//! The arguments of `ff bench`.

use clap::{Args, ValueEnum};

/// The arguments of `ff bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// Where executions live: memory: is this process, valkey: a private server that is started
    /// for it, and a server that runs is named like valkey://127.0.0.1:6379.
    #[arg(
        long,
        value_name = "URL",
        default_value = "memory:",
        env = "FF_BACKEND",
        hide_env_values = true
    )]
    pub backend: String,
    /// What to measure.
    #[arg(long, value_enum, default_value_t = Scenario::Drain)]
    pub scenario: Scenario,
    /// How many executions; dispatch submits 500 of them at most, resume 5,000, and frames appends
    /// ten frames for each, 100,000 at most.
    #[arg(long, value_name = "N", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub tasks: u32,
    /// How many workers, of one process and one connection; dispatch, idle, resume and frames have
    /// one.
    #[arg(long, value_name = "W", default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub workers: u32,
    /// How many executions each worker holds at once; with resume and frames it is 16.
    #[arg(long, value_name = "K", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=64))]
    pub slots: u32,
    /// How many bytes of payload each execution has; with memory and frames it has none.
    #[arg(long, value_name = "BYTES", default_value_t = 0,
        value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    pub payload: u32,
    /// How many partitions the store is set up with; 256 unless set, or what it has.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub partitions: Option<u16>,
    /// How long idle watches its worker.
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub idle_seconds: u32,
    /// Run on a server that holds executions of others, and compete with them.
    #[arg(long)]
    pub force: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Submit everything, then start the workers and the clock: how fast is it claimed and
    /// completed.
    Drain,
    /// Submit everything, with no worker: how fast does the store take it.
    Submit,
    /// Submit one after the other to a worker that waits: how long until its handler starts.
    Dispatch,
    /// Suspend everything, then signal some at a time to a worker that waits: how long until the
    /// resumed handler starts.
    Resume,
    /// Append output from 16 tasks, with a reader for each and without: how fast is it kept.
    Frames,
    /// One worker without work: how often does it call the store.
    Idle,
    /// Submit and complete executions without payload: how many bytes does each need.
    Memory,
    /// All of them, one after the other, and one object with every figure.
    All,
}

impl Scenario {
    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Submit => "submit",
            Self::Dispatch => "dispatch",
            Self::Resume => "resume",
            Self::Frames => "frames",
            Self::Idle => "idle",
            Self::Memory => "memory",
            Self::All => "all",
        }
    }
}
