//! Stores by their address: the one argument that changes between memory and Valkey.

use std::sync::Arc;

use ff_core::backend::EngineBackend;

use crate::error::SdkError;
use crate::memory::MemoryBackend;

/// Opens the store of an address: `memory:` is a new store in this process; `valkey://HOST:PORT`,
/// `valkeys://` with TLS and `valkey-cluster://HOST:PORT,HOST:PORT` (and the same with `redis`) are
/// servers. User and password go before an `@`.
///
/// Every handle from one call shares its connections: open a store once and hand it to all workers
/// and clients of the process.
///
/// # Errors
///
/// [`SdkError::Connect`] when the address is none, the server cannot be reached, or it would lose
/// work.
///
/// Cancel safe. It needs a tokio runtime with I/O and time enabled.
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
    let message = format!("{address:?} is unknown: this program is built for \"memory:\" only");
    Err(SdkError::config("open", "address", message))
}
