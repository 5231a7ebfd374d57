//! Decodes bytes as records. Decoding never panics, and a decoded record is unchanged after it was
//! encoded and decoded again.

use ff_core::execution::{
    Execution, FenceParts, Frame, SignalRecord, due_times, index_entries, next_due, output_closed,
    situation, snapshot, state_vector,
};
use ff_core::id::AttemptIndex;
use ff_core::score::Score;
use ff_core::store::codec::{Codec, DecodeError, FIRST_FORMAT, FORMAT, decode, encode};
use ff_core::store::{JournalEntry, StoreMeta};
use ff_core::time::{DurationMs, TimestampMs};
use ff_core::token::{Keyring, Subject};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::calls;
use crate::common::suspending::{decide as decide_by, key, known_secret, waitpoint_id};
use crate::common::{Bench, at};
use crate::one_record::waits::waits;

/// Decodes the bytes as a record. The first byte selects the kind.
pub fn check(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 6 {
        0 => {
            if let Some(execution) = record::<Execution>(bytes) {
                derive(&execution);
                decide(&execution);
            }
        }
        1 => drop(record::<JournalEntry>(bytes)),
        2 => drop(record::<StoreMeta>(bytes)),
        3 => drop(record::<SignalRecord>(bytes)),
        4 => {
            if let Some(ring) = record::<Keyring>(bytes) {
                check_keyring(&ring);
            }
        }
        _ => drop(record::<Frame>(bytes)),
    }
}

/// Decodes a record, if the bytes are one. The bytes may differ from the encoded record, since a
/// number may be written with more bytes than it needs. The encoded record is the shortest form.
fn record<T>(bytes: &[u8]) -> Option<T>
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let decoded = decode::<T>(bytes, FORMAT);
    let codec = Codec::default();
    assert_eq!(codec.decode::<T>(bytes), decoded, "two decoders of the same format differ");
    match decoded {
        Ok(record) => {
            let written = encode(&record, FIRST_FORMAT);
            assert!(written.len() <= bytes.len(), "the encoded record is longer than its source");
            let again = decode::<T>(&written, FORMAT).expect("an encoded record decodes");
            assert_eq!(again, record);
            assert_eq!(encode(&again, FIRST_FORMAT), written);
            Some(record)
        }
        Err(DecodeError::NewerFormat { found, known }) => {
            assert!(found > known && bytes.first() == Some(&found) && codec.check().is_err());
            None
        }
        Err(DecodeError::Corrupt { .. }) => {
            assert!(codec.check().is_ok(), "a corrupt record does not make a program outdated");
            None
        }
    }
}

/// Derives all views of a record. Deriving never panics, whatever the record holds, since an audit
/// derives them for every record that decodes.
fn derive(record: &Execution) {
    let entries = index_entries(record);
    let earliest = due_times(record).map(|(at, _)| at).min();
    assert_eq!(entries.due.or(entries.retention), earliest.map(Score::at));
    assert_eq!(next_due(record).map(|(at, _)| at), earliest);
    for now in instants(record) {
        let state = state_vector(record, now);
        assert_eq!(snapshot(record, now).state, state);
        situation(record, now);
        for index in [0, record.attempts_total, u32::MAX] {
            output_closed(record, AttemptIndex(index), now);
        }
    }
}

/// Decides commands on a record. Rules refuse or apply a command, and never panic. The invariants
/// need not hold here, since no program wrote the record; the target `rules` checks them.
fn decide(record: &Execution) {
    let fence = record.last_fence.map_or(FenceParts::MISSING, FenceParts::of);
    let partial = FenceParts { lease_id: None, ..fence };
    let fences = [fence, partial, fence, FenceParts::MISSING];
    let bench = Bench { record: Some(record.clone()), ..Bench::default() };
    for now in instants(record) {
        for command in calls::all(record, now) {
            drop(decide_by(&command, Some(record), now));
            drop(bench.reads(&command, now).decide(&command, Some(record), now));
        }
        for command in waits(&bench, fences, 1) {
            drop(bench.reads(&command, now).decide(&command, Some(record), now));
        }
    }
}

/// Signs, verifies and rotates with a keyring. It never panics, and a token that the current secret
/// has signed is valid.
fn check_keyring(ring: &Keyring) {
    let key = key("a");
    let subject = Subject { id: waitpoint_id(1), key: &key, created_at: at(5) };
    let (kid, secret) = known_secret();
    for now in [TimestampMs::ZERO, at(1_000), TimestampMs::MAX] {
        ring.list();
        if let Ok((kid, token)) = ring.sign(subject) {
            assert_eq!(token.kid(), Some(kid));
        }
        if let Ok((rotated, _)) = ring.rotate(&kid, &secret, DurationMs::new(1), now)
            && now < TimestampMs::MAX
        {
            let (_, token) = rotated.sign(subject).expect("there is a secret");
            assert!(rotated.verify(&token, Some(subject), now).is_ok());
        }
    }
}

fn instants(record: &Execution) -> [TimestampMs; 4] {
    let due = next_due(record).map_or(record.updated_at, |(at, _)| at);
    [TimestampMs::ZERO, due.minus(DurationMs::new(1)), due, TimestampMs::MAX]
}
