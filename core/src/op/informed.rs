//! Carrying a command that has to know more than its execution's record: the secrets of tokens, and
//! signals that were buffered (`docs/spec.md`, 5).

use uuid::Uuid;

use crate::entropy::Entropy;
use crate::error::{Bug, EngineError, Missing, Rejection};
use crate::execution::{Decide, Heard, SignalRecord};
use crate::partition::Partition;
use crate::score::Score;
use crate::store::bounds::MAX_PAGE;
use crate::store::{
    Failure, IndexName, Reply, ReplyBody, Request, Scan, ScanPosition, Scanned, Stored, UnitReply,
    Version,
};
use crate::time::{HostTime, TimestampMs, Window};
use crate::token::{KEYRING_FOR, Keyring, KnownKeyring};

use super::keyring::{first_ring, read_ring, secrets_record, write_ring};
use super::operation::{Operation, Step};
use super::retry::Patience;
use super::terms::Terms;
use super::transact::{Committed, Known, Transact};
use super::unit::unreadable;

/// Carries a command to its execution, and reads for it what it turns out to need: the secrets,
/// when the program has not read them within a second or does not know the token's, and the
/// buffered signals, page by page.
#[derive(Clone, Debug)]
pub struct Informed<C: Decide> {
    transact: Transact<C>,
    patience: Patience,
    terms: Terms,
    heard: Heard,
    ring: Option<Keyring>,
    doing: Doing,
    /// When the secrets were asked for, by the host's clock; they are known by that time at least.
    asked_at: TimestampMs,
    rounds: u32,
}

#[derive(Clone, Copy, Debug)]
enum Doing {
    Carrying,
    ReadingSecrets,
    MakingSecrets,
    Hearing,
}

/// How often a command may ask for more before it gives up: a page for each thousand of its
/// signals, and some for secrets.
const MAX_ROUNDS: u32 = 32;

type Output<T> = Result<Committed<T>, EngineError>;

impl<C: Decide> Informed<C> {
    /// An operation that begins with what is known of the record.
    pub fn new(command: C, known: Known, terms: Terms, mut entropy: Entropy) -> Self {
        let patience = Patience::new(terms.clone(), entropy.fork());
        let transact = Transact::knowing(command, known, Patience::new(terms.clone(), entropy));
        let (heard, ring, doing) = (Heard::default(), None, Doing::Carrying);
        let (asked_at, rounds) = (TimestampMs::ZERO, 0);
        Self { transact, patience, terms, heard, ring, doing, asked_at, rounds }
    }

    fn carried(
        &mut self,
        step: Step<Output<C::Outcome>>,
        now: HostTime,
    ) -> Step<Output<C::Outcome>> {
        let missing = match &step {
            Step::Done(Err(EngineError::State(Rejection::Unread { what }))) => *what,
            _ => return step,
        };
        self.rounds += 1;
        if self.rounds > MAX_ROUNDS {
            let (op, tries) = (self.transact.command().name(), self.rounds);
            return Step::Done(Err(EngineError::Contention { op, tries }));
        }
        match missing {
            Missing::Secrets => match self.ring.take() {
                // This partition's clock was not known, or is another one than that of the secrets.
                Some(ring) if now.local.since(self.asked_at) < KEYRING_FOR => {
                    self.know(ring, now);
                    let step = self.transact.on_wake(now);
                    self.carried(step, now)
                }
                _ => self.read_secrets(now),
            },
            Missing::BufferedSignals => self.hear(),
            Missing::Signal => step,
        }
    }

    fn carry(&mut self, now: HostTime) -> Step<Output<C::Outcome>> {
        self.doing = Doing::Carrying;
        let step = self.transact.start(now);
        self.carried(step, now)
    }

    fn read_secrets(&mut self, now: HostTime) -> Step<Output<C::Outcome>> {
        self.doing = Doing::ReadingSecrets;
        self.asked_at = now.local;
        Step::Send(Request::Read(secrets_record()))
    }

    fn found_secrets(&mut self, stored: Option<Stored>, now: HostTime) -> Step<Output<C::Outcome>> {
        match stored.map(|stored| read_ring(&stored, self.patience.codec())).transpose() {
            Ok(Some(ring)) => {
                self.terms.keyrings().put(ring.clone(), self.asked_at);
                self.know(ring, now);
                self.carry(now)
            }
            Ok(None) => {
                self.doing = Doing::MakingSecrets;
                let nonce = self.patience.nonce();
                let ring = first_ring(&mut self.patience.entropy());
                Step::Send(write_ring(&ring, Version::ABSENT, Window::ALWAYS, nonce))
            }
            Err(error) => Step::Done(Err(error)),
        }
    }

