//! From a decision to writes: the only place that knows about indexes, versions and the journal.

use std::sync::Arc;

use uuid::Uuid;

use crate::execution::{
    Decision, Event, Execution, IndexEntries, Next, Phase, Purpose, SideEffects, ValueEffect,
    ValueKind, awaited_use, counted_state, index_entries,
};
use crate::id::ExecutionId;
use crate::op::context::OperationContext;
use crate::op::loaded::{Loaded, frames_of, signal_key, value_key};
use crate::score::Score;
use crate::store::codec::Codec;
use crate::store::{
    CountChange, CountName, IndexName, IndexWrite, JournalEntry, RecordKey, ScanEntry,
    ScanPosition, StreamAppend, StreamName, Topic, Unit, ValueWrite, Version,
};
use crate::time::{DurationMs, TimestampMs};

/// The data that a commit adds to a decision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp<'a> {
    /// How the program writes records, and whether the store keeps counts.
    pub(super) context: &'a OperationContext,
    /// The time that the decision was made for.
    pub(super) now: TimestampMs,
    /// How long the operation will wait for the commit.
    pub(super) patience: DurationMs,
    /// The nonce of the new version.
    pub(super) nonce: u64,
    /// Why it commits.
    pub(super) purpose: Purpose,
}

/// A decision as a unit of a commit.
#[derive(Debug)]
pub(super) struct CommitUnit<T> {
    /// The unit.
    pub(super) unit: Unit,
    /// The outcome that the caller gets if it is committed.
    pub(super) outcome: T,
    /// The record once it is committed.
    pub(super) after: Option<Loaded>,
}

/// The unit that applies a decision to the record that it was made for.
pub(super) fn commit_unit<T>(
    id: &ExecutionId,
    before: Option<&Loaded>,
    decision: Decision<T>,
    stamp: Stamp<'_>,
    fetch: &[ValueKind],
) -> CommitUnit<T> {
    let key = RecordKey::of(id);
    let version = before.map_or(Version::ABSENT, |loaded| loaded.version);
    // A third of the shortest ttl: storing it a little early only shortens a lease.
    let third = decision.stores_ttl.map(|ttl| DurationMs::new((ttl.get() / 3).max(1)));
    let ahead = third.map_or(stamp.patience, |third| third.min(stamp.patience));
    let mut unit = Unit {
        expect: vec![(key.clone(), version)],
        window: decision.window.clipped(stamp.now, Some(ahead)),
        values: decision.values.into_iter().map(|effect| write_of(id, effect)).collect(),
        fetch: fetch.iter().map(|kind| value_key(id, *kind)).collect(),
        ..Unit::new(stamp.purpose, stamp.nonce)
    };
    let repair = matches!(decision.next, Next::Keep);
    let after = match decision.next {
        Next::Put(next) => {
            unit.put.push((key, stamp.context.codec().encode(&next)));
            Some(Loaded { version: version.next(stamp.nonce), execution: Arc::new(next) })
        }
        Next::Keep => before.cloned(),
        Next::Remove => {
            unit.remove.push(key);
            None
        }
    };
    let record = |loaded: Option<&'_ Loaded>| loaded.map(|loaded| loaded.execution.clone());
    let (old, new) = (record(before), record(after.as_ref()));
    let change = Change { id, before: old.as_deref(), after: new.as_deref(), repair };
    change.write_indexes(&mut unit);
    if stamp.context.store().keeps_counts() {
        change.write_counts(&mut unit);
    }
    change.ring_readers(&mut unit);
    if let Some(effects) = decision.side_effects {
        write_side_effects(&mut unit, id, *effects, stamp.context.codec());
    }
    if !decision.events.is_empty() {
        change.write_journal(&mut unit, version, decision.events, stamp);
    }
    CommitUnit { unit, outcome: decision.outcome, after }
}

/// A record before and after a commit.
struct Change<'a> {
    id: &'a ExecutionId,
    before: Option<&'a Execution>,
    after: Option<&'a Execution>,
    /// Whether the record stays and only its index entries are written again.
    repair: bool,
}

