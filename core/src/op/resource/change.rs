//! The loop of every change of a record beside executions: read, decide, commit, and decide again
//! after a conflict.

use crate::error::{Applied, EngineError};
use crate::op::loaded::other_reply;
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::partition::Partition;
use crate::planted::planted;
use crate::resource::{
    Change, Changed, Facts, Kept, NextResource, Resource, ResourceId, ResourceKind, WRITERS,
};
use crate::store::{
    Commit, Failure, Read, RecordKey, Reply, ReplyBody, Request, Stored, Unit, UnitReply, Version,
};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::stored::{LoadedResource, key_of, write_entries};

/// Changes a record beside executions.
///
/// A rejection, or a decision that writes nothing, is final only when it was decided on the records
/// and the time of one reply, and no commit of the operation may still be applied. A commit whose
/// reply was lost is recognised in the record by its writer and nonce. \[INV-IDENTITY-1\]
#[derive(Clone, Debug)]
pub struct ChangeResource<C: Change> {
    change: C,
    id: ResourceId,
    /// The sender, which has one commit of the record in flight at a time.
    writer: u64,
    known: Option<KnownResource<C::Record, C::Beside>>,
    patience: Patience,
    /// The commits that may be applied although no reply says so, the latest last.
    sent: Vec<Sent<C>>,
    /// How many commits have arrived after the end of their window.
    late: u32,
    pending: Pending,
    /// The records beside it that its last decision was made on.
    beside: Vec<Option<LoadedResource<C::Beside>>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pending {
    #[default]
    Nothing,
    Read,
    /// The reply to the latest commit is awaited.
    Commit,
}

/// A commit that was sent.
#[derive(Clone, Debug)]
struct Sent<C: Change> {
    nonce: u64,
    /// The version that it replaces.
    expected: Version,
    /// The records beside it that it was decided on.
    beside: Vec<Option<LoadedResource<C::Beside>>>,
    /// When its window ends, by the store's clock.
    until: TimestampMs,
    /// The outcome and the record if it is applied.
    outcome: C::Outcome,
    after: Option<LoadedResource<C::Record>>,
    /// Whether its reply was lost. Otherwise the store has refused it, or it is in flight; a client
    /// of the store may have sent a first copy of it that was applied.
    unanswered: bool,
}

/// The records of one reply, or those that are known from before.
struct Basis<C: Change> {
    record: Option<LoadedResource<C::Record>>,
    beside: Vec<Option<LoadedResource<C::Beside>>>,
    at: TimestampMs,
    /// Whether all of it is from one reply.
    fresh: bool,
}

/// A record and those beside it as a program knows them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KnownResource<R, B> {
    /// The record.
    pub(super) record: LoadedResource<R>,
    /// The records beside it, in the order of [`Change::beside`].
    pub(super) beside: Vec<Option<LoadedResource<B>>>,
    /// The time by the store's clock to decide for; `None` for the estimate of the program.
    pub(super) at: Option<TimestampMs>,
}

/// A change that took effect.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceChanged<R, T> {
    /// The outcome of the rule.
    pub outcome: T,
    /// The record after the change, so that the next change needs no read.
    pub record: Option<LoadedResource<R>>,
    /// The store's time in the reply that the outcome is from.
    pub at: TimestampMs,
}

type Output<C> =
    Result<ResourceChanged<<C as Change>::Record, <C as Change>::Outcome>, EngineError>;

impl<C: Change> ChangeResource<C> {
    /// Creates an operation that reads the record first. Its writer makes no other change.
    pub fn new(change: C, mut patience: Patience) -> Self {
        let writer = patience.nonce();
        Self::knowing(change, writer, None, patience)
    }

    /// Creates an operation of a writer that makes one change of the record after the other, and
    /// begins with the record as it knows it. Probably none of those beside it exists.
    pub fn knowing(
        change: C,
        writer: u64,
        known: Option<LoadedResource<C::Record>>,
        patience: Patience,
    ) -> Self {
        let none = || change.beside().iter().map(|_| None).collect();
        let known = known.map(|record| KnownResource { record, beside: none(), at: None });
        Self::knowing_all(change, writer, known, patience)
    }

