//! What the examples share: the store that the first argument names.

#[path = "../../src/private_server.rs"]
mod private_server;

use std::error::Error;
use std::sync::Arc;

use ff_sdk::EngineBackend;
use private_server::PrivateServer;

/// A store, and the server that was started for it, if one was.
pub struct Store {
    pub backend: Arc<dyn EngineBackend>,
    /// Where other processes find it; `None` for a store in this process.
    #[allow(dead_code)] // One example has no other process.
    pub url: Option<String>,
    _server: Option<PrivateServer>,
}

/// Opens `memory:`, `valkey:` (a private server, for the time of the example), or a server's URL.
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
