//! The arguments of the commands that look: `ff describe`, `ff list` and `ff history`.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use ff_sdk::core::id::ExecutionKind;
use ff_sdk::core::state::UnknownWord;
use ff_sdk::{ExecutionId, LaneId, PublicState};

use super::store::StoreArgs;
use crate::cursor::PageCursor;

/// The arguments of `ff describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// The execution.
    pub id: ExecutionId,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `ff history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// The execution.
    pub id: ExecutionId,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `ff list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// In this state only.
    #[arg(long, value_name = "STATE", value_parser = states())]
    pub state: Option<PublicState>,
    /// Of this lane only.
    #[arg(long, value_name = "LANE")]
    pub lane: Option<LaneId>,
    /// Of this kind only.
    #[arg(long, value_name = "KIND")]
    pub kind: Option<ExecutionKind>,
    /// How many on a page.
    #[arg(long, value_name = "N", default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// All pages, one after the other.
    #[arg(long)]
    pub all: bool,
    /// The page behind a place: what the page before said at its end.
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<PageCursor>,
    /// The records that do not decode, of all namespaces: what does not decode does not say whose
    /// it is.
    #[arg(long, conflicts_with_all = ["state", "lane", "kind"])]
    pub quarantined: bool,
    /// Print one JSON object for each execution instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Parses a state, and names them all where it is none.
fn states() -> impl TypedValueParser<Value = PublicState> {
    let words = PossibleValuesParser::new(PublicState::ALL.iter().map(|state| state.as_str()));
    words.try_map(|word| -> Result<PublicState, UnknownWord> { word.parse() })
}
