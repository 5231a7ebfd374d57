//! The store contract, rule by rule, on the reference store (`docs/architecture.md`, The store
//! contract). A backend is right when it answers like this.

use ff_core::execution::Purpose;
use ff_core::id::{LaneId, Namespace};
use ff_core::partition::Partition;
use ff_core::score::Score;
use ff_core::store::bounds::{
    MAX_JOURNAL_AGE_MS, MAX_JOURNAL_BYTES, MAX_MESSAGE_BYTES, MAX_RECORD_BYTES, MAX_UNITS,
};
use ff_core::store::{
    Bytes, Commit, Cursor, Fetched, IndexName, IndexWrite, MemoryStore, Poll, Read, RecordKey,
    ReplyBody, Request, Scan, ScanPosition, Stored, StreamAppend, StreamName, StreamPage, Streamed,
    Take, TakeUntil, Taken, Topic, Unit, UnitReply, ValueKey, ValueWrite, Values, Version,
};
use ff_core::time::{DurationMs, TimestampMs, Window};
use uuid::Uuid;

const HERE: Partition = Partition::flow(3);
const HOLD: DurationMs = DurationMs::new(5_000);

fn at(milliseconds: u64) -> TimestampMs {
    TimestampMs::new(milliseconds)
}

fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn record(number: u128) -> RecordKey {
    RecordKey::Execution(uuid(number))
}

fn bytes(content: &[u8]) -> Bytes {
    Bytes::from(content)
}

fn lane(name: &str) -> IndexName {
    let namespace = Namespace::try_new("ns").expect("a namespace");
    IndexName::Eligible { namespace, lane: LaneId::try_new(name).expect("a lane") }
}

fn unit(number: u128, version: Version, nonce: u64) -> Unit {
    Unit {
        expect: vec![(record(number), version)],
        put: vec![(record(number), bytes(b"record"))],
        ..Unit::new(Purpose::Admit, nonce)
    }
}

fn entry(index: IndexName, number: u128, score: i64) -> IndexWrite {
    IndexWrite { index, member: uuid(number), score: Some(Score::new(score)) }
}

fn version(count: u64, nonce: u64) -> Version {
    Version { count, nonce }
}

/// A store with a clock that a test sets.
struct Ground {
    store: MemoryStore,
    now: TimestampMs,
}

impl Ground {
    fn new() -> Self {
        Self { store: MemoryStore::new(77), now: at(1_000_000) }
    }

    fn ask(&mut self, request: Request) -> ReplyBody {
        let reply = self.store.handle(request, self.now);
        assert_eq!(reply.at, self.now, "every reply carries the store's time");
        reply.body
    }

    fn commit(&mut self, units: Vec<Unit>) -> Vec<UnitReply> {
        match self.ask(Request::Commit(Commit { partition: HERE, units })) {
            ReplyBody::Commit(replies) => replies,
            other => panic!("{other:?}"),
        }
    }

    fn commit_one(&mut self, unit: Unit) -> UnitReply {
        self.commit(vec![unit]).pop().expect("one reply for one unit")
    }

    fn read(&mut self, records: &[u128], values: &[ValueKey]) -> Values {
        let records = records.iter().map(|number| record(*number)).collect();
        match self.ask(Request::Read(Read { partition: HERE, records, values: values.to_vec() })) {
            ReplyBody::Read(values) => values,
            other => panic!("{other:?}"),
        }
    }

    fn stored(&mut self, number: u128) -> Option<Stored> {
        self.read(&[number], &[]).records.pop().flatten()
    }

    fn take(&mut self, index: IndexName, count: u32, until: TakeUntil) -> Taken {
        let take = Take { partition: HERE, index, count, until, hold: HOLD, ring_rest: true };
        match self.ask(Request::Take(take)) {
            ReplyBody::Take(taken) => taken,
            other => panic!("{other:?}"),
        }
    }

