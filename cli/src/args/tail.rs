//! The arguments of `ff tail`.

use clap::Args;
use ff_sdk::ExecutionId;
use ff_sdk::core::id::FrameType;
use ff_sdk::core::store::Cursor;

use super::store::StoreArgs;

/// The arguments of `ff tail`.
#[derive(Debug, Args)]
pub struct TailArgs {
    /// The ID of the execution.
    #[arg(value_parser = ExecutionId::from_any)]
    pub id: ExecutionId,
    #[command(flatten)]
    pub store: StoreArgs,
    /// The attempt, from 0. The default is the latest attempt.
    #[arg(long, value_name = "N")]
    pub attempt: Option<u32>,
    /// Where to begin: start is the oldest frame that is kept, end is the first frame from now on,
    /// and CURSOR is a cursor that --json or --no-follow has printed. If a failover has made the
    /// cursor invalid, a gap is printed, and then all frames that are kept.
    #[arg(long, value_name = "start|end|CURSOR", default_value = "start")]
    pub from: Cursor,
    /// Only frames of this type.
    #[arg(long = "type", value_name = "TYPE")]
    pub frame_type: Option<FrameType>,
    /// Print the frames that exist now and end.
    #[arg(long)]
    pub no_follow: bool,
    /// Print one JSON object per line.
    #[arg(long)]
    pub json: bool,
}
