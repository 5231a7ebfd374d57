//! Which store a command works on, and for whom.

use clap::Args;
use ff_sdk::Namespace;

use crate::pool::NAMESPACE;

/// The store and the namespace of a command that needs a store which others see.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// The store, named here or in FF_BACKEND, for example valkey://127.0.0.1:6379; valkeys: is
    /// with TLS, and valkey-cluster://HOST:PORT,HOST:PORT a cluster. User and password go before an
    /// @.
    #[arg(long, value_name = "URL", env = "FF_BACKEND", hide_env_values = true)]
    pub backend: Option<String>,
    /// Whose executions: 1 to 64 printable ASCII bytes without space.
    #[arg(long, value_name = "NS", default_value = NAMESPACE)]
    pub namespace: Namespace,
}
