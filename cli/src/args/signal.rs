//! The arguments of `ff signal`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use ff_sdk::ExecutionId;
use ff_sdk::core::id::{
    CorrelationId, SignalCategory, SignalName, SignalSource, SignalSourceType, TextIdError,
    WaitpointId, WaitpointKey,
};

use super::store::StoreArgs;

/// The arguments of `ff signal`.
#[derive(Debug, Args)]
pub struct SignalArgs {
    /// The ID of the execution.
    #[arg(value_parser = ExecutionId::from_any)]
    pub id: ExecutionId,
    /// The ID or the name of the waitpoint. If several waitpoints had this name, the signal goes to
    /// the one that the token belongs to.
    pub waitpoint: WaitpointRef,
    /// The name of the signal: 1 to 64 printable ASCII characters without spaces.
    pub name: SignalName,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Read the waitpoint's token from this file.
    #[arg(long, value_name = "PATH", conflicts_with = "token_stdin")]
    pub token_file: Option<PathBuf>,
    /// Read the waitpoint's token from standard input.
    #[arg(long)]
    pub token_stdin: bool,
    /// The name of the sender: 1 to 64 printable ASCII characters without spaces. The token does
    /// not prove it.
    #[arg(long, value_name = "WHO")]
    pub source: Option<SignalSource>,
    /// The kind of the sender, such as `user` or `webhook`, in the same characters.
    #[arg(long, value_name = "TYPE")]
    pub source_type: Option<SignalSourceType>,
    /// The category of the signal, such as `approval`, in the same characters.
    #[arg(long, value_name = "CATEGORY")]
    pub category: Option<SignalCategory>,
    /// The ID under which the sender knows the conversation that the signal belongs to, in the same
    /// characters.
    #[arg(long, value_name = "ID")]
    pub correlation_id: Option<CorrelationId>,
    /// The payload for the worker.
    #[arg(long, value_name = "TEXT", conflicts_with = "payload_file")]
    pub payload: Option<String>,
    /// The file with the payload for the worker, at most 256 KiB.
    #[arg(long, value_name = "PATH")]
    pub payload_file: Option<PathBuf>,
    /// The idempotency key. To retry safely, repeat the command with the same key: the waitpoint
    /// takes one signal for each key. The default is a new key, which is printed, also if the store
    /// does not answer.
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// A waitpoint on the command line. Text that parses as an ID is an ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitpointRef {
    /// The ID.
    Id(WaitpointId),
    /// The name. At most one open waitpoint of an execution has it.
    Key(WaitpointKey),
}

impl FromStr for WaitpointRef {
    type Err = TextIdError;

    fn from_str(text: &str) -> Result<Self, TextIdError> {
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) => text.parse().map(Self::Key),
        }
    }
}

impl fmt::Display for WaitpointRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Key(key) => key.fmt(f),
        }
    }
}
