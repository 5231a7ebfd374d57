//! The arguments of `ff submit`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ff_sdk::LaneId;

use super::duration::duration;
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
    /// Give each line without an idempotency_key the key PREFIX:LINE, so that the command can be
    /// repeated: lines that were submitted before count as duplicates. Use a new prefix for each
    /// file, and do not change the lines in between.
    #[arg(long, value_name = "PREFIX")]
    pub key_prefix: Option<String>,
    /// How long a line is tried until the command stops.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
    /// Print one JSON object per line of the input instead of its ID.
    #[arg(long)]
    pub json: bool,
}
