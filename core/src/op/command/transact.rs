//! The one loop that every command goes through: read, decide, commit, meet a conflict, decide
//! again.

use crate::error::{Applied, Bug, EngineError, Rejection};
use crate::execution::{Decide, FoundSignal, IdentityKind, SignalRecord, Verdict};
use crate::partition::Partition;
use crate::planted::planted;
use crate::store::codec::Codec;
use crate::store::{
    Commit, Fetched, Read, RecordKey, Reply, ReplyBody, Request, Stored, UnitReply, Version,
};
use crate::time::{HostTime, TimestampMs};

use crate::op::doubt::{Doubt, Evidence, SentCommit};
use crate::op::loaded::{Loaded, load, signal_key, unreadable, value_key};
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;

use super::commit_unit::{CommitUnit, Stamp, commit_unit, quarantine};

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
    doubt: Doubt,
    first_sent: Option<TimestampMs>,
}

/// What an operation knows of a record before its first step.
#[derive(Clone, Debug, Default)]
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

#[derive(Clone, Debug, Default)]
enum Pending<T> {
    #[default]
    Nothing,
    Read,
    Commit(CommitInFlight<T>),
    Quarantine(Bug),
}

/// A commit whose reply is awaited.
#[derive(Clone, Debug)]
struct CommitInFlight<T> {
    /// The caller's outcome if the commit applies.
    outcome: T,
    sent: SentCommit,
    /// The record if the commit applies.
    after: Option<Loaded>,
}

type Output<T> = Result<Committed<T>, EngineError>;

impl<C: Decide> Transact<C> {
    /// An operation that knows nothing of the record yet.
    pub fn new(command: C, patience: Patience) -> Self {
        Self::knowing(command, Known::Nothing, patience)
    }

    /// An operation that begins with what is known of the record.
    pub fn knowing(command: C, known: Known, patience: Patience) -> Self {
        let (pending, doubt) = (Pending::Nothing, Doubt::default());
        Self { command, known, patience, pending, doubt, first_sent: None }
    }

    /// Counts the time that it may take from now on, where it has not begun.
    pub(super) fn begin(&mut self, now: HostTime) {
        self.patience.begin(now);
    }

