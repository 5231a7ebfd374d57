//! The admin client: grants, record formats, waitpoint secrets, lanes and limits.

mod embedded;
mod operate;

use std::sync::Arc;

use ff_core::backend::EngineBackend;
use ff_core::error::{EngineError, Rejection};
use ff_core::id::{ExecutionId, RequestId};
use ff_core::token::SecretInfo;
use ff_io_http::{
    ClaimForWorkerRequest, ClaimForWorkerResponse, IssueReclaimGrantRequest,
    IssueReclaimGrantResponse, RotateWaitpointSecretRequest, RotateWaitpointSecretResponse,
};

use crate::error::SdkError;
#[cfg(feature = "http")]
use crate::error::of_call;
use crate::host::system_entropy;

use embedded::Embedded;

/// The admin client: issues grants to workers, activates record formats, rotates the secrets of
/// waitpoint tokens, sets lanes, and reads quotas, budgets, workers and the reasons why an
/// execution waits (`docs/spec.md`, 7, 9 and 11).
///
/// [`FlowFabricAdminClient::new`] makes the calls of a server over HTTP, with the feature `http`.
/// [`FlowFabricAdminClient::connect_with`] carries them out in this process. Both behave the same,
/// except for the form of errors: the engine's error is [`SdkError::Engine`] in this process, and
/// [`SdkError::AdminApi`] over HTTP. [`SdkError::rejection_kind`], [`SdkError::is_retryable`] and
/// [`SdkError::may_be_applied`] read both.
///
/// Clones share the connection.
///
/// ```
/// use std::sync::Arc;
/// use ff_sdk::{
///     Client, FlowFabricAdminClient, FlowFabricWorker, LaneId, MemoryBackend, Submission,
///     WorkerConfig,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let backend = Arc::new(MemoryBackend::new());
/// let admin = FlowFabricAdminClient::connect_with(backend.clone()).await?;
/// let client = Client::connect_with(backend.clone(), "demo").await?;
/// let config = WorkerConfig::new("worker", "worker-1", "demo")?;
/// let worker = FlowFabricWorker::connect_with(config, backend, None).await?;
///
/// client.submit(Submission::new("greet")).await?;
/// let lane = LaneId::try_new("default")?;
/// let task = worker.claim_via_server(&admin, &lane, 5_000).await?.expect("there is work");
/// task.complete(None).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FlowFabricAdminClient {
    transport: Transport,
    request_id: Option<RequestId>,
}

#[derive(Clone)]
enum Transport {
    Embedded(Arc<Embedded>),
    #[cfg(feature = "http")]
    Http(ff_io_http::HttpTransport),
}

impl FlowFabricAdminClient {
    /// Creates a client of the server at a URL, `http://HOST[:PORT]` or `https://HOST[:PORT]`. The
    /// URL can have a path, if the server is behind a proxy. It connects at the first call.
    ///
    /// A call is tried again, with the same request ID, while the server cannot be reached, is
    /// overloaded, or its store does not answer; for 30 s in all
    /// ([`FlowFabricAdminClient::call_timeout`]).
    ///
    /// ```no_run
    /// # fn main() -> Result<(), ff_sdk::SdkError> {
    /// use ff_sdk::FlowFabricAdminClient;
    ///
    /// let token = std::env::var("FF_TOKEN").unwrap_or_default();
    /// let admin = FlowFabricAdminClient::new("https://ff.example.com")?.token(&token)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SdkError::Config`] if the URL is not valid, or the certificates that the system trusts
    /// cannot be read.
    #[cfg(feature = "http")]
    pub fn new(url: impl Into<String>) -> Result<Self, SdkError> {
        let transport = ff_io_http::HttpTransport::new(&url.into())
            .map_err(|error| SdkError::config("admin client", "url", error.to_string()))?;
        Ok(Self { transport: Transport::Http(transport), request_id: None })
    }

