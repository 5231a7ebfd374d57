//! The arguments of `ff work`.

use clap::Args;
use ff_sdk::LaneId;
use ff_sdk::core::id::{ExecutionKind, WorkerId, WorkerInstanceId};

use super::store::StoreArgs;

/// The arguments of `ff work`.
#[derive(Debug, Args)]
pub struct WorkArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// The command that does the work, run with sh -c.
    #[arg(long, value_name = "CMD")]
    pub exec: String,
    /// The kind that the command is for, more with another --kind; any kind unless set. A lane
    /// hands out whatever is next, of any kind: what is of another kind fails its attempt with
    /// category no_handler. Give kinds that need different workers lanes of their own.
    #[arg(long, value_name = "KIND")]
    pub kind: Vec<ExecutionKind>,
    /// The lane to work on, more with another --lane, which are served in turn.
    #[arg(long, value_name = "LANE", default_value = "default")]
    pub lane: Vec<LaneId>,
    /// Something that this worker can do and executions may require, more with another
    /// --capability.
    #[arg(long, value_name = "TOKEN")]
    pub capability: Vec<String>,
    /// How many commands run at once; as many as there are cores unless set.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub slots: Option<u32>,
    /// How long a lease is good unless it is renewed, which happens at a third of it. When a worker
    /// dies, others take over after this time at the latest.
    #[arg(long, value_name = "MS", default_value_t = 30_000,
        value_parser = clap::value_parser!(u64).range(10..=86_400_000))]
    pub lease_ttl_ms: u64,
    /// The worker's name; this host's unless set.
    #[arg(long, value_name = "ID")]
    pub worker: Option<WorkerId>,
    /// This process's name, which no other that lives may have; made of the worker's unless set.
    #[arg(long, value_name = "ID")]
    pub instance: Option<WorkerInstanceId>,
    /// End when nothing on the lanes waits, runs anywhere, or is due within a minute. Meanwhile
    /// it looks at all partitions every second.
    #[arg(long)]
    pub until_idle: bool,
    /// End after so many executions.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max: Option<u64>,
    /// End after this time, as after Ctrl-C.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout_ms: Option<u64>,
    /// Print a line for each execution that it finished.
    #[arg(long, short)]
    pub verbose: bool,
    /// Print a JSON object for each execution that it finished.
    #[arg(long)]
    pub json: bool,
}
