//! The arguments of `ff stats`.

use clap::Args;
use ff_sdk::LaneId;

use super::StoreArgs;

/// The arguments of `ff stats`.
#[derive(Debug, Args)]
pub struct StatsArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Count the executions of this lane only.
    #[arg(long, value_name = "LANE")]
    pub lane: Option<LaneId>,
    /// Print one JSON object for each lane instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Whether a store that is set up by the command keeps counts.
#[derive(Clone, Debug, Default, Args)]
pub struct SetUpArgs {
    /// If the store is empty, set it up without the counts that ff stats prints. A store that has
    /// been set up stays as it is.
    #[arg(long)]
    pub without_counts: bool,
}