    /// Creates an operation like [`Self::knowing`], which also knows the records beside it.
    pub(super) fn knowing_all(
        change: C,
        writer: u64,
        known: Option<KnownResource<C::Record, C::Beside>>,
        patience: Patience,
    ) -> Self {
        let id = change.target();
        let (pending, sent, late, beside) = (Pending::Nothing, Vec::new(), 0, Vec::new());
        Self { change, id, writer, known, patience, sent, late, pending, beside }
    }

    /// Takes the records beside it on which it was decided, once it has ended.
    pub(super) fn take_beside(&mut self) -> Vec<Option<LoadedResource<C::Beside>>> {
        std::mem::take(&mut self.beside)
    }

    /// Returns the change.
    pub const fn change(&self) -> &C {
        &self.change
    }

    fn keys(&self) -> impl Iterator<Item = RecordKey> {
        let kind = C::Beside::KIND;
        let beside = self.change.beside().into_iter();
        let beside = beside.map(move |uuid| RecordKey::Resource(kind, uuid));
        [key_of(&self.id)].into_iter().chain(beside)
    }

    fn start(&mut self, now: HostTime) -> Step<Output<C>> {
        self.patience.begin(now);
        match self.known.take() {
            Some(KnownResource { record, beside, at }) => {
                let (record, at) = (Some(record), at.unwrap_or(now.store));
                self.decide(Basis { record, beside, at, fresh: false }, now)
            }
            None => self.read(),
        }
    }

    fn read(&mut self) -> Step<Output<C>> {
        self.pending = Pending::Read;
        let (partition, records) = (self.id.partition, self.keys().collect());
        Step::Send(Request::Read(Read { partition, records, values: Vec::new() }))
    }

    /// Decodes the records of a reply, in the order of the keys.
    fn decoded(&self, records: &[Option<Stored>]) -> Option<Result<Found<C>, EngineError>> {
        let codec = self.patience.codec();
        let (first, others) = records.split_first()?;
        if others.len() != self.change.beside().len() {
            return None;
        }
        let record = first.as_ref().map(|stored| LoadedResource::of(stored, codec)).transpose();
        let beside = others.iter();
        let beside = beside
            .map(|stored| stored.as_ref().map(|stored| LoadedResource::of(stored, codec)))
            .map(Option::transpose);
        Some(record.and_then(|record| Ok((record, beside.collect::<Result<_, _>>()?))))
    }

    fn found(
        &mut self,
        records: &[Option<Stored>],
        at: TimestampMs,
        now: HostTime,
    ) -> Step<Output<C>> {
        match self.decoded(records) {
            Some(Ok((record, beside))) => {
                self.decide(Basis { record, beside, at, fresh: true }, now)
            }
            Some(Err(error)) => Step::fail(error),
            None => self.resume(Event::Failure(other_reply(C::NAME)), now),
        }
    }

