//! The secrets that sign the tokens of waitpoints: listed, created if there are none, and rotated
//! (`docs/spec.md`, 5).

use crate::entropy::Entropy;
use crate::error::{Applied, EngineError};
use crate::store::codec::Codec;
use crate::store::{RecordKey, Request, Stored, Version};
use crate::time::{DurationMs, HostTime, TimestampMs, Window};
use crate::token::{KEYRING_FOR, Keyring, Kid, Rotation, Secret, SecretInfo};

use super::record::{Answer, one_record, read_record, write_record};
use crate::op::context::OperationContext;
use crate::op::doubt::{Doubt, Evidence, SentCommit};
use crate::op::loaded::unreadable;
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::op::query::Query;

/// Reads the secrets.
pub(in crate::op) fn read_secrets() -> Request {
    Request::Read(read_record(RecordKey::Secrets))
}

/// The secrets of their record.
pub(in crate::op) fn read_ring(stored: &Stored, codec: &Codec) -> Result<Keyring, EngineError> {
    codec.decode(&stored.bytes).map_err(unreadable)
}

/// Writes the first secret of a store, which a program draws that needs one.
pub(in crate::op) fn write_first_ring(entropy: &mut Entropy, nonce: u64) -> Request {
    let kid = Kid::try_new("k1").expect("a valid kid");
    let ring = Keyring::new(kid, Secret::random(entropy));
    write_record(RecordKey::Secrets, &ring, Version::ABSENT, Window::ALWAYS, nonce)
}

/// Lists the good secrets by name, never the secrets themselves: oldest first, the last one signs
/// new tokens.
pub type ListSecrets = Query<Vec<SecretInfo>>;

impl ListSecrets {
    /// Reads them once.
    pub fn new(patience: Patience) -> Self {
        let read = read_record(RecordKey::Secrets);
        let parse = |reply: crate::store::Reply, _: &Request, context: &OperationContext| {
            let now = reply.at;
            Some(good_secrets(one_record(reply)?, context.codec(), now))
        };
        Self::of_values("read", read, parse, patience)
    }
}

fn good_secrets(
    stored: Option<Stored>,
    codec: &Codec,
    now: TimestampMs,
) -> Result<Vec<SecretInfo>, EngineError> {
    let ring = stored.map(|stored| read_ring(&stored, codec)).transpose()?;
    let all = ring.map(|ring| ring.list()).unwrap_or_default();
    let is_good = |info: &SecretInfo| info.good_until.is_none_or(|until| now < until);
    Ok(all.into_iter().filter(is_good).collect())
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
            .context("a reply was lost and another caller has rotated since")
    }

    fn found(
        &mut self,
        stored: Option<&Stored>,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<<Self as Operation>::Output> {
        let ring = match stored.map(|stored| read_ring(stored, self.patience.codec())).transpose() {
            Ok(ring) => ring.unwrap_or_default(),
            Err(error) => return Step::fail(error),
        };
        let version = stored.map_or(Version::ABSENT, |stored| stored.version);
        let none_applied = self.doubt.all_are_disproved(&evidence(version));
        let knows = ring.knows(&self.kid);
        let knew = *self.knew.get_or_insert(knows);
        let is_current = ring.list().last().is_some_and(|last| last.kid == self.kid);
        if !none_applied && !is_current {
            // Another caller has rotated since. If the kid was not known before and is now, a
            // commit of this call made it current. Anything else leaves it open: making it current
            // again could bring back a secret that was taken away.
            return Step::Done(match knows && !knew {
                true => Ok(Rotation::Rotated),
                false => Err(self.left_open(now)),
            });
        }
        let (ring, rotation) = match ring.rotate(&self.kid, &self.secret, self.grace, at) {
            Ok(rotated) => rotated,
            Err(rejection) => return Step::fail(rejection),
        };
        if rotation == Rotation::Noop {
            // The operation's own commit whose reply was lost is not a repeat.
            let rotated = self.doubt.wrote(version);
            return Step::Done(Ok(if rotated { Rotation::Rotated } else { Rotation::Noop }));
        }
        let nonce = self.patience.nonce();
        // A grace is counted from a time that is at most a second off.
        let around = Window::from(at.minus(KEYRING_FOR)).and(Window::until(at.plus(KEYRING_FOR)));
        let until = around.not_after;
        let (expected, origin, fingerprint) = (version, None, None);
        self.pending = Some(SentCommit { expected, origin, nonce, until, fingerprint });
        Step::Send(write_record(RecordKey::Secrets, &ring, version, around, nonce))
    }
}

/// The keyring is never removed, so its version alone is evidence.
const fn evidence(version: Version) -> Evidence {
    Evidence { version, origin: None, fingerprint: None }
}

impl Operation for RotateSecret {
    /// `RotationConflict`, `InvalidGraceMs` and `InvalidInput` are refused before anything is
    /// written.
    type Output = Result<Rotation, EngineError>;

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        Some(self.patience.left(now))
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        let step = self.step(event, now);
        self.patience.in_time(step, OP, self.doubt.applied(), now)
    }
}

impl RotateSecret {
    fn step(&mut self, event: Event, now: HostTime) -> Step<<Self as Operation>::Output> {
        let pending = self.pending.take();
        match event {
            Event::Start | Event::Wake => {
                self.patience.begin(now);
                Step::Send(read_secrets())
            }
            Event::Reply(reply) => match Answer::of(OP, reply.body) {
                Ok(Answer::Found(stored)) => self.found(stored.as_ref(), reply.at, now),
                Ok(Answer::Written) => Step::Done(Ok(Rotation::Rotated)),
                Ok(Answer::Conflict(current)) => {
                    let version = current.map_or(Version::ABSENT, |stored| stored.version);
                    pending
                        .into_iter()
                        .for_each(|sent| self.doubt.conflicted(sent, &evidence(version)));
                    Step::retry(self.patience.after_refusal(OP, self.doubt.applied(), now))
                }
                Ok(Answer::Refused) => {
                    pending.into_iter().for_each(|sent| self.doubt.refused(sent));
                    Step::retry(self.patience.after_refusal(OP, self.doubt.applied(), now))
                }
                Err(failure) => {
                    self.pending = pending;
                    self.resume(Event::Failure(failure), now)
                }
            },
            Event::Failure(failure) => {
                pending.into_iter().for_each(|sent| self.doubt.failed(sent, &failure));
                let applied = self.doubt.applied();
                Step::retry(self.patience.after_failure(OP, &failure, applied, now))
            }
        }
    }
}
