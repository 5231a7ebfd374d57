//! The arguments of `ff run`.

use std::path::PathBuf;

use clap::Args;
use ff_sdk::Namespace;

use super::duration::{lease_ttl, milliseconds};
use super::store::TransientStoreArgs;
use crate::pool::NAMESPACE;

/// The arguments of `ff run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The file with one execution per line, or - for standard input.
    pub file: PathBuf,
    #[command(flatten)]
    pub store: TransientStoreArgs,
    /// The namespace of the executions: 1 to 64 printable ASCII characters without spaces. The run
    /// also claims other executions that wait on lane default of this namespace. On a server that
    /// others use, choose an unused namespace.
    #[arg(long, value_name = "NS", default_value = NAMESPACE, env = "FF_NAMESPACE")]
    pub namespace: Namespace,
    /// The number of workers in this process. Each runs one execution at a time. The default is the
    /// number of CPU cores, at least 2.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub workers: Option<u32>,
    /// Write one JSON line per line of the input to this file, when its execution ends. Its state
    /// is completed, failed, cancelled or expired, and its outcome success, failed, cancelled or
    /// expired, as in ff list --json.
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,
    /// Run lines without an idempotency key as new executions. Otherwise, on a store that outlives
    /// the command, a line that an earlier run has submitted is the execution of that run: it goes
    /// on if it has not ended, and its result is shown if it has.
    #[arg(long)]
    pub again: bool,
    /// Print the summary as one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    /// The seed of all random choices: IDs, jitter and which worker is killed.
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
    /// How long a lease lasts unless it is renewed.
    #[arg(long = "lease-ttl", value_name = "TIME", default_value = "2s",
        value_parser = lease_ttl)]
    pub lease_ttl_ms: u64,
    /// Kill a random worker and its command at this interval, for example 200ms, without releasing
    /// its lease. Other workers reclaim its execution.
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    pub kill_workers_every: Option<u64>,
    /// Print the events of every execution that was retried, reclaimed or failed.
    #[arg(long, short)]
    pub verbose: bool,
}