    fn decide(&mut self, basis: Basis<C>, now: HostTime) -> Step<Output<C>> {
        let at = basis.at;
        if let (true, Some(sent)) = (basis.fresh, self.applied(basis.record.as_ref())) {
            let Sent { outcome, after: record, beside, .. } = sent;
            self.beside = beside;
            return Step::Done(Ok(ResourceChanged { outcome, record, at }));
        }
        if basis.fresh && self.is_unknown(basis.record.as_ref()) {
            return Step::fail(self.timeout(now));
        }
        if basis.fresh {
            self.settle(&basis);
        }
        let beside: Vec<_> = basis.beside.iter().map(|beside| record_of(beside.as_ref())).collect();
        let record = basis.record.as_ref().map(|l| l.record());
        let facts = Facts { record, beside: &beside, late: self.late };
        let is_final = basis.fresh && self.sent.is_empty();
        let changed = match self.change.decide(&facts, at) {
            Err(rejection) if is_final => return Step::fail(rejection),
            Ok(Changed { next: NextResource::Keep, outcome, .. }) if is_final => {
                self.beside = basis.beside;
                return Step::Done(Ok(ResourceChanged { outcome, record: basis.record, at }));
            }
            Ok(Changed { next: NextResource::Keep, .. }) | Err(_) => {
                return self.read_again(basis.fresh, now);
            }
            Ok(changed) => changed,
        };
        let version = version_of(basis.record.as_ref());
        let nonce = self.patience.nonce();
        let others = basis.beside.iter().map(|beside| version_of(beside.as_ref()));
        let versions = [version].into_iter().chain(others);
        let ahead = Some(self.patience.left(now));
        let mut unit = Unit {
            expect: self.keys().zip(versions).collect(),
            window: changed.window.clipped(at, ahead),
            ..Unit::new(self.change.purpose(), nonce)
        };
        let (before, codec) = (basis.record.as_ref().map(|l| l.record()), self.patience.codec());
        let mut after = None;
        match changed.next {
            NextResource::Put(record) => {
                write_entries(&mut unit, self.id.uuid, before, Some(&record));
                let kept = match &basis.record {
                    Some(loaded) => loaded.kept.next(record, self.writer, nonce),
                    None => Kept::new(record.clone()).next(record, self.writer, nonce),
                };
                unit.put.push((key_of(&self.id), codec.encode(&kept)));
                after = Some(LoadedResource { version: version.next(nonce), kept });
            }
            NextResource::Remove => {
                write_entries(&mut unit, self.id.uuid, before, None);
                unit.remove.push(key_of(&self.id));
            }
            NextResource::Keep => {}
        }
        let uuids = self.change.beside();
        for (place, record) in changed.beside {
            let before = beside.get(place).and_then(Option::as_ref);
            write_entries(&mut unit, uuids[place], before, Some(&record));
            let key = RecordKey::Resource(C::Beside::KIND, uuids[place]);
            unit.put.push((key, codec.encode(&Kept::new(record))));
        }
        let (until, outcome) = (unit.window.not_after, changed.outcome);
        let (expected, beside, unanswered) = (version, basis.beside, false);
        self.sent.push(Sent { nonce, expected, beside, until, outcome, after, unanswered });
        self.pending = Pending::Commit;
        Step::Send(Request::Commit(Commit { partition: self.id.partition, units: vec![unit] }))
    }

    /// Reads again: the basis was not fresh, or a commit may still be applied.
    fn read_again(&mut self, fresh: bool, now: HostTime) -> Step<Output<C>> {
        if !fresh {
            return self.read();
        }
        let applied = self.in_doubt();
        Step::retry(self.patience.after_refusal(C::NAME, applied, now))
    }

    /// Returns the commit of this operation that the record shows as applied.
    fn applied(&self, record: Option<&LoadedResource<C::Record>>) -> Option<Sent<C>> {
        let forgets = match C::Record::KIND {
            ResourceKind::Lanes => planted!(LaneChangeRepeated),
            ResourceKind::Workers => false,
            _ => planted!(ChargeAppliedTwice),
        };
        if forgets {
            return None;
        }
        let nonce = record?.kept.latest_of(self.writer)?;
        self.sent.iter().find(|sent| sent.nonce == nonce).cloned()
    }

    /// Whether the record cannot show whether a doubtful commit was applied: it was removed, or so
    /// many writers have changed it since that it may have forgotten this one.
    fn is_unknown(&self, record: Option<&LoadedResource<C::Record>>) -> bool {
        let version = version_of(record);
        let is_full = record.is_some_and(|loaded| loaded.kept.has_forgotten());
        let forgets = |sent: &Sent<C>| {
            // Each commit counts one up, so a lower count is that of a record created anew.
            let since = version.count.checked_sub(sent.expected.count);
            since.is_none_or(|since| is_full && since > WRITERS as u64)
        };
        !self.change.is_absolute() && self.sent.iter().any(forgets)
    }

    /// Forgets the commits that cannot be applied any more: the record, which shows none of them,
    /// or one beside it is not the one that they were decided on, or their window is over.
    fn settle(&mut self, basis: &Basis<C>) {
        let version = version_of(basis.record.as_ref());
        let beside = basis.beside.iter().map(|beside| version_of(beside.as_ref()));
        self.sent.retain(|sent| {
            let decided_on = sent.beside.iter().map(|beside| version_of(beside.as_ref()));
            let holds = sent.expected == version && beside.clone().eq(decided_on);
            holds && basis.at < sent.until
        });
    }

