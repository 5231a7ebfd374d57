//! The transport of a client: calls of one server, repeated while that can help.
//!
//! A call is repeated after a wait when the server could not be reached, when its answer was lost,
//! and when it is overloaded or its store does not answer (429, 502, 503, 504). All repeats have
//! the same request ID. An answer in which a rule of the engine decided is final.

mod operate;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ff_core::error::Applied;
use ff_core::id::{ExecutionId, Namespace, RequestId};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::claim::{ClaimForWorkerRequest, ClaimForWorkerResponse};
use crate::error::ApiError;
use crate::reclaim::{IssueReclaimGrantRequest, IssueReclaimGrantResponse};
use crate::secret::{RotateWaitpointSecretRequest, RotateWaitpointSecretResponse};
use crate::{IDEMPOTENCY_KEY, backoff};

/// How long connecting may take, before it is tried again.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The default time limit of a call, with its repeats.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum size of an answer, in bytes.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// The maximum size of an answer that lists something, in bytes.
const MAX_LIST_BYTES: usize = 64 << 20;

/// The reason why there is no transport to a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The URL of the server is not valid.
    #[error("{problem}")]
    Url {
        /// The problem, and what is expected. It never shows a password.
        problem: String,
    },
    /// The token has characters that are not allowed in a header.
    #[error("has characters other than printable ASCII")]
    Token,
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {problem}")]
    Tls {
        /// The problem.
        problem: String,
    },
}

/// The reason why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The server answered with an error.
    #[error(transparent)]
    Api(#[from] Box<ApiError>),
    /// There was no answer, or not one of a FlowFabric server.
    #[error("{message}")]
    NoAnswer {
        /// A sentence for people.
        message: String,
        /// Whether the call took effect.
        applied: Applied,
        /// Whether the same call may succeed later.
        retryable: bool,
    },
}

/// The connections to one server. Clones share them.
#[derive(Clone)]
pub struct HttpTransport {
    base: Url,
    http: reqwest::Client,
    token: Option<HeaderValue>,
    call_timeout: Duration,
}

/// The repeats of a call that are safe.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeats {
    /// All of them.
    Always,
    /// Only while no earlier try may have been applied.
    UnlessApplied,
}

/// A call.
struct Call<'a> {
    name: &'static str,
    method: Method,
    path: &'a [&'a str],
    /// The namespace, if the path or the body does not imply it.
    namespace: Option<&'a Namespace>,
    /// Another parameter of the query.
    query: Option<(&'a str, &'a str)>,
    request_id: &'a RequestId,
    repeats: Repeats,
    /// How long the server may wait before it answers.
    wait: Duration,
    /// The maximum size of the answer, in bytes.
    most: usize,
}

