//! The one loop that every command goes through: read, decide, commit, meet a conflict, decide
//! again.

use crate::error::{Applied, Bug, EngineError, Rejection};
use crate::execution::{Decide, IdentityKind, Mark, Verdict};
use crate::partition::Partition;
use crate::planted::planted;
use crate::store::{
    Commit, Failure, Fetched, Read, RecordKey, Reply, ReplyBody, Request, Stored, UnitReply,
    Version,
};
use crate::time::{HostTime, TimestampMs};

use super::operation::{Operation, Step};
use super::retry::Patience;
use super::unit::{Loaded, Stamp, found_signal, load, quarantine, signal_key, unit_for, value_key};

/// Carries one command to its execution.
///
/// A rejection or a recognised repeat is final only when it was decided on the record and the time
/// of one and the same reply; decided on less, it triggers a read and a second decision. After an
/// ambiguous failure the operation reads and decides again, and recognises its own work.
/// \[INV-IDENTITY-1\]
#[derive(Clone, Debug)]
pub struct Transact<C: Decide> {
    command: C,
    known: Known,
    patience: Patience,
    pending: Pending<C::Outcome>,
    /// Commits whose reply was lost.
    ambiguous: Vec<Sent>,
    /// Commits that were refused, as long as the record does not show that they never applied. A
    /// client of the store that sends a request again by itself hands over one reply for both: the
    /// second may be refused because of the first, or by a store that takes no writes any more.
    refused: Vec<Sent>,
    first_sent: Option<TimestampMs>,
}

/// What an operation knows of a record before its first step.
#[derive(Clone, Debug, Default)]
#[allow(clippy::large_enum_variant)] // One for each operation, moved once.
pub enum Known {
    /// Nothing: read first.
    #[default]
    Nothing,
    /// Probably there is none.
    Absent,
    /// It was this, some time ago.
    Stale(Loaded),
    /// It was this in a reply of that time, which was just received.
    Fresh(Loaded, TimestampMs),
}

/// A command that took effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed<T> {
    /// What came of it.
    pub outcome: T,
    /// Whether it was recognised as applied before.
    pub repeat: bool,
    /// The values that the command fetches, in order.
    pub values: Vec<Fetched>,
    /// The store's clock when it answered.
    pub at: TimestampMs,
    /// The host's clock when the command was first sent: the earliest instant at which it can have
    /// been applied.
    pub first_sent: TimestampMs,
    /// The record after it, so that the next command on it needs no read; `None` where there is
    /// none any more.
    pub record: Option<Loaded>,
}

#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // One for each operation, moved once.
enum Pending<T> {
    Nothing,
    Read,
    Commit { outcome: T, sent: Sent, after: Option<Loaded> },
    Quarantine(Bug),
}

/// A commit that was sent.
#[derive(Clone, Debug)]
struct Sent {
    /// The version that it is to replace.
    expected: Version,
    /// The nonce of the version that it writes.
    nonce: u64,
    /// From when on, by the store's clock, it cannot apply any more.
    until: TimestampMs,
    /// What the record that it is to replace shows of commands of its kind.
    mark: Option<Mark>,
}

type Output<T> = Result<Committed<T>, EngineError>;

impl<C: Decide> Transact<C> {
    /// An operation that knows nothing of the record yet.
    pub fn new(command: C, patience: Patience) -> Self {
        Self::knowing(command, Known::Nothing, patience)
    }

    /// An operation that begins with what is known of the record.
    pub fn knowing(command: C, known: Known, patience: Patience) -> Self {
        let pending = Pending::Nothing;
        let (ambiguous, refused) = (Vec::new(), Vec::new());
        Self { command, known, patience, pending, ambiguous, refused, first_sent: None }
    }

    /// Counts the time that it may take from now on, where it has not begun.
    pub(super) fn begin(&mut self, now: HostTime) {
        self.patience.begin(now);
    }

    /// Whether it has sent something that may be applied, as far as it knows.
    pub(super) const fn may_be_applied(&self) -> Applied {
        if self.ambiguous.is_empty() { Applied::No } else { Applied::Unknown }
    }

    /// The command that it carries, to be told what else was read for it.
    pub(super) const fn command_mut(&mut self) -> &mut C {
        &mut self.command
    }

    /// The command that it carries.
    pub const fn command(&self) -> &C {
        &self.command
    }

