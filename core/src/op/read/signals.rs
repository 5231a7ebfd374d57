//! Reading the signals that resumed an execution (`docs/spec.md`, 5).

use std::fmt;

use crate::error::{Bug, EngineError};
use crate::execution::{ResumedBy, Resumption, SignalContext, SignalRecord, ValueKind};
use crate::id::{ExecutionId, SignalId, SignalName, SignalSource, WaitpointKey};
use crate::partition::Partition;
use crate::store::codec::Codec;
use crate::store::{Bytes, Fetched, Read, Stored, Values};
use crate::time::{DurationMs, HostTime, TimestampMs};

use crate::op::loaded::{other_reply, signal_key, unreadable, value_key};
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::op::query::Query;

/// A signal as a worker gets it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedSignal {
    /// The signal's ID; `None` for the signal of a timeout.
    pub signal_id: Option<SignalId>,
    /// The waitpoint that it was sent to; `None` for the signal of a timeout.
    pub waitpoint: Option<WaitpointKey>,
    /// Its name; `timeout` for the signal of a timeout.
    pub name: SignalName,
    /// Its sender, as the sender named itself.
    pub source: Option<SignalSource>,
    /// The context that its sender gave it: its category, the kind of its source, and the id of the
    /// conversation that it belongs to.
    pub context: SignalContext,
    /// Its payload.
    pub payload: Option<Bytes>,
    /// When the store accepted it, by the store's clock.
    pub at: TimestampMs,
}

impl fmt::Debug for ReceivedSignal {
    /// Leaves out the payload, which may be anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedSignal")
            .field("signal_id", &self.signal_id)
            .field("waitpoint", &self.waitpoint)
            .field("name", &self.name)
            .field("source", &self.source)
            .field("context", &self.context)
            .field("payload_bytes", &self.payload.as_ref().map(|payload| payload.len()))
            .field("at", &self.at)
            .finish()
    }
}

const OP: &str = "resume_signals";

/// Reads the signals that resumed an execution.
#[derive(Clone, Debug)]
pub struct ReadSignals {
    query: Query<(Values, TimestampMs)>,
    resumption: Resumption,
    codec: Codec,
}

impl ReadSignals {
    /// Reads the signals of this resumption.
    pub fn new(id: &ExecutionId, resumption: Resumption, patience: Patience) -> Self {
        let signals = &resumption.signals;
        let read = Read {
            partition: id.partition(),
            records: signals.iter().map(|signal| signal_key(id, *signal)).collect(),
            values: signals.iter().map(|s| value_key(id, ValueKind::Signal(*s))).collect(),
        };
        let codec = patience.codec().clone();
        Self { query: Query::read(read, patience), resumption, codec }
    }

    fn received(&self, values: Values) -> Result<Vec<ReceivedSignal>, EngineError> {
        let mut signals = Vec::with_capacity(values.records.len() + 1);
        let stored = values.records.into_iter().zip(values.values);
        for (id, (stored, value)) in self.resumption.signals.iter().zip(stored) {
            // Retention may have begun since, but not while a lease is held.
            let Some(stored) = stored else { continue };
            signals.push(self.one(*id, &stored, value)?);
        }
        signals.sort_by_key(|(number, _)| *number);
        let mut signals: Vec<_> = signals.into_iter().map(|(_, signal)| signal).collect();
        if let ResumedBy::Timeout { signal: true, at } = self.resumption.by {
            signals.push(ReceivedSignal {
                signal_id: None,
                waitpoint: None,
                name: SignalName::try_new("timeout").expect("a valid name"),
                source: None,
                context: SignalContext::default(),
                payload: None,
                at,
            });
        }
        Ok(signals)
    }

    fn one(
        &self,
        id: SignalId,
        stored: &Stored,
        value: Fetched,
    ) -> Result<(u32, ReceivedSignal), EngineError> {
        let record: SignalRecord = self.codec.decode(&stored.bytes).map_err(unreadable)?;
        if record.id != id {
            return Err(Bug::unexpected_reply(OP));
        }
        let payload = match value {
            Fetched::Value(payload) => Some(payload),
            Fetched::Absent => None,
            // As many signals as a condition can ask for fit into one reply.
            Fetched::Deferred => return Err(Bug::unexpected_reply(OP)),
        };
        let signal = ReceivedSignal {
            signal_id: Some(record.id),
            waitpoint: Some(record.waitpoint_key),
            name: record.name,
            source: record.source,
            context: record.context,
            payload,
            at: record.at,
        };
        Ok((record.number, signal))
    }
}

impl Operation for ReadSignals {
    /// The signals in the order in which the store accepted them.
    type Output = Result<Vec<ReceivedSignal>, EngineError>;

    fn partition(&self) -> Option<Partition> {
        self.query.partition()
    }

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        self.query.reply_within(now)
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        if self.resumption.signals.is_empty() {
            return Step::Done(self.received(Values { records: Vec::new(), values: Vec::new() }));
        }
        let signals = self.query.resume(event, now);
        signals.then_ok(|(values, _)| match self.received(values) {
            Err(EngineError::Bug(Bug::UnexpectedReply { .. })) => {
                let failed = self.query.resume(Event::Failure(other_reply(OP)), now);
                failed.map(|read| read.map(|_| Vec::new()))
            }
            received => Step::Done(received),
        })
    }
}