    /// Whether it has sent something that may be applied, as far as it knows.
    pub(super) const fn may_be_applied(&self) -> Applied {
        self.doubt.applied()
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
        let record = current.as_ref().map(|loaded| &*loaded.execution);
        if let Some(record) = record {
            self.command.observe(record);
        }
        let evidence = self.evidence(current.as_ref());
        if fresh.is_some() {
            self.doubt.settle_refused(&evidence);
        }
        match (self.command.decide(record, at), fresh) {
            (Err(rejection), fresh) if fresh.is_some() || planted!(StaleRejectionTrusted) => {
                let error = self.rejected(rejection, current.as_ref(), at, now);
                // Whoever has read what was missing goes on from here, unless a commit may have
                // been applied: then what was read since is not enough.
                let known = current.filter(|_| self.doubt.is_empty());
                self.known = known.map_or(Known::Nothing, Known::Stale);
                Step::fail(error)
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
                        && !self.doubt.is_disproved(&evidence) =>
            {
                Step::fail(self.moved_on("it would be applied a second time", now))
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
                let CommitUnit { unit, outcome, after } =
                    commit_unit(&id, current.as_ref(), decision, stamp, fetches);
                let Evidence { version: expected, mark } = evidence;
                let sent = SentCommit { expected, nonce, until: unit.window.not_after, mark };
                self.pending = Pending::Commit(CommitInFlight { outcome, sent, after });
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
                Err(error) => return Step::fail(error),
            }
        }
        let loaded = stored.as_ref().map(|stored| load(stored, self.patience.codec()));
        let mut current = match loaded.transpose() {
            Ok(current) => current,
            Err(EngineError::Bug(bug @ Bug::CorruptRecord { .. })) => {
                let id = self.command.execution_id();
                let version = stored.map_or(Version::ABSENT, |stored| stored.version);
                self.pending = Pending::Quarantine(bug);
                let units = vec![quarantine(id.uuid(), version, None, at)];
                return Step::Send(Request::Commit(Commit { partition: id.partition(), units }));
            }
            Err(error) => return Step::fail(error),
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
        reply: Option<UnitReply>,
        at: TimestampMs,
        commit: CommitInFlight<C::Outcome>,
        now: HostTime,
    ) -> Step<Output<C::Outcome>> {
        let CommitInFlight { outcome, sent, after: record } = commit;
        match reply {
            None => self.unexpected(),
            Some(UnitReply::Committed { fetched: values }) => {
                let first_sent = self.first_sent.unwrap_or(now.local);
                let repeat = false;
                Step::Done(Ok(Committed { outcome, repeat, values, at, first_sent, record }))
            }
            Some(UnitReply::Conflict { current }) => {
                let found = current.first().and_then(Option::as_ref);
                let version = found.map_or(Version::ABSENT, |stored| stored.version);
                self.doubt.conflicted(sent, version);
                match self.patience.after_conflict(self.command.name()) {
                    Err(error) => Step::fail(error),
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
            Some(UnitReply::OutsideWindow) => {
                self.doubt.refused(sent);
                self.known = Known::Nothing;
                Step::retry(self.patience.after_refusal(self.command.name()))
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
        let evidence = self.evidence(current);
        if self.doubt.unanswered_are_disproved(&evidence)
            && !self.doubt.may_still_apply(evidence.version, at)
            && !self.may_be_removed(current, now)
        {
            return rejection.into();
        }
        self.moved_on(&rejection.to_string(), now)
    }

    /// What a record shows of the commits of this operation.
    fn evidence(&self, current: Option<&Loaded>) -> Evidence {
        Evidence {
            version: current.map_or(Version::ABSENT, |loaded| loaded.version),
            mark: current.and_then(|loaded| self.command.identity().mark(&loaded.execution)),
        }
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
            && self.doubt.has_unanswered()
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

    /// Begins, or goes on after a wait.
    fn start(&mut self, now: HostTime) -> Step<Output<C::Outcome>> {
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

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<Output<C::Outcome>> {
        match (std::mem::take(&mut self.pending), reply.body) {
            (_, ReplyBody::OverBound(over)) => Step::fail(over),
            (Pending::Read, ReplyBody::Read(read)) => {
                self.decide_on(read.records, Some(read.values), reply.at, now)
            }
            (Pending::Quarantine(bug), _) => Step::fail(EngineError::Bug(bug)),
            (Pending::Commit(commit), ReplyBody::Commit(mut units)) => {
                self.on_commit(units.pop(), reply.at, commit, now)
            }
            _ => self.unexpected(),
        }
    }

    fn unexpected(&self) -> Step<Output<C::Outcome>> {
        Step::fail(Bug::unexpected_reply(self.command.name()))
    }
}

/// A signal's record as the store returned it.
fn found_signal(stored: Option<Stored>, codec: &Codec) -> Result<FoundSignal, EngineError> {
    Ok(match stored {
        None => FoundSignal::Absent,
        Some(stored) => {
            let signal = codec.decode::<SignalRecord>(&stored.bytes).map_err(unreadable)?;
            FoundSignal::Taken(Box::new(signal))
        }
    })
}

impl<C: Decide> Operation for Transact<C> {
    type Output = Output<C::Outcome>;

    fn partition(&self) -> Option<Partition> {
        Some(self.command.execution_id().partition())
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        match event {
            Event::Start | Event::Wake => self.start(now),
            Event::Reply(reply) => self.on_reply(reply, now),
            Event::Failure(failure) => {
                if let Pending::Commit(commit) = std::mem::take(&mut self.pending) {
                    self.doubt.failed(commit.sent, &failure);
                }
                self.known = Known::Nothing;
                let (op, applied) = (self.command.name(), self.doubt.applied());
                Step::retry(self.patience.after_failure(op, &failure, applied, now))
            }
        }
    }
}
