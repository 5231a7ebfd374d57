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
    /// Of this lane only.
    #[arg(long, value_name = "LANE")]
    pub lane: Option<LaneId>,
    /// With this tag only, and all others of another --tag.
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    pub tag: Vec<(String, String)>,
    /// Where to begin: end is what ends from now on, start is all that is kept, and CURSOR the text
    /// that a --cursor-file has.
    #[arg(long, value_name = "start|end|CURSOR", default_value = "end")]
    pub from: CompletionCursor,
    /// Where to keep the place behind what was printed, stored after each line: a watch that finds
    /// the file goes on from there, whatever --from says.
    #[arg(long, value_name = "PATH")]
    pub cursor_file: Option<PathBuf>,
    /// End after so many lines.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Print one JSON object in each line.
    #[arg(long)]
    pub json: bool,
}

/// A tag, as it is written on the command line.
fn tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a tag is written KEY=VALUE")?;
    Tags::try_new([(key, value)]).map_err(|error: TagError| error.to_string())?;
    Ok((key.to_owned(), value.to_owned()))
}
