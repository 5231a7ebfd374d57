//! The arguments of the commands that change an execution: `ff cancel`, `ff resume`,
//! `ff replay`, `ff revoke`.

use clap::Args;
use ff_sdk::core::id::RequestId;

use super::store::ExecutionArgs;

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

/// The arguments of `ff cancel`.
#[derive(Debug, Args)]
pub struct CancelArgs {
    #[command(flatten)]
    pub operate: OperateArgs,
    /// The reason, for people. It is cut after 4096 bytes.
    #[arg(long, value_name = "TEXT", default_value = "cancelled with ff cancel")]
    pub reason: String,
}