impl Change<'_> {
    /// Puts every entry of the record after the commit, and removes those that only the record
    /// before it had. An entry that a `Take` may hold is written even if it stays the same: that
    /// brings it back. The entry in `due` of a record that existed is always written: a `Take` from
    /// a lane may have left one there that neither record has.
    /// \[INV-INDEX-1\]
    fn write_indexes(&self, unit: &mut Unit) {
        let (before, after, repair) = (self.before, self.after, self.repair);
        let Some(named) = after.or(before) else { return };
        let (old, new) = (before.map(index_entries), after.map(index_entries));
        let moved = |score: fn(IndexEntries) -> Option<Score>| Move {
            old: old.and_then(score),
            new: new.and_then(score),
        };
        let mut write = |index: &dyn Fn() -> IndexName, moved: Move, again: bool| {
            if moved.old != moved.new || again {
                let (index, member) = (index(), self.id.uuid());
                unit.index.push(IndexWrite { index, member, score: moved.new });
            }
        };
        let namespace = || named.namespace.clone();
        let lane = || IndexName::Eligible {
            namespace: namespace(),
            lane: named.lane.clone(),
            kind: named.kind.clone(),
        };
        let eligible = moved(|entries| entries.eligible);
        let is_eligible = eligible.new.is_some();
        write(&lane, eligible, is_eligible);
        write(&|| IndexName::Due, moved(|entries| entries.due), before.is_some());
        let retention = moved(|entries| entries.retention);
        let is_over = before.is_some() && retention.new.is_some();
        write(&|| IndexName::Retention, retention, is_over);
        let route = moved(|entries| entries.blocked_route);
        let again = repair && route.new.is_some();
        write(&|| IndexName::BlockedRoute { namespace: namespace() }, route, again);
        let all = moved(|entries| Some(entries.all));
        let again = repair && all.new.is_some();
        write(&|| IndexName::All { namespace: namespace() }, all, again);
        if route.new.is_some() && route.old.is_none() {
            unit.ring.push(Topic::Routes { namespace: namespace() });
        }
        let places = [(before, old), (after, new)].map(|(record, entries)| {
            let (usage, score) = (awaited_use(record?)?, entries?.awaits_slot?);
            Some((usage, score))
        });
        self.write_slot(places, unit);
    }

    /// Moves the entry of an execution that waits for a slot. Its index is that of the quota, which
    /// may be another one after the commit.
    fn write_slot(&self, [old, new]: [Option<(Uuid, Score)>; 2], unit: &mut Unit) {
        if old == new && !self.repair {
            return;
        }
        let mut write = |usage, score| {
            let (index, member) = (IndexName::AwaitsSlot { usage }, self.id.uuid());
            unit.index.push(IndexWrite { index, member, score });
        };
        if let Some((usage, _)) = old
            && new.is_none_or(|(other, _)| other != usage)
        {
            write(usage, None);
        }
        if let Some((usage, score)) = new {
            write(usage, Some(score));
        }
    }

    /// Counts the record in its state after the commit, and no longer in the one before it. A count
    /// changes with the record, so no crash and no repeat makes them differ. \[INV-COUNT-1\]
    fn write_counts(&self, unit: &mut Unit) {
        let counted = |record: Option<&Execution>| record.map(counted_state);
        let (old, new) = (counted(self.before), counted(self.after));
        let name = |record: &Execution, state| CountName {
            namespace: record.namespace.clone(),
            lane: record.lane.clone(),
            state,
        };
        if old != new {
            let old = self.before.zip(old).map(|(record, state)| (name(record, state), -1));
            let new = self.after.zip(new).map(|(record, state)| (name(record, state), 1));
            let changes = old.into_iter().chain(new);
            unit.counts.extend(changes.map(|(name, by)| CountChange { name, by }));
        }
    }

    /// Wakes the readers of an attempt's output when the attempt ends or is interrupted: no more
    /// frames come.
    fn ring_readers(&self, unit: &mut Unit) {
        let running = |execution: &Execution| match &execution.phase {
            Phase::Active(active) if active.attempt.frames > 0 => Some(active.attempt.index),
            _ => None,
        };
        if let Some(attempt) = self.before.and_then(running)
            && self.after.and_then(running) != Some(attempt)
        {
            unit.ring.push(Topic::Frames { execution: self.id.uuid(), attempt });
        }
    }

    /// Appends the events to the journal.
    fn write_journal(
        &self,
        unit: &mut Unit,
        version: Version,
        events: Vec<Event>,
        stamp: Stamp<'_>,
    ) {
        if events.iter().any(|event| matches!(event, Event::Ended { .. })) {
            unit.ring.push(Topic::Journal(self.id.partition()));
        }
        let subject = self.after.or(self.before);
        let entry = JournalEntry {
            execution: *self.id,
            version: version.next(stamp.nonce).count,
            epoch: subject.map(|execution| execution.epoch).unwrap_or_default(),
            attempt: subject.and_then(|execution| execution.attempt()).map(|last| last.index),
            events,
        };
        let entry = stamp.context.codec().encode(&entry);
        unit.append.push(StreamAppend::new(StreamName::Journal, entry));
    }
}

