//! Causes of some errors: defects of records and replies, and facts that a decision lacks.

use std::fmt;

use serde::Serialize;

/// The data that a decision needs and that was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The secrets that sign waitpoint tokens.
    Secrets,
    /// The record of the signal.
    Signal,
    /// The buffered signals.
    BufferedSignals,
    /// The lanes of the namespace.
    Lanes,
    /// The budgets and quotas of the execution.
    Limits,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secrets => "the secrets of waitpoint tokens",
            Self::Signal => "the record of the signal",
            Self::BufferedSignals => "the buffered signals",
            Self::Lanes => "the lanes of the namespace",
            Self::Limits => "the budgets and quotas of the execution",
        })
    }
}

/// A defect that a person should investigate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Bug {
    /// A record does not decode although its format is known. It is put into quarantine.
    #[error(
        "cannot decode a record ({detail}); it is in quarantine: restore it from a backup, or \
         submit the work again"
    )]
    CorruptRecord {
        /// The decoder's message.
        detail: String,
    },
    /// A newer program wrote the record. It is left as it is.
    #[error(
        "a record has format {found}, but this program reads formats up to {known}; use a newer \
         program"
    )]
    NewerFormat {
        /// The record's format number.
        found: u8,
        /// The highest format number that this program reads.
        known: u8,
    },
    /// The reply of the store does not match the request.
    #[error("the store's reply does not match the request: {detail}")]
    UnexpectedReply {
        /// The mismatch.
        detail: String,
    },
}