    fn in_doubt(&self) -> Applied {
        match self.sent.iter().any(|sent| sent.unanswered) {
            true => Applied::Unknown,
            false => Applied::No,
        }
    }

    fn timeout(&self, now: HostTime) -> EngineError {
        let elapsed = self.patience.elapsed(now);
        EngineError::Timeout { op: C::NAME, elapsed, applied: Applied::Unknown }
            .context("a reply was lost and others have changed the record since")
    }

    fn on_commit(&mut self, reply: UnitReply, at: TimestampMs, now: HostTime) -> Step<Output<C>> {
        match reply {
            UnitReply::Committed { .. } => match self.sent.pop() {
                Some(Sent { outcome, after: record, beside, .. }) => {
                    self.beside = beside;
                    Step::Done(Ok(ResourceChanged { outcome, record, at }))
                }
                None => self.resume(Event::Failure(other_reply(C::NAME)), now),
            },
            UnitReply::Conflict { current } => {
                let basis = match self.decoded(&current) {
                    Some(Ok((record, beside))) => Basis { record, beside, at, fresh: true },
                    Some(Err(error)) => return Step::fail(error),
                    None => return self.read(),
                };
                if self.applied(basis.record.as_ref()).is_none() {
                    self.settle(&basis);
                    if self.change.is_contended() {
                        return self.decide(basis, now);
                    }
                    match self.patience.after_conflict(C::NAME, self.in_doubt(), now) {
                        Ok(None) => {}
                        Ok(Some(wait)) => return Step::Wait(wait),
                        Err(error) => return Step::fail(error),
                    }
                }
                self.decide(basis, now)
            }
            UnitReply::OutsideWindow => {
                self.late += 1;
                Step::retry(self.patience.after_refusal(C::NAME, self.in_doubt(), now))
            }
        }
    }

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<Output<C>> {
        match (std::mem::take(&mut self.pending), reply.body) {
            (_, ReplyBody::OverBound(over)) => Step::fail(over),
            (Pending::Read, ReplyBody::Read(read)) => self.found(&read.records, reply.at, now),
            (Pending::Commit, ReplyBody::Commit(mut units)) if units.len() == 1 => {
                match units.pop() {
                    Some(unit) => self.on_commit(unit, reply.at, now),
                    None => self.resume(Event::Failure(other_reply(C::NAME)), now),
                }
            }
            _ => self.resume(Event::Failure(other_reply(C::NAME)), now),
        }
    }
}

type Found<C> = (
    Option<LoadedResource<<C as Change>::Record>>,
    Vec<Option<LoadedResource<<C as Change>::Beside>>>,
);

fn version_of<R>(loaded: Option<&LoadedResource<R>>) -> Version {
    loaded.map_or(Version::ABSENT, |loaded| loaded.version)
}

fn record_of<R: Resource>(loaded: Option<&LoadedResource<R>>) -> Option<R> {
    loaded.map(|loaded| loaded.record().clone())
}

impl<C: Change> Operation for ChangeResource<C> {
    type Output = Output<C>;

    fn partition(&self) -> Option<Partition> {
        Some(self.id.partition)
    }

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        Some(self.patience.left(now))
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        let step = match event {
            Event::Start => self.start(now),
            Event::Wake => self.read(),
            Event::Reply(reply) => self.on_reply(reply, now),
            Event::Failure(failure) => {
                let committed = std::mem::take(&mut self.pending) == Pending::Commit;
                match (&failure, self.sent.last_mut()) {
                    (Failure::NotSent(_), _) if committed => {
                        self.sent.pop();
                    }
                    (Failure::MaybeApplied(_), Some(sent)) if committed => sent.unanswered = true,
                    _ => {}
                }
                let applied = self.in_doubt();
                Step::retry(self.patience.after_failure(C::NAME, &failure, applied, now))
            }
        };
        if let Step::Send(Request::Commit(_)) = step
            && self.patience.left(now) == DurationMs::ZERO
        {
            // It is not sent, because the deadline has passed.
            self.sent.pop();
        }
        self.patience.in_time(step, C::NAME, self.in_doubt(), now)
    }
}
