//! The arguments of `ff submit`.

use std::path::PathBuf;

use clap::Args;
use ff_sdk::LaneId;

use super::store::StoreArgs;

/// The arguments of `ff submit`.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The file with one execution per line, or - for standard input.
    pub file: PathBuf,
    #[command(flatten)]
    pub store: StoreArgs,
    /// The lane (a named queue) of the lines that have no lane field.
    #[arg(long, value_name = "LANE", default_value = "default")]
    pub lane: LaneId,
    /// Print one JSON object per line of the input instead of its ID.
    #[arg(long)]
    pub json: bool,
}
