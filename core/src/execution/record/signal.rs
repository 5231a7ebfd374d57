//! Signals: each has its own record, so that it is kept and a repeat is recognised
//! (`docs/spec.md`, 5). \[INV-SIGNAL-1\]

use serde::{Deserialize, Serialize};

use crate::id::{
    CorrelationId, Nonce, SignalCategory, SignalId, SignalName, SignalSource, SignalSourceType,
    WaitpointId, WaitpointKey,
};
use crate::time::TimestampMs;
use crate::token::Subject;

/// A signal that was taken. Its payload is stored apart from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalRecord {
    /// Chosen by its sender, or derived from an idempotency key.
    pub id: SignalId,
    /// Its number among the signals of its execution, from 0 without gaps.
    pub number: u32,
    /// The waitpoint that it was sent to.
    pub waitpoint_id: WaitpointId,
    /// The name of that waitpoint.
    pub waitpoint_key: WaitpointKey,
    /// When that waitpoint was created: a repeat is verified with the same token.
    pub waitpoint_created_at: TimestampMs,
    /// Its name.
    pub name: SignalName,
    /// The source that the sender claims.
    pub source: Option<SignalSource>,
    /// The context that the sender gives it.
    pub context: SignalContext,
    /// When it was taken.
    pub at: TimestampMs,
    /// Drawn by the call that sent it: distinguishes that call's lost reply from a duplicate.
    pub creator: Nonce,
    /// Its effect.
    pub effect: SignalEffect,
}

/// The context that a sender gives a signal, for the worker and for audit. It decides nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalContext {
    /// The category of the signal.
    pub category: Option<SignalCategory>,
    /// The kind of its source.
    pub source_type: Option<SignalSourceType>,
    /// The conversation that it belongs to.
    pub correlation_id: Option<CorrelationId>,
}

impl SignalRecord {
    /// The data that the token of its waitpoint signs.
    pub const fn subject(&self) -> Subject<'_> {
        Subject {
            id: self.waitpoint_id,
            key: &self.waitpoint_key,
            created_at: self.waitpoint_created_at,
        }
    }
}

/// The effect of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalEffect {
    /// Kept for a later suspension: none uses its waitpoint yet.
    Buffered,
    /// Counted, and more are needed.
    Counted,
    /// Kept but not counted: the condition asks for others.
    Recorded,
    /// Satisfied the condition and resumed the execution.
    Resumed,
}

/// The outcome of `deliver_signal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalOutcome {
    /// It was taken.
    Accepted {
        /// Its id.
        signal_id: SignalId,
        /// Its effect.
        effect: SignalEffect,
    },
    /// It was taken and resumed the execution.
    TriggeredResume {
        /// Its id.
        signal_id: SignalId,
    },
    /// A signal of this id was taken before; nothing was changed.
    Duplicate {
        /// The signal that was taken before.
        existing_signal_id: SignalId,
    },
}

impl SignalOutcome {
    /// The outcome of a signal that was taken with this effect.
    pub const fn taken(signal_id: SignalId, effect: SignalEffect) -> Self {
        match effect {
            SignalEffect::Resumed => Self::TriggeredResume { signal_id },
            effect => Self::Accepted { signal_id, effect },
        }
    }

    /// The id of the signal.
    pub const fn signal_id(&self) -> SignalId {
        match *self {
            Self::Accepted { signal_id, .. } | Self::TriggeredResume { signal_id } => signal_id,
            Self::Duplicate { existing_signal_id } => existing_signal_id,
        }
    }
}
