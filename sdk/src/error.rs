//! What can go wrong for a user of this crate.

use ff_core::error::EngineError;
use ff_core::id::{ExecutionIdError, TextIdError};
use ff_core::store::Failure;

/// What can go wrong for a user of this crate.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SdkError {
    /// A configuration or an argument cannot be right; nothing was sent.
    #[error("{context}: {field} {message}")]
    Config {
        /// What was being configured or called.
        context: &'static str,
        /// The field.
        field: &'static str,
        /// What is wrong with it, and what would be right.
        message: String,
    },
    /// All slots of the worker are taken; nothing was sent and a grant is untouched. Try again
    /// when a task has ended.
    #[error("all {slots} slots of the worker are taken; try again when a task has ended")]
    WorkerAtCapacity {
        /// How many slots the worker has.
        slots: usize,
    },
    /// The engine refused the call, or could not carry it out.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A store cannot be used: its address is none, it cannot be reached, or it would lose work.
    #[cfg(feature = "valkey-default")]
    #[error(transparent)]
    Connect(#[from] ff_io_valkey::ConnectError),
    /// The backend could not answer a question about itself.
    #[error("{backend}: {source}")]
    Backend {
        /// The backend.
        backend: &'static str,
        /// What happened.
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

    /// The engine's error, if it is one.
    pub const fn engine(&self) -> Option<&EngineError> {
        match self {
            Self::Engine(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Config { .. } => false,
            #[cfg(feature = "valkey-default")]
            Self::Connect(error) => {
                matches!(error, ff_io_valkey::ConnectError::Unreachable { .. })
            }
            Self::WorkerAtCapacity { .. } | Self::Backend { .. } => true,
            Self::Engine(error) => error.class() == ff_core::error::ErrorClass::Retryable,
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
