//! The arguments of the commands that change an execution: `ff cancel`, `ff resume`,
//! `ff replay`, `ff revoke`.

use clap::Args;
use ff_sdk::ExecutionId;
use ff_sdk::core::id::RequestId;

use super::store::StoreArgs;

/// What the commands of operators have in common.
#[derive(Debug, Args)]
pub struct OperateArgs {
    /// The execution.
    pub id: ExecutionId,
    #[command(flatten)]
    pub store: StoreArgs,
    /// The name of this call: with the same name it is carried out once, however often it is
    /// repeated; a new one unless set. It is printed, also when the store did not answer.
    #[arg(long, value_name = "ID")]
    pub request_id: Option<RequestId>,
    /// Print one JSON object instead of a line.
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `ff cancel`.
#[derive(Debug, Args)]
pub struct CancelArgs {
    #[command(flatten)]
    pub call: OperateArgs,
    /// Why, for people; what is over 4096 bytes is cut.
    #[arg(long, value_name = "TEXT", default_value = "cancelled with ff cancel")]
    pub reason: String,
}
