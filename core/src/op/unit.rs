//! From a decision to writes: the only place that knows about indexes, versions and the journal.

use crate::error::{Bug, EngineError};
use crate::execution::{
    Decision, Event, Execution, FoundSignal, Next, Phase, Purpose, SideEffects, SignalRecord,
    ValueEffect, ValueKind, index_entries,
};
use crate::id::{AttemptIndex, ExecutionId, SignalId};
use crate::score::Score;
use crate::store::codec::{Codec, DecodeError};
use crate::store::{
    Bytes, IndexName, IndexWrite, JournalEntry, RecordKey, ScanEntry, ScanPosition, Stored,
    StreamAppend, StreamName, Topic, Unit, ValueKey, ValueWrite, Version,
};
use crate::time::{DurationMs, TimestampMs};

/// A record that was read, decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The version that was read.
    pub version: Version,
    /// The record.
    pub execution: Execution,
}

/// What a commit adds to a decision.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// How records are written.
    pub codec: &'a Codec,
    /// The time that the decision was made for.
    pub now: TimestampMs,
    /// How long the operation will wait for the commit.
    pub patience: DurationMs,
    /// The nonce of the new version.
    pub nonce: u64,
    /// Why it commits.
    pub purpose: Purpose,
}

/// Decodes a record.
///
/// # Errors
///
/// `Bug` with `NewerFormat` or `CorruptRecord`.
pub fn load(stored: &Stored, codec: &Codec) -> Result<Loaded, EngineError> {
    let execution = codec.decode(&stored.bytes).map_err(unreadable)?;
    Ok(Loaded { version: stored.version, execution })
}

/// The error of a record that cannot be read.
pub(super) fn unreadable(error: DecodeError) -> EngineError {
    EngineError::Bug(match error {
        DecodeError::NewerFormat { found, known } => Bug::NewerFormat { found, known },
        DecodeError::Corrupt { detail } => Bug::CorruptRecord { detail },
    })
}

/// The unit that carries out a decision on the record that it was made for, and the record after
/// it.
pub fn unit_for<T>(
    id: &ExecutionId,
    before: Option<&Loaded>,
    decision: Decision<T>,
    stamp: Stamp<'_>,
    fetch: &[ValueKind],
) -> (Unit, T, Option<Loaded>) {
    let key = RecordKey::of(id);
    let version = before.map_or(Version::ABSENT, |loaded| loaded.version);
    let held = before.map(|loaded| &loaded.execution);
    // A third of the shortest ttl: what is stored a little early only shortens a lease.
    let third = decision.stores_ttl.map(|ttl| DurationMs::new((ttl.get() / 3).max(1)));
    let ahead = third.map_or(stamp.patience, |third| third.min(stamp.patience));
    let mut unit = Unit {
        expect: vec![(key.clone(), version)],
        window: decision.window.clipped(stamp.now, Some(ahead)),
        purpose: stamp.purpose,
        nonce: stamp.nonce,
        put: Vec::new(),
        remove: Vec::new(),
        values: decision.values.into_iter().map(|effect| write_of(id, effect)).collect(),
        index: Vec::new(),
        append: Vec::new(),
        drop_streams: Vec::new(),
        ring: Vec::new(),
        fetch: fetch.iter().map(|kind| value_key(id, *kind)).collect(),
    };
    let after = match &decision.next {
        Next::Put(next) => {
            unit.put.push((key, stamp.codec.encode(next)));
            Some(next)
        }
        Next::Keep => held,
        Next::Remove => {
            unit.remove.push(key);
            None
        }
    };
    let repair = matches!(decision.next, Next::Keep);
    write_indexes(&mut unit, id, held, after, repair);
    ring_readers(&mut unit, id, held, after);
    if let Some(beside) = decision.side_effects {
        write_beside(&mut unit, id, *beside, stamp.codec);
    }
    if !decision.events.is_empty() {
        if decision.events.iter().any(|event| matches!(event, Event::Ended { .. })) {
            unit.ring.push(Topic::Journal(id.partition()));
        }
        let subject = after.or(held);
        let entry = JournalEntry {
            execution: *id,
            version: version.next(stamp.nonce).count,
            epoch: subject.map(|execution| execution.epoch).unwrap_or_default(),
            attempt: subject.and_then(|execution| execution.attempt()).map(|last| last.index),
            events: decision.events,
        };
        let entry = stamp.codec.encode(&entry);
        unit.append.push(StreamAppend { stream: StreamName::Journal, entry });
    }
    let record = match decision.next {
        Next::Put(execution) => Some(Loaded { version: version.next(stamp.nonce), execution }),
        Next::Keep => before.cloned(),
        Next::Remove => None,
    };
    (unit, decision.outcome, record)
}

/// Adds what becomes of signals and output.
fn write_beside(unit: &mut Unit, id: &ExecutionId, beside: SideEffects, codec: &Codec) {
    let index = || IndexName::Signals { execution: id.uuid() };
    if let Some(signal) = beside.signal {
        let key = signal_key(id, signal.id);
        unit.expect.push((key.clone(), Version::ABSENT));
        let (member, score) = (signal.id.uuid(), Some(Score::new(i64::from(signal.number))));
        unit.put.push((key, codec.encode(&signal)));
        unit.index.push(IndexWrite { index: index(), member, score });
    }
    for (signal, nonce) in beside.forgotten {
        let key = signal_key(id, signal);
        // A signal's record is written once.
        let version = nonce.map_or(Version::ABSENT, |nonce| Version::ABSENT.next(nonce));
        unit.expect.push((key.clone(), version));
        unit.remove.extend(nonce.map(|_| key));
        unit.index.push(IndexWrite { index: index(), member: signal.uuid(), score: None });
    }
    if let Some((attempt, frame)) = beside.frame {
        let stream = frames_of(id, attempt);
        unit.append.push(StreamAppend { stream, entry: codec.encode(&frame) });
        if beside.rings_readers {
            unit.ring.push(Topic::Frames { execution: id.uuid(), attempt });
        }
    }
    unit.drop_streams.extend(beside.dropped.into_iter().map(|attempt| frames_of(id, attempt)));
}

