//! The error type of this crate.

use std::sync::Arc;

use ff_core::error::{Applied, EngineError, RejectionKind};
use ff_core::execution::{Outcome, WorkFailure};
use ff_core::id::{ExecutionIdError, TextIdError};
use ff_core::store::Failure;

/// An error of a call to this crate (`docs/spec.md`, 10).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SdkError {
    /// A configuration value or an argument is invalid; nothing was sent.
    #[error("{context}: {field} {message}")]
    Config {
        /// The object that was being configured, or the call.
        context: &'static str,
        /// The invalid field.
        field: &'static str,
        /// The problem with its value, and what is valid; it continues "FIELD ...".
        message: String,
    },
    /// All slots of the worker are taken. Nothing was sent, and a grant is still usable. Try again
    /// when a task has ended.
    #[error("all {slots} slots of the worker are taken; try again when a task has ended")]
    WorkerAtCapacity {
        /// The number of slots of the worker.
        slots: usize,
    },
    /// The engine rejected the call, or could not carry it out. A store that does not answer is
    /// [`Unreachable`](EngineError::Unreachable) if nothing was sent,
    /// [`Transport`](EngineError::Transport) if it refused the call, and
    /// [`Timeout`](EngineError::Timeout) if the call may have been applied.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The execution whose result was wanted failed, was cancelled or expired.
    #[error("the execution did not succeed: {outcome}")]
    ExecutionFailed {
        /// The end of the execution; never [`Outcome::Success`].
        outcome: Outcome,
    },
    /// The server did not answer, or its answer is not that of a FlowFabric server.
    #[error("{message}")]
    Http {
        /// A sentence for people.
        message: String,
        /// Whether the call took effect.
        applied: Applied,
        /// Whether the same call may succeed later.
        retryable: bool,
    },
    /// The server answered with an error (`docs/spec.md`, 9).
    #[error("the server answered {status} ({kind}): {message}")]
    AdminApi {
        /// The status of the answer.
        status: u16,
        /// The kind of the error, in snake case: that of a rejection, such as `lease_expired`, or
        /// another one of the server.
        kind: String,
        /// A sentence for people.
        message: String,
        /// Whether the same call may succeed later.
        retryable: bool,
        /// The values of the error, an object; null if it has none.
        details: serde_json::Value,
    },
    /// A handler needs shared state that its runtime does not have; nothing was claimed.
    #[error(
        "the handler of kind `{kind}` needs shared state of type {state}: pass a value of this \
         type to WorkerRuntime::state"
    )]
    MissingState {
        /// The kind of the handler.
        kind: String,
        /// The name of the missing type.
        state: &'static str,
    },
    /// A value from the store cannot be parsed as the wanted type.
    #[error("cannot parse {what} as JSON: {source}")]
    Decode {
        /// The value.
        what: &'static str,
        /// The problem, and where in the value it is.
        source: Arc<serde_json::Error>,
    },
    /// A store cannot be used: its URL is invalid, it cannot be reached, or its configuration could
    /// lose acknowledged work.
    #[cfg(feature = "valkey")]
    #[error(transparent)]
    Connect(#[from] ff_io_valkey::ConnectError),
    /// A SQLite file cannot be used: its URL is invalid, or the file is not a store, damaged, of a
    /// newer program or out of reach.
    #[cfg(feature = "sqlite")]
    #[error(transparent)]
    Open(#[from] ff_io_sqlite::OpenError),
    /// The backend could not report on itself.
    #[error("cannot examine the {backend} backend: {source}")]
    Backend {
        /// The name of the backend.
        backend: &'static str,
        /// The failed call.
        source: Failure,
    },
}

impl SdkError {
    pub(crate) fn config(
        context: &'static str,
        field: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self::Config { context, field, message: message.into() }
    }

    /// Returns the engine's error, if this is one.
    pub const fn engine(&self) -> Option<&EngineError> {
        match self {
            Self::Engine(error) => Some(error),
            _ => None,
        }
    }

    /// Returns the kind of the rejection, if a rule of the engine refused the call, in this process
    /// or in a server.
    pub fn rejection_kind(&self) -> Option<RejectionKind> {
        match self {
            Self::Engine(error) => error.rejection_kind(),
            Self::AdminApi { kind, .. } => RejectionKind::from_wire_name(kind),
            _ => None,
        }
    }

    /// Returns whether the call may have taken effect. For any other error it certainly did not.
    pub fn may_be_applied(&self) -> bool {
        match self {
            Self::Engine(error) => error.may_be_applied(),
            Self::Http { applied, .. } => *applied == Applied::Unknown,
            Self::AdminApi { details, .. } => details["applied"] == "unknown",
            _ => false,
        }
    }

    /// Returns the failure of the execution whose result was wanted; `None` for any other error,
    /// and for an execution that was cancelled or expired.
    pub const fn failure(&self) -> Option<&WorkFailure> {
        match self {
            Self::ExecutionFailed { outcome } => outcome.failure(),
            _ => None,
        }
    }

    /// Returns the status code with which an HTTP service answers: that of the engine's error
    /// ([`EngineError::http_status`]), or of the answer of another server; 409 for an execution
    /// that did not succeed, 503 while the store or the worker is not available, 500 for all
    /// others.
    pub fn http_status(&self) -> u16 {
        match self {
            Self::Engine(error) => error.http_status(),
            Self::AdminApi { status, .. } => *status,
            Self::ExecutionFailed { .. } => 409,
            error if error.is_retryable() => 503,
            _ => 500,
        }
    }

    /// Returns whether the same call may succeed later. A store that refuses the credentials, the
    /// rights or the certificate of this program does so until an operator corrects it.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Config { .. }
            | Self::ExecutionFailed { .. }
            | Self::MissingState { .. }
            | Self::Decode { .. } => false,
            #[cfg(feature = "valkey")]
            Self::Connect(error) => error.is_retryable(),
            #[cfg(feature = "sqlite")]
            Self::Open(error) => error.is_retryable(),
            Self::Http { retryable, .. } | Self::AdminApi { retryable, .. } => *retryable,
            Self::WorkerAtCapacity { .. } | Self::Backend { .. } => true,
            Self::Engine(EngineError::Transport { message, .. }) => !is_access_refused(message),
            Self::Engine(error) => error.class() == ff_core::error::ErrorClass::Retryable,
        }
    }
}

/// Returns whether a call was refused because of the program's credentials, rights or certificate.
pub(crate) fn is_access_refused(refused: &str) -> bool {
    #[cfg(feature = "valkey")]
    return ff_io_valkey::is_access_refused(refused);
    #[cfg(not(feature = "valkey"))]
    {
        let _ = refused;
        false
    }
}

/// The error of a call to a server.
#[cfg(feature = "http")]
pub(crate) fn of_call(error: ff_io_http::CallError) -> SdkError {
    use ff_io_http::{ApiError, CallError, ErrorDetail};
    match error {
        CallError::Api(error) => {
            let ApiError { status, error, .. } = *error;
            let ErrorDetail { kind, message, retryable, details } = error;
            SdkError::AdminApi { status, kind, message, retryable, details }
        }
        CallError::NoAnswer { message, applied, retryable } => {
            SdkError::Http { message, applied, retryable }
        }
    }
}

impl From<TextIdError> for SdkError {
    fn from(error: TextIdError) -> Self {
        Self::Engine(error.into())
    }
}

impl From<ExecutionIdError> for SdkError {
    fn from(error: ExecutionIdError) -> Self {
        Self::Engine(error.into())
    }
}
