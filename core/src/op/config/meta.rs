//! The store's configuration: each process agrees on it in its first call, and an operator
//! activates a record format when all programs know it.

use crate::error::{Applied, EngineError, Rejection};
use crate::store::codec::Codec;
use crate::store::{Failure, RecordKey, Request, StoreMeta, Stored, Version};
use crate::time::{HostTime, Window};

use super::record::{Answer, one_record, read_record, write_record};
use crate::op::loaded::unreadable;
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::op::query::Query;

/// Reads the store's configuration, and writes it if there is none.
#[derive(Clone, Debug)]
pub struct EnsureMeta {
    wanted: StoreMeta,
    patience: Patience,
}

const OP: &str = "connect";

impl EnsureMeta {
    /// Writes `wanted` if the store has no configuration.
    pub const fn new(wanted: StoreMeta, patience: Patience) -> Self {
        Self { wanted, patience }
    }

    fn found(&mut self, stored: Option<&Stored>) -> Step<<Self as Operation>::Output> {
        match stored {
            Some(stored) => Step::Done(self.agree(read(stored, self.patience.codec()))),
            None => Step::Send(write(&self.wanted, Version::ABSENT, self.patience.nonce())),
        }
    }

    /// Refuses a configuration whose format this program does not know.
    fn agree(&self, meta: Result<StoreMeta, EngineError>) -> <Self as Operation>::Output {
        let meta = meta?;
        self.patience.codec().note(meta.format);
        self.patience.codec().check().map_err(unreadable)?;
        Ok(meta)
    }
}

impl Operation for EnsureMeta {
    /// The configuration that the store holds; the caller compares it with its own.
    type Output = Result<StoreMeta, EngineError>;

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        let step = self.step(event, now);
        self.patience.in_time(step, OP, Applied::No, now)
    }
}

impl EnsureMeta {
    fn step(&mut self, event: Event, now: HostTime) -> Step<<Self as Operation>::Output> {
        match event {
            Event::Start | Event::Wake => {
                self.patience.begin(now);
                Step::Send(Request::Read(read_record(RecordKey::Meta)))
            }
            Event::Reply(reply) => match Answer::of(OP, reply.body) {
                Ok(Answer::Found(stored) | Answer::Conflict(stored)) => self.found(stored.as_ref()),
                Ok(Answer::Written) => Step::Done(self.agree(Ok(self.wanted.clone()))),
                Ok(Answer::Refused) => Step::Send(Request::Read(read_record(RecordKey::Meta))),
                Err(failure) => self.resume(Event::Failure(failure), now),
            },
            Event::Failure(failure) => {
                Step::retry(self.patience.after_failure(OP, &failure, Applied::No, now))
            }
        }
    }
}

/// Reads the store's configuration again, so that a program notices a format that was activated
/// since it connected. The output is `None` if the store has no configuration yet.
pub type ReadMeta = Query<Option<StoreMeta>>;

impl ReadMeta {
    /// Reads it once; the program's codec notes the active format.
    pub fn new(patience: Patience) -> Self {
        let read = read_record(RecordKey::Meta);
        Self::of_values(
            "read",
            read,
            |reply, _, codec| Some(noted(one_record(reply)?, codec)),
            patience,
        )
    }
}

fn noted(stored: Option<Stored>, codec: &Codec) -> Result<Option<StoreMeta>, EngineError> {
    let meta = stored.map(|stored| read(&stored, codec)).transpose()?;
    if let Some(meta) = &meta {
        codec.note(meta.format);
    }
    Ok(meta)
}

/// Makes a format the one that programs write. The operator has to know that all programs can read
/// it. The call has the same effect however often it is made.
#[derive(Clone, Debug)]
pub struct ActivateFormat {
    format: u8,
    patience: Patience,
    /// Whether a call that may be applied got no reply.
    ambiguous: bool,
}

const ACTIVATE: &str = "activate_format";

impl ActivateFormat {
    /// Activates a format that this program knows.
    pub const fn new(format: u8, patience: Patience) -> Self {
        Self { format, patience, ambiguous: false }
    }

    fn start(&mut self, now: HostTime) -> Step<<Self as Operation>::Output> {
        self.patience.begin(now);
        let (asked, known) = (self.format, self.patience.codec().known());
        if asked > known {
            return Step::fail(Rejection::FormatUnknown { asked, known });
        }
        Step::Send(Request::Read(read_record(RecordKey::Meta)))
    }

    fn found(&mut self, stored: Option<&Stored>) -> Step<<Self as Operation>::Output> {
        let Some(stored) = stored else {
            return Step::fail(EngineError::NotFound { entity: "configuration" });
        };
        let meta = match read(stored, self.patience.codec()) {
            Ok(meta) => meta,
            Err(error) => return Step::fail(error),
        };
        let (asked, active) = (self.format, meta.format);
        if asked < active {
            return Step::fail(Rejection::FormatSuperseded { asked, active });
        }
        if asked == active {
            return self.activated();
        }
        let meta = StoreMeta { format: asked, ..meta };
        Step::Send(write(&meta, stored.version, self.patience.nonce()))
    }

    fn activated(&self) -> Step<<Self as Operation>::Output> {
        self.patience.codec().note(self.format);
        Step::Done(Ok(()))
    }
}

impl Operation for ActivateFormat {
    /// `FormatUnknown` and `FormatSuperseded` are refused before anything is written.
    type Output = Result<(), EngineError>;

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        let step = self.step(event, now);
        self.patience.in_time(step, ACTIVATE, self.applied(), now)
    }
}

impl ActivateFormat {
    const fn applied(&self) -> Applied {
        if self.ambiguous { Applied::Unknown } else { Applied::No }
    }

    fn step(&mut self, event: Event, now: HostTime) -> Step<<Self as Operation>::Output> {
        match event {
            Event::Start | Event::Wake => self.start(now),
            Event::Reply(reply) => match Answer::of(ACTIVATE, reply.body) {
                Ok(Answer::Found(stored) | Answer::Conflict(stored)) => self.found(stored.as_ref()),
                Ok(Answer::Written) => self.activated(),
                Ok(Answer::Refused) => self.start(now),
                Err(failure) => self.resume(Event::Failure(failure), now),
            },
            Event::Failure(failure) => {
                // Whether a commit without a reply was applied shows when the record is read
                // again; only a store that never answers leaves it open.
                self.ambiguous |= matches!(failure, Failure::MaybeApplied(_));
                let applied = self.applied();
                Step::retry(self.patience.after_failure(ACTIVATE, &failure, applied, now))
            }
        }
    }
}

fn read(stored: &Stored, codec: &Codec) -> Result<StoreMeta, EngineError> {
    codec.decode(&stored.bytes).map_err(unreadable)
}

fn write(meta: &StoreMeta, expected: Version, nonce: u64) -> Request {
    write_record(RecordKey::Meta, meta, expected, Window::ALWAYS, nonce)
}
