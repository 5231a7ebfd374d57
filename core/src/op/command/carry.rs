//! The loop of every command: read, decide, commit, and decide again after a conflict.

use crate::error::{Applied, Bug, EngineError, Missing, Rejection};
use crate::execution::{
    CommandSpec, Decide, Decision, Facts, FirstSeen, IdentityKind, Origin, Purpose, Verdict,
};
use crate::op::doubt::{Doubt, Evidence, SentCommit};
use crate::op::loaded::{Loaded, load_of, other_reply, signal_key, value_key};
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::partition::Partition;
use crate::planted::planted;
use crate::store::{
    Commit, Failure, Fetched, Read, RecordKey, Reply, ReplyBody, Request, Stored, UnitReply,
    Version,
};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::basis::{Basis, Found, Unusable, found_signal};
use super::commit_unit::{CommitUnit, Stamp, commit_unit, quarantine};
use super::facts::ReadFacts;
use super::gating::{Gating, note_slots};

/// Carries one command to its execution, and reads the facts that it needs.
///
/// A rejection or a recognised repeat is final only when it was decided on the record and the time
/// of one and the same reply. If it was decided on a cached record or an estimated time, the
/// operation reads and decides again. After an ambiguous failure it also reads and decides again.
/// If its commit was applied, the rule recognises the command as a repeat. \[INV-IDENTITY-1\]
#[derive(Clone, Debug)]
pub struct CarryCommand<C: Decide> {
    command: C,
    spec: CommandSpec,
    known: Known,
    patience: Patience,
    pending: Pending<C::Outcome>,
    doubt: Doubt,
    first_sent: Option<TimestampMs>,
    first_seen: Option<FirstSeen>,
    /// The error with which the operation ends unless its last decision is a repeat or a rejection.
    given_up: Option<Box<EngineError>>,
    /// Whether a record has shown that the command is applied.
    recognised: bool,
    /// The facts besides the record; `None` if the command needs none.
    facts: Option<Box<ReadFacts>>,
    /// The limits of the execution, once the rule has asked for them.
    gating: Option<Box<Gating>>,
}

/// The state of a record that an operation knows before its first step.
#[derive(Clone, Debug, Default)]
pub enum Known {
    /// Nothing: the operation reads the record first.
    #[default]
    Nothing,
    /// Probably there is no record.
    Absent,
    /// The record as it was some time ago.
    Stale(Loaded),
    /// The record and the store's time, from a reply that was just received.
    Fresh(Loaded, TimestampMs),
}

/// A command that took effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed<T> {
    /// The outcome of the rule.
    pub outcome: T,
    /// Whether the command was recognised as a repeat.
    pub repeat: bool,
    /// The values that the command fetches, in order.
    pub values: Vec<Fetched>,
    /// The store's time in the reply that the outcome is from.
    pub at: TimestampMs,
    /// The host's clock when this operation first sent the command. If an earlier operation had
    /// already applied it, the host's clock when the repeat was recognised.
    pub first_sent: TimestampMs,
    /// The record after the command, so that the next command on it needs no read; `None` if it was
    /// removed.
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
    /// The outcome if the commit applies.
    outcome: T,
    sent: SentCommit,
    /// The record if the commit applies.
    after: Option<Loaded>,
}

type Output<T> = Result<Committed<T>, EngineError>;

impl<C: Decide> CarryCommand<C> {
    /// An operation that knows nothing of the record yet.
    pub fn new(command: C, patience: Patience) -> Self {
        Self::knowing(command, Known::Nothing, patience)
    }

    /// An operation that begins with a known record.
    pub fn knowing(command: C, known: Known, mut patience: Patience) -> Self {
        let spec = command.spec();
        if spec.purpose == Purpose::Finish {
            patience.exempt();
        }
        let facts = ReadFacts::new(&spec, &mut patience);
        Self {
            command,
            spec,
            known,
            patience,
            pending: Pending::Nothing,
            doubt: Doubt::default(),
            first_sent: None,
            first_seen: None,
            given_up: None,
            recognised: false,
            facts,
            gating: None,
        }
    }

    /// The command that it carries.
    pub const fn command(&self) -> &C {
        &self.command
    }

    fn start(&mut self, now: HostTime) -> Step<Output<C::Outcome>> {
        self.patience.begin(now);
        match &mut self.facts {
            Some(facts) => facts.begin(now).then_ok(|()| self.go_on(now)),
            None => self.go_on(now),
        }
    }

