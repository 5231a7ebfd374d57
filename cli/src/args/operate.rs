//! The arguments of the commands that change an execution: `ff cancel`, `ff resume`,
//! `ff replay`, `ff revoke`.

use clap::Args;
use ff_sdk::ExecutionId;
use ff_sdk::core::id::RequestId;
use ff_server::PageCursor;

use super::filter::{FILTERS, FilterArgs};
use super::store::{ExecutionArgs, StoreArgs};

/// The arguments that these commands share.
#[derive(Debug, Args)]
pub struct OperateArgs {
    #[command(flatten)]
    pub execution: ExecutionArgs,
    /// The ID of this request. To retry safely, repeat the command with the same ID: a request is
    /// applied once. The default is a new ID, which is printed, also if the store does not answer.
    #[arg(long, value_name = "ID")]
    pub request_id: Option<RequestId>,
}

/// The arguments of a command on one execution, or on all that a filter selects.
#[derive(Debug, Args)]
pub struct ManyArgs {
    /// The ID of the execution. Instead of an ID, give at least one of the options that select
    /// executions, such as --lane.
    #[arg(value_parser = ExecutionId::from_any, required_unless_present_any = FILTERS,
        conflicts_with_all = FILTERS)]
    pub id: Option<ExecutionId>,
    #[command(flatten)]
    pub store: StoreArgs,
    /// The ID of this request about one execution. To retry safely, repeat the command with the
    /// same ID: a request is applied once. The default is a new ID, which is printed, also if the
    /// store does not answer.
    #[arg(long, value_name = "ID", conflicts_with_all = FILTERS)]
    pub request_id: Option<RequestId>,
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Only show which executions the filter selects.
    #[arg(long, conflicts_with = "id")]
    pub dry_run: bool,
    /// Do not ask for confirmation.
    #[arg(long, conflicts_with = "id")]
    pub yes: bool,
    /// End after this number of executions, the oldest first.
    #[arg(long, value_name = "N", conflicts_with = "id",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Continue after this cursor, which an earlier command ended with.
    #[arg(long, value_name = "CURSOR", conflicts_with = "id")]
    pub after: Option<PageCursor>,
    /// The ID of this command on many executions. If the command is repeated with the same ID, no
    /// execution is changed twice. The default is a new ID, which is printed.
    #[arg(long, value_name = "ID", conflicts_with = "id")]
    pub bulk_id: Option<RequestId>,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
}

impl ManyArgs {
    /// The arguments of the command on one execution, if there is an ID; otherwise these again.
    pub fn one(self) -> Result<OperateArgs, Box<Self>> {
        match self.id {
            Some(id) => {
                let execution = ExecutionArgs { id, store: self.store, json: self.json };
                Ok(OperateArgs { execution, request_id: self.request_id })
            }
            None => Err(Box::new(self)),
        }
    }
}

/// The arguments of `ff cancel`.
#[derive(Debug, Args)]
pub struct CancelArgs {
    #[command(flatten)]
    pub many: ManyArgs,
    /// The reason, for people. It is cut after 4096 bytes.
    #[arg(long, value_name = "TEXT", default_value = "cancelled with ff cancel")]
    pub reason: String,
}
