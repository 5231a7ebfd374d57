//! The first call of every process: agree with the others on the store's configuration.

use crate::error::{Applied, Bug, EngineError};
use crate::execution::Purpose;
use crate::partition::Partition;
use crate::store::codec::{DecodeError, decode, encode};
use crate::store::{
    Commit, Failure, Read, RecordKey, Reply, ReplyBody, Request, StoreMeta, Stored, Unit,
    UnitReply, Version,
};
use crate::time::{HostTime, Window};

use super::operation::{Operation, Step};
use super::retry::Patience;

/// Reads the store's configuration, and writes it if there is none.
#[derive(Clone, Debug)]
pub struct EnsureMeta {
    wanted: StoreMeta,
    patience: Patience,
}

const OP: &str = "connect";

impl EnsureMeta {
    /// Writes `wanted` where nothing is configured.
    pub const fn new(wanted: StoreMeta, patience: Patience) -> Self {
        Self { wanted, patience }
    }

    fn read() -> Step<<Self as Operation>::Output> {
        let (partition, records) = (Partition::META, vec![RecordKey::Meta]);
        Step::Send(Request::Read(Read { partition, records, values: Vec::new() }))
    }

    fn found(&mut self, stored: Option<Stored>) -> Step<<Self as Operation>::Output> {
        let Some(stored) = stored else {
            return self.write();
        };
        Step::Done(decode::<StoreMeta>(&stored.bytes).map_err(|error| {
            EngineError::Bug(match error {
                DecodeError::NewerFormat { found, known } => Bug::NewerFormat { found, known },
                DecodeError::Corrupt { detail } => Bug::CorruptRecord { detail },
            })
        }))
    }

    fn write(&mut self) -> Step<<Self as Operation>::Output> {
        let unit = Unit {
            expect: vec![(RecordKey::Meta, Version::ABSENT)],
            window: Window::ALWAYS,
            purpose: Purpose::Admit,
            nonce: self.patience.nonce(),
            put: vec![(RecordKey::Meta, encode(&self.wanted))],
            remove: Vec::new(),
            values: Vec::new(),
            index: Vec::new(),
            append: Vec::new(),
            ring: Vec::new(),
            fetch: Vec::new(),
        };
        Step::Send(Request::Commit(Commit { partition: Partition::META, units: vec![unit] }))
    }
}

impl Operation for EnsureMeta {
    /// The configuration that the store holds; the caller compares it with its own.
    type Output = Result<StoreMeta, EngineError>;

    fn start(&mut self, now: HostTime) -> Step<Self::Output> {
        self.patience.begin(now);
        Self::read()
    }

    fn on_reply(&mut self, reply: Reply, _now: HostTime) -> Step<Self::Output> {
        match reply.body {
            ReplyBody::Read(mut read) => self.found(read.records.pop().flatten()),
            ReplyBody::Commit(mut units) => match units.pop() {
                Some(UnitReply::Committed { .. }) => Step::Done(Ok(self.wanted.clone())),
                Some(UnitReply::Conflict { mut current }) => self.found(current.pop().flatten()),
                Some(UnitReply::OutsideWindow) | None => Self::read(),
            },
            _ => Step::Done(Err(Bug::unexpected_reply(OP))),
        }
    }

    fn on_failure(&mut self, failure: &Failure, now: HostTime) -> Step<Self::Output> {
        match self.patience.after_failure(OP, failure, Applied::No, now) {
            Ok(wait) => Step::Wait(wait),
            Err(error) => Step::Done(Err(error)),
        }
    }

    fn on_wake(&mut self, now: HostTime) -> Step<Self::Output> {
        self.start(now)
    }
}
