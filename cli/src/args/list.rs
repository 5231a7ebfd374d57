//! The arguments of `ff list`.

use clap::Args;
use ff_server::PageCursor;

use super::filter::{FILTERS, FilterArgs};
use super::store::StoreArgs;

/// The arguments of `ff list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// List the oldest execution first instead of the newest.
    #[arg(long)]
    pub oldest: bool,
    /// The number of executions on a page.
    #[arg(long, value_name = "N", default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// Print all pages.
    #[arg(long)]
    pub all: bool,
    /// Print the page after this cursor, which the previous page ended with.
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<PageCursor>,
    /// List the records in quarantine instead: those that cannot be decoded. They are listed for
    /// all namespaces, because the namespace of such a record is not known.
    #[arg(long, conflicts_with_all = FILTERS, conflicts_with = "oldest")]
    pub quarantined: bool,
    /// Print one JSON object per execution instead of a table.
    #[arg(long)]
    pub json: bool,
}
