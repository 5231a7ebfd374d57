//! Tests of the store contract, rule by rule, on the reference store (`docs/architecture.md`, The
//! store contract). A correct backend replies in the same way.

mod fixture;
mod streams;

use ff_core::execution::Purpose;
use ff_core::id::{ExecutionKind, LaneId, Namespace};
use ff_core::partition::Partition;
use ff_core::score::Score;
use ff_core::state::CountedState;
use ff_core::store::bounds::{MAX_MESSAGE_BYTES, MAX_RECORD_BYTES, MAX_UNITS};
use ff_core::store::{
    Commit, CountChange, CountName, CountOf, Cursor, Fetched, FirstOf, Firsts, IndexName,
    IndexWrite, Poll, PollOf, Polled, RecordKey, ReplyBody, Request, Scan, ScanEntry, ScanOrder,
    ScanPosition, Stored, StreamAppend, StreamName, Take, TakeUntil, Topic, Unit, UnitReply,
    ValueKey, ValueWrite, Version, Wake,
};
use ff_core::time::{DurationMs, Window};

use fixture::*;

#[test]
fn a_record_is_replaced_only_if_count_and_nonce_of_its_version_match() {
    let mut fixture = Fixture::new();
    let created = fixture.commit_one(unit(1, Version::ABSENT, 9));
    assert_eq!(created, UnitReply::Committed { fetched: vec![] });
    let held = Stored { version: version(1, 9), bytes: bytes(b"record") };
    assert_eq!(fixture.stored(1), Some(held.clone()));
    // The same count with another nonce is another version.
    for wrong in [Version::ABSENT, version(1, 8), version(2, 9)] {
        let conflict = fixture.commit_one(unit(1, wrong, 10));
        assert_eq!(conflict, UnitReply::Conflict { current: vec![Some(held.clone())] });
    }
    assert_eq!(fixture.stored(1), Some(held));
    fixture.commit_one(unit(1, version(1, 9), 10));
    assert_eq!(fixture.stored(1).expect("it is there").version, version(2, 10));
}

#[test]
fn a_conflict_writes_nothing_and_does_not_affect_other_units() {
    let mut fixture = Fixture::new();
    let mut losing = unit(1, version(4, 4), 1);
    losing.values.push(ValueWrite { key: ValueKey::Payload(uuid(1)), value: Some(bytes(b"p")) });
    losing.index.push(entry(lane("l"), 1, 5));
    losing.append.push(StreamAppend::new(StreamName::Journal, bytes(b"e")));
    losing.ring.push(Topic::Journal(HERE));
    let replies = fixture.commit(vec![losing, unit(2, Version::ABSENT, 2)]);
    assert_eq!(replies[0], UnitReply::Conflict { current: vec![None] });
    assert_eq!(replies[1], UnitReply::Committed { fetched: vec![] });
    assert_eq!(fixture.read(&[], &[ValueKey::Payload(uuid(1))]).values, [Fetched::Absent]);
    assert_eq!(fixture.scan(lane("l")), []);
    assert_eq!(fixture.stream(Cursor::Start, 10).entries, []);
    assert_eq!(fixture.store.take_wakes(), []);
}

#[test]
fn a_window_is_checked_against_the_stores_clock_and_is_half_open() {
    let mut fixture = Fixture::new();
    let outside = |window| Unit { window, ..unit(1, Version::ABSENT, 1) };
    let now = fixture.now;
    for window in [
        Window::until(now),
        Window::from(now.plus(DurationMs::new(1))),
        Window { not_before: now, not_after: now },
    ] {
        assert_eq!(fixture.commit_one(outside(window)), UnitReply::OutsideWindow);
        assert_eq!(fixture.stored(1), None);
    }
    let window = Window { not_before: now, not_after: now.plus(DurationMs::new(1)) };
    assert!(matches!(fixture.commit_one(outside(window)), UnitReply::Committed { .. }));
}

