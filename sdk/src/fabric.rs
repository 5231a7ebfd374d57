//! One connection to a store, for the clients and workers of a process.

use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ff_core::backend::EngineBackend;

use crate::builder::WorkerBuilder;
use crate::client::Client;
use crate::config::ClientConfig;
use crate::connect::StoreOptions;
use crate::error::SdkError;

/// A connection to a store and one of its namespaces, from which a process gets its client and its
/// workers. Cloning is cheap.
///
/// ```
/// use ff_sdk::{FlowFabric, Json, Payload, Submission};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ff = FlowFabric::connect("memory:").namespace("shop").await?;
/// let id = ff.client().submit(Submission::new("add").json(&(2, 3))?).await?.id();
///
/// let add = |Payload((a, b)): Payload<(u64, u64)>| async move { Json(a + b) };
/// let runtime = ff.worker("adder").runtime().await?.handle("add", add);
/// let sum = runtime.run_until(ff.client().result(&id)).await??;
/// assert_eq!(sum.bytes(), Some(&b"5"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FlowFabric {
    client: Client,
    store: Arc<dyn EngineBackend>,
}

/// A connection that begins when it is awaited. See [`FlowFabric::connect`].
#[must_use = "nothing is connected until this is awaited"]
pub struct Connect {
    store: Result<Store, SdkError>,
    config: Result<ClientConfig, SdkError>,
}

#[allow(clippy::large_enum_variant)] // It exists once, for a moment.
enum Store {
    Opens(StoreOptions),
    Open(Arc<dyn EngineBackend>),
}

/// The namespace of programs that do not name one, as of the command `ff`.
const DEFAULT_NAMESPACE: &str = "ff";

impl FlowFabric {
    /// Connects to the store at a URL, as for [`open`](crate::open()). Await the returned value,
    /// after settings if you like.
    ///
    /// # Errors
    ///
    /// Awaiting it returns the errors of [`StoreOptions::parse`], [`StoreOptions::open`] and
    /// [`Client::connect`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub fn connect(url: impl AsRef<str>) -> Connect {
        Connect::to(StoreOptions::parse(url.as_ref()).map(Store::Opens))
    }

    /// Connects to a store with options.
    pub fn connect_to(options: StoreOptions) -> Connect {
        Connect::to(Ok(Store::Opens(options)))
    }

    /// Connects to a backend that is open already.
    pub fn connect_with(backend: Arc<dyn EngineBackend>) -> Connect {
        Connect::to(Ok(Store::Open(backend)))
    }

    /// Returns the client.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Begins a worker of this namespace. All processes of the worker share its name.
    pub fn worker(&self, name: impl AsRef<str>) -> WorkerBuilder {
        WorkerBuilder::new(name.as_ref(), self.client.namespace().as_str()).on(self.store.clone())
    }

    /// Returns the store, for [`Auditor`](crate::Auditor) and other parts of this crate.
    pub const fn backend(&self) -> &Arc<dyn EngineBackend> {
        &self.store
    }
}

impl std::fmt::Debug for FlowFabric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let namespace = self.client.namespace();
        f.debug_struct("FlowFabric").field("namespace", namespace).finish_non_exhaustive()
    }
}

impl Connect {
    fn to(store: Result<Store, SdkError>) -> Self {
        Self { store, config: ClientConfig::new(DEFAULT_NAMESPACE) }
    }

    /// Sets the namespace (the tenant) of the client and the workers. Default: `ff`.
    pub fn namespace(mut self, namespace: impl AsRef<str>) -> Self {
        self.config = self.config.and_then(|config| {
            let ClientConfig { namespace, .. } = ClientConfig::new(namespace)?;
            Ok(ClientConfig { namespace, ..config })
        });
        self
    }

    /// Sets the time limit of one call of the client while the store does not answer. Default:
    /// 30 s.
    pub fn call_timeout(self, timeout: Duration) -> Self {
        self.configure(|config| config.call_timeout = timeout)
    }

    /// Changes any field of the client's configuration.
    pub fn configure(mut self, change: impl FnOnce(&mut ClientConfig)) -> Self {
        if let Ok(config) = &mut self.config {
            change(config);
        }
        self
    }

    async fn open(self) -> Result<FlowFabric, SdkError> {
        let config = self.config?;
        config.check()?;
        let store = match self.store? {
            Store::Opens(options) => options.open().await?,
            Store::Open(store) => store,
        };
        let client = Client::connect(config, store.clone()).await?;
        Ok(FlowFabric { client, store })
    }
}

impl std::fmt::Debug for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect").field("config", &self.config).finish_non_exhaustive()
    }
}

impl IntoFuture for Connect {
    type Output = Result<FlowFabric, SdkError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}
