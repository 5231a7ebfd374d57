//! The arguments of `ff workers`.

use clap::{Args, Subcommand};
use ff_sdk::WorkerInstanceId;

use super::StoreArgs;

/// The arguments of `ff workers`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct WorkersArgs {
    /// The change; without it, the workers are listed.
    #[command(subcommand)]
    pub command: Option<WorkersCommand>,
    #[command(flatten)]
    pub list: ListWorkersArgs,
}

/// The arguments of the list of workers.
#[derive(Debug, Args)]
pub struct ListWorkersArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Print one JSON object for each worker instead of text.
    #[arg(long)]
    pub json: bool,
}

/// The subcommands of `ff workers`.
#[derive(Debug, Subcommand)]
pub enum WorkersCommand {
    /// Let a worker finish its tasks and claim nothing more, from its next heartbeat on
    ///
    /// This cannot be undone: the process stays idle until it is stopped. To have its work served,
    /// start another worker.
    Drain(OneWorkerArgs),
    /// Mark a worker as dead: its instance id is free, and its process claims nothing more
    Dead(OneWorkerArgs),
}

/// The arguments of a change.
#[derive(Debug, Args)]
pub struct OneWorkerArgs {
    /// The instance id of the worker, as ff workers shows it.
    #[arg(value_parser = parse_instance)]
    pub instance: WorkerInstanceId,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

fn parse_instance(text: &str) -> Result<WorkerInstanceId, String> {
    WorkerInstanceId::try_new(text).map_err(|error| error.to_string())
}
