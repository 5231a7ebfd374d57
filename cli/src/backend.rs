//! Opening the store of a command, and reading an execution from it.

use std::sync::Arc;
use std::time::Duration;

use ff_sdk::core::backend::EngineBackend;
use ff_sdk::core::execution::ExecutionSnapshot;
use ff_sdk::{
    Client, ClientConfig, ConnectError, EngineError, ExecutionId, MemoryBackend, SdkError,
    StoreOptions,
};

use crate::args::StoreArgs;
use crate::exit::{CliError, warn};
use crate::private_server::PrivateServer;

/// An open store.
pub struct OpenStore {
    /// The store.
    pub backend: Arc<dyn EngineBackend>,
    /// Whether other processes can use the store; otherwise it ends with this command.
    pub shared: bool,
    /// The URL of the server; `None` for a store in this process.
    url: Option<String>,
    /// The private server. The fields are dropped in this order, so that it outlives the backend.
    _server: Option<PrivateServer>,
}

impl OpenStore {
    /// Opens another connection to the store, like another process. A store in this process has no
    /// connections.
    pub async fn another_connection(&self) -> Result<Arc<dyn EngineBackend>, CliError> {
        match &self.url {
            Some(url) => connect(url, Wait::Briefly).await,
            None => Ok(self.backend.clone()),
        }
    }
}

/// The schemes of the URLs of servers.
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

/// The URL of a server, for messages.
const EXAMPLE: &str = "valkey://127.0.0.1:6379";

/// How long a call is retried while the store does not answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a command waits for a store that cannot be reached when the command starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It does not wait.
    No,
    /// For 10 s, or the time of the URL's option `open_timeout_ms`.
    Briefly,
    /// Until the store can be used, also if it refuses the command at first.
    Always,
}

/// Opens the store at a URL.
pub async fn open(url: &str, wait: Wait) -> Result<OpenStore, CliError> {
    match url.split_once(':') {
        Some(("memory", "")) => {
            let backend = Arc::new(MemoryBackend::new());
            Ok(OpenStore { backend, shared: false, url: None, _server: None })
        }
        Some(("valkey", "")) => {
            // Starting blocks until the server answers.
            let started = tokio::task::spawn_blocking(PrivateServer::start).await;
            let server = started.map_err(CliError::runtime)?.map_err(CliError::runtime)?;
            let (backend, url) = (connect(&server.url(), wait).await?, Some(server.url()));
            Ok(OpenStore { backend, shared: false, url, _server: Some(server) })
        }
        Some((scheme, address)) if SCHEMES.contains(&scheme) && address.len() > 2 => {
            let (backend, url) = (connect(url, wait).await?, Some(url.to_owned()));
            Ok(OpenStore { backend, shared: true, url, _server: None })
        }
        _ => Err(CliError::usage(format!(
            "invalid store URL `{}`: expected memory: (a store in this process), valkey: (a \
             private server) or the URL of a running server, for example {EXAMPLE}",
            redacted(url)
        ))),
    }
}

/// Connects a client to the shared store that the arguments name.
pub async fn client(args: &StoreArgs) -> Result<Client, CliError> {
    let store = open_shared(args.backend.as_deref(), Wait::Briefly).await?;
    let mut config = ClientConfig::new(args.namespace.as_str())?;
    config.call_timeout = CALL_TIMEOUT;
    Ok(Client::connect(config, store.backend).await?)
}

/// Opens a store that outlives the command.
pub async fn open_shared(url: Option<&str>, wait: Wait) -> Result<OpenStore, CliError> {
    match url {
        None => Err(CliError::usage(format!(
            "no store given: set --backend URL or FF_BACKEND, for example --backend {EXAMPLE}"
        ))),
        Some(url @ ("memory:" | "valkey:")) => Err(CliError::usage(format!(
            "the store `{url}` ends with this command: give the URL of a running server, for \
             example --backend {EXAMPLE}"
        ))),
        Some(url) => open(url, wait).await,
    }
}

/// Reads an execution, which must exist.
pub async fn describe(client: &Client, id: &ExecutionId) -> Result<ExecutionSnapshot, CliError> {
    client.describe(id).await?.ok_or_else(|| not_found(client, id))
}

/// The error of a call on an execution.
pub fn call_error(client: &Client, id: &ExecutionId, error: SdkError) -> CliError {
    match error {
        SdkError::Engine(EngineError::NotFound { .. }) => not_found(client, id),
        error => error.into(),
    }
}

fn not_found(client: &Client, id: &ExecutionId) -> CliError {
    CliError::runtime(format!("there is no execution {id} in namespace {}", client.namespace()))
}

/// Connects to a server, and prints each new reason why it cannot yet.
async fn connect(url: &str, wait: Wait) -> Result<Arc<dyn EngineBackend>, CliError> {
    let failed = |error: SdkError| match &error {
        SdkError::Connect(ConnectError::Url { .. }) => CliError::usage(error.to_string()),
        _ => CliError::runtime(error),
    };
    let options = StoreOptions::parse(url).map_err(failed)?;
    let options = match wait {
        Wait::No => options.open_timeout(Duration::ZERO),
        Wait::Briefly => options,
        Wait::Always => options.open_timeout(Duration::MAX).even_if_refused(),
    };
    let report = |error: &SdkError| {
        // The log has it too, if there is one.
        if !tracing::enabled!(tracing::Level::WARN) {
            warn(&format!("ff: {error}; trying again\n"));
        }
    };
    options.on_failure(report).open().await.map_err(failed)
}

/// The URL without its user and password, for messages.
pub fn redacted(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://***@{host}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_redacted() {
        assert_eq!(redacted("valkey://user:secret@host:1/0"), "valkey://***@host:1/0");
        assert_eq!(redacted("valkey://:s@cret@host:1"), "valkey://***@host:1");
        assert_eq!(redacted("valkey://host:1"), "valkey://host:1");
    }
}
