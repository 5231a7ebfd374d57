//! Opens a store by its URL: the one argument that differs between memory and Valkey.

use std::sync::Arc;

use ff_core::backend::EngineBackend;

use crate::error::SdkError;
use crate::memory::MemoryBackend;

/// Opens a store by its URL (`docs/spec.md`, Stores).
///
/// | URL | store |
/// | --- | --- |
/// | `memory:` | a new store in this process, dropped with its last handle |
/// | `valkey://HOST:PORT` | a Valkey or Redis server |
/// | `valkeys://HOST:PORT` | the same over TLS |
/// | `valkey-cluster://HOST:PORT,HOST:PORT` | a cluster, by one or more of its nodes |
/// | `valkeys-cluster://HOST:PORT,HOST:PORT` | the same over TLS |
///
/// `redis` (with TLS `rediss`) may stand for `valkey`. User and password go before an `@`.
///
/// All clones of the returned handle share its connections: open a store once and pass the handle
/// to all workers and clients of the process. A tokio runtime with I/O and time enabled is needed.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let backend = ff_sdk::open("memory:").await?;
/// let client = ff_sdk::Client::connect_with(backend, "demo").await?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// - [`SdkError::Connect`] when the URL is invalid, the server cannot be reached, or its
///   configuration could lose acknowledged work.
/// - [`SdkError::Config`] for any URL but `memory:` when this crate was built without its feature
///   `valkey-default`.
///
/// # Cancel safety
///
/// Cancel safe.
pub async fn open(address: &str) -> Result<Arc<dyn EngineBackend>, SdkError> {
    if address == "memory:" {
        return Ok(Arc::new(MemoryBackend::new()));
    }
    open_server(address).await
}

#[cfg(feature = "valkey-default")]
async fn open_server(address: &str) -> Result<Arc<dyn EngineBackend>, SdkError> {
    Ok(Arc::new(ff_io_valkey::ValkeyBackend::connect(address).await?))
}

#[cfg(not(feature = "valkey-default"))]
async fn open_server(address: &str) -> Result<Arc<dyn EngineBackend>, SdkError> {
    // Without the rest, which may hold a password; an address without a scheme, too.
    let scheme = address.split_once("://").map_or("this address", |(scheme, _)| scheme);
    let message = format!(
        "`{scheme}` is not supported: this program was built without the feature \
         `valkey-default`, so that only memory: can be opened"
    );
    Err(SdkError::config("open", "address", message))
}
