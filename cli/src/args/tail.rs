//! The arguments of `ff tail`.

use clap::Args;
use ff_sdk::ExecutionId;
use ff_sdk::core::id::FrameType;
use ff_sdk::core::store::Cursor;

use super::store::StoreArgs;

/// The arguments of `ff tail`.
#[derive(Debug, Args)]
pub struct TailArgs {
    /// The execution.
    pub id: ExecutionId,
    #[command(flatten)]
    pub store: StoreArgs,
    /// The attempt, from 0; the latest one that there is unless set.
    #[arg(long, value_name = "N")]
    pub attempt: Option<u32>,
    /// Where to begin: start is all that is kept, end what comes from now on, and CURSOR a place
    /// that --json or --no-follow has told. A line "gap" says that frames are missing, or that the
    /// store has another history: then all that is kept is printed again.
    #[arg(long, value_name = "start|end|CURSOR", default_value = "start")]
    pub from: Cursor,
    /// Frames of this type only.
    #[arg(long = "type", value_name = "TYPE")]
    pub frame_type: Option<FrameType>,
    /// End when nothing follows now.
    #[arg(long)]
    pub no_follow: bool,
    /// Print one JSON object in each line.
    #[arg(long)]
    pub json: bool,
}
