//! The state that all requests share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use ff_sdk::{
    Client, EngineBackend, FlowFabricAdminClient, JournalBackend, Namespace, QueueGauges, SdkError,
    WorkerGateway,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::answer::{Answer, Refusal};
use crate::metrics::Metrics;
use crate::session::{CsrfToken, Sessions};
use crate::settings::Settings;
use crate::tokens::Tokens;

/// The service, as its routes see it. Clones are handles to the same service.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

struct Inner {
    client: Client,
    clients: Mutex<BTreeMap<Namespace, Client>>,
    admin: FlowFabricAdminClient,
    gateway: WorkerGateway,
    completions: JournalBackend,
    tokens: Tokens,
    sessions: Sessions,
    /// The value that requests of the pages repeat if there are no tokens, and so no sessions.
    csrf: CsrfToken,
    address: SocketAddr,
    has_tls: bool,
    tails: Arc<Semaphore>,
    body_timeout: Duration,
    metrics: Option<Metrics>,
    gauges: Gauges,
    /// Whether shutdown was requested.
    closing: watch::Sender<bool>,
}

/// The gauges of each namespace.
type Gauges = tokio::sync::Mutex<BTreeMap<Namespace, QueueGauges>>;

/// The most namespaces whose clients are kept. Others get a new one for each request.
const MAX_CLIENTS: usize = 1_024;

impl App {
    /// Connects to the store, and sets up an empty one.
    pub(crate) async fn connect(
        backend: Arc<dyn EngineBackend>,
        settings: &Settings,
        tokens: Tokens,
        address: SocketAddr,
        csrf: CsrfToken,
    ) -> Result<Self, SdkError> {
        Ok(Self(Arc::new(Inner {
            client: Client::connect_with(backend.clone(), settings.namespace.as_str()).await?,
            clients: Mutex::default(),
            admin: FlowFabricAdminClient::connect_with(backend.clone()).await?,
            gateway: WorkerGateway::connect_with(backend.clone()).await?,
            completions: JournalBackend::new(backend),
            tokens,
            sessions: Sessions::default(),
            csrf,
            address,
            has_tls: settings.tls.is_some(),
            tails: Arc::new(Semaphore::new(settings.max_tails)),
            body_timeout: settings.body_timeout,
            metrics: settings.metrics.clone(),
            gauges: Gauges::default(),
            closing: watch::Sender::new(false),
        })))
    }

    /// How long a request may take for its body.
    pub(crate) fn body_timeout(&self) -> Duration {
        self.0.body_timeout
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    /// The value that requests of the pages repeat if there are no tokens.
    pub(crate) fn csrf(&self) -> &CsrfToken {
        &self.0.csrf
    }

    /// The address that the service listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Whether the service itself ends TLS.
    pub(crate) fn has_tls(&self) -> bool {
        self.0.has_tls
    }

    pub(crate) fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    pub(crate) fn gateway(&self) -> &WorkerGateway {
        &self.0.gateway
    }

    /// The completions, which all tails share.
    pub(crate) fn completions(&self) -> &JournalBackend {
        &self.0.completions
    }

    pub(crate) fn admin(&self) -> &FlowFabricAdminClient {
        &self.0.admin
    }

    /// The metrics that the service shows.
    pub(crate) fn metrics(&self) -> Option<&Metrics> {
        self.0.metrics.as_ref()
    }

    pub(crate) fn gauges(&self) -> &Gauges {
        &self.0.gauges
    }

    /// The clients of the namespaces that were served.
    pub(crate) fn clients(&self) -> Vec<Client> {
        let clients = self.0.clients.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::once(&self.0.client).chain(clients.values()).cloned().collect()
    }

    /// The client of the default namespace.
    pub(crate) fn default_client(&self) -> &Client {
        &self.0.client
    }

    /// The client of a namespace.
    pub(crate) fn client(&self, namespace: &Namespace) -> Client {
        if namespace == self.0.client.namespace() {
            return self.0.client.clone();
        }
        let mut clients = self.0.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(namespace) {
            return client.clone();
        }
        let client = self.0.client.in_namespace(namespace);
        if clients.len() < MAX_CLIENTS {
            clients.insert(namespace.clone(), client.clone());
        }
        client
    }

    /// Takes one of the places for responses that follow something.
    pub(crate) fn begin_tail(&self) -> Answer<OwnedSemaphorePermit> {
        self.0.tails.clone().try_acquire_owned().map_err(|_| {
            let message = "too many responses follow output or completions; try again later";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_tails", message)
                .retry_after(Duration::from_secs(5))
        })
    }

    /// Whether shutdown was requested.
    pub(crate) fn is_closing(&self) -> bool {
        *self.0.closing.borrow()
    }

    /// Requests shutdown: responses that follow something end.
    pub(crate) fn close(&self) {
        self.0.closing.send_replace(true);
    }

    /// Waits until shutdown is requested.
    ///
    /// Cancel safe.
    pub(crate) async fn closed(&self) {
        let mut closing = self.0.closing.subscribe();
        // The sender lives as long as this handle.
        let _ = closing.wait_for(|closing| *closing).await;
    }
}
