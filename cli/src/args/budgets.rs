//! The arguments of `ff budgets`.

use std::time::Duration;

use clap::{Args, Subcommand};
use ff_sdk::BudgetId;
use ff_sdk::RequestId;

use super::StoreArgs;

/// The arguments of `ff budgets`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BudgetsArgs {
    /// The action; without it, the budgets are listed.
    #[command(subcommand)]
    pub command: Option<BudgetsCommand>,
    #[command(flatten)]
    pub list: ListBudgetsArgs,
}

/// The arguments of the list of budgets.
#[derive(Debug, Args)]
pub struct ListBudgetsArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Print one JSON object for each budget instead of text.
    #[arg(long)]
    pub json: bool,
}

/// The subcommands of `ff budgets`.
#[derive(Debug, Subcommand)]
pub enum BudgetsCommand {
    /// Create a budget
    Create(CreateBudgetArgs),
    /// Change limits, add dimensions, or change when the budget resets itself
    Update(UpdateBudgetArgs),
    /// Set the usage of a budget to zero
    Reset(ResetBudgetArgs),
    /// Delete a budget
    Delete(OneBudgetArgs),
    /// Show one budget
    Show(OneBudgetArgs),
}

/// The limits of a dimension as they are given.
#[derive(Clone, Debug)]
pub struct Limit {
    /// The dimension.
    pub dimension: String,
    /// The soft limit; 0 means none.
    pub soft: u64,
    /// The hard limit; 0 means none.
    pub hard: u64,
}

/// A budget, and the form of the output.
#[derive(Debug, Args)]
pub struct OneBudgetArgs {
    /// The budget.
    #[arg(value_parser = parse_budget)]
    pub budget: BudgetId,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `ff budgets create`.
#[derive(Debug, Args)]
pub struct CreateBudgetArgs {
    /// A dimension and its limits, such as tokens=1000000 or, with a soft limit,
    /// tokens=800000:1000000; 0 means no limit. Repeat it for each of up to 16 dimensions.
    #[arg(long, value_name = "DIMENSION=[SOFT:]HARD", value_parser = parse_limit, required = true)]
    pub limit: Vec<Limit>,
    /// Set the usage to zero at the start of each period: 1s to 366days. Periods are counted from
    /// 1970-01-01 UTC. Without it, the usage is reset only on request.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub every: Option<Duration>,
    /// An id of this request: a repeat with the same id changes nothing.
    #[arg(long, value_name = "ID", value_parser = parse_request)]
    pub request_id: Option<RequestId>,
    #[command(flatten)]
    pub one: OneBudgetArgs,
}

/// The arguments of `ff budgets update`.
#[derive(Debug, Args)]
pub struct UpdateBudgetArgs {
    /// A dimension and its limits, such as tokens=1000000 or, with a soft limit,
    /// tokens=800000:1000000; 0 means no limit. Other dimensions keep theirs.
    #[arg(long, value_name = "DIMENSION=[SOFT:]HARD", value_parser = parse_limit,
        required_unless_present_any = ["every", "never"])]
    pub limit: Vec<Limit>,
    /// Set the usage to zero at the start of each period from now on: 1s to 366days.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration,
        conflicts_with = "never")]
    pub every: Option<Duration>,
    /// Reset the usage only on request from now on.
    #[arg(long)]
    pub never: bool,
    /// An id of this request: a repeat with the same id changes nothing.
    #[arg(long, value_name = "ID", value_parser = parse_request)]
    pub request_id: Option<RequestId>,
    #[command(flatten)]
    pub one: OneBudgetArgs,
}

/// The arguments of `ff budgets reset`.
#[derive(Debug, Args)]
pub struct ResetBudgetArgs {
    /// An id of this request: a repeat with the same id changes nothing.
    #[arg(long, value_name = "ID", value_parser = parse_request)]
    pub request_id: Option<RequestId>,
    #[command(flatten)]
    pub one: OneBudgetArgs,
}

fn parse_budget(text: &str) -> Result<BudgetId, String> {
    BudgetId::try_new(text).map_err(|error| error.to_string())
}

fn parse_request(text: &str) -> Result<RequestId, String> {
    RequestId::try_new(text).map_err(|error| error.to_string())
}

fn parse_limit(text: &str) -> Result<Limit, String> {
    let expected = || "expected DIMENSION=HARD or DIMENSION=SOFT:HARD, in digits".to_owned();
    let (dimension, limits) = text.rsplit_once('=').ok_or_else(expected)?;
    let (soft, hard) = limits.split_once(':').unwrap_or(("0", limits));
    let number = |text: &str| text.parse().map_err(|_| expected());
    Ok(Limit { dimension: dimension.to_owned(), soft: number(soft)?, hard: number(hard)? })
}
