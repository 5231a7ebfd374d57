//! Records as operations hold them, and the keys of what belongs to an execution.

use std::sync::Arc;

use crate::error::{Bug, EngineError};
use crate::execution::{Execution, ValueKind};
use crate::id::{AttemptIndex, ExecutionId, SignalId};
use crate::planted::planted;
use crate::store::codec::{Codec, DecodeError};
use crate::store::{Failure, RecordKey, Stored, StreamName, ValueKey, Version};

/// A record that was read, decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The version that was read.
    pub version: Version,
    /// The record. It is large: clones share it.
    pub execution: Arc<Execution>,
}

/// Decodes a record.
///
/// # Errors
///
/// `Bug` with `NewerFormat` or `CorruptRecord`.
pub fn load(stored: &Stored, codec: &Codec) -> Result<Loaded, EngineError> {
    let execution: Execution = codec.decode(&stored.bytes).map_err(unreadable)?;
    Ok(Loaded { version: stored.version, execution: Arc::new(execution) })
}

/// Decodes the record that a reply has for this execution.
///
/// # Errors
///
/// `Bug` with `UnexpectedReply` if it is the record of another execution; otherwise as for
/// [`load`].
///
pub(super) fn load_of(
    id: &ExecutionId,
    stored: &Stored,
    codec: &Codec,
) -> Result<Loaded, EngineError> {
    let loaded = load(stored, codec)?;
    let found = loaded.execution.id;
    if found == *id || planted!(RecordNotCompared) {
        return Ok(loaded);
    }
    let detail = format!("it has the record of {found} in place of {id}");
    Err(EngineError::Bug(Bug::UnexpectedReply { detail }))
}

/// The failure of a call that received the reply to another request: like a lost reply, it says
/// nothing about the call.
pub(super) fn other_reply(op: &str) -> Failure {
    Failure::MaybeApplied(format!("{op} received the reply to another request"))
}

/// The error of a record that cannot be read.
pub(super) fn unreadable(error: DecodeError) -> EngineError {
    EngineError::Bug(match error {
        DecodeError::NewerFormat { found, known } => Bug::NewerFormat { found, known },
        DecodeError::Corrupt { detail } => Bug::CorruptRecord { detail },
    })
}

/// The key of a signal's record.
pub(super) const fn signal_key(id: &ExecutionId, signal: SignalId) -> RecordKey {
    RecordKey::Signal { execution: id.uuid(), signal: signal.uuid() }
}

/// The stream of an attempt's output.
pub(super) const fn frames_of(id: &ExecutionId, attempt: AttemptIndex) -> StreamName {
    StreamName::Frames { execution: id.uuid(), attempt }
}

/// The key of a value of an execution.
pub(super) const fn value_key(id: &ExecutionId, kind: ValueKind) -> ValueKey {
    match kind {
        ValueKind::Payload => ValueKey::Payload(id.uuid()),
        ValueKind::Result => ValueKey::Result(id.uuid()),
        ValueKind::Signal(signal) => {
            ValueKey::Signal { execution: id.uuid(), signal: signal.uuid() }
        }
    }
}
