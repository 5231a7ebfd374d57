//! Errors as answers.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ff_io_http::{ErrorBody, ErrorDetail};
use ff_sdk::{EngineError, Rejection, SdkError};

/// An error of a request, as its caller gets it.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    body: Box<ErrorBody>,
    retry_after: Option<Duration>,
}

/// The result of a route.
pub(crate) type Answer<T> = Result<T, Refusal>;

impl Refusal {
    /// A refusal that does not depend on the store.
    pub(crate) fn new(status: StatusCode, kind: &str, message: impl Into<String>) -> Self {
        let retryable = status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::SERVICE_UNAVAILABLE
            || status == StatusCode::REQUEST_TIMEOUT;
        let body = Box::new(ErrorBody::new(kind, message, retryable));
        Self { status, body, retry_after: None }
    }

    /// A request that cannot be parsed.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// Something that does not exist, or that the caller does not see.
    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("{what} not found"))
    }

    /// A request without the value that only pages of the service have.
    pub(crate) fn without_csrf_token() -> Self {
        let message = "the request lacks the value of its page: open the page again and repeat it";
        Self::new(StatusCode::FORBIDDEN, "wrong_csrf_token", message)
    }

    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    /// A request that begins something while the service shuts down.
    pub(crate) fn shutting_down() -> Self {
        let message = "the service shuts down";
        let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", message);
        refusal.retry_after(Duration::from_secs(1))
    }

    pub(crate) fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// The body without its envelope, for one of several outcomes.
    pub(crate) fn into_detail(self) -> ErrorDetail {
        self.body.error
    }

    /// The message, for the log.
    pub(crate) fn message(&self) -> &str {
        &self.body.error.message
    }
}

/// The error for a command that has the outcome of another one.
pub(crate) fn other_outcome() -> Refusal {
    let message = "a command had the outcome of another one";
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "bug", message)
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        let status = StatusCode::from_u16(error.http_status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let is_overload = status == StatusCode::SERVICE_UNAVAILABLE;
        let retry_after = is_overload.then_some(Duration::from_secs(1));
        Self { status, body: Box::new(ErrorBody::of(&error)), retry_after }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        EngineError::from(rejection).into()
    }
}

impl From<SdkError> for Refusal {
    fn from(error: SdkError) -> Self {
        match error {
            SdkError::Engine(error) => error.into(),
            SdkError::Config { field, message, .. } => Self::invalid(format!("{field} {message}")),
            error => {
                let status = StatusCode::from_u16(error.http_status());
                let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Self::new(status, "unavailable", error.to_string())
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(&self.body)).into_response();
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let value = HeaderValue::from(seconds.max(1));
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response.extensions_mut().insert(self);
        response
    }
}
