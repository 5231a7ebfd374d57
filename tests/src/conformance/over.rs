//! Requests that are over a bound by one, one request for each bound.

use ff_core::execution::Purpose;
use ff_core::partition::Partition;
use ff_core::store::bounds::{
    MAX_CONFLICT_BYTES, MAX_ENTRIES_PER_UNIT, MAX_PAGE, MAX_PAGE_BYTES, MAX_POLL_PARTITIONS,
    MAX_READ_KEYS, MAX_READ_RECORDS, MAX_RECORD_BYTES, MAX_STREAM_ENTRY_BYTES, MAX_TAKE,
    MAX_TAKE_INDEXES, MAX_UNITS,
};
use ff_core::store::{
    Bytes, Commit, Cursor, IndexName, IndexWrite, Poll, PollOf, Read, RecordKey, Request, Scan,
    ScanOrder, StreamAppend, StreamName, StreamPage, Take, TakeUntil, Unit, ValueWrite, Version,
};
use ff_core::time::DurationMs;

use super::names;

fn empty_unit() -> Unit {
    Unit::new(Purpose::Finish, 1)
}

fn bytes(length: usize) -> Bytes {
    Bytes::from(vec![7; length])
}

/// One more than a bound, as a count of a request.
fn one_more(bound: usize) -> u32 {
    u32::try_from(bound + 1).expect("the bounds are small")
}

/// The request over the bound of this number. One of them is a commit that also writes, so that a
/// store that applies a part of it is detected.
pub(super) fn over_bound(which: usize, partition: Partition) -> Request {
    let index = IndexName::Due;
    let limit = one_more(MAX_PAGE);
    match which {
        0 => {
            let count = one_more(MAX_TAKE);
            Request::Take(Take { count, ..take_from(partition, vec![index]) })
        }
        1 => Request::Scan(Scan {
            partition,
            index,
            order: ScanOrder::Ascending,
            after: None,
            limit,
            bytes: 1,
        }),
        2 => {
            let (stream, from) = (StreamName::Journal, Cursor::Start);
            Request::Stream(StreamPage { partition, stream, from, limit })
        }
        3 => {
            let partitions = vec![partition; MAX_POLL_PARTITIONS + 1];
            Request::Poll(Poll { of: PollOf::Index(index), partitions, listeners: None })
        }
        4 => {
            let records = vec![RecordKey::Meta; MAX_READ_KEYS];
            Request::Read(Read { partition, records, values: vec![names::value(0)] })
        }
        5 => {
            let units = vec![empty_unit(); MAX_UNITS + 1];
            Request::Commit(Commit { partition, units })
        }
        6 => {
            let other = Unit { purpose: Purpose::Admit, ..empty_unit() };
            Request::Commit(Commit { partition, units: vec![empty_unit(), other] })
        }
        18 => {
            let records = vec![RecordKey::Meta; MAX_READ_RECORDS + 1];
            Request::Read(Read { partition, records, values: Vec::new() })
        }
        19 => {
            let (limit, bytes) = (1, MAX_PAGE_BYTES + 1);
            Request::Scan(Scan {
                partition,
                index,
                order: ScanOrder::Ascending,
                after: None,
                limit,
                bytes,
            })
        }
        21..24 => {
            let from = match which {
                21 => vec![IndexName::Due; MAX_TAKE_INDEXES + 1],
                22 => vec![IndexName::Quarantine],
                _ => vec![IndexName::Due, IndexName::Due],
            };
            Request::Take(take_from(partition, from))
        }
        _ => Request::Commit(Commit { partition, units: vec![over_unit(which)] }),
    }
}

fn take_from(partition: Partition, from: Vec<IndexName>) -> Take {
    let (until, hold) = (TakeUntil::End, DurationMs::ZERO);
    Take { partition, from, count: 1, bytes: MAX_PAGE_BYTES, until, hold, ring_rest: true }
}

fn over_unit(which: usize) -> Unit {
    let mut unit = empty_unit();
    let entry = IndexWrite { index: IndexName::Due, member: names::member(0), score: None };
    match which {
        7 => unit.index = vec![entry; MAX_ENTRIES_PER_UNIT + 1],
        8 => {
            unit.ring =
                vec![ff_core::store::Topic::Journal(Partition::META); MAX_ENTRIES_PER_UNIT + 1]
        }
        9 => {
            let entry = bytes(MAX_STREAM_ENTRY_BYTES + 1);
            unit.append = vec![StreamAppend::new(StreamName::Journal, entry)];
        }
        10 => {
            unit.expect = vec![(RecordKey::Meta, Version::ABSENT)];
            unit.put = vec![(RecordKey::Meta, bytes(MAX_RECORD_BYTES + 1))];
        }
        11 => unit.put = vec![(RecordKey::Meta, bytes(1))],
        12 => {
            let stream = names::stream(1);
            unit.append = vec![StreamAppend::new(stream.clone(), bytes(1))];
            unit.drop_streams = vec![names::stream(0), stream];
        }
        13..17 => {
            let mut append = StreamAppend::new(names::stream(1), bytes(2));
            match which {
                13 => append.caps.bytes += 1,
                14 => append.caps.entries += 1,
                15 => append.caps.age_ms += 1,
                _ => append.caps.entries = 0,
            }
            unit.append = vec![append];
        }
        20 => unit.conflict_bytes = MAX_CONFLICT_BYTES + 1,
        _ => {
            // Values and dropped streams share their bound.
            let write = ValueWrite { key: names::value(0), value: Some(bytes(1)) };
            unit.values = vec![write; MAX_ENTRIES_PER_UNIT];
            unit.drop_streams = vec![names::stream(0)];
        }
    }
    unit
}
