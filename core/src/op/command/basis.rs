//! The facts from the store that a command is decided on.

use crate::error::{Bug, EngineError};
use crate::execution::{FoundSignal, SignalRecord};
use crate::id::SignalId;
use crate::op::loaded::{Loaded, unreadable};
use crate::store::codec::Codec;
use crate::store::{Fetched, Stored, Version};
use crate::time::TimestampMs;

/// The facts that a decision is made on.
pub(super) struct Basis {
    pub(super) record: Option<Loaded>,
    /// The record of the signal that the command names.
    pub(super) signal: Option<FoundSignal>,
    /// The store's clock.
    pub(super) at: TimestampMs,
    /// Whether the record, the signal and the time are from one reply.
    pub(super) fresh: bool,
    /// The values that the command fetches, if they are from the same reply.
    pub(super) values: Option<Vec<Fetched>>,
}

/// The records of one reply.
pub(super) struct Found {
    pub(super) record: Option<Loaded>,
    pub(super) signal: Option<FoundSignal>,
}

/// Why the records of a reply cannot be used.
pub(super) enum Unusable {
    /// They are not those that were requested.
    OtherReply,
    /// The execution's record, of this version, does not decode.
    Corrupt(Bug, Version),
    /// A record cannot be read.
    Unreadable(EngineError),
}

/// Decodes the record of a signal that the store returned.
pub(super) fn found_signal(
    id: SignalId,
    stored: Option<Stored>,
    codec: &Codec,
) -> Result<FoundSignal, Unusable> {
    let Some(stored) = stored else { return Ok(FoundSignal::Absent) };
    let decoded = codec.decode::<SignalRecord>(&stored.bytes).map_err(unreadable);
    let signal = decoded.map_err(Unusable::Unreadable)?;
    if signal.id != id {
        return Err(Unusable::OtherReply);
    }
    Ok(FoundSignal::Taken(Box::new(signal)))
}