    /// Tells the command the secrets, which are as old as the call that asked for them.
    fn know(&mut self, ring: Keyring, now: HostTime) {
        let read_at = now.store.minus(now.local.since(self.asked_at));
        self.transact.command_mut().observe_keyring(KnownKeyring::new(ring.clone(), read_at));
        self.ring = Some(ring);
    }

    fn hear(&mut self) -> Step<Output<C::Outcome>> {
        self.doing = Doing::Hearing;
        let id = self.transact.command().execution_id();
        let behind = |number: u32| ScanPosition {
            score: Score::new(i64::from(number)),
            member: Uuid::max(),
        };
        Step::Send(Request::Scan(Scan {
            partition: id.partition(),
            index: IndexName::Signals { execution: id.uuid() },
            after: self.heard.through.checked_sub(1).map(behind),
            limit: MAX_PAGE as u32,
        }))
    }

    fn heard(&mut self, page: Scanned, now: HostTime) -> Step<Output<C::Outcome>> {
        let records = page.entries.into_iter().filter_map(|entry| entry.record);
        for stored in records {
            match self.patience.codec().decode::<SignalRecord>(&stored.bytes) {
                Ok(signal) => {
                    self.heard.through = signal.number + 1;
                    self.heard.signals.push(signal);
                }
                Err(error) => return Step::Done(Err(unreadable(error))),
            }
        }
        let heard = self.heard.clone();
        self.transact.command_mut().observe_signals(heard);
        self.carry(now)
    }

    fn read_again(&mut self, now: HostTime) -> Step<Output<C::Outcome>> {
        match self.doing {
            Doing::Carrying => {
                let step = self.transact.on_wake(now);
                self.carried(step, now)
            }
            Doing::ReadingSecrets | Doing::MakingSecrets => self.read_secrets(now),
            Doing::Hearing => self.hear(),
        }
    }
}

impl<C: Decide> Operation for Informed<C> {
    type Output = Output<C::Outcome>;

    fn partition(&self) -> Option<Partition> {
        self.transact.partition()
    }

    fn start(&mut self, now: HostTime) -> Step<Self::Output> {
        self.patience.begin(now);
        let kid = self.transact.command().kid();
        let held = self.terms.keyrings().get(now.local);
        let held = held.filter(|(ring, _)| kid.is_none_or(|kid| ring.knows(&kid)));
        match held {
            Some((ring, age)) => {
                self.asked_at = now.local.minus(age);
                self.know(ring, now);
                self.carry(now)
            }
            None => self.read_secrets(now),
        }
    }

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<Self::Output> {
        if let Doing::Carrying = self.doing {
            let step = self.transact.on_reply(reply, now);
            return self.carried(step, now);
        }
        match (self.doing, reply.body) {
            (Doing::ReadingSecrets, ReplyBody::Read(mut read)) => {
                self.found_secrets(read.records.pop().flatten(), now)
            }
            // Whoever was first, it is read: a secret is never known that is not there.
            (Doing::MakingSecrets, ReplyBody::Commit(units)) => match units.first() {
                Some(UnitReply::Committed { .. } | UnitReply::Conflict { .. }) => {
                    self.read_secrets(now)
                }
                _ => Step::Done(Err(Bug::unexpected_reply(self.transact.command().name()))),
            },
            (Doing::Hearing, ReplyBody::Scan(page)) => self.heard(page, now),
            _ => Step::Done(Err(Bug::unexpected_reply(self.transact.command().name()))),
        }
    }

    fn on_failure(&mut self, failure: &Failure, now: HostTime) -> Step<Self::Output> {
        if let Doing::Carrying = self.doing {
            let step = self.transact.on_failure(failure, now);
            return self.carried(step, now);
        }
        let name = self.transact.command().name();
        match self.patience.after_failure(name, failure, self.transact.may_be_applied(), now) {
            Ok(wait) => Step::Wait(wait),
            Err(error) => Step::Done(Err(error)),
        }
    }

    fn on_wake(&mut self, now: HostTime) -> Step<Self::Output> {
        self.read_again(now)
    }
}