    fn scan(&mut self, index: IndexName) -> Vec<(i64, u128)> {
        let scan = Scan { partition: HERE, index, after: None, limit: 100 };
        match self.ask(Request::Scan(scan)) {
            ReplyBody::Scan(scanned) => scanned
                .entries
                .iter()
                .map(|entry| (entry.position.score.get(), entry.position.member.as_u128()))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    fn stream(&mut self, from: Cursor, limit: u32) -> Streamed {
        let (partition, stream) = (HERE, StreamName::Journal);
        match self.ask(Request::Stream(StreamPage { partition, stream, from, limit })) {
            ReplyBody::Stream(streamed) => streamed,
            other => panic!("{other:?}"),
        }
    }

    fn append(&mut self, number: u128, entry: &[u8]) {
        let mut unit = unit(number, Version::ABSENT, 1);
        unit.append.push(StreamAppend { stream: StreamName::Journal, entry: bytes(entry) });
        assert!(matches!(self.commit_one(unit), UnitReply::Committed { .. }));
    }

    /// Executions with a record and an entry in a lane.
    fn fill(&mut self, entries: &[(u128, i64)]) {
        for (number, score) in entries {
            let mut unit = unit(*number, Version::ABSENT, 1);
            unit.index.push(entry(lane("l"), *number, *score));
            assert!(matches!(self.commit_one(unit), UnitReply::Committed { .. }));
        }
    }
}

fn numbers(taken: &Taken) -> Vec<u128> {
    taken.entries.iter().map(|entry| entry.position.member.as_u128()).collect()
}

#[test]
fn a_record_is_swapped_only_if_count_and_nonce_of_its_version_fit() {
    let mut ground = Ground::new();
    let created = ground.commit_one(unit(1, Version::ABSENT, 9));
    assert_eq!(created, UnitReply::Committed { fetched: vec![] });
    let held = Stored { version: version(1, 9), bytes: bytes(b"record") };
    assert_eq!(ground.stored(1), Some(held.clone()));
    // The same count with another nonce is another version.
    for wrong in [Version::ABSENT, version(1, 8), version(2, 9)] {
        let conflict = ground.commit_one(unit(1, wrong, 10));
        assert_eq!(conflict, UnitReply::Conflict { current: vec![Some(held.clone())] });
    }
    assert_eq!(ground.stored(1), Some(held));
    ground.commit_one(unit(1, version(1, 9), 10));
    assert_eq!(ground.stored(1).expect("it is there").version, version(2, 10));
}

#[test]
fn a_conflict_writes_nothing_at_all_and_other_units_are_not_coupled() {
    let mut ground = Ground::new();
    let mut losing = unit(1, version(4, 4), 1);
    losing.values.push(ValueWrite { key: ValueKey::Payload(uuid(1)), value: Some(bytes(b"p")) });
    losing.index.push(entry(lane("l"), 1, 5));
    losing.append.push(StreamAppend { stream: StreamName::Journal, entry: bytes(b"e") });
    losing.ring.push(Topic::Index(lane("l")));
    let replies = ground.commit(vec![losing, unit(2, Version::ABSENT, 2)]);
    assert_eq!(replies[0], UnitReply::Conflict { current: vec![None] });
    assert_eq!(replies[1], UnitReply::Committed { fetched: vec![] });
    assert_eq!(ground.read(&[], &[ValueKey::Payload(uuid(1))]).values, [Fetched::Absent]);
    assert_eq!(ground.scan(lane("l")), []);
    assert_eq!(ground.stream(Cursor::Start, 10).entries, []);
    assert_eq!(ground.store.take_wakes(), []);
}

#[test]
fn a_window_is_checked_against_the_stores_clock_and_is_half_open() {
    let mut ground = Ground::new();
    let outside = |window| Unit { window, ..unit(1, Version::ABSENT, 1) };
    let now = ground.now;
    for window in [
        Window::until(now),
        Window::from(now.plus(DurationMs::new(1))),
        Window { not_before: now, not_after: now },
    ] {
        assert_eq!(ground.commit_one(outside(window)), UnitReply::OutsideWindow);
        assert_eq!(ground.stored(1), None);
    }
    let window = Window { not_before: now, not_after: now.plus(DurationMs::new(1)) };
    assert!(matches!(ground.commit_one(outside(window)), UnitReply::Committed { .. }));
}

#[test]
fn a_removed_record_is_absent_again_and_its_values_and_entries_go_with_the_unit() {
    let mut ground = Ground::new();
    ground.fill(&[(1, 10)]);
    let mut removal = unit(1, version(1, 1), 2);
    removal.put.clear();
    removal.remove.push(record(1));
    removal.index.push(IndexWrite { index: lane("l"), member: uuid(1), score: None });
    assert!(matches!(ground.commit_one(removal), UnitReply::Committed { .. }));
    assert_eq!((ground.stored(1), ground.scan(lane("l"))), (None, vec![]));
    assert!(matches!(ground.commit_one(unit(1, Version::ABSENT, 3)), UnitReply::Committed { .. }));
}

#[test]
fn values_are_fetched_as_they_are_after_the_writes() {
    let mut ground = Ground::new();
    let (payload, result) = (ValueKey::Payload(uuid(1)), ValueKey::Result(uuid(1)));
    let every_byte: Vec<u8> = (0..=255).collect();
    let mut writing = unit(1, Version::ABSENT, 1);
    let value = Some(bytes(&every_byte));
    writing.values.push(ValueWrite { key: payload.clone(), value });
    writing.fetch = vec![result, payload];
    let fetched = vec![Fetched::Absent, Fetched::Value(bytes(&every_byte))];
    assert_eq!(ground.commit_one(writing), UnitReply::Committed { fetched });
}

#[test]
fn a_reply_that_would_be_too_large_defers_values_but_never_the_first() {
    let mut ground = Ground::new();
    let large = bytes(&vec![7; MAX_MESSAGE_BYTES / 2 - 1]);
    let mut keys = Vec::new();
    for number in 1..=3 {
        let mut writing = unit(number, Version::ABSENT, 1);
        let key = ValueKey::Payload(uuid(number));
        writing.values.push(ValueWrite { key: key.clone(), value: Some(large.clone()) });
        assert!(matches!(ground.commit_one(writing), UnitReply::Committed { .. }));
        keys.push(key);
    }
    let read = ground.read(&[1], &keys);
    let value = Fetched::Value(large);
    assert_eq!(read.values, [value.clone(), value.clone(), Fetched::Deferred]);
    assert!(read.records[0].is_some(), "records come with every reply");
    assert_eq!(ground.read(&[], &keys[2..]).values, [value]);
}

#[test]
fn what_is_over_a_bound_is_refused_before_anything_happens() {
    let mut ground = Ground::new();
    let commit = |units| Request::Commit(Commit { partition: HERE, units });
    let mut unexpected = unit(1, Version::ABSENT, 1);
    unexpected.expect.clear();
    let huge = bytes(&vec![0; MAX_RECORD_BYTES + 1]);
    let large = Unit { put: vec![(record(1), huge)], ..unit(1, Version::ABSENT, 1) };
    let many = (0..=MAX_UNITS as u128).map(|number| unit(number, Version::ABSENT, 1)).collect();
    let twice = vec![unit(1, Version::ABSENT, 1), unit(1, version(1, 1), 2)];
    let take = Take {
        partition: HERE,
        index: IndexName::Due,
        count: 257,
        until: TakeUntil::End,
        hold: HOLD,
        ring_rest: true,
    };
    let requests = [
        (commit(twice), "units for one record"),
        (commit(vec![unexpected]), "records written without a version"),
        (commit(vec![large]), "bytes in a record"),
        (commit(many), "units in a commit"),
        (Request::Take(take), "members in a take"),
    ];
    for (request, what) in requests {
        let over = request.check().expect_err(what);
        assert_eq!(over.what, what);
        assert_eq!(ground.ask(request), ReplyBody::OverBound(over));
    }
    assert_eq!(ground.stored(1), None);
}

#[test]
fn a_take_hands_out_the_first_entries_in_order_with_their_records() {
    let mut ground = Ground::new();
    ground.fill(&[(5, 30), (6, 10), (7, 20), (8, 20)]);
    let taken = ground.take(lane("l"), 3, TakeUntil::End);
    assert_eq!(numbers(&taken), [6, 7, 8], "by score, then by member");
    assert!(taken.entries.iter().all(|entry| entry.record.is_some()));
    assert_eq!(taken.rest, Some(Score::new(30)));
    let rest = ground.take(lane("l"), 3, TakeUntil::End);
    assert_eq!((numbers(&rest), rest.rest), (vec![5], None));
    assert_eq!(numbers(&ground.take(lane("l"), 3, TakeUntil::End)), [0_u128; 0]);
}

#[test]
fn what_is_taken_stays_in_due_so_that_a_dead_taker_loses_nothing() {
    let mut ground = Ground::new();
    let now = ground.now.get() as i64;
    ground.fill(&[(1, 10), (2, 20)]);
    let mut sooner = unit(2, version(1, 1), 2);
    sooner.index.push(entry(IndexName::Due, 2, now + 100));
    ground.commit_one(sooner);
    ground.take(lane("l"), 2, TakeUntil::End);
    let hold = HOLD.get() as i64;
    assert_eq!(ground.scan(IndexName::Due), [(now + 100, 2), (now + hold, 1)]);
    ground.now = at(now as u64 + 100);
    // Taken from `due` itself, an entry goes to now + hold whatever it was.
    assert_eq!(numbers(&ground.take(IndexName::Due, 9, TakeUntil::Now)), [2]);
    assert_eq!(ground.scan(IndexName::Due), [(now + hold, 1), (now + 100 + hold, 2)]);
}

#[test]
fn a_take_goes_no_farther_than_its_bound() {
    let mut ground = Ground::new();
    let now = ground.now.get() as i64;
    ground.fill(&[(1, now - 1), (2, now), (3, now + 1)]);
    let taken = ground.take(lane("l"), 9, TakeUntil::Score(Score::new(now - 1)));
    assert_eq!((numbers(&taken), taken.rest), (vec![1], None));
    let taken = ground.take(lane("l"), 9, TakeUntil::Now);
    assert_eq!((numbers(&taken), taken.rest), (vec![2], None));
    assert_eq!(ground.scan(lane("l")), [(now + 1, 3)]);
}

#[test]
fn an_entry_without_a_record_is_dropped_and_looked_at_once() {
    let mut ground = Ground::new();
    ground.fill(&[(2, 20), (3, 30)]);
    let mut stray = unit(9, Version::ABSENT, 1);
    stray.put.clear();
    stray.index.push(entry(lane("l"), 1, 10));
    ground.commit_one(stray);
    let taken = ground.take(lane("l"), 2, TakeUntil::End);
    assert_eq!((numbers(&taken), taken.rest), (vec![2], Some(Score::new(30))));
    assert_eq!(ground.scan(lane("l")), [(30, 3)]);
    assert_eq!(ground.scan(IndexName::Due).len(), 1, "only what was handed out is held");
}

#[test]
fn a_lane_rings_when_it_becomes_non_empty_and_when_a_take_leaves_some() {
    let mut ground = Ground::new();
    let ringing = |number: u128, score: i64| {
        let mut unit = unit(number, Version::ABSENT, 1);
        unit.index.push(entry(lane("l"), number, score));
        unit.ring.push(Topic::Index(lane("l")));
        unit
    };
    ground.commit_one(ringing(1, 10));
    let wakes = ground.store.take_wakes();
    assert_eq!(wakes.len(), 1);
    assert_eq!((&wakes[0].topic, wakes[0].partition), (&Topic::Index(lane("l")), HERE));
    ground.commit_one(ringing(2, 20));
    assert_eq!(ground.store.take_wakes(), [], "it was not empty");
    ground.take(lane("l"), 1, TakeUntil::End);
    assert_eq!(ground.store.take_wakes().len(), 1, "a remainder is left");
    ground.take(lane("l"), 1, TakeUntil::End);
    assert_eq!(ground.store.take_wakes(), []);
    let mut named_only = unit(3, Version::ABSENT, 1);
    named_only.ring = vec![Topic::Index(lane("l")), Topic::Journal(HERE)];
    ground.commit_one(named_only);
    let wakes = ground.store.take_wakes();
    assert_eq!(wakes.len(), 1, "nothing was put into the lane");
    assert_eq!(wakes[0].topic, Topic::Journal(HERE));
}

#[test]
fn a_poll_tells_the_first_score_of_each_partition() {
    let mut ground = Ground::new();
    ground.fill(&[(1, 10), (2, 5)]);
    let partitions = vec![Partition::flow(2), HERE];
    let poll = Poll { index: lane("l"), partitions };
    let scores = ReplyBody::Poll(vec![Ok(None), Ok(Some(Score::new(5)))]);
    assert_eq!(ground.ask(Request::Poll(poll)), scores);
}

#[test]
fn a_scan_pages_through_an_index() {
    let mut ground = Ground::new();
    ground.fill(&[(1, 10), (2, 10), (3, 20)]);
    let mut after: Option<ScanPosition> = None;
    let mut seen = Vec::new();
    loop {
        let scan = Scan { partition: HERE, index: lane("l"), after, limit: 1 };
        let ReplyBody::Scan(page) = ground.ask(Request::Scan(scan)) else { panic!("a page") };
        seen.extend(page.entries.iter().map(|entry| entry.position.member.as_u128()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, [1, 2, 3]);
}

#[test]
fn stream_ids_follow_the_clock_and_never_go_back() {
    let mut ground = Ground::new();
    ground.append(1, b"a");
    ground.append(2, b"b");
    ground.now = at(500);
    ground.append(3, b"c");
    ground.now = at(2_000_000);
    ground.append(4, b"d");
    let ids: Vec<(u64, u64)> = ground
        .stream(Cursor::Start, 10)
        .entries
        .iter()
        .map(|entry| (entry.id.at.get(), entry.id.sequence))
        .collect();
    assert_eq!(ids, [(1_000_000, 0), (1_000_000, 1), (1_000_000, 2), (2_000_000, 0)]);
}

#[test]
fn a_stream_is_read_page_by_page_from_a_cursor() {
    let mut ground = Ground::new();
    let end = ground.stream(Cursor::End, 10).next;
    for number in 1..=3 {
        ground.append(number, &[number as u8]);
    }
    let first = ground.stream(Cursor::Start, 2);
    assert_eq!((first.entries.len(), first.gap), (2, false));
    let second = ground.stream(first.next, 2);
    assert_eq!((&*second.entries[0].entry, second.gap), (&[3_u8][..], false));
    assert_eq!(ground.stream(second.next, 2).entries, []);
    assert_eq!(ground.stream(end, 10).entries.len(), 3, "what came behind the end");
}

#[test]
fn a_reader_is_told_of_entries_that_are_gone() {
    let mut ground = Ground::new();
    ground.append(1, b"a");
    ground.append(2, b"b");
    let behind_a = ground.stream(Cursor::Start, 1).next;
    let chunk = vec![0; 100_000];
    for number in 3..=3 + (MAX_JOURNAL_BYTES / chunk.len()) as u128 {
        ground.append(number, &chunk);
    }
    let page = ground.stream(behind_a, 1);
    assert!(page.gap, "b is gone and the reader has not seen it");
    assert_eq!(page.entries.len(), 1);
    // The page goes on with the first entry that is kept.
    assert!(!ground.stream(page.next, 1).gap);
    assert!(ground.stream(Cursor::End, 1).entries.is_empty());
    let kept: usize =
        ground.stream(Cursor::Start, 1_000).entries.iter().map(|entry| entry.entry.len()).sum();
    assert!(kept <= MAX_JOURNAL_BYTES && kept > MAX_JOURNAL_BYTES - 2 * chunk.len());
}

#[test]
fn old_entries_of_a_stream_go_and_another_history_is_a_gap() {
    let mut ground = Ground::new();
    ground.append(1, b"old");
    let place = ground.stream(Cursor::Start, 10).next;
    ground.now = ground.now.plus(DurationMs::new(MAX_JOURNAL_AGE_MS + 1));
    ground.append(2, b"new");
    let kept = ground.stream(Cursor::Start, 10).entries;
    assert_eq!(kept.iter().map(|entry| &*entry.entry).collect::<Vec<_>>(), [b"new"]);
    assert!(!ground.stream(place, 10).gap, "the reader had seen what is gone");
    ground.store.set_history(78);
    let page = ground.stream(place, 10);
    assert!(page.gap);
    assert!(!ground.stream(page.next, 10).gap);
}

#[test]
fn the_account_counts_keys_records_values_and_entries() {
    let mut ground = Ground::new();
    ground.fill(&[(1, 10)]);
    let account = ground.store.account();
    // `{fp:3}x` and 16 bytes; "record" and a version; a member and a score.
    assert_eq!((account.keys, account.records, account.entries), (7 + 16, 6 + 16, 16 + 8));
    assert_eq!((account.values, account.streams), (0, 0));
}