#[test]
fn a_removed_record_is_absent_and_its_index_entries_are_removed_in_the_same_unit() {
    let mut fixture = Fixture::new();
    fixture.fill(&[(1, 10)]);
    let mut removal = unit(1, version(1, 1), 2);
    removal.put.clear();
    removal.remove.push(record(1));
    removal.index.push(IndexWrite { index: lane("l"), member: uuid(1), score: None });
    assert!(matches!(fixture.commit_one(removal), UnitReply::Committed { .. }));
    assert_eq!((fixture.stored(1), fixture.scan(lane("l"))), (None, vec![]));
    assert!(matches!(fixture.commit_one(unit(1, Version::ABSENT, 3)), UnitReply::Committed { .. }));
}

#[test]
fn values_are_fetched_as_they_are_after_the_writes() {
    let mut fixture = Fixture::new();
    let payload = ValueKey::Payload(uuid(1));
    let result = ValueKey::Result(uuid(1));
    let every_byte: Vec<u8> = (0..=255).collect();
    let mut writing = unit(1, Version::ABSENT, 1);
    let value = Some(bytes(&every_byte));
    writing.values.push(ValueWrite { key: payload.clone(), value });
    writing.fetch = vec![result, payload];
    let fetched = vec![Fetched::Absent, Fetched::Value(bytes(&every_byte))];
    assert_eq!(fixture.commit_one(writing), UnitReply::Committed { fetched });
}

#[test]
fn an_oversized_reply_defers_values_but_never_the_first() {
    let mut fixture = Fixture::new();
    let large = bytes(&vec![7; MAX_MESSAGE_BYTES / 2 - 1]);
    let mut keys = Vec::new();
    for number in 1..=3 {
        let mut writing = unit(number, Version::ABSENT, 1);
        let key = ValueKey::Payload(uuid(number));
        writing.values.push(ValueWrite { key: key.clone(), value: Some(large.clone()) });
        assert!(matches!(fixture.commit_one(writing), UnitReply::Committed { .. }));
        keys.push(key);
    }
    let read = fixture.read(&[1], &keys);
    let value = Fetched::Value(large);
    assert_eq!(read.values, [value.clone(), value.clone(), Fetched::Deferred]);
    assert!(read.records[0].is_some(), "every reply has the records");
    assert_eq!(fixture.read(&[], &keys[2..]).values, [value]);
}

/// The bytes of the records decide where a page ends, with at least one entry, and the reply shows
/// that others remain.
#[test]
fn a_page_ends_when_its_records_have_enough_bytes() {
    let size = |fixture: &mut Fixture| fixture.stored(1).expect("it is there").size() as u32;
    for (records, count) in [(0, 1), (1, 1), (2, 2), (3, 3)] {
        let mut fixture = Fixture::new();
        fixture.fill(&[(1, 10), (2, 11), (3, 12), (4, 13)]);
        let bytes = size(&mut fixture) * records;
        let scan = |after, limit| {
            let (partition, index) = (HERE, lane("l"));
            Request::Scan(Scan {
                partition,
                index,
                order: ScanOrder::Ascending,
                after,
                limit,
                bytes,
            })
        };
        let ReplyBody::Scan(page) = fixture.ask(scan(None, 10)) else { panic!("a page") };
        assert_eq!((page.entries.len(), page.next.is_some()), (count, true));
        let ReplyBody::Scan(last) = fixture.ask(scan(page.next, 10)) else { panic!("a page") };
        assert_eq!(last.entries[0].position.member, uuid(count as u128 + 1));
        let taken = fixture.take_bytes(lane("l"), 10, bytes, TakeUntil::End);
        assert_eq!(taken.entries.len(), count);
        assert_eq!(taken.rest, [Some(Score::new(10 + count as i64))]);
        let rest = fixture.take_bytes(lane("l"), 10, bytes * 4 + 1_000, TakeUntil::End);
        assert_eq!((rest.entries.len(), rest.rest), (4 - count, vec![None]));
    }
}

