//! The arguments of the commands for what waits: `ff signal` and `ff waitpoints`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use ff_sdk::ExecutionId;
use ff_sdk::core::id::{SignalName, SignalSource, TextIdError, WaitpointId, WaitpointKey};

use super::store::StoreArgs;

/// The arguments of `ff signal`.
#[derive(Debug, Args)]
pub struct SignalArgs {
    /// The execution.
    pub id: ExecutionId,
    /// The waitpoint: its id, or its name; of several that had it the one that the token is of.
    pub waitpoint: WaitpointRef,
    /// What the signal says: 1 to 64 printable ASCII bytes without space.
    pub name: SignalName,
    #[command(flatten)]
    pub store: StoreArgs,
    /// The file with the waitpoint's token.
    #[arg(long, value_name = "PATH", conflicts_with = "token_stdin")]
    pub token_file: Option<PathBuf>,
    /// Read the waitpoint's token from standard input.
    #[arg(long)]
    pub token_stdin: bool,
    /// Who sends it, in your own words: 1 to 64 printable ASCII bytes without space.
    #[arg(long, value_name = "WHO")]
    pub source: Option<SignalSource>,
    /// What the worker gets with it, as it is written here.
    #[arg(long, value_name = "TEXT", conflicts_with = "payload_file")]
    pub payload: Option<String>,
    /// The file with what the worker gets with it, at most 256 KiB.
    #[arg(long, value_name = "PATH")]
    pub payload_file: Option<PathBuf>,
    /// The waitpoint takes one signal under a key, however often it is sent; a new key unless set.
    /// It is printed, also when the store did not answer.
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Print one JSON object instead of a line.
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `ff waitpoints`.
#[derive(Debug, Args)]
pub struct WaitpointsArgs {
    /// The execution.
    pub id: ExecutionId,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    pub json: bool,
}

/// A waitpoint as it is named on the command line. What reads as an id is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitpointRef {
    /// By its id.
    Id(WaitpointId),
    /// By its name, which one open waitpoint of an execution has.
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
