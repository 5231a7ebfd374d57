//! Opening the store of a command, and reading an execution from it.

use std::sync::Arc;
use std::time::Duration;

use ff_sdk::backend::Location;
use ff_sdk::core::backend::EngineBackend;
use ff_sdk::core::execution::ExecutionSnapshot;
use ff_sdk::{
    Auditor, Client, ClientConfig, ConnectError, EngineError, ExecutionId, MemoryBackend,
    OpenError, SdkError, StoreOptions, redacted_url,
};

use crate::args::{DEFAULT_STORE, SetUpArgs, StoreArgs};
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
    /// A server or folder that ends with the command. The fields are dropped in this order, so that
    /// it outlives the backend.
    _own: Option<Box<dyn Send + Sync>>,
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

/// The URLs of stores that end with the command, for messages.
const PRIVATE: &str = "valkey: or sqlite: for a store that ends with this command";

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
            Ok(OpenStore { backend, shared: false, url: None, _own: None })
        }
        Some(("sqlite", "")) => {
            let folder = tempfile::tempdir().map_err(CliError::runtime)?;
            let url = format!("sqlite:{}", folder.path().join("ff.db").display());
            let backend = connect(&url, wait).await?;
            Ok(OpenStore { backend, shared: false, url: Some(url), _own: Some(Box::new(folder)) })
        }
        Some(("valkey", "")) => {
            // Starting blocks until the server answers.
            let started = tokio::task::spawn_blocking(PrivateServer::start).await;
            let server = started.map_err(CliError::runtime)?.map_err(CliError::runtime)?;
            let (backend, url) = (connect(&server.url(), wait).await?, Some(server.url()));
            Ok(OpenStore { backend, shared: false, url, _own: Some(Box::new(server)) })
        }
        Some(("sqlite", _)) => open_server(url, wait).await,
        _ => open_server(url, wait).await.map_err(|error| match error.is_usage() {
            true => CliError::usage(format!("{}; or {PRIVATE}", error.message())),
            false => error,
        }),
    }
}

/// Opens the store of a server. The error for another URL lists the valid ones.
async fn open_server(url: &str, wait: Wait) -> Result<OpenStore, CliError> {
    if url.is_empty() {
        return Err(CliError::usage(format!(
            "the URL of --backend or FF_BACKEND is empty: leave it out for {DEFAULT_STORE}, or \
             name another store, for example --backend {EXAMPLE}"
        )));
    }
    let is_new = url == DEFAULT_STORE && check_file(url).is_err();
    let backend = connect(url, wait).await?;
    if is_new {
        warn(&format!("ff: created {DEFAULT_STORE}; --backend or FF_BACKEND name another store\n"));
    }
    Ok(OpenStore { backend, shared: true, url: Some(url.to_owned()), _own: None })
}

/// Connects a client to the shared store that the arguments name, for a command that reads or
/// changes executions. Such a command never sets up an empty store: the URL is probably wrong, and
/// the number of partitions is permanent.
pub async fn client(args: &StoreArgs) -> Result<Client, CliError> {
    let store = open_existing(&args.backend).await?;
    connect_client(args, store, &SetUpArgs::default(), CALL_TIMEOUT).await
}

/// Connects a client with this time limit for a call, and sets up an empty store.
pub async fn client_or_set_up(
    args: &StoreArgs,
    set_up: &SetUpArgs,
    call_timeout: Duration,
) -> Result<Client, CliError> {
    let store = open_shared(&args.backend, Wait::Briefly).await?;
    connect_client(args, store, set_up, call_timeout).await
}

/// Opens a shared store that was set up before.
pub async fn open_existing(url: &str) -> Result<OpenStore, CliError> {
    check_file(url)?;
    let store = open_shared(url, Wait::Briefly).await?;
    let auditor = tokio::time::timeout(CALL_TIMEOUT, Auditor::connect(store.backend.clone())).await;
    let silent = |_| CliError::runtime("the store does not answer");
    match auditor.map_err(silent)??.meta() {
        Some(_) => Ok(store),
        None => Err(CliError::runtime(format!(
            "{} has no FlowFabric data, and this command does not set it up: check the URL, or \
             submit executions first",
            redacted_url(url)
        ))),
    }
}

/// Checks that the file of a SQLite store exists, for a command that does not set up a store.
pub fn check_file(url: &str) -> Result<(), CliError> {
    match Location::parse(url) {
        Ok(location) if !location.path().exists() => {
            let path = location.path().display();
            Err(CliError::runtime(match url {
                DEFAULT_STORE => format!(
                    "there is no store {path} in this folder: submit executions first, or name \
                     another store with --backend or FF_BACKEND, for example {EXAMPLE}"
                ),
                _ => format!(
                    "{path} does not exist, and this command does not create it: check the path, \
                     or submit executions first"
                ),
            }))
        }
        // Another store, or an error that opening the store reports.
        _ => Ok(()),
    }
}

async fn connect_client(
    args: &StoreArgs,
    store: OpenStore,
    set_up: &SetUpArgs,
    call_timeout: Duration,
) -> Result<Client, CliError> {
    let mut config = ClientConfig::new(args.namespace.as_str())?;
    config.keep_counts = !set_up.without_counts;
    config.call_timeout = call_timeout;
    Ok(Client::connect(config, store.backend).await?)
}

/// Opens a store that outlives the command.
pub async fn open_shared(url: &str, wait: Wait) -> Result<OpenStore, CliError> {
    match url {
        "memory:" | "sqlite:" | "valkey:" => Err(CliError::usage(format!(
            "the store `{url}` ends with this command: give a file, or the URL of a running \
             server, for example --backend {DEFAULT_STORE} or --backend {EXAMPLE}"
        ))),
        url => open_server(url, wait).await,
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
    let namespace = client.namespace();
    CliError::runtime(format!(
        "there is no execution {id} in namespace {namespace}: if it is in another one, give \
         --namespace"
    ))
}

/// Connects to a server, and prints each new reason why it cannot yet.
async fn connect(url: &str, wait: Wait) -> Result<Arc<dyn EngineBackend>, CliError> {
    let failed = |error: SdkError| match &error {
        SdkError::Connect(ConnectError::Url { .. }) | SdkError::Open(OpenError::Url { .. }) => {
            CliError::usage(error.to_string())
        }
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