#[test]
fn a_conflict_returns_all_records_or_none() {
    let mut fixture = Fixture::new();
    fixture.fill(&[(1, 10), (2, 11)]);
    let each = fixture.stored(1).expect("it is there").size() as u32;
    let of_two = |conflict_bytes| {
        let mut two = Unit { conflict_bytes, ..unit(1, version(7, 7), 3) };
        two.expect.push((record(2), version(1, 2)));
        two
    };
    for (bytes, shown) in [(2 * each, 2), (2 * each - 1, 0), (0, 0)] {
        let reply = fixture.commit_one(of_two(bytes));
        let UnitReply::Conflict { current } = reply else { panic!("{reply:?}") };
        assert_eq!(current.iter().flatten().count(), shown, "{bytes} bytes");
        assert_eq!(current.len(), shown);
    }
    // A single record is always returned.
    let one = Unit { conflict_bytes: 0, ..unit(1, version(7, 7), 3) };
    let UnitReply::Conflict { current } = fixture.commit_one(one) else { panic!("a conflict") };
    assert!(matches!(current[..], [Some(_)]));
}

#[test]
fn a_request_over_a_bound_is_refused_before_anything_happens() {
    let mut fixture = Fixture::new();
    let commit = |units| Request::Commit(Commit { partition: HERE, units });
    let mut unexpected = unit(1, Version::ABSENT, 1);
    unexpected.expect.clear();
    let huge = bytes(&vec![0; MAX_RECORD_BYTES + 1]);
    let large = Unit { put: vec![(record(1), huge)], ..unit(1, Version::ABSENT, 1) };
    let many = (0..=MAX_UNITS as u128).map(|number| unit(number, Version::ABSENT, 1)).collect();
    let twice = vec![unit(1, Version::ABSENT, 1), unit(1, version(1, 1), 2)];
    let take = Take {
        partition: HERE,
        from: vec![IndexName::Due],
        count: 257,
        bytes: 1,
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
        assert_eq!(fixture.ask(request), ReplyBody::OverBound(over));
    }
    assert_eq!(fixture.stored(1), None);
}

#[test]
fn a_take_returns_the_first_entries_in_order_with_their_records() {
    let mut fixture = Fixture::new();
    fixture.fill(&[(5, 30), (6, 10), (7, 20), (8, 20)]);
    let taken = fixture.take(lane("l"), 3, TakeUntil::End);
    assert_eq!(numbers(&taken), [6, 7, 8], "by score, then by member");
    assert!(taken.entries.iter().all(|taken| taken.entry.record.is_some()));
    assert_eq!(taken.rest, [Some(Score::new(30))]);
    let rest = fixture.take(lane("l"), 3, TakeUntil::End);
    assert_eq!((numbers(&rest), rest.rest), (vec![5], vec![None]));
    assert_eq!(numbers(&fixture.take(lane("l"), 3, TakeUntil::End)), [0_u128; 0]);
}

#[test]
fn a_taken_entry_stays_in_due_so_that_a_dead_caller_loses_nothing() {
    let mut fixture = Fixture::new();
    let now = fixture.now.get() as i64;
    fixture.fill(&[(1, 10), (2, 20)]);
    let mut sooner = unit(2, version(1, 1), 2);
    sooner.index.push(entry(IndexName::Due, 2, now + 100));
    fixture.commit_one(sooner);
    fixture.take(lane("l"), 2, TakeUntil::End);
    let hold = HOLD.get() as i64;
    assert_eq!(fixture.scan(IndexName::Due), [(now + 100, 2), (now + hold, 1)]);
    fixture.now = at(now as u64 + 100);
    // An entry that is taken from `due` itself moves to now + hold.
    assert_eq!(numbers(&fixture.take(IndexName::Due, 9, TakeUntil::Now)), [2]);
    assert_eq!(fixture.scan(IndexName::Due), [(now + hold, 1), (now + 100 + hold, 2)]);
}

