//! Rejections of commands, and the errors that callers see (`docs/spec.md`, 10).
//!
//! A rule that refuses a command returns a [`Rejection`]. [`TABLE`] maps each kind of rejection to
//! a variant of [`EngineError`], a class and an HTTP status; `docs/errors.md` is generated from it.

mod rejection;

pub use rejection::{EngineVariant, ErrorClass, ErrorRow, Rejection, RejectionKind, TABLE};

use serde::{Deserialize, Serialize};

use crate::store_id::{StoreId, named};
use crate::time::DurationMs;

pub use crate::cause::{Bug, Missing};

/// Whether a failed call took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Applied {
    /// The call had no effect.
    No,
    /// The effect is unknown: a reply was lost and the store could not be asked again, or the
    /// record has changed too often since.
    Unknown,
}

/// The error of a call to the engine.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The requested object does not exist.
    #[error("{entity} not found")]
    NotFound {
        /// The kind of object.
        entity: &'static str,
    },
    /// An argument is not valid.
    #[error("{detail}")]
    Validation {
        /// The kind of mistake.
        kind: RejectionKind,
        /// The message of the rejection.
        detail: String,
    },
    /// Other callers changed the same record during each try. The call was not applied.
    #[error("{op} failed after {tries} conflicts in a row; try again later")]
    Contention {
        /// The operation.
        op: &'static str,
        /// The number of tries.
        tries: u32,
    },
    /// The call contradicts an earlier one.
    #[error("{0}")]
    Conflict(Rejection),
    /// The execution is not in a state that allows the call.
    #[error("{0}")]
    State(Rejection),
    /// A defect of the engine or of the data in its store.
    #[error("internal error: {0}")]
    Bug(Bug),
    /// The store refused the call, for example because its memory is full.
    #[error("the store refused {op}: {message}")]
    Transport {
        /// The operation.
        op: &'static str,
        /// The store's message.
        message: String,
    },
    /// The store cannot be reached.
    #[error("{op} could not reach the store: {message}")]
    Unreachable {
        /// The operation.
        op: &'static str,
        /// The transport's message.
        message: String,
    },
    /// The request is over a bound of the store contract. Nothing was sent.
    #[error("too many {what}: {given}; at most {bound} are allowed")]
    ResourceExhausted {
        /// The bounded quantity, such as `bytes in a record`.
        what: &'static str,
        /// The amount in the request.
        given: usize,
        /// The bound.
        bound: usize,
    },
    /// The call took longer than its deadline allows.
    #[error("{op} timed out after {elapsed}{}", match applied {
        Applied::No => "; it was not applied",
        Applied::Unknown => "; whether it was applied is unknown",
    })]
    Timeout {
        /// The operation.
        op: &'static str,
        /// The time since the call started.
        elapsed: DurationMs,
        /// Whether the call took effect.
        applied: Applied,
    },
    /// The store lost its data, or was replaced, since this program connected. Nothing was sent.
    /// Every later call of this program fails too: restart it.
    #[error("store {connected} lost its data, now there is {}: restart the program", named(*found))]
    StoreLost {
        /// The store to which the program connected.
        connected: StoreId,
        /// The store that has taken its place; `None` if its configuration is missing.
        found: Option<StoreId>,
    },
    /// Another error, with a description of the activity that failed.
    #[error("{context}: {source}")]
    Contextual {
        /// The activity that failed.
        context: String,
        /// The error.
        source: Box<EngineError>,
    },
}

impl Bug {
    /// Creates the error for a store that answered `op` with a reply to another request.
    pub(crate) fn unexpected_reply(op: &str) -> EngineError {
        let detail = format!("{op} got the reply of another request");
        EngineError::Bug(Self::UnexpectedReply { detail })
    }
}

impl EngineError {
    /// Returns the class of the error, which says how a caller should react.
    pub fn class(&self) -> ErrorClass {
        self.class_and_status().0
    }

    /// Returns the status of an HTTP reply with this error.
    pub fn http_status(&self) -> u16 {
        self.class_and_status().1
    }

    fn class_and_status(&self) -> (ErrorClass, u16) {
        let of = |kind: RejectionKind| (kind.row().class, kind.row().http_status);
        match self {
            Self::NotFound { .. } => (ErrorClass::Terminal, 404),
            Self::Validation { kind, .. } => of(*kind),
            Self::Conflict(rejection) | Self::State(rejection) => of(rejection.kind()),
            Self::Contention { .. } => (ErrorClass::Retryable, 409),
            Self::ResourceExhausted { .. } => (ErrorClass::Terminal, 413),
            Self::Transport { .. } | Self::Unreachable { .. } => (ErrorClass::Retryable, 503),
            Self::Timeout { .. } => (ErrorClass::Retryable, 504),
            Self::StoreLost { .. } => (ErrorClass::Terminal, 503),
            Self::Bug(_) => (ErrorClass::Bug, 500),
            Self::Contextual { source, .. } => source.class_and_status(),
        }
    }

    /// Whether the call may have taken effect. For any other error it certainly did not.
    pub fn may_be_applied(&self) -> bool {
        match self {
            Self::Timeout { applied, .. } => *applied == Applied::Unknown,
            Self::Contextual { source, .. } => source.may_be_applied(),
            _ => false,
        }
    }

    /// Returns the rejection, if a rule refused the call.
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Conflict(rejection) | Self::State(rejection) => Some(rejection),
            Self::Contextual { source, .. } => source.rejection(),
            _ => None,
        }
    }

    /// Returns the kind of the rejection, if a rule refused the call.
    pub fn rejection_kind(&self) -> Option<RejectionKind> {
        match self {
            Self::NotFound { .. } => Some(RejectionKind::NotFound),
            Self::Validation { kind, .. } => Some(*kind),
            Self::Contextual { source, .. } => source.rejection_kind(),
            other => other.rejection().map(Rejection::kind),
        }
    }

    /// Wraps the error with a description of the activity that failed.
    #[must_use]
    pub fn context(self, context: impl Into<String>) -> Self {
        Self::Contextual { context: context.into(), source: Box::new(self) }
    }
}

impl From<Rejection> for EngineError {
    fn from(rejection: Rejection) -> Self {
        let kind = rejection.kind();
        match kind.row().variant {
            EngineVariant::NotFound => Self::NotFound { entity: "execution" },
            EngineVariant::Validation => Self::Validation { kind, detail: rejection.to_string() },
            EngineVariant::Conflict => Self::Conflict(rejection),
            EngineVariant::State => Self::State(rejection),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_the_position_of_its_kind() {
        for (position, row) in TABLE.iter().enumerate() {
            assert_eq!(row.kind as usize, position);
            assert_eq!(row.kind.row().name, row.name);
            assert_eq!(RejectionKind::from_wire_name(&row.kind.wire_name()), Some(row.kind));
        }
    }

    #[test]
    fn a_rejection_becomes_the_variant_of_its_row() {
        let error = EngineError::from(Rejection::LeaseRevoked);
        assert!(matches!(error, EngineError::State(Rejection::LeaseRevoked)));
        assert_eq!(error.rejection_kind(), Some(RejectionKind::LeaseRevoked));
        assert_eq!((error.class(), error.http_status()), (ErrorClass::Cooperative, 409));
        let error = EngineError::from(Rejection::FenceRequired).context("complete");
        assert_eq!((error.class(), error.http_status()), (ErrorClass::Terminal, 400));
        assert_eq!(error.rejection_kind(), Some(RejectionKind::FenceRequired));
    }
}
