//! The arguments of `ff submit`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ff_sdk::LaneId;
use ff_sdk::core::id::ExecutionKind;

use super::duration::{duration, milliseconds};
use super::stats::SetUpArgs;
use super::store::StoreArgs;
use super::watch::tag;

/// The arguments of `ff submit`.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The file with one execution per line, or - for standard input.
    #[arg(conflicts_with = "kind")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub set_up: SetUpArgs,
    /// The lane (a named queue) of the lines that have no lane field.
    #[arg(long, value_name = "LANE", default_value = "default")]
    pub lane: LaneId,
    /// Submit one execution of this kind, without a file.
    #[arg(long, value_name = "KIND")]
    pub kind: Option<ExecutionKind>,
    /// The payload of --kind: a JSON value, which the worker gets byte for byte.
    #[arg(long, value_name = "JSON", requires = "kind")]
    pub payload: Option<String>,
    /// The idempotency key of --kind: with the same key and content the command can be repeated.
    #[arg(long, value_name = "KEY", requires = "kind")]
    pub idempotency_key: Option<String>,
    /// The priority of --kind, 0 to 9000.
    #[arg(long, value_name = "N", requires = "kind", allow_negative_numbers = true)]
    pub priority: Option<i64>,
    /// How long the execution of --kind waits before its first attempt.
    #[arg(long, value_name = "TIME", requires = "kind", value_parser = milliseconds)]
    pub delay: Option<u64>,
    /// The time limit of an attempt of --kind: the field timeout of a line.
    #[arg(long, value_name = "TIME", requires = "kind", value_parser = milliseconds)]
    pub attempt_timeout: Option<u64>,
    /// How many attempts of --kind that fail are retried.
    #[arg(long, alias = "retries", value_name = "N", requires = "kind")]
    pub max_retries: Option<u32>,
    /// A tag of --kind. Repeat --tag for several tags.
    #[arg(long, value_name = "KEY=VALUE", requires = "kind", value_parser = tag)]
    pub tag: Vec<(String, String)>,
    /// A capability that a worker needs for --kind. Repeat --requires for several.
    #[arg(long, value_name = "TOKEN", requires = "kind")]
    pub requires: Vec<String>,
    /// A quota that --kind counts towards, without a key. Repeat --quota for several, at most 4.
    #[arg(long, value_name = "ID", requires = "kind")]
    pub quota: Vec<String>,
    /// A quota that --kind counts towards, and the key that it counts under.
    #[arg(long, num_args = 2, value_names = ["ID", "KEY"], requires = "kind")]
    pub quota_key: Vec<String>,
    /// A budget that holds --kind back while it is at a hard limit. Repeat --budget for several,
    /// at most 8.
    #[arg(long, value_name = "ID", requires = "kind")]
    pub budget: Vec<String>,
    /// Wait until the execution of --kind ends, and print its result as ff result does.
    #[arg(long, requires = "kind")]
    pub wait: bool,
    /// Give each line without an idempotency_key the key PREFIX:LINE, so that the command can be
    /// repeated: lines that were submitted before count as duplicates. Use a new prefix for each
    /// file, and do not change the lines in between.
    #[arg(long, value_name = "PREFIX", conflicts_with = "kind")]
    pub key_prefix: Option<String>,
    /// How long a line is tried until the command stops.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
    /// Print one JSON object per line of the input instead of its ID.
    #[arg(long)]
    pub json: bool,
}
