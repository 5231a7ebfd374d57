//! The store's configuration: each process agrees on it in its first call, and an operator
//! activates a record format when all programs know it.

use crate::error::{Applied, EngineError, Rejection};
use crate::store::codec::Codec;
use crate::store::{Failure, RecordKey, Request, StoreMeta, Stored, Version};
use crate::store_id::StoreId;
use crate::time::{DurationMs, HostTime, Window};

use super::record::{Answer, one_record, read_record, write_record};
use crate::op::context::OperationContext;
use crate::op::loaded::unreadable;
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::op::query::Query;

/// Reads the store's configuration, and writes it if there is none.
#[derive(Clone, Debug)]
pub struct EnsureMeta {
    wanted: StoreMeta,
    patience: Patience,
    /// The nonce of the commit that was sent last.
    sent: u64,
}

const OP: &str = "connect";

impl EnsureMeta {
    /// Writes `wanted` if the store has no configuration.
    pub const fn new(wanted: StoreMeta, patience: Patience) -> Self {
        Self { wanted, patience, sent: 0 }
    }

    fn found(&mut self, stored: Option<&Stored>) -> Step<<Self as Operation>::Output> {
        match stored {
            Some(stored) => {
                let meta = read(stored, self.patience.codec());
                Step::Done(self.agree(meta, id_in(stored.version)))
            }
            None => {
                self.sent = self.patience.nonce();
                Step::Send(write(&self.wanted, Version::ABSENT, self.sent))
            }
        }
    }

    /// Refuses a configuration whose format this program does not know, and notes the identity of
    /// the store.
    fn agree(
        &self,
        meta: Result<StoreMeta, EngineError>,
        id: StoreId,
    ) -> <Self as Operation>::Output {
        let meta = meta?;
        self.patience.context().store().note(Some(id));
        self.patience.context().store().note_counts(meta.counts);
        self.patience.codec().note(meta.format);
        self.patience.codec().check().map_err(unreadable)?;
        Ok(meta)
    }
}

impl Operation for EnsureMeta {
    /// The configuration that the store holds; the caller compares it with its own.
    type Output = Result<StoreMeta, EngineError>;

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        Some(self.patience.left(now))
    }

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
                Ok(Answer::Written) => {
                    Step::Done(self.agree(Ok(self.wanted.clone()), StoreId::new(self.sent)))
                }
                Ok(Answer::Refused) => Step::Send(Request::Read(read_record(RecordKey::Meta))),
                Err(failure) => self.resume(Event::Failure(failure), now),
            },
            Event::Failure(failure) => {
                Step::retry(self.patience.after_failure(OP, &failure, Applied::No, now))
            }
        }
    }
}

/// The store's configuration as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundMeta {
    /// The configuration.
    pub meta: StoreMeta,
    /// The identity of the store.
    pub id: StoreId,
}

/// Reads the store's configuration again, so that a program notices a format that was activated
/// since it connected, and that its store is lost. The output is `None` if the store has no
/// configuration.
pub type ReadMeta = Query<Option<FoundMeta>>;

impl ReadMeta {
    /// Reads it once. The program's codec notes the active format, and its context the identity of
    /// the store.
    pub fn new(patience: Patience) -> Self {
        let read = read_record(RecordKey::Meta);
        Self::of_values(
            "read",
            read,
            |reply, _, context| Some(noted(one_record(reply)?, context)),
            patience,
        )
    }
}

fn noted(
    stored: Option<Stored>,
    context: &OperationContext,
) -> Result<Option<FoundMeta>, EngineError> {
    let id = stored.as_ref().map(|stored| id_in(stored.version));
    context.store().note(id);
    let meta = stored.map(|stored| read(&stored, context.codec())).transpose()?;
    if let Some(meta) = &meta {
        context.codec().note(meta.format);
        context.store().note_counts(meta.counts);
    }
    Ok(meta.zip(id).map(|(meta, id)| FoundMeta { meta, id }))
}

/// The identity of the store whose configuration has this version: the nonce of the first version,
/// which every later version keeps.
const fn id_in(version: Version) -> StoreId {
    StoreId::new(version.nonce)
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
        // It keeps the nonce, which is the identity of the store.
        Step::Send(write(&meta, stored.version, stored.version.nonce))
    }

    fn activated(&self) -> Step<<Self as Operation>::Output> {
        self.patience.codec().note(self.format);
        Step::Done(Ok(()))
    }
}

impl Operation for ActivateFormat {
    /// `FormatUnknown` and `FormatSuperseded` are refused before anything is written.
    type Output = Result<(), EngineError>;

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        Some(self.patience.left(now))
    }

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
