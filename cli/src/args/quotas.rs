//! The arguments of `ff quotas`.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use ff_sdk::{QuotaId, QuotaKey};

use super::StoreArgs;
use super::duration::duration;

/// The arguments of `ff quotas`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct QuotasArgs {
    /// The action; without it, the quotas are listed.
    #[command(subcommand)]
    pub command: Option<QuotasCommand>,
    #[command(flatten)]
    pub list: ListQuotasArgs,
}

/// The arguments of the list of quotas.
#[derive(Debug, Args)]
pub struct ListQuotasArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Print one JSON object for each quota instead of text.
    #[arg(long)]
    pub json: bool,
}

/// The subcommands of `ff quotas`.
#[derive(Debug, Subcommand)]
pub enum QuotasCommand {
    /// Create a quota, or replace its limits
    Set(SetQuotaArgs),
    /// Show a quota and its use under one key: the executions that take its slots
    Show(ShowQuotaArgs),
    /// Delete a quota; executions that count towards it wait until it is set again
    Delete(OneQuotaArgs),
}

/// How many executions may start in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateArg {
    /// The most starts.
    pub max: u32,
    /// The window.
    pub window: Duration,
}

/// A quota, and the form of the output.
#[derive(Debug, Args)]
pub struct OneQuotaArgs {
    /// The quota.
    #[arg(value_parser = parse_quota)]
    pub quota: QuotaId,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `ff quotas set`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("limits").required(true).multiple(true))]
pub struct SetQuotaArgs {
    /// The most executions that run at a time, 1 to 1000. Without it there is no limit.
    #[arg(long, value_name = "N", group = "limits")]
    pub concurrency: Option<u32>,
    /// The most executions that start in any window of this length, such as 100/1m: 1 to 1000000
    /// in 1s to 31days. Without it, the quota does not limit that.
    #[arg(long, value_name = "N/WINDOW", group = "limits", value_parser = parse_rate)]
    pub rate: Option<RateArg>,
    #[command(flatten)]
    pub one: OneQuotaArgs,
}

/// The arguments of `ff quotas show`.
#[derive(Debug, Args)]
pub struct ShowQuotaArgs {
    /// The key whose use is shown. Without it, that of the executions without a key.
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    pub key: Option<QuotaKey>,
    #[command(flatten)]
    pub one: OneQuotaArgs,
}

fn parse_quota(text: &str) -> Result<QuotaId, String> {
    QuotaId::try_new(text).map_err(|error| error.to_string())
}

fn parse_key(text: &str) -> Result<QuotaKey, String> {
    QuotaKey::try_new(text).map_err(|error| error.to_string())
}

fn parse_rate(text: &str) -> Result<RateArg, String> {
    let expected = || "expected N/WINDOW, such as 100/1m or 5/1s".to_owned();
    let (max, window) = text.split_once('/').ok_or_else(expected)?;
    let max = max.trim().parse().map_err(|_| expected())?;
    Ok(RateArg { max, window: duration(window.trim())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_window() {
        let window = Duration::from_secs(60);
        assert_eq!(parse_rate("100/1m"), Ok(RateArg { max: 100, window }));
        for text in ["100", "100/", "/1m", "-1/1m", "100/60", "many/1m"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }
}
