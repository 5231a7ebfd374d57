//! The arguments of `ff submit`.

use std::path::PathBuf;

use clap::Args;
use ff_sdk::LaneId;

use super::store::StoreArgs;

/// The arguments of `ff submit`.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The file with one execution in each line; - is standard input.
    pub file: PathBuf,
    #[command(flatten)]
    pub store: StoreArgs,
    /// The lane of the lines that name none.
    #[arg(long, value_name = "LANE", default_value = "default")]
    pub lane: LaneId,
    /// Print one JSON object for each line instead of its id.
    #[arg(long)]
    pub json: bool,
}
