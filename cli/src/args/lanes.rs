//! The arguments of `ff lanes`.

use clap::{Args, Subcommand};
use ff_sdk::{LaneId, LaneState};

use super::StoreArgs;

/// The arguments of `ff lanes`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct LanesArgs {
    /// The change; without it, the lanes are listed.
    #[command(subcommand)]
    pub command: Option<LanesCommand>,
    #[command(flatten)]
    pub list: ListLanesArgs,
}

/// The arguments of the list of lanes.
#[derive(Debug, Args)]
pub struct ListLanesArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Print one JSON object for each lane instead of text.
    #[arg(long)]
    pub json: bool,
}

/// The subcommands of `ff lanes`.
#[derive(Debug, Subcommand)]
pub enum LanesCommand {
    /// Start no work of the lane; submissions are accepted and wait
    Pause(SetLaneArgs),
    /// Accept submissions and start work again
    Resume(SetLaneArgs),
    /// Refuse submissions, and start the work that the lane has
    Drain(SetLaneArgs),
    /// Refuse submissions, and start nothing
    Disable(SetLaneArgs),
}

/// The arguments of a change.
#[derive(Debug, Args)]
pub struct SetLaneArgs {
    /// The lane. It need not have been used yet.
    #[arg(value_parser = parse_lane)]
    pub lane: LaneId,
    /// Why, shown by ff lanes and in refused submissions: at most 256 bytes.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// The name of the operator, shown by ff lanes: at most 64 bytes.
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true)]
    pub by: Option<String>,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

impl LanesCommand {
    /// The state that the command sets, and its arguments.
    pub fn into_change(self) -> (LaneState, SetLaneArgs) {
        match self {
            Self::Pause(args) => (LaneState::Paused, args),
            Self::Resume(args) => (LaneState::Active, args),
            Self::Drain(args) => (LaneState::Draining, args),
            Self::Disable(args) => (LaneState::Disabled, args),
        }
    }
}

fn parse_lane(text: &str) -> Result<LaneId, String> {
    LaneId::try_new(text).map_err(|error| error.to_string())
}
