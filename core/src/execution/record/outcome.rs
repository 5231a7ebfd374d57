//! How a life ended, and why an attempt failed.

use serde::{Deserialize, Serialize};

use crate::id::FailureCategory;
use crate::state::TerminalOutcome;

/// How a life ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Completed.
    Success,
    /// Failed with no retry left, or none allowed.
    Failed(WorkFailure),
    /// Cancelled by its holder or an operator.
    Cancelled {
        /// The reason that the caller gave.
        reason: String,
    },
    /// Its deadline passed.
    Expired,
}

impl Outcome {
    /// The failure of a failed life.
    pub const fn failure(&self) -> Option<&WorkFailure> {
        match self {
            Self::Failed(failure) => Some(failure),
            _ => None,
        }
    }

    /// The outcome without its values.
    pub const fn word(&self) -> TerminalOutcome {
        match self {
            Self::Success => TerminalOutcome::Success,
            Self::Failed(_) => TerminalOutcome::Failed,
            Self::Cancelled { .. } => TerminalOutcome::Cancelled,
            Self::Expired => TerminalOutcome::Expired,
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed(failure) => {
                write!(f, "failed ({}: {})", failure.category, failure.reason)
            }
            Self::Cancelled { reason } if !reason.is_empty() => write!(f, "cancelled ({reason})"),
            other => other.word().fmt(f),
        }
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkFailure {
    /// The category that the retry policy decides by.
    pub category: FailureCategory,
    /// A text for people, at most [`WorkFailure::REASON_MAX_BYTES`] bytes.
    pub reason: String,
}

impl WorkFailure {
    /// The longest reason that an outcome keeps, in bytes; a longer one is truncated.
    pub const REASON_MAX_BYTES: usize = 4_096;
    /// The longest reason that a past attempt or an event keeps, in bytes.
    pub const SHORT_REASON_MAX_BYTES: usize = 256;

    /// The same failure with a reason short enough for a list.
    #[must_use]
    pub fn shortened(&self) -> Self {
        let reason = crate::bounded::truncated(&self.reason, Self::SHORT_REASON_MAX_BYTES);
        Self { category: self.category.clone(), reason: reason.to_owned() }
    }
}
