//! The arguments of `ff list`.

use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use ff_sdk::core::id::ExecutionKind;
use ff_sdk::core::state::UnknownState;
use ff_sdk::{LaneId, PublicState};

use super::duration::duration;
use super::store::StoreArgs;
use super::watch::tag;
use crate::cursor::PageCursor;

/// The arguments of `ff list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Only executions in this state.
    #[arg(long, value_name = "STATE", value_parser = states())]
    pub state: Option<PublicState>,
    /// Only executions of this lane (a named queue).
    #[arg(long, value_name = "LANE")]
    pub lane: Option<LaneId>,
    /// Only executions of this kind.
    #[arg(long, value_name = "KIND")]
    pub kind: Option<ExecutionKind>,
    /// Only executions with this tag. Repeat --tag to require several tags.
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    pub tag: Vec<(String, String)>,
    /// Only executions that were created in this time, for example 1h, the newest one first. This
    /// reads all executions of the namespace.
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "after")]
    pub since: Option<Duration>,
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
    #[arg(long, conflicts_with_all = ["state", "lane", "kind", "tag", "since"])]
    pub quarantined: bool,
    /// Print one JSON object per execution instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Parses a state. The error for an unknown state lists the known ones.
fn states() -> impl TypedValueParser<Value = PublicState> {
    let names = PossibleValuesParser::new(PublicState::ALL.iter().map(|state| state.as_str()));
    names.try_map(|name| -> Result<PublicState, UnknownState> { name.parse() })
}
