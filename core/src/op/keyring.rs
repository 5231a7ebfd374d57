//! The secrets that sign the tokens of waitpoints: read, made where there are none, and rotated
//! (`docs/spec.md`, 5).

use crate::entropy::Entropy;
use crate::error::{Applied, Bug, EngineError};
use crate::execution::Purpose;
use crate::partition::Partition;
use crate::store::codec::{Codec, FIRST_FORMAT, encode};
use crate::store::{
    Commit, Failure, Read, RecordKey, Reply, ReplyBody, Request, Stored, Unit, UnitReply, Values,
    Version,
};
use crate::time::{DurationMs, HostTime, TimestampMs, Window};
use crate::token::{KEYRING_FOR, Keyring, Kid, Rotation, Secret, SecretInfo};

use super::doubt::{Doubt, Evidence, SentCommit};
use super::operation::{Operation, Step};
use super::query::Query;
use super::retry::Patience;
use super::unit::unreadable;

/// The record of the secrets.
pub(super) fn secrets_record() -> Read {
    let (partition, records) = (Partition::META, vec![RecordKey::Secrets]);
    Read { partition, records, values: Vec::new() }
}

/// The secrets of that record. It keeps the first format, so that a program of any age reads it.
pub(super) fn read_ring(stored: &Stored, codec: &Codec) -> Result<Keyring, EngineError> {
    codec.decode(&stored.bytes).map_err(unreadable)
}

/// Writes the secrets in place of that version.
pub(super) fn write_ring(ring: &Keyring, version: Version, window: Window, nonce: u64) -> Request {
    let unit = Unit {
        expect: vec![(RecordKey::Secrets, version)],
        put: vec![(RecordKey::Secrets, encode(ring, FIRST_FORMAT))],
        window,
        ..Unit::new(Purpose::Admit, nonce)
    };
    Request::Commit(Commit { partition: Partition::META, units: vec![unit] })
}

/// The first secret of a store, drawn by whoever needs one first.
pub(super) fn first_ring(entropy: &mut Entropy) -> Keyring {
    let kid = Kid::try_new("k1").expect("a valid kid");
    Keyring::new(kid, Secret::random(entropy))
}

/// Lists the secrets that are good: their names, and never themselves.
#[derive(Clone, Debug)]
pub struct ListSecrets {
    query: Query<Values>,
    codec: Codec,
}

impl ListSecrets {
    /// Reads them once.
    pub fn new(patience: Patience) -> Self {
        let codec = patience.codec().clone();
        Self { query: Query::read(secrets_record(), patience), codec }
    }

    fn understand(
        &self,
        step: Step<Result<(Values, TimestampMs), EngineError>>,
    ) -> Step<<Self as Operation>::Output> {
        match step {
            Step::Send(request) => Step::Send(request),
            Step::Wait(wait) => Step::Wait(wait),
            Step::Done(done) => Step::Done(done.and_then(|(mut values, now)| {
                let stored = values.records.pop().flatten();
                let ring = stored.map(|stored| read_ring(&stored, &self.codec)).transpose()?;
                let all = ring.map(|ring| ring.list()).unwrap_or_default();
                let good = |info: &SecretInfo| info.good_until.is_none_or(|until| now < until);
                Ok(all.into_iter().filter(good).collect())
            })),
        }
    }
}

impl Operation for ListSecrets {
    /// Oldest first; the last one signs new tokens.
    type Output = Result<Vec<SecretInfo>, EngineError>;

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

/// Makes a secret the one that signs new tokens. The call has the same effect however often it is
/// made.
#[derive(Clone, Debug)]
pub struct RotateSecret {
    kid: Kid,
    secret: Secret,
    grace: DurationMs,
    patience: Patience,
    doubt: Doubt,
    /// Whether the kid was known before anything was sent.
    knew: Option<bool>,
    pending: Option<SentCommit>,
}

const OP: &str = "rotate_waitpoint_secret";

impl RotateSecret {
    /// Rotates to this secret; the one before stays good for `grace`.
    pub fn new(kid: Kid, secret: Secret, grace: DurationMs, patience: Patience) -> Self {
        Self { kid, secret, grace, patience, doubt: Doubt::default(), knew: None, pending: None }
    }