    fn read(&mut self) -> Step<Output<C::Outcome>> {
        let id = self.command.execution_id();
        self.pending = Pending::Read;
        let signal = self.command.signal().map(|signal| signal_key(&id, signal));
        Step::Send(Request::Read(Read {
            partition: id.partition(),
            records: [RecordKey::of(&id)].into_iter().chain(signal).collect(),
            values: self.command.fetches().iter().map(|kind| value_key(&id, *kind)).collect(),
        }))
    }

    /// Decides on what is known. `values` are those of the same reply, if it has them.
    fn decide(
        &mut self,
        current: Option<Loaded>,
        at: TimestampMs,
        fresh: Option<Option<Vec<Fetched>>>,
        now: HostTime,
    ) -> Step<Output<C::Outcome>> {
        let record = current.as_ref().map(|loaded| &loaded.execution);
        if let Some(record) = record {
            self.command.observe(record);
        }
        let never = fresh.is_some() && self.shows_none_of(&self.refused, current.as_ref());
        if never || planted!(ResendForgotten) {
            self.refused.clear();
        }
        let ruling = self.command.decide(record, at);
        #[cfg(feature = "planted-bugs")]
        let ruling = crate::execution::spoil(&self.command, record, at, ruling);
        match (ruling, fresh) {
            (Err(rejection), fresh) if fresh.is_some() || planted!(StaleRejectionTrusted) => {
                let error = self.rejected(rejection, current.as_ref(), at, now);
                // Whoever has read what was missing goes on from here, unless a commit may have
                // been applied: then what was read since is not enough.
                let certain = self.ambiguous.is_empty() && self.refused.is_empty();
                let known = current.filter(|_| certain);
                self.known = known.map_or(Known::Nothing, Known::Stale);
                Step::Done(Err(error))
            }
            (Ok(Verdict::Repeat(outcome)), Some(Some(values))) => {
                let first_sent = self.first_sent.unwrap_or(now.local);
                let (repeat, record) = (true, current);
                Step::Done(Ok(Committed { outcome, repeat, values, at, first_sent, record }))
            }
            (Err(_) | Ok(Verdict::Repeat(_)), _) => self.read(),
            (Ok(Verdict::Apply(_)), Some(_))
                if self.may_be_removed(current.as_ref(), now)
                    || self.may_be_forgotten(current.as_ref())
                        && !(self.refused.is_empty()
                            && self.shows_none_of(&self.ambiguous, current.as_ref())) =>
            {
                Step::Done(Err(self.moved_on("it would be applied a second time", now)))
            }
            (Ok(Verdict::Apply(decision)), _) => {
                let id = self.command.execution_id();
                let nonce = self.patience.nonce();
                let stamp = Stamp {
                    codec: self.patience.codec(),
                    now: at,
                    patience: self.patience.left(now),
                    nonce,
                    purpose: self.command.purpose(),
                };
                let fetches = self.command.fetches();
                let made = unit_for(&id, current.as_ref(), decision, stamp, fetches);
                let (unit, outcome, after) = made;
                let expected = current.as_ref().map_or(Version::ABSENT, |loaded| loaded.version);
                let mark = self.mark(current.as_ref());
                let sent = Sent { expected, nonce, until: unit.window.not_after, mark };
                self.pending = Pending::Commit { outcome, sent, after };
                self.first_sent.get_or_insert(now.local);
                self.known = current.map_or(Known::Absent, Known::Stale);
                Step::Send(Request::Commit(Commit { partition: id.partition(), units: vec![unit] }))
            }
        }
    }

