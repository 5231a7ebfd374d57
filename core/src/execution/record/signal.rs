//! Signals: a record for each, so that what was sent is kept and a repeat is recognised
//! (`docs/spec.md`, 5). \[INV-SIGNAL-1\]

use serde::{Deserialize, Serialize};

use crate::id::{Nonce, SignalId, SignalName, SignalSource, WaitpointId, WaitpointKey};
use crate::time::TimestampMs;
use crate::token::Subject;

/// A signal as it was taken. Its payload is a value beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalRecord {
    /// Chosen by its sender, or standing for an idempotency key.
    pub id: SignalId,
    /// Its number among the signals of its execution, from 0 without gaps.
    pub number: u32,
    /// Where it was sent to.
    pub waitpoint_id: WaitpointId,
    /// The name of that waitpoint.
    pub waitpoint_key: WaitpointKey,
    /// When that waitpoint was created: a repeat proves itself with the same token.
    pub waitpoint_created_at: TimestampMs,
    /// What it says.
    pub name: SignalName,
    /// Who sent it, in the sender's own words.
    pub source: Option<SignalSource>,
    /// When it was taken.
    pub at: TimestampMs,
    /// Drawn once for the call that sent it: tells one's own lost reply from a duplicate.
    pub creator: Nonce,
    /// What it did.
    pub effect: SignalEffect,
}

impl SignalRecord {
    /// What the token of its waitpoint is signed for.
    pub const fn subject(&self) -> Subject<'_> {
        Subject {
            id: self.waitpoint_id,
            key: &self.waitpoint_key,
            created_at: self.waitpoint_created_at,
        }
    }
}

/// What a signal did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalEffect {
    /// It is kept for a suspension to come: none uses its waitpoint yet.
    Buffered,
    /// It counts, and more is needed.
    Counted,
    /// It is kept and does not count: the condition asks for another one.
    Recorded,
    /// It satisfied the condition and resumed the execution.
    Resumed,
}

/// What came of a signal that was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalOutcome {
    /// It was taken.
    Accepted {
        /// What it did.
        effect: SignalEffect,
    },
    /// It was taken and resumed the execution.
    TriggeredResume,
    /// A signal of this id was taken before; nothing was changed.
    Duplicate {
        /// That signal.
        existing_signal_id: SignalId,
    },
}

impl From<SignalEffect> for SignalOutcome {
    fn from(effect: SignalEffect) -> Self {
        match effect {
            SignalEffect::Resumed => Self::TriggeredResume,
            effect => Self::Accepted { effect },
        }
    }
}
