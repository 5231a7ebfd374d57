//! Reading the facts that a command needs besides its execution's record: the secrets of tokens
//! and buffered signals (`docs/spec.md`, 5), and lanes (`docs/spec.md`, 7).

use std::sync::Arc;

use uuid::Uuid;

use crate::error::{Applied, EngineError, Missing};
use crate::execution::{BufferedSignals, CommandSpec, SignalRecord};
use crate::id::{ExecutionId, Namespace};
use crate::lane::Lanes;
use crate::op::config::{Answer, read_ring, read_secrets, write_first_ring};
use crate::op::loaded::{other_reply, unreadable};
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::op::resource::ReadLanes;
use crate::score::Score;
use crate::store::bounds::{MAX_PAGE, MAX_PAGE_BYTES};
use crate::store::{
    Failure, IndexName, Reply, ReplyBody, Request, Scan, ScanOrder, ScanPosition, Scanned, Stored,
};
use crate::time::{DurationMs, HostTime, TimestampMs};
use crate::token::{KEYRING_FOR, Keyring, Kid, KnownKeyring};

/// The secrets of tokens, the buffered signals and the lanes, as one operation has read them.
#[derive(Clone, Debug)]
pub(super) struct ReadFacts {
    op: &'static str,
    execution_id: ExecutionId,
    /// The secret that the command's token names.
    kid: Option<Kid>,
    /// The namespace whose lanes the command needs.
    lanes_of: Option<Namespace>,
    lanes: Option<Arc<Lanes>>,
    read_lanes: Option<ReadLanes>,
    patience: Patience,
    reading: Option<Reading>,
    keyring: Option<KnownKeyring>,
    buffered: BufferedSignals,
    /// The secrets as they were read last, and when they were requested, by the host's clock.
    ring: Option<Keyring>,
    asked_at: TimestampMs,
    /// How often the command has asked for more.
    rounds: u32,
    /// Whether the keyring is one that the program had read before, in which the token's secret is
    /// not the one that signs: a rotation may have made it that since.
    doubtful: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Secrets,
    /// Writes the first secret of the store, and reads it then.
    FirstSecret,
    Signals,
    Lanes,
}

/// How often a command may ask for more before it gives up: for a page of each thousand of its
/// signals, and some times for secrets.
const MAX_ROUNDS: u32 = 32;

/// A step of reading; it ends when the command can be decided again.
type Reads = Step<Result<(), EngineError>>;

impl ReadFacts {
    /// The facts of a command that needs any.
    pub(super) fn new(spec: &CommandSpec, patience: &mut Patience) -> Option<Box<Self>> {
        (spec.needs.secrets || spec.needs.lanes.is_some()).then(|| {
            Box::new(Self {
                op: spec.name,
                execution_id: spec.execution_id,
                kid: spec.needs.kid.clone(),
                lanes_of: spec.needs.lanes.clone(),
                lanes: None,
                read_lanes: None,
                patience: patience.fork(),
                reading: None,
                keyring: None,
                buffered: BufferedSignals::default(),
                ring: None,
                asked_at: TimestampMs::ZERO,
                rounds: 0,
                doubtful: false,
            })
        })
    }

    /// The secrets, if they were read.
    pub(super) const fn keyring(&self) -> Option<&KnownKeyring> {
        self.keyring.as_ref()
    }

    /// The buffered signals that were read.
    pub(super) const fn buffered(&self) -> &BufferedSignals {
        &self.buffered
    }

    /// The lanes, if they were read.
    pub(super) fn lanes(&self) -> Option<&Lanes> {
        self.lanes.as_deref()
    }

