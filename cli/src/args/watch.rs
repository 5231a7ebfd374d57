//! The arguments of `ff watch`.

use std::path::PathBuf;

use clap::Args;
use ff_sdk::LaneId;
use ff_sdk::core::backend::CompletionCursor;
use ff_sdk::core::tags::{TagError, Tags};

use super::store::StoreArgs;

/// The arguments of `ff watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Only executions of this lane (a named queue).
    #[arg(long, value_name = "LANE")]
    pub lane: Option<LaneId>,
    /// Only executions with this tag. Repeat --tag to require several tags.
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    pub tag: Vec<(String, String)>,
    /// Where to begin: end is now, start is the oldest entry in the journals, and CURSOR is
    /// the content of a --cursor-file.
    #[arg(long, value_name = "start|end|CURSOR", default_value = "end")]
    pub from: CompletionCursor,
    /// The file that stores the cursor after each printed line. If the file exists, the command
    /// continues from its cursor and ignores --from.
    #[arg(long, value_name = "PATH")]
    pub cursor_file: Option<PathBuf>,
    /// End after this number of lines.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Print one JSON object per line.
    #[arg(long)]
    pub json: bool,
}

/// Parses a tag.
pub(super) fn tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Tags::try_new([(key, value)]).map_err(|error: TagError| error.to_string())?;
    Ok((key.to_owned(), value.to_owned()))
}
