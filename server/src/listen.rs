//! Listening: connections within bounds, TLS, and a shutdown that lets requests end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use ff_sdk::{EngineBackend, SdkError};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tower_http::catch_panic::CatchPanicLayer;
use uuid::Uuid;

use crate::answer::Refusal;
use crate::app::App;
use crate::metrics;
use crate::openapi;
use crate::origin;
use crate::page;
use crate::routes;
use crate::session::CsrfToken;
use crate::settings::{Settings, Tls};
use crate::tokens::{Tokens, TokensError};

/// How often the file of tokens is looked at.
const TOKENS_EVERY: Duration = Duration::from_secs(1);
/// The pause after a connection could not be accepted, for example without a free descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a TLS handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// The header with the id of a request, which the log has too.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A problem with starting the service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Anyone who reaches the address could do everything.
    #[error(
        "{address} is not a loopback address, and there are no tokens: give a file of tokens, or \
         listen on 127.0.0.1"
    )]
    NoTokens {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The problem.
        source: io::Error,
    },
    /// The tokens cannot be read.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// The certificate or its key cannot be used.
    #[error("TLS file {}: {problem}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
    /// The system has no random bytes.
    #[error("cannot draw random bytes: {0}")]
    Random(getrandom::Error),
    /// The store cannot be used.
    #[error(transparent)]
    Store(Box<SdkError>),
}

impl From<SdkError> for ServerError {
    fn from(error: SdkError) -> Self {
        Self::Store(Box::new(error))
    }
}

/// The service: it listens, and serves while [`Server::run_until`] runs.
pub struct Server {
    app: App,
    router: Router,
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    settings: Settings,
}

impl Server {
    /// Connects to the store, which is set up if it is empty, and begins to listen. Port 0 takes a
    /// free one.
    ///
    /// # Errors
    ///
    /// [`ServerError`]: without tokens only a loopback address is allowed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn bind(
        address: SocketAddr,
        backend: Arc<dyn EngineBackend>,
        settings: Settings,
    ) -> Result<Self, ServerError> {
        let tokens = match &settings.tokens {
            Some(path) => Tokens::read(path)?,
            None if address.ip().is_loopback() => Tokens::none(),
            None => return Err(ServerError::NoTokens { address }),
        };
        let tls = settings.tls.as_ref().map(acceptor).transpose()?;
        let failed = |source| ServerError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let csrf = CsrfToken::random().map_err(ServerError::Random)?;
        let app = App::connect(backend, &settings, tokens, address, csrf).await?;
        let router = router(&app);
        Ok(Self { app, router, listener, address, tls, settings })
    }

    /// The address that it listens on.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, by the address that it listens on.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Serves until `shutdown` is ready. Then `/readyz` fails, no more connections are accepted
    /// after [`drain_delay`](Settings::drain_delay), and requests may end within
    /// [`grace`](Settings::grace).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if the future is dropped, the service stops without waiting for requests.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) {
        let app = self.app.clone();
        let tokens = tokio::spawn(async move {
            let mut every = tokio::time::interval(TOKENS_EVERY);
            loop {
                every.tick().await;
                app.tokens().refresh();
            }
        });
        let graceful = GracefulShutdown::new();
        let (grace, app) = (self.settings.grace, self.app.clone());
        self.accept_until(&graceful, shutdown).await;
        tokens.abort();
        if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
            tracing::warn!(
                ?grace,
                "some requests have not ended, and their connections are closed"
            );
        }
        app.gateway().settle().await;
    }

    async fn accept_until(self, graceful: &GracefulShutdown, shutdown: impl Future<Output = ()>) {
        let slots = Arc::new(Semaphore::new(self.settings.max_connections));
        let delay = self.settings.drain_delay;
        let stopped = async {
            shutdown.await;
            self.app.close();
            tracing::info!("the service shuts down");
            tokio::time::sleep(delay).await;
        };
        let mut stopped = pin!(stopped);
        loop {
            // The semaphore is never closed.
            let accepted = async {
                let slot = slots.clone().acquire_owned().await.ok();
                (slot, self.listener.accept().await)
            };
            let (slot, accepted) = tokio::select! {
                biased;
                () = &mut stopped => return,
                accepted = accepted => accepted,
            };
            match accepted {
                Ok((stream, _)) => self.serve(stream, slot, graceful.watcher()),
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection in a separate task.
    fn serve(&self, stream: TcpStream, slot: Option<OwnedSemaphorePermit>, watcher: Watcher) {
        // Without it, small answers wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let (router, head_timeout) = (self.router.clone(), self.settings.head_timeout);
        let tls = self.tls.clone();
        tokio::spawn(async move {
            match tls {
                None => serve(stream, router, head_timeout, watcher).await,
                Some(tls) => {
                    let handshake =
                        tokio::time::timeout(HANDSHAKE_WITHIN, tls.accept(stream)).await;
                    if let Ok(Ok(stream)) = handshake {
                        serve(stream, router, head_timeout, watcher).await;
                    }
                }
            }
            drop(slot);
        });
    }
}

async fn serve<S>(stream: S, router: Router, head_timeout: Duration, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // A client that goes away is not an error of the service.
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection has ended");
    }
}

/// The routes with what surrounds them.
fn router(app: &App) -> Router {
    let (routes, mut document) = routes::all().split_for_parts();
    openapi::complete(&mut document);
    let document = document.to_json().expect("the document is JSON");
    let as_json = [("content-type", "application/json")];
    let document = get(async move || (as_json, document.clone()));
    routes
        .route("/openapi.json", document)
        .merge(page::routes())
        .fallback(|| async { Refusal::not_found("route") })
        .method_not_allowed_fallback(|| async {
            let message = "the route has no such method";
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
        })
        .layer(CatchPanicLayer::custom(|_| {
            let message = "the service has a defect: see its log";
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "bug", message).into_response()
        }))
        .layer(middleware::from_fn_with_state(app.clone(), origin::guard))
        .layer(middleware::from_fn(log))
        .with_state(app.clone())
}

/// Gives a request an id, counts it, and logs it if the service failed.
async fn log(request: Request, next: Next) -> Response {
    let id = Uuid::new_v4().to_string();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let begun = Instant::now();
    let mut response = next.run(request).await;
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    metrics::answered(method.as_str(), route, response.status().as_u16(), begun.elapsed());
    if response.status().is_server_error() {
        let error = response.extensions().get::<Refusal>().map_or("a panic", Refusal::message);
        tracing::error!(request_id = id, %method, route, status = %response.status(), error,
            "a request failed");
    }
    let id = HeaderValue::from_str(&id).expect("a uuid is a header value");
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, ServerError> {
    let failed = |path: &Path, problem: String| ServerError::Tls { path: path.to_owned(), problem };
    let of_certificate =
        |error: rustls::pki_types::pem::Error| failed(&tls.certificate, error.to_string());
    let chain = CertificateDer::pem_file_iter(&tls.certificate).map_err(of_certificate)?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(of_certificate)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|error| failed(&tls.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&tls.certificate, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| failed(&tls.certificate, error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