#[test]
fn a_take_of_timers_rings_with_the_first_that_is_left_if_it_took_any() {
    let mut fixture = Fixture::new();
    let now = fixture.now.get() as i64;
    for (number, score) in [(1, now), (2, now + 100_000)] {
        let mut timer = unit(number, Version::ABSENT, 1);
        timer.index = vec![entry(IndexName::Due, number, score)];
        fixture.commit_one(timer);
    }
    fixture.store.take_wakes();
    assert_eq!(numbers(&fixture.take(IndexName::Due, 9, TakeUntil::Now)), [1]);
    let first = FirstOf { index: IndexName::Due, score: Score::new(now + 100_000) };
    let wake = Wake { topic: Topic::Due, partition: HERE, first: Some(first) };
    assert_eq!(fixture.store.take_wakes(), [wake]);
    // Otherwise a timekeeper could wake itself without end.
    assert_eq!(numbers(&fixture.take(IndexName::Due, 9, TakeUntil::Now)), [0_u128; 0]);
    assert_eq!(fixture.store.take_wakes(), []);
}

#[test]
fn a_take_ends_at_its_bound() {
    let mut fixture = Fixture::new();
    let now = fixture.now.get() as i64;
    fixture.fill(&[(1, now - 1), (2, now), (3, now + 1)]);
    let taken = fixture.take(lane("l"), 9, TakeUntil::Score(Score::new(now - 1)));
    assert_eq!((numbers(&taken), taken.rest), (vec![1], vec![Some(Score::new(now))]));
    let taken = fixture.take(lane("l"), 9, TakeUntil::Now);
    assert_eq!((numbers(&taken), taken.rest), (vec![2], vec![Some(Score::new(now + 1))]));
    assert_eq!(fixture.scan(lane("l")), [(now + 1, 3)]);
}

#[test]
fn an_entry_without_a_record_is_removed_by_a_take_and_counts_once() {
    let mut fixture = Fixture::new();
    fixture.fill(&[(2, 20), (3, 30)]);
    let mut stray = unit(9, Version::ABSENT, 1);
    stray.put.clear();
    stray.index.push(entry(lane("l"), 1, 10));
    fixture.commit_one(stray);
    let taken = fixture.take(lane("l"), 2, TakeUntil::End);
    assert_eq!((numbers(&taken), taken.rest), (vec![2], vec![Some(Score::new(30))]));
    assert_eq!(fixture.scan(lane("l")), [(30, 3)]);
    assert_eq!(fixture.scan(IndexName::Due).len(), 1, "only the returned entry is held");
}

#[test]
fn a_lane_rings_when_the_first_score_of_a_queue_gets_lower_and_when_a_take_leaves_entries() {
    let mut fixture = Fixture::new();
    let topic = lane("l").topic().expect("a lane has a topic");
    let rings = |score| {
        let first = Some(FirstOf { index: lane("l"), score: Score::new(score) });
        Wake { topic: topic.clone(), partition: HERE, first }
    };
    let put = |fixture: &mut Fixture, number: u128, score: i64| {
        let mut unit = unit(number, Version::ABSENT, 1);
        unit.index.push(entry(lane("l"), number, score));
        fixture.commit_one(unit);
        fixture.store.take_wakes()
    };
    assert_eq!(put(&mut fixture, 1, 10), [rings(10)], "the queue was empty");
    assert_eq!(put(&mut fixture, 2, 20), [], "a worse entry");
    assert_eq!(put(&mut fixture, 3, 5), [rings(5)], "a better entry");
    fixture.take(lane("l"), 1, TakeUntil::End);
    assert_eq!(fixture.store.take_wakes(), [rings(10)], "entries are left");
    fixture.take(lane("l"), 2, TakeUntil::End);
    assert_eq!(fixture.store.take_wakes(), []);
    assert_eq!(put(&mut fixture, 4, 30), [rings(30)], "the queue was empty again");
}

