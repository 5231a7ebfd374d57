//! Shared by the examples: opens the store that the first argument names.

#[path = "../../src/private_server.rs"]
mod private_server;

use std::error::Error;
use std::sync::Arc;

use ff_sdk::EngineBackend;
use private_server::PrivateServer;

/// A store, and its private server if there is one.
pub struct Store {
    pub backend: Arc<dyn EngineBackend>,
    /// The URL for other processes; `None` for a store in this process.
    #[allow(dead_code)] // The example `approval` has one process.
    pub url: Option<String>,
    _server: Option<PrivateServer>,
}

/// Opens `memory:`, `valkey:` (a private server that ends with the example), or the URL of a
/// server.
pub async fn open(url: &str) -> Result<Store, Box<dyn Error>> {
    let (url, server) = match url {
        "memory:" => {
            let backend = ff_sdk::open(url).await?;
            return Ok(Store { backend, url: None, _server: None });
        }
        "valkey:" => {
            let server = PrivateServer::start()?;
            (server.url(), Some(server))
        }
        url => (url.to_owned(), None),
    };
    Ok(Store { backend: ff_sdk::open(&url).await?, url: Some(url), _server: server })
}
