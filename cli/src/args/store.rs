//! The arguments that several commands share: the store, the namespace and an execution.

use clap::Args;
use ff_sdk::{ExecutionId, Namespace};

use crate::pool::NAMESPACE;

/// A store that other processes share, and a namespace of it.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// The URL of the store, for example sqlite:work.db for a file of this machine,
    /// valkey://127.0.0.1:6379 or valkey://USER:PASSWORD@HOST:PORT. The scheme valkeys uses TLS.
    /// valkey-cluster://HOST:PORT,HOST:PORT is a cluster.
    #[arg(long, value_name = "URL", env = "FF_BACKEND", hide_env_values = true)]
    pub backend: Option<String>,
    /// The namespace of the executions: 1 to 64 printable ASCII characters without spaces.
    #[arg(long, value_name = "NS", default_value = NAMESPACE, env = "FF_NAMESPACE")]
    pub namespace: Namespace,
}

/// A store that may end with the command.
#[derive(Clone, Debug, Args)]
pub struct TransientStoreArgs {
    /// The URL of the store: memory: for a store in this process, valkey: for a private server that
    /// is started for this command, sqlite:PATH for a file, or the URL of a running server, for
    /// example valkey://127.0.0.1:6379.
    #[arg(
        long,
        value_name = "URL",
        default_value = "memory:",
        env = "FF_BACKEND",
        hide_env_values = true
    )]
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