#[test]
fn a_unit_rings_the_topics_that_it_names() {
    let mut fixture = Fixture::new();
    let mut named_only = unit(3, Version::ABSENT, 1);
    let namespace = lane("l").listed_in().expect("a queue is listed").clone();
    named_only.ring = vec![Topic::Routes { namespace }, Topic::Journal(HERE)];
    let topics = named_only.ring.clone();
    fixture.commit_one(named_only);
    let wakes = fixture.store.take_wakes();
    assert_eq!(wakes.iter().map(|wake| wake.topic.clone()).collect::<Vec<_>>(), topics);
}

#[test]
fn a_poll_returns_the_first_score_of_each_partition() {
    let mut fixture = Fixture::new();
    fixture.fill(&[(1, 10), (2, 5)]);
    let partitions = vec![Partition::flow(2), HERE];
    let poll = Poll { of: PollOf::Index(lane("l")), partitions, listeners: None };
    assert_eq!(fixture.ask(Request::Poll(poll)), polled(&fixture, &[&[], &[("l", 5)]]));
}

/// The queue of another kind in the lane `l`.
fn kind(kind: &str) -> IndexName {
    match lane("l") {
        IndexName::Eligible { namespace, lane, .. } => {
            let kind = ExecutionKind::try_new(kind).expect("a kind");
            IndexName::Eligible { namespace, lane, kind }
        }
        other => other,
    }
}

/// The reply to a poll of one partition with these queues.
fn polled_queues(fixture: &Fixture, queues: &[(IndexName, i64)]) -> ReplyBody {
    let first = |(index, score): &(IndexName, i64)| FirstOf {
        index: index.clone(),
        score: Score::new(*score),
    };
    let found = queues.iter().map(first).collect();
    let firsts = vec![Ok(Firsts { found, ..Firsts::none(fixture.now) })];
    ReplyBody::Poll(Polled { firsts, listeners: 0 })
}

/// The reply to a poll of partitions with these lanes and scores.
fn polled(fixture: &Fixture, partitions: &[&[(&str, i64)]]) -> ReplyBody {
    let first =
        |(name, score): &(&str, i64)| FirstOf { index: lane(name), score: Score::new(*score) };
    let firsts = |found: &&[(&str, i64)]| {
        Ok(Firsts { found: found.iter().map(first).collect(), ..Firsts::none(fixture.now) })
    };
    let firsts = partitions.iter().map(firsts).collect();
    ReplyBody::Poll(Polled { firsts, listeners: 0 })
}

