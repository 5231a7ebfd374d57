//! The arguments of `ff config`.

use clap::Args;

use super::store::StoreArgs;

/// The arguments of `ff config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}