impl<'a> Call<'a> {
    /// A call that posts its body to a path.
    fn post(name: &'static str, path: &'a [&'a str], request_id: &'a RequestId) -> Self {
        Self {
            name,
            method: Method::POST,
            path,
            namespace: None,
            query: None,
            request_id,
            repeats: Repeats::Always,
            wait: Duration::ZERO,
            most: MAX_ANSWER_BYTES,
        }
    }
}

/// The result of one try that failed.
struct Failed {
    error: CallError,
    /// Whether another try can help.
    again: bool,
    /// Whether this try may have been applied.
    in_doubt: bool,
    retry_after: Option<Duration>,
}

impl HttpTransport {
    /// Creates the transport to a server: `http://HOST[:PORT]` or `https://HOST[:PORT]`, with a
    /// path if the server is behind a proxy under that path. It connects at the first call.
    ///
    /// A certificate is checked against those that the system trusts.
    ///
    /// # Errors
    ///
    /// [`TransportError`] if the URL is not valid, or the certificates that the system trusts
    /// cannot be read.
    pub fn new(url: &str) -> Result<Self, TransportError> {
        let base = parse_url(url)?;
        let tls = tls_config(base.scheme() == "https")?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            // A token must not follow to another server.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_WITHIN)
            .tcp_nodelay(true)
            .user_agent(concat!("flowfabric/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| TransportError::Tls { problem: chain(&error) })?;
        Ok(Self { base, http, token: None, call_timeout: CALL_TIMEOUT })
    }

    /// Sets the bearer token that each call sends. It is never printed.
    ///
    /// # Errors
    ///
    /// [`TransportError::Token`].
    pub fn token(mut self, token: &str) -> Result<Self, TransportError> {
        let is_valid = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let value = is_valid.then(|| HeaderValue::try_from(format!("Bearer {token}")).ok());
        let mut value = value.flatten().ok_or(TransportError::Token)?;
        value.set_sensitive(true);
        self.token = Some(value);
        Ok(self)
    }

    /// Sets the time limit of a call, with all repeats; 30 s by default. A call that waits for work
    /// may take as much longer as it waits.
    #[must_use]
    pub fn call_timeout(mut self, call_timeout: Duration) -> Self {
        self.call_timeout = call_timeout;
        self
    }

    /// Asks for a grant for a worker; `None` if there is no work.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a grant may be issued and stay unused until it expires.
    pub async fn claim_for_worker(
        &self,
        request: &ClaimForWorkerRequest,
        request_id: &RequestId,
    ) -> Result<Option<ClaimForWorkerResponse>, CallError> {
        let path = ["v1", "workers", request.worker_id.as_str(), "claim"];
        let wait = Duration::from_millis(request.wait_ms);
        // It is always repeated: a grant whose answer was lost expires unused.
        let call = Call { wait, ..Call::post("claim_for_worker", &path, request_id) };
        self.call(&call, Some(request)).await
    }

    /// Asks for a grant for an execution whose lease was lost. A repeat with the same request ID
    /// gets the grant of the first.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    ///
    /// # Cancel safety
    ///
    /// As for [`HttpTransport::claim_for_worker`].
    pub async fn issue_reclaim_grant(
        &self,
        id: &ExecutionId,
        request: &IssueReclaimGrantRequest,
        request_id: &RequestId,
    ) -> Result<IssueReclaimGrantResponse, CallError> {
        let id = id.url_safe();
        let path = ["v1", "executions", &id, "reclaim"];
        let call = Call::post("issue_reclaim_grant", &path, request_id);
        self.answered(&call, Some(request)).await
    }

    /// Rotates the secret of waitpoint tokens. The call is not repeated once it may have been
    /// applied: if another operator has rotated since, a repeat could bring a secret back.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the secret may or may not be rotated.
    pub async fn rotate_waitpoint_secret(
        &self,
        request: &RotateWaitpointSecretRequest,
        request_id: &RequestId,
    ) -> Result<RotateWaitpointSecretResponse, CallError> {
        let path = ["v1", "admin", "rotate-waitpoint-secret"];
        let call = Call::post("rotate_waitpoint_secret", &path, request_id);
        let call = Call { repeats: Repeats::UnlessApplied, ..call };
        self.answered(&call, Some(request)).await
    }

    /// Makes a call whose answer has a body.
    async fn answered<T: DeserializeOwned>(
        &self,
        call: &Call<'_>,
        body: Option<&impl Serialize>,
    ) -> Result<T, CallError> {
        self.call(call, body).await?.ok_or_else(|| unexpected(call, "an empty answer"))
    }

    /// Makes a call until it is answered, refused, or its time is over. `None` for status 204.
    async fn call<T: DeserializeOwned>(
        &self,
        call: &Call<'_>,
        body: Option<&impl Serialize>,
    ) -> Result<Option<T>, CallError> {
        let body = body.map(|body| serde_json::to_vec(body).expect("a request is valid JSON"));
        let deadline = Instant::now() + self.call_timeout + call.wait;
        let (mut tries, mut in_doubt) = (0, false);
        loop {
            let failed =
                match tokio::time::timeout_at(deadline, self.send(call, body.as_deref())).await {
                    Ok(Ok((status, answer))) => return read_answer(call, status, &answer),
                    Ok(Err(failed)) => failed,
                    Err(_) => unanswered(call, self.call_timeout + call.wait),
                };
            in_doubt |= failed.in_doubt;
            let wait = failed.retry_after.unwrap_or_else(|| backoff::after(tries));
            let may_repeat = !in_doubt || call.repeats == Repeats::Always;
            if !failed.again || !may_repeat || Instant::now() + wait >= deadline {
                return Err(ended(failed, in_doubt));
            }
            tracing::debug!(call = call.name, tries, ?wait, error = %failed.error, "trying again");
            tokio::time::sleep(wait).await;
            tries += 1;
        }
    }

    /// Sends a call once. Returns the status and the body of an answer that reports success.
    async fn send(
        &self,
        call: &Call<'_>,
        body: Option<&[u8]>,
    ) -> Result<(StatusCode, Vec<u8>), Failed> {
        let mut headers = HeaderMap::new();
        let request_id = HeaderValue::from_str(call.request_id.as_str());
        headers.insert(IDEMPOTENCY_KEY, request_id.expect("an ID is printable ASCII"));
        headers.extend(self.token.clone().map(|token| (AUTHORIZATION, token)));
        let mut request = self.http.request(call.method.clone(), self.url(call));
        if let Some(body) = body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            request = request.body(body.to_vec());
        }
        let response = request.headers(headers).send().await.map_err(|error| lost(call, &error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let answer = read_body(call, response).await?;
        match status.is_success() {
            true => Ok((status, answer)),
            false => Err(refused(call, status, &headers, &answer)),
        }
    }

    fn url(&self, call: &Call<'_>) -> Url {
        let mut url = self.base.clone();
        // A base URL with a host can have a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(call.path);
        }
        let namespace = call.namespace.map(|namespace| ("namespace", namespace.as_str()));
        for (name, value) in namespace.into_iter().chain(call.query) {
            url.query_pairs_mut().append_pair(name, value);
        }
        url
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport")
            .field("base", &self.base.as_str())
            .field("token", &self.token.as_ref().map(|_| ".."))
            .finish_non_exhaustive()
    }
}

/// Reads the answer to a call that succeeded.
fn read_answer<T: DeserializeOwned>(
    call: &Call<'_>,
    status: StatusCode,
    answer: &[u8],
) -> Result<Option<T>, CallError> {
    if status == StatusCode::NO_CONTENT {
        return Ok(None);
    }
    let read = serde_json::from_slice(answer);
    read.map(Some).map_err(|error| {
        unexpected(call, &format!("an answer that is not JSON of this call: {error}"))
    })
}

/// The error for an answer that reports success and has another content than that of the call.
fn unexpected(call: &Call<'_>, what: &str) -> CallError {
    let message = format!("{} got {what}; check the URL of the server", call.name);
    CallError::NoAnswer { message, applied: Applied::Unknown, retryable: false }
}

/// The failure of a try without an answer.
fn lost(call: &Call<'_>, error: &reqwest::Error) -> Failed {
    let in_doubt = !error.is_connect();
    let message = match in_doubt {
        true => format!("{} got no answer: {}", call.name, chain(error)),
        false => format!("{} could not reach the server: {}", call.name, chain(error)),
    };
    failed(message, in_doubt, true)
}

/// The failure of a call whose time is over.
fn unanswered(call: &Call<'_>, limit: Duration) -> Failed {
    failed(format!("{} got no answer within {limit:?}", call.name), true, true)
}

fn failed(message: String, in_doubt: bool, again: bool) -> Failed {
    let applied = if in_doubt { Applied::Unknown } else { Applied::No };
    let error = CallError::NoAnswer { message, applied, retryable: again };
    Failed { error, again, in_doubt, retry_after: None }
}

/// The failure of a try whose answer does not report success.
fn refused(call: &Call<'_>, status: StatusCode, headers: &HeaderMap, answer: &[u8]) -> Failed {
    let overloaded = matches!(status.as_u16(), 429 | 502 | 503 | 504);
    let retry_after = headers.get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
    let retry_after = retry_after.map(Duration::from_secs);
    if let Some(error) = ApiError::read(status.as_u16(), answer, retry_after) {
        let again = overloaded && error.error.retryable && error.rejection_kind().is_none();
        let (in_doubt, retry_after) = (error.may_be_applied(), error.retry_after);
        return Failed { error: Box::new(error).into(), again, in_doubt, retry_after };
    }
    let name = call.name;
    let message = match headers.get(LOCATION).and_then(|location| location.to_str().ok()) {
        Some(location) if status.is_redirection() => {
            format!("{name} was redirected to {location}: use the URL of the server itself")
        }
        _ => {
            format!("{name} was answered with {status}, not by a FlowFabric server; check its URL")
        }
    };
    // A proxy that answers for the server does not know what the server has done.
    let failed = failed(message, status.is_server_error(), overloaded);
    Failed { retry_after, ..failed }
}

/// The error of a call after its last try.
fn ended(failed: Failed, in_doubt: bool) -> CallError {
    match failed.error {
        CallError::NoAnswer { message, retryable, .. } if in_doubt => {
            CallError::NoAnswer { message, applied: Applied::Unknown, retryable }
        }
        // The last try was not carried out, but an earlier one may have been.
        CallError::Api(error) if in_doubt && failed.again && !failed.in_doubt => {
            let message = format!("{error}; an earlier try got no answer");
            CallError::NoAnswer { message, applied: Applied::Unknown, retryable: true }
        }
        error => error,
    }
}

/// Reads the body of an answer, up to a limit.
async fn read_body(call: &Call<'_>, mut response: Response) -> Result<Vec<u8>, Failed> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| lost(call, &error))? {
        if body.len() + chunk.len() > call.most {
            let what = format!("an answer of more than {} bytes", call.most);
            let error = unexpected(call, &what);
            return Err(Failed { error, again: false, in_doubt: true, retry_after: None });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The messages of an error and of its causes, without the URL, which the caller knows.
fn chain(error: &reqwest::Error) -> String {
    let mut texts = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        // Some errors repeat their cause in their own text.
        if texts.last().is_none_or(|last: &String| !last.contains(&text)) {
            texts.push(text);
        }
        cause = error.source();
    }
    match texts.is_empty() {
        true => "the request failed".to_owned(),
        false => texts.join(": "),
    }
}

fn parse_url(text: &str) -> Result<Url, TransportError> {
    let expected = "expected http://HOST[:PORT] or https://HOST[:PORT]";
    let invalid = |problem: String| TransportError::Url { problem };
    let url =
        Url::parse(text).map_err(|error| invalid(format!("is not valid ({error}): {expected}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid(format!("has the scheme {}: {expected}", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("has a user or a password: set a token instead".to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid(format!("has a query or a fragment: {expected}")));
    }
    Ok(url)
}

/// The TLS settings, with the certificates that the system trusts if they are needed.
fn tls_config(is_needed: bool) -> Result<ClientConfig, TransportError> {
    let mut roots = RootCertStore::empty();
    if is_needed {
        let found = rustls_native_certs::load_native_certs();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let problem = match found.errors.first() {
                Some(error) => format!("cannot read the trusted certificates: {error}"),
                None => "the system trusts no certificate".to_owned(),
            };
            return Err(TransportError::Tls { problem });
        }
    }
    // The provider of the program, if it has installed one.
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(ring::default_provider()));
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| TransportError::Tls { problem: error.to_string() })?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