/// Wakes the readers of an attempt's output when the attempt ends or is interrupted: no more comes.
fn ring_readers(
    unit: &mut Unit,
    id: &ExecutionId,
    before: Option<&Execution>,
    after: Option<&Execution>,
) {
    let running = |execution: &Execution| match &execution.phase {
        Phase::Active(active) if active.attempt.frames > 0 => Some(active.attempt.index),
        _ => None,
    };
    if let Some(attempt) = before.and_then(running)
        && after.and_then(running) != Some(attempt)
    {
        unit.ring.push(Topic::Frames { execution: id.uuid(), attempt });
    }
}

/// The key of a signal's record.
pub(super) const fn signal_key(id: &ExecutionId, signal: SignalId) -> RecordKey {
    RecordKey::Signal { execution: id.uuid(), signal: signal.uuid() }
}

/// The output of an attempt.
pub(super) const fn frames_of(id: &ExecutionId, attempt: AttemptIndex) -> StreamName {
    StreamName::Frames { execution: id.uuid(), attempt }
}

/// A signal's record as the store returned it.
pub(super) fn found_signal(
    stored: Option<Stored>,
    codec: &Codec,
) -> Result<FoundSignal, EngineError> {
    Ok(match stored {
        None => FoundSignal::Absent,
        Some(stored) => {
            let signal = codec.decode::<SignalRecord>(&stored.bytes).map_err(unreadable)?;
            FoundSignal::Taken(Box::new(signal))
        }
    })
}

/// The unit that puts a record that does not decode into quarantine: lists show it, and it never
/// blocks what stands behind it.
pub(super) fn quarantine(
    uuid: uuid::Uuid,
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
pub(super) fn put_back(entry: &ScanEntry, version: Version, index: &IndexName) -> Unit {
    let ScanPosition { score, member } = entry.position;
    let mut unit = move_entries(member, version, [(index.clone(), Some(score))].into_iter());
    unit.ring.push(Topic::Index(index.clone()));
    unit
}

/// The unit that changes the entries of a record that has this version, and not the record.
fn move_entries(
    member: uuid::Uuid,
    version: Version,
    entries: impl Iterator<Item = (IndexName, Option<Score>)>,
) -> Unit {
    Unit {
        expect: vec![(RecordKey::Execution(member), version)],
        index: entries.map(|(index, score)| IndexWrite { index, member, score }).collect(),
        ..Unit::new(Purpose::Finish, 0)
    }
}

/// The key of a value of an execution.
pub(super) const fn value_key(id: &ExecutionId, kind: ValueKind) -> ValueKey {
    match kind {
        ValueKind::Payload => ValueKey::Payload(id.uuid()),
        ValueKind::Result => ValueKey::Result(id.uuid()),
        ValueKind::Signal(signal) => {
            ValueKey::Signal { execution: id.uuid(), signal: signal.uuid() }
        }
    }
}

fn write_of(id: &ExecutionId, effect: ValueEffect) -> ValueWrite {
    match effect {
        ValueEffect::Put(kind, value) => {
            let value: Bytes = value;
            ValueWrite { key: value_key(id, kind), value: Some(value) }
        }
        ValueEffect::Remove(kind) => ValueWrite { key: value_key(id, kind), value: None },
    }
}

/// Puts every entry of the record after the commit and removes those that only the record before
/// had. What a `Take` may hold is written even if it is the same: it comes back that way. `due` of
/// a record that was there is written always: a `Take` from a lane may have left an entry there
/// that neither record has.
/// \[INV-INDEX-1\]
fn write_indexes(
    unit: &mut Unit,
    id: &ExecutionId,
    before: Option<&Execution>,
    after: Option<&Execution>,
    repair: bool,
) {
    let Some(named) = after.or(before) else { return };
    let (old, new) = (before.map(index_entries), after.map(index_entries));
    let namespace = || named.namespace.clone();
    let eligible = (old.and_then(|entries| entries.eligible), new.and_then(|e| e.eligible));
    let due = (old.and_then(|entries| entries.due), new.and_then(|e| e.due));
    let route = (old.and_then(|e| e.blocked_route), new.and_then(|e| e.blocked_route));
    let all = (old.map(|entries| entries.all), new.map(|entries| entries.all));
    let mut write =
        |index: &dyn Fn() -> IndexName, (old, new): (Option<Score>, Option<Score>), again: bool| {
            if old != new || again {
                unit.index.push(IndexWrite { index: index(), member: id.uuid(), score: new });
            }
        };
    let lane = || IndexName::Eligible { namespace: namespace(), lane: named.lane.clone() };
    write(&lane, eligible, eligible.1.is_some());
    write(&|| IndexName::Due, due, before.is_some());
    let again = repair && route.1.is_some();
    write(&|| IndexName::BlockedRoute { namespace: namespace() }, route, again);
    write(&|| IndexName::All { namespace: namespace() }, all, repair && all.1.is_some());
    if eligible.1.is_some() {
        unit.ring.push(Topic::Index(lane()));
    }
}