    /// Decides on records as the store returned them: the execution's, and after it the signal's
    /// where the command looks at one.
    fn decide_on(
        &mut self,
        records: Vec<Option<Stored>>,
        values: Option<Vec<Fetched>>,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<Output<C::Outcome>> {
        let mut records = records.into_iter();
        let stored = records.next().flatten();
        if self.command.signal().is_some() {
            match found_signal(records.next().flatten(), self.patience.codec()) {
                Ok(found) => self.command.observe_signal(found),
                Err(error) => return Step::Done(Err(error)),
            }
        }
        let mut current = match stored
            .as_ref()
            .map(|stored| load(stored, self.patience.codec()))
            .transpose()
        {
            Ok(current) => current,
            Err(EngineError::Bug(bug @ Bug::CorruptRecord { .. })) => {
                let id = self.command.execution_id();
                let version = stored.map_or(Version::ABSENT, |stored| stored.version);
                self.pending = Pending::Quarantine(bug);
                let units = vec![quarantine(id.uuid(), version, None, at)];
                return Step::Send(Request::Commit(Commit { partition: id.partition(), units }));
            }
            Err(error) => return Step::Done(Err(error)),
        };
        if let (true, Some(found), Known::Stale(old)) =
            (planted!(OldDecisionRetried), &mut current, &self.known)
        {
            found.execution = old.execution.clone();
        }
        self.decide(current, at, Some(values), now)
    }

    /// What the store says to a commit, and when.
    fn on_commit(
        &mut self,
        reply: Option<(UnitReply, TimestampMs)>,
        (outcome, record): (C::Outcome, Option<Loaded>),
        sent: Sent,
        now: HostTime,
    ) -> Step<Output<C::Outcome>> {
        let Some((reply, at)) = reply else { return self.unexpected() };
        match reply {
            UnitReply::Committed { fetched: values } => {
                let first_sent = self.first_sent.unwrap_or(now.local);
                let repeat = false;
                Step::Done(Ok(Committed { outcome, repeat, values, at, first_sent, record }))
            }
            UnitReply::Conflict { current } => {
                let found = current.first().and_then(Option::as_ref);
                let version = found.map(|stored| stored.version);
                if !is_other(version, sent.expected, sent.nonce) {
                    self.refused.push(sent);
                }
                match self.patience.after_conflict(self.command.name()) {
                    Err(error) => Step::Done(Err(error)),
                    Ok(None) => {
                        let values = self.command.fetches().is_empty().then(Vec::new);
                        self.decide_on(current, values, at, now)
                    }
                    Ok(Some(wait)) => {
                        self.known = Known::Nothing;
                        Step::Wait(wait)
                    }
                }
            }
            UnitReply::OutsideWindow => {
                self.refused.push(sent);
                self.known = Known::Nothing;
                match self.patience.after_refusal(self.command.name()) {
                    Ok(wait) => Step::Wait(wait),
                    Err(error) => Step::Done(Err(error)),
                }
            }
        }
    }

    /// The error of a rejection that nothing can overturn. After an ambiguous send it is one only
    /// if the record shows that the lost commit did not apply, and never will: a call that nobody
    /// waits for any more may still arrive, as long as its window is open.
    fn rejected(
        &self,
        rejection: Rejection,
        current: Option<&Loaded>,
        at: TimestampMs,
        now: HostTime,
    ) -> EngineError {
        if let Rejection::Unread { .. } = rejection {
            // Whoever has read it asks again.
            return rejection.into();
        }
        let version = current.map_or(Version::ABSENT, |loaded| loaded.version);
        let under_way = |sent: &Sent| version == sent.expected && at < sent.until;
        if self.shows_none_of(&self.ambiguous, current)
            && !self.ambiguous.iter().any(under_way)
            && !self.may_be_removed(current, now)
        {
            return rejection.into();
        }
        self.moved_on(&rejection.to_string(), now)
    }

    fn mark(&self, current: Option<&Loaded>) -> Option<Mark> {
        current.and_then(|loaded| self.command.identity().mark(&loaded.execution))
    }

    /// Whether the record shows that none of these commits has applied: by its version, or because
    /// nothing of their kind has been carried out since they were decided.
    fn shows_none_of(&self, commits: &[Sent], current: Option<&Loaded>) -> bool {
        let version = current.map(|loaded| loaded.version);
        let mark = self.mark(current);
        let unmarked =
            |sent: &Sent| mark.is_some() && mark == sent.mark && !planted!(ConflictDoubted);
        let other = |sent: &Sent| is_other(version, sent.expected, sent.nonce);
        commits.iter().all(|sent| other(sent) || unmarked(sent))
    }

    /// Whether the record may have forgotten the command while the same execution goes on: a grant
    /// when it ends or is consumed, a lease when it is given back, a suspension when another one
    /// came after it, an operator's call when enough others did. That the command could be applied
    /// then does not show that it never was. \[INV-IDENTITY-1\]
    fn may_be_forgotten(&self, current: Option<&Loaded>) -> bool {
        match self.command.identity() {
            IdentityKind::Grant | IdentityKind::Lease | IdentityKind::Suspension => true,
            IdentityKind::Request => {
                current.is_some_and(|loaded| loaded.execution.requests.is_full())
            }
            IdentityKind::Creator
            | IdentityKind::Fence
            | IdentityKind::Waitpoint
            | IdentityKind::Signal
            | IdentityKind::Sequence
            | IdentityKind::Absolute => false,
        }
    }

    /// Whether a lost commit may have created what is no longer there, since it was over and its
    /// retention too. Creating it again would run it a second time. \[INV-IDENTITY-1\]
    fn may_be_removed(&self, current: Option<&Loaded>, now: HostTime) -> bool {
        let passed = self.first_sent.map(|sent| now.local.since(sent));
        let tried = self.command.tried_for();
        current.is_none()
            && !self.ambiguous.is_empty()
            && tried.is_some_and(|tried| passed.is_some_and(|passed| passed >= tried))
            && !planted!(ResendBoundForgotten)
    }

    /// The error of a command of which nobody can say any more whether it was applied.
    fn moved_on(&self, why: &str, now: HostTime) -> EngineError {
        let elapsed = self.patience.elapsed(now);
        let op = self.command.name();
        EngineError::Timeout { op, elapsed, applied: Applied::Unknown }
            .context(format!("a reply was lost and the record has moved on since ({why})"))
    }

    fn unexpected(&self) -> Step<Output<C::Outcome>> {
        Step::Done(Err(Bug::unexpected_reply(self.command.name())))
    }
}

/// Whether a record of this version shows that a commit of that nonce on an expected version has
/// not applied.
pub(super) fn is_other(version: Option<Version>, expected: Version, nonce: u64) -> bool {
    let version = version.unwrap_or(Version::ABSENT);
    version == expected || (version.count == expected.count + 1 && version.nonce != nonce)
}

impl<C: Decide> Operation for Transact<C> {
    type Output = Output<C::Outcome>;