    fn left_open(&self, now: HostTime) -> EngineError {
        let (elapsed, applied) = (self.patience.elapsed(now), Applied::Unknown);
        EngineError::Timeout { op: OP, elapsed, applied }
            .context("a reply was lost and somebody has rotated since")
    }

    fn found(
        &mut self,
        stored: Option<&Stored>,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        let ring = match stored.map(|stored| read_ring(stored, self.patience.codec())).transpose() {
            Ok(ring) => ring.unwrap_or_default(),
            Err(error) => return Step::Done(Err(error)),
        };
        let version = stored.map_or(Version::ABSENT, |stored| stored.version);
        let is_own = self.doubt.wrote(version);
        let shows_none = self.doubt.all_are_disproved(&Evidence { version, mark: None });
        let knows = ring.knows(&self.kid);
        let knew = *self.knew.get_or_insert(knows);
        let is_current = ring.list().last().is_some_and(|last| last.kid == self.kid);
        if !shows_none && !is_current {
            // Somebody has rotated since. What was not known before and is now, a commit of this
            // call has made current; anything else leaves it open, and making it current again
            // could bring back what was taken away.
            return Step::Done(match knows && !knew {
                true => Ok(Rotation::Rotated),
                false => Err(self.left_open(now)),
            });
        }
        let (ring, rotation) = match ring.rotate(&self.kid, &self.secret, self.grace, at) {
            Ok(rotated) => rotated,
            Err(rejection) => return Step::Done(Err(rejection.into())),
        };
        if rotation == Rotation::Noop {
            // One's own lost reply is no repeat.
            return Step::Done(Ok(if is_own { Rotation::Rotated } else { Rotation::Noop }));
        }
        let nonce = self.patience.nonce();
        // A grace is counted from a time that is at most a second off.
        let around = Window::from(at.minus(KEYRING_FOR)).and(Window::until(at.plus(KEYRING_FOR)));
        let until = around.not_after;
        self.pending = Some(SentCommit { expected: version, nonce, until, mark: None });
        Step::Send(write_ring(&ring, version, around, nonce))
    }
}

impl Operation for RotateSecret {
    /// `RotationConflict`, `InvalidGraceMs` and `InvalidInput` are refused before anything is
    /// written.
    type Output = Result<Rotation, EngineError>;

    fn start(&mut self, now: HostTime) -> Step<Self::Output> {
        self.patience.begin(now);
        Step::Send(Request::Read(secrets_record()))
    }

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<Self::Output> {
        let pending = self.pending.take();
        match reply.body {
            ReplyBody::Read(mut read) => {
                self.found(read.records.pop().flatten().as_ref(), reply.at, now)
            }
            ReplyBody::Commit(mut units) => match units.pop() {
                Some(UnitReply::Committed { .. }) => Step::Done(Ok(Rotation::Rotated)),
                refused => {
                    match (pending, refused) {
                        (Some(sent), Some(UnitReply::Conflict { current })) => {
                            let found = current.first().and_then(Option::as_ref);
                            let version = found.map_or(Version::ABSENT, |stored| stored.version);
                            self.doubt.conflicted(sent, version);
                        }
                        (Some(sent), _) => self.doubt.refused(sent),
                        (None, _) => {}
                    }
                    match self.patience.after_refusal(OP) {
                        Ok(wait) => Step::Wait(wait),
                        Err(error) => Step::Done(Err(error)),
                    }
                }
            },
            _ => Step::Done(Err(Bug::unexpected_reply(OP))),
        }
    }

    fn on_failure(&mut self, failure: &Failure, now: HostTime) -> Step<Self::Output> {
        if let Some(sent) = self.pending.take() {
            self.doubt.failed(sent, failure);
        }
        let applied = self.doubt.applied();
        match self.patience.after_failure(OP, failure, applied, now) {
            Ok(wait) => Step::Wait(wait),
            Err(error) => Step::Done(Err(error)),
        }
    }

    fn on_wake(&mut self, now: HostTime) -> Step<Self::Output> {
        self.start(now)
    }
}
