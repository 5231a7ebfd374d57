//! The store's configuration: every process agrees on it in its first call, and an operator
//! activates a record format when all programs know it.

use crate::error::{Applied, Bug, EngineError, Rejection};
use crate::execution::Purpose;
use crate::partition::Partition;
use crate::store::codec::{Codec, FIRST_FORMAT, encode};
use crate::store::{
    Commit, Failure, Read, RecordKey, Reply, ReplyBody, Request, StoreMeta, Stored, Unit,
    UnitReply, Values, Version,
};
use crate::time::{HostTime, TimestampMs};

use super::operation::{Operation, Step};
use super::query::Query;
use super::retry::Patience;
use super::unit::unreadable;

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

    fn found(&mut self, stored: Option<&Stored>) -> Step<<Self as Operation>::Output> {
        match stored {
            Some(stored) => self.agreed(read(stored, self.patience.codec())),
            None => Step::Send(write(&self.wanted, Version::ABSENT, self.patience.nonce())),
        }
    }

    /// A program that knows less than what is active must not go on.
    fn agreed(&self, meta: Result<StoreMeta, EngineError>) -> Step<<Self as Operation>::Output> {
        Step::Done(meta.and_then(|meta| {
            let (found, known) = (meta.format, self.patience.codec().known());
            if found > known {
                return Err(EngineError::Bug(Bug::NewerFormat { found, known }));
            }
            self.patience.codec().confirm(found);
            Ok(meta)
        }))
    }
}

impl Operation for EnsureMeta {
    /// The configuration that the store holds; the caller compares it with its own.
    type Output = Result<StoreMeta, EngineError>;

    fn start(&mut self, now: HostTime) -> Step<Self::Output> {
        self.patience.begin(now);
        Step::Send(Request::Read(meta_record()))
    }

