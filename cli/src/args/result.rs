//! The arguments of `ff result`.

use std::time::Duration;

use clap::Args;

use super::duration::duration;
use super::store::ExecutionArgs;

/// The arguments of `ff result`.
#[derive(Debug, Args)]
pub struct ResultArgs {
    #[command(flatten)]
    pub execution: ExecutionArgs,
    /// Wait at most for this time, for example 30s. By default the command waits without a limit.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
}