#[test]
fn a_queue_is_listed_with_its_first_score_while_it_has_entries() {
    let mut fixture = Fixture::new();
    fixture.fill(&[(1, 10), (2, 5)]);
    let mut other = unit(3, Version::ABSENT, 1);
    other.index.push(entry(kind("m"), 3, 7));
    fixture.commit_one(other);
    let namespace = lane("l").listed_in().expect("a queue is listed").clone();
    let queues = |fixture: &mut Fixture, skip: u32| {
        let of = PollOf::Queues { namespace: namespace.clone(), skip };
        fixture.ask(Request::Poll(Poll { of, partitions: vec![HERE], listeners: None }))
    };
    assert_eq!(queues(&mut fixture, 0), polled_queues(&fixture, &[(lane("l"), 5), (kind("m"), 7)]));
    assert_eq!(queues(&mut fixture, 1), polled_queues(&fixture, &[(kind("m"), 7)]));
    // Several queues at a time, in the order of the scores.
    let (from, until, hold) = (vec![kind("m"), lane("l")], TakeUntil::End, HOLD);
    let take =
        Take { partition: HERE, from, count: 2, bytes: 1_000, until, hold, ring_rest: false };
    let ReplyBody::Take(taken) = fixture.ask(Request::Take(take)) else { panic!("entries") };
    assert_eq!(numbers(&taken), [2, 3]);
    assert_eq!(taken.entries.iter().map(|taken| taken.from).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(taken.rest, [None, Some(Score::new(10))]);
    assert_eq!(queues(&mut fixture, 0), polled(&fixture, &[&[("l", 10)]]));
    let mut gone = unit(1, version(1, 1), 2);
    gone.index.push(IndexWrite { score: None, ..entry(lane("l"), 1, 0) });
    fixture.commit_one(gone);
    assert_eq!(queues(&mut fixture, 0), polled(&fixture, &[&[]]));
}

/// A count of a lane, and its number.
fn counted(lane: &str, state: CountedState, number: i64) -> CountOf {
    let lane = LaneId::try_new(lane).expect("a lane");
    CountOf { name: CountName { namespace: namespace("ns"), lane, state }, number }
}

fn namespace(name: &str) -> Namespace {
    Namespace::try_new(name).expect("a namespace")
}

#[test]
fn a_count_is_the_sum_of_the_changes_of_committed_units() {
    use CountedState::{Active, Waiting};
    let mut fixture = Fixture::new();
    let changing = |changes: &[(&str, CountedState, i8)], unit: Unit| {
        let change = |(lane, state, by): &(&str, CountedState, i8)| CountChange {
            name: counted(lane, *state, 0).name,
            by: *by,
        };
        Unit { counts: changes.iter().map(change).collect(), ..unit }
    };
    let counts = |fixture: &mut Fixture, of: &str, skip: u32| {
        let of = PollOf::Counts { namespace: namespace(of), skip };
        let poll = Poll { of, partitions: vec![HERE, Partition::flow(2)], listeners: None };
        let ReplyBody::Poll(mut polled) = fixture.ask(Request::Poll(poll)) else {
            panic!("a poll")
        };
        let elsewhere = polled.firsts.pop().expect("two partitions").expect("it answers");
        assert_eq!(elsewhere, Firsts::none(fixture.now), "each partition has its own counts");
        polled.firsts.pop().expect("two partitions").expect("it answers").counts
    };
    let first = changing(&[("l", Waiting, 1), ("m", Waiting, 3)], unit(1, Version::ABSENT, 1));
    let second = changing(&[("l", Waiting, 1)], unit(2, Version::ABSENT, 2));
    let conflict = changing(&[("l", Waiting, 1)], unit(3, version(1, 1), 1));
    let window = Window::until(fixture.now);
    let late = changing(&[("l", Waiting, 1)], Unit { window, ..unit(4, Version::ABSENT, 1) });
    fixture.commit(vec![first, second, conflict, late]);
    let both = [counted("l", Waiting, 2), counted("m", Waiting, 3)];
    assert_eq!(counts(&mut fixture, "ns", 0), both);
    assert_eq!(counts(&mut fixture, "ns", 1), both[1..], "a page skips the first counts");
    assert_eq!(counts(&mut fixture, "other", 0), []);
    let moved = [("l", Waiting, -1), ("l", Active, 1), ("m", Waiting, -3)];
    fixture.commit_one(changing(&moved, unit(1, version(1, 1), 2)));
    let moved = [counted("l", Waiting, 1), counted("l", Active, 1)];
    assert_eq!(counts(&mut fixture, "ns", 0), moved, "by number, and a count of 0 is gone");
}

#[test]
fn a_scan_pages_through_an_index() {
    let mut fixture = Fixture::new();
    fixture.fill(&[(1, 10), (2, 10), (3, 20)]);
    let mut after: Option<ScanPosition> = None;
    let mut seen = Vec::new();
    loop {
        let scan = Scan {
            partition: HERE,
            index: lane("l"),
            order: ScanOrder::Ascending,
            after,
            limit: 1,
            bytes: 1_000,
        };
        let ReplyBody::Scan(page) = fixture.ask(Request::Scan(scan)) else { panic!("a page") };
        seen.extend(page.entries.iter().map(|entry| entry.position.member.as_u128()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, [1, 2, 3]);
}

#[test]
fn the_account_counts_keys_records_values_and_entries() {
    let mut fixture = Fixture::new();
    fixture.fill(&[(1, 10)]);
    let account = fixture.store.account();
    // Key: `{fp:3}x` and 16 bytes. Record: "record" and a version. Entry: a member and a score.
    assert_eq!((account.keys, account.records, account.entries), (7 + 16, 6 + 16, 16 + 8));
    assert_eq!((account.values, account.streams), (0, 0));
}

#[test]
fn a_unit_checks_several_records_and_writes_only_some() {
    let mut fixture = Fixture::new();
    fixture.fill(&[(1, 10), (2, 20)]);
    let three = |seen: [Version; 3]| Unit {
        expect: vec![(record(2), seen[0]), (signal(7), seen[1]), (record(1), seen[2])],
        put: vec![(signal(7), bytes(b"signal"))],
        values: vec![ValueWrite {
            key: ValueKey::Signal { execution: uuid(1), signal: uuid(7) },
            value: Some(bytes(b"body")),
        }],
        ..Unit::new(Purpose::Admit, 5)
    };
    let held = |version| Some(Stored { version, bytes: bytes(b"record") });
    let first = version(1, 1);
    let absent = Version::ABSENT;
    for wrong in [[first, first, first], [absent, absent, first], [first, absent, version(1, 2)]] {
        let current = vec![held(first), None, held(first)];
        assert_eq!(fixture.commit_one(three(wrong)), UnitReply::Conflict { current });
    }
    let committed = fixture.commit_one(three([first, absent, first]));
    assert_eq!(committed, UnitReply::Committed { fetched: vec![] });
    let expected = Stored { version: version(1, 5), bytes: bytes(b"signal") };
    let current = vec![held(first), Some(expected), held(first)];
    assert_eq!(fixture.commit_one(three([first; 3])), UnitReply::Conflict { current });
    let body = ValueKey::Signal { execution: uuid(1), signal: uuid(7) };
    assert_eq!(fixture.read(&[], &[body]).values, [Fetched::Value(bytes(b"body"))]);
}

#[test]
fn an_index_of_signals_returns_the_signals_of_its_execution() {
    let mut fixture = Fixture::new();
    let index = IndexName::Signals { execution: uuid(1) };
    let other = RecordKey::Signal { execution: uuid(2), signal: uuid(8) };
    // An execution, and a signal to another execution, have the same uuids as signals of this
    // index. The index must return neither.
    fixture.fill(&[(7, 10)]);
    let written = Unit {
        expect: [signal(7), signal(9), other.clone()].map(|key| (key, Version::ABSENT)).to_vec(),
        put: vec![(signal(7), bytes(b"7")), (signal(9), bytes(b"9")), (other, bytes(b"8"))],
        index: [(7, 2), (9, 1), (8, 3)].map(|(n, at)| entry(index.clone(), n, at)).to_vec(),
        ..Unit::new(Purpose::Finish, 1)
    };
    assert!(matches!(fixture.commit_one(written), UnitReply::Committed { .. }));
    let scan = Scan {
        partition: HERE,
        index: index.clone(),
        order: ScanOrder::Ascending,
        after: None,
        limit: 9,
        bytes: 1_000,
    };
    let ReplyBody::Scan(page) = fixture.ask(Request::Scan(scan)) else { panic!("a page") };
    let found = |entry: &ScanEntry| {
        let record = entry.record.as_ref().map(|record| record.bytes.to_vec());
        (entry.position.member.as_u128(), record)
    };
    let found: Vec<_> = page.entries.iter().map(found).collect();
    assert_eq!(found, [(9, Some(b"9".to_vec())), (7, Some(b"7".to_vec())), (8, None)]);
}
