//! The arguments that several commands share: the store, the namespace and an execution.

use clap::Args;
use ff_sdk::{ExecutionId, Namespace};

use crate::pool::NAMESPACE;

/// The store of a command that names none: a file in the working directory.
pub const DEFAULT_STORE: &str = "sqlite:ff.db";

/// A store that other processes share, and a namespace of it.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// The URL of the store: sqlite:PATH for a file of this machine, or a server, for example
    /// valkey://127.0.0.1:6379 or valkey://USER:PASSWORD@HOST:PORT. The scheme valkeys uses TLS.
    /// valkey-cluster://HOST:PORT,HOST:PORT is a cluster.
    #[arg(long, value_name = "URL", default_value = DEFAULT_STORE, env = "FF_BACKEND",
        hide_env_values = true)]
    pub backend: String,
    /// The namespace of the executions: 1 to 64 printable ASCII characters without spaces.
    #[arg(long, value_name = "NS", default_value = NAMESPACE, env = "FF_NAMESPACE")]
    pub namespace: Namespace,
}

/// A store that may end with the command.
#[derive(Clone, Debug, Args)]
pub struct TransientStoreArgs {
    /// The URL of the store: sqlite:PATH for a file of this machine, or a running server, for
    /// example valkey://127.0.0.1:6379. memory:, sqlite: and valkey: without more are stores that
    /// end with this command.
    #[arg(long, value_name = "URL", default_value = DEFAULT_STORE, env = "FF_BACKEND",
        hide_env_values = true)]
    pub backend: String,
}

/// The arguments of a command on one execution.
#[derive(Debug, Args)]
pub struct ExecutionArgs {
    /// The ID of the execution.
    #[arg(value_parser = ExecutionId::from_any)]
    pub id: ExecutionId,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}
