//! What lies behind some errors: defects of records and replies, and what a decision lacks.

use std::fmt;

/// What a decision needs to have read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The secrets that sign the tokens of waitpoints.
    Secrets,
    /// The record of the signal.
    Signal,
    /// The signals that were buffered.
    BufferedSignals,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secrets => "the secrets of tokens",
            Self::Signal => "the signal's records",
            Self::BufferedSignals => "the buffered signals",
        })
    }
}

/// A defect that a person should look at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Bug {
    /// A record does not decode though its format is known; it is put into quarantine.
    #[error("a record does not decode ({detail}); it is in quarantine")]
    CorruptRecord {
        /// What the decoder said.
        detail: String,
    },
    /// A record was written by a newer program; it is left alone.
    #[error("a record has format {found}, this program knows up to {known}; update it")]
    NewerFormat {
        /// The record's format number.
        found: u8,
        /// The highest that this program knows.
        known: u8,
    },
    /// The store answered something else than it was asked.
    #[error("the store's reply does not fit the request: {detail}")]
    UnexpectedReply {
        /// What was wrong.
        detail: String,
    },
}