    fn partition(&self) -> Option<Partition> {
        Some(self.command.execution_id().partition())
    }

    fn start(&mut self, now: HostTime) -> Step<Self::Output> {
        self.patience.begin(now);
        match std::mem::take(&mut self.known) {
            _ if self.command.signal().is_some() => self.read(),
            Known::Nothing => self.read(),
            Known::Absent => self.decide(None, now.store, None, now),
            Known::Stale(loaded) => self.decide(Some(loaded), now.store, None, now),
            Known::Fresh(loaded, at) => {
                // The values did not come with it: a repeat has to read them.
                let values = self.command.fetches().is_empty().then(Vec::new);
                self.decide(Some(loaded), at, Some(values), now)
            }
        }
    }

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<Self::Output> {
        let pending = std::mem::replace(&mut self.pending, Pending::Nothing);
        match (pending, reply.body) {
            (_, ReplyBody::OverBound(over)) => {
                let (what, given, bound) = (over.what, over.given, over.bound);
                Step::Done(Err(EngineError::ResourceExhausted { what, given, bound }))
            }
            (Pending::Read, ReplyBody::Read(read)) => {
                self.decide_on(read.records, Some(read.values), reply.at, now)
            }
            (Pending::Quarantine(bug), _) => Step::Done(Err(EngineError::Bug(bug))),
            (Pending::Commit { outcome, after, sent }, ReplyBody::Commit(mut units)) => {
                let unit = units.pop().map(|unit| (unit, reply.at));
                self.on_commit(unit, (outcome, after), sent, now)
            }
            _ => self.unexpected(),
        }
    }

    fn on_failure(&mut self, failure: &Failure, now: HostTime) -> Step<Self::Output> {
        let pending = std::mem::replace(&mut self.pending, Pending::Nothing);
        if let Pending::Commit { sent, .. } = pending {
            match failure {
                Failure::NotSent(_) => {}
                Failure::Refused(_) => self.refused.push(sent),
                Failure::MaybeApplied(_) if planted!(LostReplyForgotten) => {}
                Failure::MaybeApplied(_) => self.ambiguous.push(sent),
            }
        }
        self.known = Known::Nothing;
        let applied = self.may_be_applied();
        match self.patience.after_failure(self.command.name(), failure, applied, now) {
            Ok(wait) => Step::Wait(wait),
            Err(error) => Step::Done(Err(error)),
        }
    }

    fn on_wake(&mut self, now: HostTime) -> Step<Self::Output> {
        self.start(now)
    }
}