    fn on_reply(&mut self, reply: Reply, _now: HostTime) -> Step<Self::Output> {
        match reply.body {
            ReplyBody::Read(mut read) => self.found(read.records.pop().flatten().as_ref()),
            ReplyBody::Commit(mut units) => match units.pop() {
                Some(UnitReply::Committed { .. }) => self.agreed(Ok(self.wanted.clone())),
                Some(UnitReply::Conflict { mut current }) => {
                    self.found(current.pop().flatten().as_ref())
                }
                Some(UnitReply::OutsideWindow) | None => Step::Send(Request::Read(meta_record())),
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

/// Reads the store's configuration again, so that a program notices a format that was activated
/// since it connected.
#[derive(Clone, Debug)]
pub struct ReadMeta {
    query: Query<Values>,
    codec: Codec,
}

impl ReadMeta {
    /// Reads it once; the program's codec takes note.
    pub fn new(patience: Patience) -> Self {
        let codec = patience.codec().clone();
        Self { query: Query::read(meta_record(), patience), codec }
    }

    fn understand(
        &self,
        step: Step<Result<(Values, TimestampMs), EngineError>>,
    ) -> Step<<Self as Operation>::Output> {
        match step {
            Step::Send(request) => Step::Send(request),
            Step::Wait(wait) => Step::Wait(wait),
            Step::Done(done) => Step::Done(done.and_then(|(mut values, _)| {
                let stored = values.records.pop().flatten();
                let meta = stored.map(|stored| read(&stored, &self.codec)).transpose()?;
                if let Some(meta) = &meta {
                    self.codec.confirm(meta.format);
                }
                Ok(meta)
            })),
        }
    }
}

impl Operation for ReadMeta {
    /// The configuration; `None` when nobody has set the store up yet.
    type Output = Result<Option<StoreMeta>, EngineError>;

    fn start(&mut self, now: HostTime) -> Step<Self::Output> {
        let step = self.query.start(now);
        self.understand(step)
    }

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<Self::Output> {
        let step = self.query.on_reply(reply, now);
        self.understand(step)
    }

    fn on_failure(&mut self, failure: &Failure, now: HostTime) -> Step<Self::Output> {
        let step = self.query.on_failure(failure, now);
        self.understand(step)
    }

    fn on_wake(&mut self, now: HostTime) -> Step<Self::Output> {
        let step = self.query.on_wake(now);
        self.understand(step)
    }
}

/// Makes a format the one that programs write. It is for an operator to know that all programs
/// can read it. The call has the same effect however often it is made.
#[derive(Clone, Debug)]
pub struct ActivateFormat {
    format: u8,
    patience: Patience,
    /// Whether a call got no reply that may have left.
    ambiguous: bool,
}

const ACTIVATE: &str = "activate_format";

impl ActivateFormat {
    /// Activates a format that this program knows.
    pub const fn new(format: u8, patience: Patience) -> Self {
        Self { format, patience, ambiguous: false }
    }

    fn found(&mut self, stored: Option<&Stored>) -> Step<<Self as Operation>::Output> {
        let Some(stored) = stored else {
            return Step::Done(Err(EngineError::NotFound { entity: "configuration" }));
        };
        let meta = match read(stored, self.patience.codec()) {
            Ok(meta) => meta,
            Err(error) => return Step::Done(Err(error)),
        };
        let (asked, active) = (self.format, meta.format);
        if asked < active {
            return Step::Done(Err(Rejection::FormatSuperseded { asked, active }.into()));
        }
        if asked == active {
            return self.activated();
        }
        let meta = StoreMeta { format: asked, ..meta };
        Step::Send(write(&meta, stored.version, self.patience.nonce()))
    }

    fn activated(&self) -> Step<<Self as Operation>::Output> {
        self.patience.codec().confirm(self.format);
        Step::Done(Ok(()))
    }
}

impl Operation for ActivateFormat {
    /// `FormatUnknown` and `FormatSuperseded` are refused before anything is written.
    type Output = Result<(), EngineError>;

    fn start(&mut self, now: HostTime) -> Step<Self::Output> {
        self.patience.begin(now);
        let (asked, known) = (self.format, self.patience.codec().known());
        if asked > known {
            return Step::Done(Err(Rejection::FormatUnknown { asked, known }.into()));
        }
        Step::Send(Request::Read(meta_record()))
    }

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<Self::Output> {
        match reply.body {
            ReplyBody::Read(mut read) => self.found(read.records.pop().flatten().as_ref()),
            ReplyBody::Commit(mut units) => match units.pop() {
                Some(UnitReply::Committed { .. }) => self.activated(),
                Some(UnitReply::Conflict { mut current }) => {
                    self.found(current.pop().flatten().as_ref())
                }
                Some(UnitReply::OutsideWindow) | None => self.start(now),
            },
            _ => Step::Done(Err(Bug::unexpected_reply(ACTIVATE))),
        }
    }

    fn on_failure(&mut self, failure: &Failure, now: HostTime) -> Step<Self::Output> {
        // Whether a commit without a reply was applied shows when it is read again; only a store
        // that never answers leaves it open.
        self.ambiguous |= matches!(failure, Failure::MaybeApplied(_));
        let applied = if self.ambiguous { Applied::Unknown } else { Applied::No };
        match self.patience.after_failure(ACTIVATE, failure, applied, now) {
            Ok(wait) => Step::Wait(wait),
            Err(error) => Step::Done(Err(error)),
        }
    }

    fn on_wake(&mut self, now: HostTime) -> Step<Self::Output> {
        self.start(now)
    }
}

fn meta_record() -> Read {
    let (partition, records) = (Partition::META, vec![RecordKey::Meta]);
    Read { partition, records, values: Vec::new() }
}

fn read(stored: &Stored, codec: &Codec) -> Result<StoreMeta, EngineError> {
    codec.decode(&stored.bytes).map_err(unreadable)
}

/// Writes the configuration in place of that version.
fn write(meta: &StoreMeta, version: Version, nonce: u64) -> Request {
    let unit = Unit {
        expect: vec![(RecordKey::Meta, version)],
        put: vec![(RecordKey::Meta, encode(meta, FIRST_FORMAT))],
        ..Unit::new(Purpose::Admit, nonce)
    };
    Request::Commit(Commit { partition: Partition::META, units: vec![unit] })
}
