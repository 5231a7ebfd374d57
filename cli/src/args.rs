//! The command line arguments, and the help texts.

mod budgets;
mod command;
mod config;
mod duration;
mod filter;
mod generate;
mod lanes;
mod list;
mod operate;
mod quotas;
mod result;
mod run;
mod secret;
mod serve;
mod signal;
mod stats;
mod store;
mod submit;
mod tail;
mod watch;
mod work;
mod workers;

use clap::Parser;

pub use budgets::{BudgetsArgs, BudgetsCommand, Limit, ListBudgetsArgs, OneBudgetArgs};
pub use command::Command;
pub use config::ConfigArgs;
pub use generate::{CompletionsArgs, ManArgs};
pub use lanes::{LanesArgs, ListLanesArgs, SetLaneArgs};
pub use list::ListArgs;
pub use operate::{CancelArgs, ManyArgs, OperateArgs};
pub use quotas::{ListQuotasArgs, OneQuotaArgs, QuotasArgs, QuotasCommand, SetQuotaArgs};
pub use result::ResultArgs;
pub use run::RunArgs;
pub use secret::{ListSecretsArgs, RotateArgs, SecretArgs, SecretCommand, SecretSource};
pub use serve::{ServeArgs, TokenArgs};
pub use signal::{SignalArgs, WaitpointRef};
pub use stats::{SetUpArgs, StatsArgs};
pub use store::{DEFAULT_STORE, ExecutionArgs, StoreArgs};
pub use submit::SubmitArgs;
pub use tail::TailArgs;
pub use watch::WatchArgs;
pub use work::WorkArgs;
pub use workers::{ListWorkersArgs, OneWorkerArgs, WorkersArgs, WorkersCommand};

const EXAMPLES: &str = "\
Examples:
  ff run jobs.jsonl                       run a file of jobs; the work is kept in the file ff.db
  ff run jobs.jsonl --backend valkey:     the same on a private server, started for this command
  export FF_BACKEND=valkey://HOST:6379    a server instead of the file ff.db
  ff submit jobs.jsonl                    submit the jobs to the store
  ff submit --kind K --payload JSON       submit one execution, with --wait for its result
  ff work --exec ./resize.sh              run them, on this machine or on others
  ff serve                                serve submitters, workers and operators over HTTP
  ff list                                 list the executions
  ff why ID                               explain why an execution does not run
  ff tail ID                              follow the output of an execution
  ff signal ID approval approved          signal an execution that waits for an approval
  ff doctor                               check the health of the store";

/// Submit, run, watch and operate durable executions
///
/// An execution is a unit of work (a job), kept in a store. It waits on a lane (a named queue)
/// until a worker claims it. If the worker dies, another worker takes over. An execution ends when
/// it has completed, failed, expired or been cancelled.
///
/// Only ff submit, ff work, ff serve, ff run, ff bench and ff secret rotate set up an empty
/// database. Other commands write nothing to it, and fail with exit code 1 because it has no
/// FlowFabric data. ff doctor reports that it is empty.
///
/// On a terminal, tables have its width: a narrow one shows fewer columns. States are coloured
/// unless NO_COLOR is set.
///
/// To log to standard error what the engine does, set FF_LOG or RUST_LOG, for example FF_LOG=debug.
/// ff work and ff serve log at info unless they are set.
#[derive(Debug, Parser)]
#[command(name = "ff", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// The profile of the config file whose values are used (see ff config --help).
    #[arg(long, global = true, value_name = "NAME", env = "FF_PROFILE", display_order = 900)]
    pub profile: Option<String>,
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}