/// The place of an entry before and after a commit.
#[derive(Clone, Copy)]
struct Move {
    old: Option<Score>,
    new: Option<Score>,
}

/// Adds what a decision does to signals and output.
fn write_side_effects(unit: &mut Unit, id: &ExecutionId, effects: SideEffects, codec: &Codec) {
    let index = || IndexName::Signals { execution: id.uuid() };
    if let Some(signal) = effects.signal {
        let key = signal_key(id, signal.id);
        unit.expect.push((key.clone(), Version::ABSENT));
        let (member, score) = (signal.id.uuid(), Some(Score::new(i64::from(signal.number))));
        unit.put.push((key, codec.encode(&signal)));
        unit.index.push(IndexWrite { index: index(), member, score });
    }
    for (signal, nonce) in effects.forgotten {
        let key = signal_key(id, signal);
        // A signal's record is written once.
        let version = nonce.map_or(Version::ABSENT, |nonce| Version::ABSENT.next(nonce));
        unit.expect.push((key.clone(), version));
        unit.remove.extend(nonce.map(|_| key));
        unit.index.push(IndexWrite { index: index(), member: signal.uuid(), score: None });
    }
    if let Some((attempt, frame)) = effects.frame {
        let stream = frames_of(id, attempt);
        unit.append.push(StreamAppend::new(stream, codec.encode(&frame)));
        if effects.rings_readers {
            unit.ring.push(Topic::Frames { execution: id.uuid(), attempt });
        }
    }
    unit.drop_streams.extend(effects.dropped.into_iter().map(|attempt| frames_of(id, attempt)));
}

fn write_of(id: &ExecutionId, effect: ValueEffect) -> ValueWrite {
    match effect {
        ValueEffect::Put(kind, value) => {
            ValueWrite { key: value_key(id, kind), value: Some(value) }
        }
        ValueEffect::Remove(kind) => ValueWrite { key: value_key(id, kind), value: None },
    }
}

/// The unit that puts a record that does not decode into quarantine: lists show it, and it never
/// blocks the entries after it.
pub(in crate::op) fn quarantine(
    uuid: Uuid,
    version: Version,
    found_in: Option<&IndexName>,
    now: TimestampMs,
) -> Unit {
    let index = [(IndexName::Quarantine, Some(Score::at(now))), (IndexName::Due, None)]
        .into_iter()
        .chain(found_in.map(|index| (index.clone(), None)));
    move_entries(uuid, version, index)
}

/// The unit that puts an entry back into the index that it was taken from, for a program that can
/// read its record. It stays in `due` too, until such a program sees when it is due.
pub(in crate::op) fn put_back(entry: &ScanEntry, version: Version, index: &IndexName) -> Unit {
    let ScanPosition { score, member } = entry.position;
    move_entries(member, version, [(index.clone(), Some(score))].into_iter())
}

/// The unit that changes the entries of a record that has this version, and not the record.
fn move_entries(
    member: Uuid,
    version: Version,
    entries: impl Iterator<Item = (IndexName, Option<Score>)>,
) -> Unit {
    Unit {
        expect: vec![(RecordKey::Execution(member), version)],
        index: entries.map(|(index, score)| IndexWrite { index, member, score }).collect(),
        ..Unit::new(Purpose::Finish, 0)
    }
}