    /// Connects an admin client to a backend. It reads the store's configuration, or sets up an
    /// empty store, since each call needs the number of partitions and the active record format.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer, or has a newer record format.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect_with(backend: Arc<dyn EngineBackend>) -> Result<Self, SdkError> {
        let embedded = Arc::new(Embedded::connect(backend).await?);
        Ok(Self { transport: Transport::Embedded(embedded), request_id: None })
    }

    /// Sets the bearer token that each call to the server sends. It is never printed.
    ///
    /// # Errors
    ///
    /// [`SdkError::Config`] for a token that is empty or not printable ASCII, and for a client
    /// without a server.
    #[cfg(feature = "http")]
    pub fn token(mut self, secret: impl AsRef<str>) -> Result<Self, SdkError> {
        self.transport = match self.transport {
            Transport::Http(transport) => {
                Transport::Http(transport.token(secret.as_ref()).map_err(|error| {
                    SdkError::config("admin client", "token", error.to_string())
                })?)
            }
            Transport::Embedded(_) => {
                let message = "is for a server, and this client works in process";
                return Err(SdkError::config("admin client", "token", message));
            }
        };
        Ok(self)
    }

    /// Sets the time limit of a call to the server, with all its repeats; 30 s by default. In
    /// process the limit is always 30 s.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn call_timeout(mut self, call_timeout: std::time::Duration) -> Self {
        if let Transport::Http(transport) = self.transport {
            self.transport = Transport::Http(transport.call_timeout(call_timeout));
        }
        self
    }

    /// Returns a client whose calls have this request ID. Without one, each call draws its own.
    ///
    /// A repeat of [`FlowFabricAdminClient::issue_reclaim_grant`] with the same ID gets the grant
    /// of the first call. A server uses this to carry out a call under the ID of its caller.
    #[must_use]
    pub fn with_request_id(&self, request_id: RequestId) -> Self {
        Self { transport: self.transport.clone(), request_id: Some(request_id) }
    }

    /// Finds an execution of the lane that the worker can run (new, resumed or reclaimed), and
    /// issues a grant for it. `None` when there is no work now, or none after `wait_ms`.
    /// [`WorkerConfig::claim_request`](crate::WorkerConfig::claim_request) makes the request.
    ///
    /// The data for audit in the request are stored with the grant, and
    /// [`Client::describe`](crate::Client::describe) shows them while the grant is not used.
    ///
    /// # Errors
    ///
    /// - [`SdkError::Config`] for a field out of its bounds; nothing was sent.
    /// - [`SdkError::Engine`] or [`SdkError::AdminApi`] when the store does not answer.
    /// - [`SdkError::Http`] when the server does not answer.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a grant may be issued and stay unused until it expires.
    pub async fn claim_for_worker(
        &self,
        request: ClaimForWorkerRequest,
    ) -> Result<Option<ClaimForWorkerResponse>, SdkError> {
        request.check().map_err(invalid)?;
        match &self.transport {
            Transport::Embedded(embedded) => embedded.claim_for_worker(request).await,
            #[cfg(feature = "http")]
            Transport::Http(http) => {
                let granted = http.claim_for_worker(&request, &self.next_request_id()).await;
                granted.map_err(of_call)
            }
        }
    }

    /// Issues a reclaim grant for an execution whose lease expired or was revoked. `id` is the ID
    /// of the execution, as a text in either form.
    /// [`WorkerConfig::reclaim_request`](crate::WorkerConfig::reclaim_request) makes the request.
    ///
    /// # Errors
    ///
    /// - [`SdkError::Config`] for a field out of its bounds; nothing was sent.
    /// - [`SdkError::Engine`] or [`SdkError::AdminApi`] with `InvalidExecutionId`, `NotFound`,
    ///   `InvalidInput` if the execution is in another lane, `ExecutionNotReclaimable`,
    ///   `GrantAlreadyExists` or `CapabilityMismatch`, or when the store does not answer.
    /// - [`SdkError::Http`] when the server does not answer.
    ///
    /// An execution that was reclaimed too often is not an error: it has failed, and the response
    /// is [`IssueReclaimGrantResponse::ReclaimCapExceeded`].
    ///
    /// # Cancel safety
    ///
    /// As for [`FlowFabricAdminClient::claim_for_worker`].
    pub async fn issue_reclaim_grant(
        &self,
        id: &str,
        request: IssueReclaimGrantRequest,
    ) -> Result<IssueReclaimGrantResponse, SdkError> {
        let id = ExecutionId::from_any(id)?;
        request.check().map_err(invalid)?;
        let request_id = self.next_request_id();
        match &self.transport {
            Transport::Embedded(embedded) => {
                embedded.issue_reclaim_grant(&id, request, &request_id).await
            }
            #[cfg(feature = "http")]
            Transport::Http(http) => {
                let granted = http.issue_reclaim_grant(&id, &request, &request_id).await;
                granted.map_err(of_call)
            }
        }
    }

    /// Rotates the secret that signs waitpoint tokens (`docs/spec.md`, 5). The previous secret
    /// stays valid for the grace of the request, at most a year. 32 random bytes are a good secret.
    /// It reaches every process within two seconds.
    ///
    /// # Errors
    ///
    /// - [`SdkError::Engine`] or [`SdkError::AdminApi`] with `InvalidKid`, `InvalidSecretHex`,
    ///   `InvalidGraceMs` or `RotationConflict`, when the key ID stands for another secret; or with
    ///   a timeout, which says whether the call may have been applied.
    /// - [`SdkError::Http`] when the server does not answer. The call is not repeated once it may
    ///   have been applied.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the secret may or may not be rotated. The call can be repeated, if no other
    /// operator has rotated since.
    pub async fn rotate_waitpoint_secret(
        &self,
        request: RotateWaitpointSecretRequest,
    ) -> Result<RotateWaitpointSecretResponse, SdkError> {
        let (kid, secret) = request.parse().map_err(EngineError::from)?;
        match &self.transport {
            Transport::Embedded(embedded) => {
                embedded.rotate_waitpoint_secret(kid, secret, request.grace_ms).await
            }
            #[cfg(feature = "http")]
            Transport::Http(http) => {
                drop((kid, secret));
                let request_id = self.next_request_id();
                http.rotate_waitpoint_secret(&request, &request_id).await.map_err(of_call)
            }
        }
    }

    /// Activates a record format: programs write it from now on (`docs/spec.md`, 2). Activate it
    /// when every program of the store knows it; an older program leaves records of that format
    /// alone. The active format never goes down. Activating it again changes nothing.
    ///
    /// # Errors
    ///
    /// - [`SdkError::Engine`] with `FormatUnknown` for a format that this program does not know,
    ///   `FormatSuperseded` for one below the active format, and `Timeout` when the store did not
    ///   answer in time, which says whether the call may have been applied.
    /// - [`SdkError::Config`] for a client of a server: connect to the store.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the format may or may not be activated. The call can be repeated.
    pub async fn activate_format(&self, format: u8) -> Result<(), SdkError> {
        self.embedded()?.activate_format(format).await
    }

    /// Lists the valid secrets, oldest first, by key ID and fingerprint; never their bytes. The
    /// last one signs new tokens.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer, and [`SdkError::Config`] for a client
    /// of a server: connect to the store.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn list_waitpoint_secrets(&self) -> Result<Vec<SecretInfo>, SdkError> {
        self.embedded()?.list_waitpoint_secrets().await
    }

    /// The connection to the store, for calls that no server offers.
    fn embedded(&self) -> Result<&Embedded, SdkError> {
        match &self.transport {
            Transport::Embedded(embedded) => Ok(embedded),
            #[cfg(feature = "http")]
            Transport::Http(_) => {
                let message = "is that of a server, which does not offer this call: connect to the \
                               store";
                Err(SdkError::config("admin client", "url", message))
            }
        }
    }

    /// The ID of the next call.
    fn next_request_id(&self) -> RequestId {
        let drawn = || RequestId::new(system_entropy().uuid().to_string());
        self.request_id.clone().unwrap_or_else(drawn)
    }
}

/// The error for a request with a field out of its bounds.
fn invalid(rejection: Rejection) -> SdkError {
    match rejection {
        Rejection::InvalidInput { field, problem } => SdkError::config("grant", field, problem),
        other => EngineError::from(other).into(),
    }
}

impl std::fmt::Debug for FlowFabricAdminClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut f = f.debug_struct("FlowFabricAdminClient");
        #[cfg(feature = "http")]
        if let Transport::Http(transport) = &self.transport {
            f.field("server", transport);
        }
        f.finish_non_exhaustive()
    }
}
