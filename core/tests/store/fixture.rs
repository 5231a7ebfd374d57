//! The fixture of the tests: a reference store with a clock that the test sets, and short names for
//! keys, units and entries.

use ff_core::execution::Purpose;
use ff_core::id::{AttemptIndex, ExecutionKind, LaneId, Namespace};
use ff_core::partition::Partition;
use ff_core::score::Score;
use ff_core::store::bounds::{MAX_ENTRIES_PER_UNIT, MAX_PAGE, MAX_PAGE_BYTES};
use ff_core::store::{
    Bytes, Commit, Cursor, IndexName, IndexWrite, MemoryStore, Read, RecordKey, ReplyBody, Request,
    Scan, ScanOrder, Stored, StreamAppend, StreamEntry, StreamName, StreamPage, Streamed, Take,
    TakeUntil, Taken, Unit, UnitReply, ValueKey, Values, Version,
};
use ff_core::time::{DurationMs, TimestampMs};
use uuid::Uuid;

pub const HERE: Partition = Partition::flow(3);
pub const HOLD: DurationMs = DurationMs::new(5_000);

pub fn at(milliseconds: u64) -> TimestampMs {
    TimestampMs::new(milliseconds)
}

pub fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub fn record(number: u128) -> RecordKey {
    RecordKey::Execution(uuid(number))
}

pub fn bytes(content: &[u8]) -> Bytes {
    Bytes::from(content)
}

pub fn lane(name: &str) -> IndexName {
    let namespace = Namespace::try_new("ns").expect("a namespace");
    let kind = ExecutionKind::try_new("work").expect("a kind");
    IndexName::Eligible { namespace, lane: LaneId::try_new(name).expect("a lane"), kind }
}

/// Returns the name of the output of an attempt of execution 1.
pub fn output(attempt: u32) -> StreamName {
    StreamName::Frames { execution: uuid(1), attempt: AttemptIndex(attempt) }
}

/// Returns the key of a signal to execution 1.
pub fn signal(number: u128) -> RecordKey {
    RecordKey::Signal { execution: uuid(1), signal: uuid(number) }
}

pub fn unit(number: u128, version: Version, nonce: u64) -> Unit {
    Unit {
        expect: vec![(record(number), version)],
        put: vec![(record(number), bytes(b"record"))],
        ..Unit::new(Purpose::Admit, nonce)
    }
}

pub fn entry(index: IndexName, number: u128, score: i64) -> IndexWrite {
    IndexWrite { index, member: uuid(number), score: Some(Score::new(score)) }
}

pub fn version(count: u64, nonce: u64) -> Version {
    Version { count, nonce }
}

/// A store with a clock that a test sets.
pub struct Fixture {
    pub store: MemoryStore,
    pub now: TimestampMs,
}

impl Fixture {
    pub fn new() -> Self {
        Self { store: MemoryStore::new(77), now: at(1_000_000) }
    }

    pub fn ask(&mut self, request: Request) -> ReplyBody {
        let reply = self.store.handle(request, self.now);
        assert_eq!(reply.at, self.now, "every reply carries the store's time");
        reply.body
    }

    pub fn commit(&mut self, units: Vec<Unit>) -> Vec<UnitReply> {
        match self.ask(Request::Commit(Commit { partition: HERE, units })) {
            ReplyBody::Commit(replies) => replies,
            other => panic!("{other:?}"),
        }
    }

    pub fn commit_one(&mut self, unit: Unit) -> UnitReply {
        self.commit(vec![unit]).pop().expect("one reply for one unit")
    }

    pub fn read(&mut self, records: &[u128], values: &[ValueKey]) -> Values {
        let records = records.iter().map(|number| record(*number)).collect();
        match self.ask(Request::Read(Read { partition: HERE, records, values: values.to_vec() })) {
            ReplyBody::Read(values) => values,
            other => panic!("{other:?}"),
        }
    }

    pub fn stored(&mut self, number: u128) -> Option<Stored> {
        self.read(&[number], &[]).records.pop().flatten()
    }

    pub fn take(&mut self, index: IndexName, count: u32, until: TakeUntil) -> Taken {
        self.take_bytes(index, count, MAX_PAGE_BYTES, until)
    }

    pub fn take_bytes(
        &mut self,
        index: IndexName,
        count: u32,
        bytes: u32,
        until: TakeUntil,
    ) -> Taken {
        let (partition, hold, from) = (HERE, HOLD, vec![index]);
        let take = Take { partition, from, count, bytes, until, hold, ring_rest: true };
        match self.ask(Request::Take(take)) {
            ReplyBody::Take(taken) => taken,
            other => panic!("{other:?}"),
        }
    }

    pub fn scan(&mut self, index: IndexName) -> Vec<(i64, u128)> {
        let (limit, bytes) = (100, MAX_PAGE_BYTES);
        let scan =
            Scan { partition: HERE, index, order: ScanOrder::Ascending, after: None, limit, bytes };
        match self.ask(Request::Scan(scan)) {
            ReplyBody::Scan(scanned) => scanned
                .entries
                .iter()
                .map(|entry| (entry.position.score.get(), entry.position.member.as_u128()))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    pub fn stream(&mut self, from: Cursor, limit: u32) -> Streamed {
        self.page(StreamName::Journal, from, limit)
    }

    pub fn page(&mut self, stream: StreamName, from: Cursor, limit: u32) -> Streamed {
        match self.ask(Request::Stream(StreamPage { partition: HERE, stream, from, limit })) {
            ReplyBody::Stream(streamed) => streamed,
            other => panic!("{other:?}"),
        }
    }

    /// Appends `frames` equal frames to the output of an attempt.
    pub fn emit(&mut self, attempt: u32, frames: usize, content: &[u8]) {
        let entry = bytes(content);
        for count in (0..frames).step_by(MAX_ENTRIES_PER_UNIT) {
            let append = StreamAppend::new(output(attempt), entry.clone());
            let append = vec![append; MAX_ENTRIES_PER_UNIT.min(frames - count)];
            let unit = Unit { append, ..Unit::new(Purpose::Finish, 1) };
            assert!(matches!(self.commit_one(unit), UnitReply::Committed { .. }));
        }
    }

    /// Reads all entries of a stream, page by page.
    pub fn kept(&mut self, stream: &StreamName) -> Vec<StreamEntry> {
        let mut from = Cursor::Start;
        let mut kept = Vec::new();
        loop {
            let page = self.page(stream.clone(), from, MAX_PAGE as u32);
            if page.entries.is_empty() {
                return kept;
            }
            kept.extend(page.entries);
            from = page.next;
        }
    }

    pub fn append(&mut self, number: u128, entry: &[u8]) {
        let mut unit = unit(number, Version::ABSENT, 1);
        unit.append.push(StreamAppend::new(StreamName::Journal, bytes(entry)));
        assert!(matches!(self.commit_one(unit), UnitReply::Committed { .. }));
    }

    /// Creates executions with a record and an entry in lane `l`.
    pub fn fill(&mut self, entries: &[(u128, i64)]) {
        for (number, score) in entries {
            let mut unit = unit(*number, Version::ABSENT, 1);
            unit.index.push(entry(lane("l"), *number, *score));
            assert!(matches!(self.commit_one(unit), UnitReply::Committed { .. }));
        }
    }
}

pub fn numbers(taken: &Taken) -> Vec<u128> {
    taken.entries.iter().map(|taken| taken.entry.position.member.as_u128()).collect()
}
