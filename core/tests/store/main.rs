//! The store contract, rule by rule, on the reference store (`docs/architecture.md`, The store
//! contract). A backend is right when it answers like this.

mod ground;
mod streams;

use ff_core::execution::Purpose;
use ff_core::partition::Partition;
use ff_core::score::Score;
use ff_core::store::bounds::{MAX_MESSAGE_BYTES, MAX_RECORD_BYTES, MAX_UNITS};
use ff_core::store::{
    Commit, Cursor, Fetched, IndexName, IndexWrite, Poll, RecordKey, ReplyBody, Request, Scan,
    ScanEntry, ScanPosition, Stored, StreamAppend, StreamName, Take, TakeUntil, Topic, Unit,
    UnitReply, ValueKey, ValueWrite, Version,
};
use ff_core::time::{DurationMs, Window};

use ground::*;

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
fn the_account_counts_keys_records_values_and_entries() {
    let mut ground = Ground::new();
    ground.fill(&[(1, 10)]);
    let account = ground.store.account();
    // `{fp:3}x` and 16 bytes; "record" and a version; a member and a score.
    assert_eq!((account.keys, account.records, account.entries), (7 + 16, 6 + 16, 16 + 8));
    assert_eq!((account.values, account.streams), (0, 0));
}

#[test]
fn a_unit_checks_several_records_and_writes_only_some() {
    let mut ground = Ground::new();
    ground.fill(&[(1, 10), (2, 20)]);
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
    let (first, absent) = (version(1, 1), Version::ABSENT);
    for wrong in [[first, first, first], [absent, absent, first], [first, absent, version(1, 2)]] {
        let current = vec![held(first), None, held(first)];
        assert_eq!(ground.commit_one(three(wrong)), UnitReply::Conflict { current });
    }
    let committed = ground.commit_one(three([first, absent, first]));
    assert_eq!(committed, UnitReply::Committed { fetched: vec![] });
    let expected = Stored { version: version(1, 5), bytes: bytes(b"signal") };
    let current = vec![held(first), Some(expected), held(first)];
    assert_eq!(ground.commit_one(three([first; 3])), UnitReply::Conflict { current });
    let body = ValueKey::Signal { execution: uuid(1), signal: uuid(7) };
    assert_eq!(ground.read(&[], &[body]).values, [Fetched::Value(bytes(b"body"))]);
}

#[test]
fn an_index_of_signals_comes_with_the_signals_of_its_execution() {
    let mut ground = Ground::new();
    let (index, other) = (
        IndexName::Signals { execution: uuid(1) },
        RecordKey::Signal { execution: uuid(2), signal: uuid(8) },
    );
    // An execution, and a signal to another, have the ids of signals: neither is one of these.
    ground.fill(&[(7, 10)]);
    let written = Unit {
        expect: [signal(7), signal(9), other.clone()].map(|key| (key, Version::ABSENT)).to_vec(),
        put: vec![(signal(7), bytes(b"7")), (signal(9), bytes(b"9")), (other, bytes(b"8"))],
        index: [(7, 2), (9, 1), (8, 3)].map(|(n, at)| entry(index.clone(), n, at)).to_vec(),
        ..Unit::new(Purpose::Finish, 1)
    };
    assert!(matches!(ground.commit_one(written), UnitReply::Committed { .. }));
    let scan = Scan { partition: HERE, index: index.clone(), after: None, limit: 9 };
    let ReplyBody::Scan(page) = ground.ask(Request::Scan(scan)) else { panic!("a page") };
    let found = |entry: &ScanEntry| {
        let record = entry.record.as_ref().map(|record| record.bytes.to_vec());
        (entry.position.member.as_u128(), record)
    };
    let found: Vec<_> = page.entries.iter().map(found).collect();
    assert_eq!(found, [(9, Some(b"9".to_vec())), (7, Some(b"7".to_vec())), (8, None)]);
    let taken = ground.take(index, 9, TakeUntil::End);
    assert_eq!(numbers(&taken), [9, 7], "what has no record is dropped");
    assert_eq!(taken.entries[1].record.as_ref().map(|record| &*record.bytes), Some(&b"7"[..]));
}