    /// Decides on the known record, or reads it.
    fn go_on(&mut self, now: HostTime) -> Step<Output<C::Outcome>> {
        let (signal, values) = (None, None);
        let at = self.gating.as_ref().and_then(|gating| gating.time(now)).unwrap_or(now.store);
        let stale = |record| Basis { record, signal, at, fresh: false, values };
        match std::mem::take(&mut self.known) {
            // The signal's record must be from the reply that the decision is made on.
            _ if self.spec.needs.signal.is_some() => self.read(),
            Known::Nothing => self.read(),
            Known::Absent => self.decide(stale(None), now),
            Known::Stale(loaded) => self.decide(stale(Some(loaded)), now),
            Known::Fresh(loaded, at) => {
                // This record comes without the command's values. If the command fetches values
                // and is a repeat, `decide` reads the record again together with them.
                let values = self.no_values();
                let record = Some(loaded);
                self.decide(Basis { record, signal: None, at, fresh: true, values }, now)
            }
        }
    }

    /// No values, if the command fetches none; otherwise `None`.
    fn no_values(&self) -> Option<Vec<Fetched>> {
        self.spec.fetches.is_empty().then(Vec::new)
    }

    fn read(&mut self) -> Step<Output<C::Outcome>> {
        let id = self.spec.execution_id;
        self.pending = Pending::Read;
        let signal = self.spec.needs.signal.map(|signal| signal_key(&id, signal));
        Step::Send(Request::Read(Read {
            partition: id.partition(),
            records: [RecordKey::of(&id)].into_iter().chain(signal).collect(),
            values: self.spec.fetches.iter().map(|kind| value_key(&id, *kind)).collect(),
        }))
    }

    fn decide(&mut self, basis: Basis, now: HostTime) -> Step<Output<C::Outcome>> {
        let (at, fresh) = (basis.at, basis.fresh);
        let record = basis.record.as_ref().map(|loaded| &*loaded.execution);
        if let Some(record) = record {
            self.first_seen = Some(FirstSeen::noted(self.first_seen, record));
        }
        let evidence = self.evidence(basis.record.as_ref());
        if fresh {
            self.doubt.settle_refused(&evidence);
        }
        let facts = Facts {
            record,
            signal: basis.signal.as_ref(),
            keyring: self.facts.as_ref().and_then(|facts| facts.keyring()),
            buffered: self.facts.as_ref().map(|facts| facts.buffered()),
            lanes: self.facts.as_ref().and_then(|facts| facts.lanes()),
            admission: self.gating.as_ref().and_then(|gating| gating.admission(evidence.version)),
            first_seen: self.first_seen,
        };
        let ruling = self.command.decide(&facts, at);
        #[cfg(feature = "planted-bugs")]
        let ruling = crate::execution::spoil(&self.command, &facts, at, ruling);
        match (ruling, basis.values) {
            (Err(rejection), _) if fresh || planted!(StaleRejectionTrusted) => {
                self.rejected(rejection, basis.record, at, now)
            }
            (Ok(Verdict::Repeat(outcome)), Some(values)) if fresh => {
                let first_sent = self.first_sent.unwrap_or(now.local);
                let (repeat, record) = (true, basis.record);
                Step::Done(Ok(Committed { outcome, repeat, values, at, first_sent, record }))
            }
            (Err(_) | Ok(Verdict::Repeat(_)), _) => {
                self.recognised |= fresh;
                self.read()
            }
            (Ok(Verdict::Apply(_)), _)
                if fresh
                    && (self.recognised
                        || self.may_apply_twice(basis.record.as_ref(), at, now)) =>
            {
                Step::fail(self.moved_on("the command might be applied a second time", now))
            }
            (Ok(Verdict::Apply(decision)), _) => self.commit(decision, basis.record, at, now),
        }
    }

