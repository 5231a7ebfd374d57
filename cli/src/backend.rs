//! Which store a command works on.

use std::sync::Arc;

use ff_sdk::core::backend::EngineBackend;
use ff_sdk::{Client, ClientConfig, ConnectError, MemoryBackend, SdkError};

use crate::args::store::StoreArgs;
use crate::outcome::Failed;
use crate::private_server::PrivateServer;

/// A store that is open for a command.
pub struct Opened {
    /// The store.
    pub backend: Arc<dyn EngineBackend>,
    /// Whether others may use the store too, now or later; otherwise it ends with this command.
    pub shared: bool,
    /// Where a server is; `None` for a store in this process.
    address: Option<String>,
    /// The server that was started for it; the backend goes first.
    _server: Option<PrivateServer>,
}

impl Opened {
    /// The store over a connection of its own, as another process has it; a store in this process
    /// has none.
    pub async fn another_connection(&self) -> Result<Arc<dyn EngineBackend>, Failed> {
        match &self.address {
            Some(address) => connect(address).await,
            None => Ok(self.backend.clone()),
        }
    }
}

/// What a URL of another store begins with.
const SCHEMES: [&str; 8] = [
    "valkey",
    "valkeys",
    "redis",
    "rediss",
    "valkey-cluster",
    "valkeys-cluster",
    "redis-cluster",
    "rediss-cluster",
];

/// A URL of a store that others see too.
const EXAMPLE: &str = "valkey://127.0.0.1:6379";

/// How long one call of a command for operators tries while the store does not answer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Opens the store of a URL.
pub async fn open(url: &str) -> Result<Opened, Failed> {
    match url.split_once(':') {
        Some(("memory", "")) => {
            let backend = Arc::new(MemoryBackend::new());
            Ok(Opened { backend, shared: false, address: None, _server: None })
        }
        Some(("valkey", "")) => {
            // It waits for the server to answer.
            let started = tokio::task::spawn_blocking(PrivateServer::start).await;
            let server = started.map_err(Failed::runtime)?.map_err(Failed::runtime)?;
            let (backend, address) = (connect(&server.url()).await?, Some(server.url()));
            Ok(Opened { backend, shared: false, address, _server: Some(server) })
        }
        Some((scheme, address)) if SCHEMES.contains(&scheme) && address.len() > 2 => {
            let (backend, address) = (connect(url).await?, Some(url.to_owned()));
            Ok(Opened { backend, shared: true, address, _server: None })
        }
        _ => Err(Failed::usage(format!(
            "--backend {} is unknown: memory: is a store in this process, valkey: starts a \
             private server, and a server that runs is named like {EXAMPLE}",
            hidden(url)
        ))),
    }
}

/// A client of the store that the command was told to use, which must be one that others see.
pub async fn client(args: &StoreArgs) -> Result<Client, Failed> {
    let opened = open_shared(args).await?;
    let mut config = ClientConfig::new(args.namespace.as_str())?;
    config.call_timeout = PATIENCE;
    Ok(Client::connect(config, opened.backend).await?)
}

/// Opens a store that outlives the command.
pub async fn open_shared(args: &StoreArgs) -> Result<Opened, Failed> {
    open_named(args.backend.as_deref()).await
}

/// Opens the store of this name, if there is one, which must outlive the command.
pub async fn open_named(url: Option<&str>) -> Result<Opened, Failed> {
    let Some(url) = url else {
        return Err(Failed::usage(format!(
            "no store: say which with --backend URL or FF_BACKEND, for example --backend {EXAMPLE}"
        )));
    };
    if matches!(url, "memory:" | "valkey:") {
        return Err(Failed::usage(format!(
            "--backend {url} is a store of one command, which ends with it: name one that others \
             see, for example {EXAMPLE}"
        )));
    }
    open(url).await
}

/// There is no such execution, as far as the client sees.
pub fn not_found(client: &Client) -> Failed {
    Failed::runtime(format!("there is no such execution in namespace {}", client.namespace()))
}

/// Connects to a server.
async fn connect(url: &str) -> Result<Arc<dyn EngineBackend>, Failed> {
    ff_sdk::open(url).await.map_err(|error| match &error {
        SdkError::Connect(ConnectError::Url { .. }) => Failed::usage(error.to_string()),
        _ => Failed::runtime(error),
    })
}

/// A URL without its password, to be shown.
pub fn hidden(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://***@{host}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(hidden("valkey://user:secret@host:1/0"), "valkey://***@host:1/0");
        assert_eq!(hidden("valkey://:s@cret@host:1"), "valkey://***@host:1");
        assert_eq!(hidden("valkey://host:1"), "valkey://host:1");
    }
}