    /// The time limit of a read that is under way, if it is shorter than that of the command.
    pub(super) fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        let read = self.read_lanes.as_ref().filter(|_| self.reading == Some(Reading::Lanes));
        read.and_then(|read| read.reply_within(now))
    }

    /// Whether a read is under way.
    pub(super) const fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Whether a token may be refused only because the secrets were read before it was signed.
    pub(super) const fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Takes the lanes, or the secrets, that the program has read within a second, if the secrets
    /// include the token's; otherwise reads them.
    pub(super) fn begin(&mut self, now: HostTime) -> Reads {
        self.patience.begin(now);
        if let Some(namespace) = &self.lanes_of {
            self.lanes = self.patience.lanes().fresh(namespace, now.local);
            if self.lanes.is_some() {
                return Step::Done(Ok(()));
            }
            self.read_lanes = Some(ReadLanes::new(namespace.clone(), self.patience.fork()));
            return self.resume_lanes(Event::Start, now);
        }
        let cached = self.patience.keyrings().get(now.local);
        match cached.filter(|ring| self.kid.as_ref().is_none_or(|kid| ring.knows(kid))) {
            Some(ring) => {
                self.doubtful = self.kid.as_ref().is_some_and(|kid| !ring.is_current(kid));
                self.keyring = Some(ring);
                Step::Done(Ok(()))
            }
            None => self.read_secrets(now),
        }
    }

    /// Reads facts that were missing in a decision at a time of the store's clock. `applied`:
    /// whether the command may be applied already.
    pub(super) fn read(
        &mut self,
        missing: Missing,
        at: TimestampMs,
        applied: Applied,
        now: HostTime,
    ) -> Reads {
        self.rounds += 1;
        if self.rounds > MAX_ROUNDS {
            return Step::fail(self.patience.contention(self.op, self.rounds, applied, now));
        }
        match missing {
            Missing::Secrets => self.renew_secrets(at, now),
            Missing::BufferedSignals => self.read_signals(),
            Missing::Signal | Missing::Lanes | Missing::Limits => {
                Step::fail(crate::error::Rejection::Unread { what: missing })
            }
        }
    }

    /// Goes on with a read. `applied`: whether the command may be applied already.
    pub(super) fn resume(&mut self, event: Event, applied: Applied, now: HostTime) -> Reads {
        match (self.reading, event) {
            (Some(Reading::Lanes), event) => self.resume_lanes(event, now),
            (Some(Reading::Signals), Event::Reply(Reply { body: ReplyBody::Scan(page), .. })) => {
                match self.found_signals(page) {
                    Ok(true) => Step::Done(Ok(())),
                    Ok(false) => self.unanswered(&other_reply(self.op), applied, now),
                    Err(error) => Step::fail(error),
                }
            }
            (Some(Reading::Signals), Event::Wake) => self.read_signals(),
            (Some(Reading::Signals), Event::Reply(_)) => {
                self.unanswered(&other_reply(self.op), applied, now)
            }
            (_, Event::Reply(reply)) => match Answer::of(self.op, reply.body) {
                Ok(Answer::Found(stored)) => self.found_secrets(stored, reply.at),
                // Whichever program was first, it is read: no secret is used that is not stored.
                Ok(Answer::Written | Answer::Conflict(_)) => self.read_secrets(now),
                Ok(Answer::Refused) => self.unanswered(&other_reply(self.op), applied, now),
                Err(failure) => self.unanswered(&failure, applied, now),
            },
            (_, Event::Failure(failure)) => self.unanswered(&failure, applied, now),
            (_, Event::Start | Event::Wake) => self.read_secrets(now),
        }
    }

    fn resume_lanes(&mut self, event: Event, now: HostTime) -> Reads {
        self.reading = Some(Reading::Lanes);
        let Some(read) = &mut self.read_lanes else { return Step::Done(Ok(())) };
        read.resume(event, now).then_ok(|lanes| {
            (self.lanes, self.reading) = (Some(lanes), None);
            Step::Done(Ok(()))
        })
    }

    fn unanswered(&mut self, failure: &Failure, applied: Applied, now: HostTime) -> Reads {
        self.forget_signals();
        Step::retry(self.patience.after_failure(self.op, failure, applied, now))
    }

    /// Forgets the buffered signals: a store that did not answer may have lost them.
    pub(super) fn forget_signals(&mut self) {
        self.buffered = BufferedSignals::default();
    }

    /// Secrets that were read within a second by the host's own clock are recent: only the clock of
    /// their node differs from that of the execution's node. Others are read again.
    fn renew_secrets(&mut self, at: TimestampMs, now: HostTime) -> Reads {
        let age = now.local.since(self.asked_at);
        match self.ring.take().filter(|_| age < KEYRING_FOR) {
            Some(ring) => {
                self.keyring = Some(KnownKeyring::new(ring, at.minus(age)));
                Step::Done(Ok(()))
            }
            None => self.read_secrets(now),
        }
    }

    fn read_secrets(&mut self, now: HostTime) -> Reads {
        self.reading = Some(Reading::Secrets);
        self.asked_at = now.local;
        Step::Send(read_secrets())
    }

    fn found_secrets(&mut self, stored: Option<Stored>, at: TimestampMs) -> Reads {
        let Some(stored) = stored else {
            self.reading = Some(Reading::FirstSecret);
            let nonce = self.patience.nonce();
            return Step::Send(write_first_ring(&mut self.patience.entropy(), nonce));
        };
        let ring = match read_ring(&stored, self.patience.codec()) {
            Ok(ring) => ring,
            Err(error) => return Step::fail(error),
        };
        self.ring = Some(ring.clone());
        // They are as old as the reply, whatever the host's estimate of the store's clock is.
        let known = KnownKeyring::new(ring, at);
        self.patience.keyrings().put(known.clone(), self.asked_at);
        (self.keyring, self.doubtful, self.reading) = (Some(known), false, None);
        Step::Done(Ok(()))
    }

    /// Reads the next page of buffered signals.
    fn read_signals(&mut self) -> Reads {
        self.reading = Some(Reading::Signals);
        let after = |number: u32| ScanPosition {
            score: Score::new(i64::from(number)),
            member: Uuid::max(),
        };
        Step::Send(Request::Scan(Scan {
            partition: self.execution_id.partition(),
            index: IndexName::Signals { execution: self.execution_id.uuid() },
            order: ScanOrder::Ascending,
            after: self.buffered.through.checked_sub(1).map(after),
            limit: MAX_PAGE as u32,
            bytes: MAX_PAGE_BYTES,
        }))
    }

    /// Notes a page of buffered signals; `false` if it is the reply to another request.
    fn found_signals(&mut self, page: Scanned) -> Result<bool, EngineError> {
        let codec = self.patience.codec();
        for entry in page.entries {
            let Some(stored) = entry.record else { continue };
            let signal = codec.decode::<SignalRecord>(&stored.bytes).map_err(unreadable)?;
            if signal.id.uuid() != entry.position.member {
                return Ok(false);
            }
            self.buffered.through = signal.number.saturating_add(1);
            self.buffered.signals.push(signal);
        }
        self.reading = None;
        Ok(true)
    }
}