    fn commit(
        &mut self,
        decision: Decision<C::Outcome>,
        current: Option<Loaded>,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<Output<C::Outcome>> {
        if let Some(error) = self.given_up.take() {
            return Step::fail(*error);
        }
        let id = self.spec.execution_id;
        let nonce = self.patience.nonce();
        let stamp = Stamp {
            context: self.patience.context(),
            now: at,
            patience: self.patience.left(now),
            nonce,
            purpose: self.spec.purpose,
        };
        let CommitUnit { unit, outcome, after } =
            commit_unit(&id, current.as_ref(), decision, stamp, self.spec.fetches);
        let Evidence { version: expected, origin, fingerprint } = self.evidence(current.as_ref());
        let until = unit.window.not_after;
        let sent = SentCommit { expected, origin, nonce, until, fingerprint };
        self.pending = Pending::Commit(CommitInFlight { outcome, sent, after });
        self.first_sent.get_or_insert(now.local);
        self.known = current.map_or(Known::Absent, Known::Stale);
        Step::Send(Request::Commit(Commit { partition: id.partition(), units: vec![unit] }))
    }

    /// Decodes the records that the store returned: first the execution's, then the signal's if the
    /// command names a signal.
    fn decoded(&self, records: Vec<Option<Stored>>) -> Result<Found, Unusable> {
        let (id, codec) = (self.spec.execution_id, self.patience.codec());
        let mut records = records.into_iter();
        let stored = records.next().ok_or(Unusable::OtherReply)?;
        let signal = match self.spec.needs.signal {
            Some(signal) => {
                let stored = records.next().ok_or(Unusable::OtherReply)?;
                Some(found_signal(signal, stored, codec)?)
            }
            None => None,
        };
        let record = stored.as_ref().map(|stored| load_of(&id, stored, codec)).transpose();
        let record = record.map_err(|error| match (error, stored) {
            (EngineError::Bug(Bug::UnexpectedReply { .. }), _) => Unusable::OtherReply,
            (EngineError::Bug(bug @ Bug::CorruptRecord { .. }), Some(stored)) => {
                Unusable::Corrupt(bug, stored.version)
            }
            (error, _) => Unusable::Unreadable(error),
        })?;
        Ok(Found { record, signal })
    }

    /// Goes on after a reply whose records cannot be used. `sent`: the commit that it answers.
    fn not_usable(
        &mut self,
        why: Unusable,
        sent: Option<SentCommit>,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<Output<C::Outcome>> {
        match why {
            Unusable::OtherReply => self.unanswered(sent, &other_reply(self.spec.name), now),
            Unusable::Corrupt(bug, version) => {
                let id = self.spec.execution_id;
                self.pending = Pending::Quarantine(bug);
                let units = vec![quarantine(id.uuid(), version, None, at)];
                Step::Send(Request::Commit(Commit { partition: id.partition(), units }))
            }
            Unusable::Unreadable(error) => Step::fail(error),
        }
    }

    /// Decides on records of one reply.
    fn decide_on(
        &mut self,
        found: Found,
        values: Option<Vec<Fetched>>,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<Output<C::Outcome>> {
        let Found { mut record, signal } = found;
        if let (true, Some(found), Known::Stale(old)) =
            (planted!(OldDecisionRetried), &mut record, &self.known)
        {
            found.execution = old.execution.clone();
        }
        self.decide(Basis { record, signal, at, fresh: true, values }, now)
    }

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<Output<C::Outcome>> {
        match (std::mem::take(&mut self.pending), reply.body) {
            (_, ReplyBody::OverBound(over)) => Step::fail(over),
            (Pending::Read, ReplyBody::Read(read)) => match self.decoded(read.records) {
                Ok(found) => self.decide_on(found, Some(read.values), reply.at, now),
                Err(why) => self.not_usable(why, None, reply.at, now),
            },
            (Pending::Quarantine(bug), _) => Step::fail(EngineError::Bug(bug)),
            (Pending::Commit(commit), ReplyBody::Commit(mut units)) => match units.pop() {
                Some(unit) if units.is_empty() => self.on_commit(unit, reply.at, commit, now),
                _ => self.unanswered(Some(commit.sent), &other_reply(self.spec.name), now),
            },
            (Pending::Commit(commit), _) => {
                self.unanswered(Some(commit.sent), &other_reply(self.spec.name), now)
            }
            _ => self.unanswered(None, &other_reply(self.spec.name), now),
        }
    }

    /// Handles the store's reply to a commit.
    fn on_commit(
        &mut self,
        reply: UnitReply,
        at: TimestampMs,
        commit: CommitInFlight<C::Outcome>,
        now: HostTime,
    ) -> Step<Output<C::Outcome>> {
        let CommitInFlight { outcome, sent, after: record } = commit;
        match reply {
            UnitReply::Committed { fetched: values } => {
                let before = match &self.known {
                    Known::Stale(loaded) => Some(&*loaded.execution),
                    _ => None,
                };
                let after = record.as_ref().map(|loaded| &*loaded.execution);
                note_slots(self.gating.as_deref(), before, after, self.patience.context());
                let first_sent = self.first_sent.unwrap_or(now.local);
                let repeat = false;
                Step::Done(Ok(Committed { outcome, repeat, values, at, first_sent, record }))
            }
            UnitReply::Conflict { current } if current.is_empty() => {
                self.conflict_unseen(sent, now)
            }
            UnitReply::Conflict { current } => {
                let found = match self.decoded(current) {
                    Ok(found) => found,
                    Err(why) => return self.not_usable(why, Some(sent), at, now),
                };
                self.doubt.conflicted(sent, &self.evidence(found.record.as_ref()));
                let applied = self.applied();
                match self.patience.after_conflict(self.spec.name, applied, now) {
                    Ok(Some(wait)) => {
                        self.known = Known::Nothing;
                        return Step::Wait(wait);
                    }
                    Ok(None) => {}
                    Err(error) => self.given_up = Some(Box::new(error)),
                }
                self.decide_on(found, self.no_values(), at, now)
            }
            UnitReply::OutsideWindow => {
                self.doubt.refused(sent);
                self.known = Known::Nothing;
                let applied = self.applied();
                Step::retry(self.patience.after_refusal(self.spec.name, applied, now))
            }
        }
    }

    /// Handles a conflict whose records were too large for the reply: they are read, also before
    /// the operation gives up.
    fn conflict_unseen(&mut self, sent: SentCommit, now: HostTime) -> Step<Output<C::Outcome>> {
        self.doubt.refused(sent);
        self.known = Known::Nothing;
        match self.patience.after_conflict(self.spec.name, self.doubt.applied(), now) {
            Ok(Some(wait)) => return Step::Wait(wait),
            Ok(None) => {}
            Err(error) => self.given_up = Some(Box::new(error)),
        }
        self.go_on(now)
    }

    /// Waits after a call that got no reply, or one that says nothing about it. `sent`: the commit,
    /// if it was one.
    fn unanswered(
        &mut self,
        sent: Option<SentCommit>,
        failure: &Failure,
        now: HostTime,
    ) -> Step<Output<C::Outcome>> {
        sent.into_iter().for_each(|sent| self.doubt.failed(sent, failure));
        self.facts.iter_mut().for_each(|facts| facts.forget_signals());
        self.known = Known::Nothing;
        let (op, applied) = (self.spec.name, self.applied());
        Step::retry(self.patience.after_failure(op, failure, applied, now))
    }

    /// Handles a rejection: reads the facts that the rule asked for, or ends with the rejection.
    fn rejected(
        &mut self,
        rejection: Rejection,
        current: Option<Loaded>,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<Output<C::Outcome>> {
        let is_certain = self.is_certain(current.as_ref(), at, now);
        let loaded = current.clone();
        // The record to decide on after the missing facts are read: this one, or a newly read one
        // if an earlier commit is in doubt.
        let known = current.filter(|_| self.doubt.is_empty());
        self.known = known.map_or(Known::Nothing, Known::Stale);
        let is_doubtful = self.facts.as_ref().is_some_and(|facts| facts.is_doubtful());
        let missing = match &rejection {
            Rejection::Unread { what } => Some(*what),
            _ if !is_certain => return Step::fail(self.moved_on(&rejection.to_string(), now)),
            // The secrets may be older than the token, so they are read again before the token is
            // refused.
            Rejection::InvalidToken if is_doubtful => Some(Missing::Secrets),
            _ => None,
        };
        let applied = self.applied();
        if let (Some(Missing::Limits), Some(loaded)) = (missing, loaded) {
            let Some(grant) = self.spec.needs.grant else { return Step::fail(rejection) };
            let may_have_started = self.may_have_started(Some(&loaded));
            let (gating, patience) = (self.gating.get_or_insert_default(), self.patience.fork());
            if may_have_started {
                gating.note_doubt();
            }
            let asked = gating.ask(&loaded, grant, patience, at, now);
            return asked.then_ok(|()| self.go_on(now));
        }
        match (missing, &mut self.facts) {
            // A command that gives up reads them too: it may be a repeat.
            (Some(what), Some(facts)) => {
                facts.read(what, at, applied, now).then_ok(|()| self.go_on(now))
            }
            _ => Step::fail(rejection),
        }
    }

    /// Whether a rejection is final. After an ambiguous send it is final only if the record shows
    /// that the lost commit was not applied, and that it cannot be applied later. (A lost commit
    /// may still arrive while its window is open.)
    fn is_certain(&self, current: Option<&Loaded>, at: TimestampMs, now: HostTime) -> bool {
        let evidence = self.evidence(current);
        self.doubt.unanswered_are_disproved(&evidence)
            && !self.doubt.may_still_apply(evidence.version, at)
            && !self.may_be_removed(at, now)
    }

    /// Whether an earlier commit may have applied the command although the rule does not recognise
    /// a repeat. If so, applying the command now could apply it twice. \[INV-IDENTITY-1\]
    fn may_apply_twice(&self, current: Option<&Loaded>, at: TimestampMs, now: HostTime) -> bool {
        let evidence = self.evidence(current);
        self.may_be_removed(at, now)
            || self.may_be_forgotten(current) && !self.doubt.is_disproved(&evidence)
    }

    /// Whether a commit that no reply confirms may have started the execution.
    fn may_have_started(&self, current: Option<&Loaded>) -> bool {
        !self.doubt.all_are_disproved(&self.evidence(current))
    }

    /// The evidence in a record about the commits of this operation.
    fn evidence(&self, current: Option<&Loaded>) -> Evidence {
        Evidence {
            version: current.map_or(Version::ABSENT, |loaded| loaded.version),
            origin: current.map(|loaded| Origin::of(&loaded.execution)),
            fingerprint: current
                .and_then(|loaded| self.spec.identity.fingerprint(&loaded.execution)),
        }
    }

    /// Whether the record may have lost the trace by which the rule recognises a repeat. The record
    /// drops the trace of a grant when it expires unused or when the lease that consumed it ends,
    /// of a lease when it is given back, of a suspension when another one follows, and of an
    /// operator's call when eight others follow. Then the rule would apply the command a second
    /// time. \[INV-IDENTITY-1\]
    fn may_be_forgotten(&self, current: Option<&Loaded>) -> bool {
        match self.spec.identity {
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

    /// Whether an unanswered commit may have created an execution that has since ended and been
    /// removed. If so, the record proves nothing: if it is absent, creating the execution would run
    /// it a second time; if it exists, it may belong to another submission. The store's clock may
    /// have stepped forwards past the retention of the record. \[INV-IDENTITY-1\]
    fn may_be_removed(&self, at: TimestampMs, now: HostTime) -> bool {
        let Some(bound) = self.spec.resend_within else { return false };
        let is_late = self.first_sent.is_some_and(|sent| now.local.since(sent) >= bound);
        self.doubt.has_unanswered()
            && (is_late || self.doubt.have_ended_for(bound, at))
            && !planted!(ResendBoundForgotten)
    }

    /// Whether the command may be applied: the reply of a commit was lost, or a record showed it.
    const fn applied(&self) -> Applied {
        if self.recognised { Applied::Unknown } else { self.doubt.applied() }
    }

    /// The error of a command that may or may not have been applied.
    fn moved_on(&self, why: &str, now: HostTime) -> EngineError {
        self.patience
            .timeout(self.spec.name, Applied::Unknown, now)
            .context(format!("a reply was lost and the record may have changed since ({why})"))
    }
}

impl<C: Decide> Operation for CarryCommand<C> {
    type Output = Output<C::Outcome>;

    fn partition(&self) -> Option<Partition> {
        Some(self.spec.execution_id.partition())
    }

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        let reads = self.facts.as_ref().and_then(|facts| facts.reply_within(now));
        let asks = self.gating.as_ref().and_then(|gating| gating.reply_within(now));
        let left = reads.into_iter().chain(asks).fold(self.patience.left(now), DurationMs::min);
        // A command that is applied may read the values for its answer after its deadline.
        (left > DurationMs::ZERO || !self.recognised).then_some(left)
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        let mut step = self.step(event, now);
        // If the command is applied, this reads the values for the answer.
        if !self.recognised {
            step = self.patience.in_time(step, self.spec.name, self.applied(), now);
        }
        if let Step::Done(result) = &step
            && let Some(mut gating) = self.gating.take()
        {
            let after = result.as_ref().ok().and_then(|done| done.record.as_ref());
            if self.may_have_started(after) {
                gating.note_doubt();
            }
            let in_doubt = result.is_err() && !self.doubt.is_empty();
            gating.end(after.map(|loaded| &*loaded.execution), in_doubt);
        }
        step
    }
}

impl<C: Decide> CarryCommand<C> {
    fn step(&mut self, event: Event, now: HostTime) -> Step<Output<C::Outcome>> {
        if let Some(gating) = self.gating.as_mut().filter(|gating| gating.is_asking()) {
            return gating.resume(event, now).then_ok(|()| self.go_on(now));
        }
        let applied = self.applied();
        if let Some(facts) = self.facts.as_mut().filter(|facts| facts.is_reading()) {
            let read = facts.resume(event, applied, now);
            return read.then_ok(|()| self.go_on(now));
        }
        match event {
            Event::Start => self.start(now),
            Event::Wake => self.go_on(now),
            Event::Reply(reply) => self.on_reply(reply, now),
            Event::Failure(failure) => {
                let sent = match std::mem::take(&mut self.pending) {
                    Pending::Commit(commit) => Some(commit.sent),
                    _ => None,
                };
                self.unanswered(sent, &failure, now)
            }
        }
    }
}
