//! Streams of the reference store: the journal of a partition and the output of attempts.

use ff_core::execution::Purpose;
use ff_core::id::AttemptIndex;
use ff_core::store::bounds::{
    MAX_FRAMES, MAX_FRAMES_BYTES, MAX_JOURNAL_AGE_MS, MAX_JOURNAL_BYTES, MAX_MESSAGE_BYTES,
    MAX_PAGE, MAX_STREAM_ENTRY_BYTES,
};
use ff_core::store::{
    Commit, Cursor, Request, StreamAppend, StreamName, Topic, Unit, UnitReply, ValueKey, ValueWrite,
};
use ff_core::time::DurationMs;

use super::fixture::*;

#[test]
fn stream_ids_follow_the_clock_and_never_go_back() {
    let mut fixture = Fixture::new();
    fixture.append(1, b"a");
    fixture.append(2, b"b");
    fixture.now = at(500);
    fixture.append(3, b"c");
    fixture.now = at(2_000_000);
    fixture.append(4, b"d");
    let ids: Vec<(u64, u64)> = fixture
        .stream(Cursor::Start, 10)
        .entries
        .iter()
        .map(|entry| (entry.id.at.get(), entry.id.sequence))
        .collect();
    assert_eq!(ids, [(1_000_000, 0), (1_000_000, 1), (1_000_000, 2), (2_000_000, 0)]);
}

#[test]
fn a_stream_is_read_page_by_page_from_a_cursor() {
    let mut fixture = Fixture::new();
    let end = fixture.stream(Cursor::End, 10).next;
    for number in 1..=3 {
        fixture.append(number, &[number as u8]);
    }
    let first = fixture.stream(Cursor::Start, 2);
    assert_eq!((first.entries.len(), first.gap), (2, false));
    let second = fixture.stream(first.next, 2);
    assert_eq!((&*second.entries[0].entry, second.gap), (&[3_u8][..], false));
    assert_eq!(fixture.stream(second.next, 2).entries, []);
    assert_eq!(fixture.stream(end, 10).entries.len(), 3, "the entries after the end");
}

#[test]
fn a_reader_finds_a_gap_if_entries_were_dropped() {
    let mut fixture = Fixture::new();
    fixture.append(1, b"a");
    fixture.append(2, b"b");
    let after_a = fixture.stream(Cursor::Start, 1).next;
    let chunk = vec![0; 100_000];
    for number in 3..=3 + (MAX_JOURNAL_BYTES / chunk.len()) as u128 {
        fixture.append(number, &chunk);
    }
    let page = fixture.stream(after_a, 1);
    assert!(page.gap, "b was dropped and the reader has not seen it");
    assert_eq!(page.entries.len(), 1);
    // The page continues with the first entry that is kept.
    assert!(!fixture.stream(page.next, 1).gap);
    assert!(fixture.stream(Cursor::End, 1).entries.is_empty());
    let kept: usize =
        fixture.stream(Cursor::Start, 1_000).entries.iter().map(|entry| entry.entry.len()).sum();
    assert!(kept <= MAX_JOURNAL_BYTES && kept > MAX_JOURNAL_BYTES - 2 * chunk.len());
}

#[test]
fn old_entries_are_dropped_and_another_history_is_a_gap() {
    let mut fixture = Fixture::new();
    fixture.append(1, b"old");
    let cursor = fixture.stream(Cursor::Start, 10).next;
    fixture.now = fixture.now.plus(DurationMs::new(MAX_JOURNAL_AGE_MS + 1));
    fixture.append(2, b"new");
    let kept = fixture.stream(Cursor::Start, 10).entries;
    assert_eq!(kept.iter().map(|entry| &*entry.entry).collect::<Vec<_>>(), [b"new"]);
    assert!(!fixture.stream(cursor, 10).gap, "the reader has seen every dropped entry");
    fixture.store.set_history(78);
    let page = fixture.stream(cursor, 10);
    assert!(page.gap);
    assert!(!fixture.stream(page.next, 10).gap);
}

#[test]
fn the_output_of_an_attempt_is_capped_by_count_and_not_by_age() {
    let mut fixture = Fixture::new();
    fixture.emit(0, MAX_FRAMES, b"a");
    let full = fixture.kept(&output(0));
    assert_eq!(full.len(), MAX_FRAMES);
    let after_first = fixture.page(output(0), Cursor::Start, 1).next;
    fixture.now = fixture.now.plus(DurationMs::new(1 << 50));
    fixture.emit(0, 1, b"b");
    let kept = fixture.kept(&output(0));
    assert_eq!(
        (kept.len(), &kept[0]),
        (MAX_FRAMES, &full[1]),
        "the oldest frame is dropped, at any age"
    );
    assert!(!fixture.page(output(0), after_first, 1).gap);
    fixture.emit(0, 1, b"c");
    assert!(fixture.page(output(0), after_first, 1).gap);
    assert_eq!(fixture.kept(&output(1)), [], "each attempt has its own output");
}

#[test]
fn the_output_of_an_attempt_is_capped_by_bytes_so_that_a_page_fits_into_a_reply() {
    let mut fixture = Fixture::new();
    let large = vec![7; MAX_STREAM_ENTRY_BYTES];
    fixture.emit(0, MAX_FRAMES_BYTES / large.len(), &large);
    let first = fixture.kept(&output(0))[0].clone();
    fixture.emit(0, 1, b"b");
    fixture.emit(0, 3, &large);
    let page = fixture.page(output(0), Cursor::Start, MAX_PAGE as u32).entries;
    assert!(!page.contains(&first));
    let held: usize = page.iter().map(|entry| entry.entry.len()).sum();
    assert!(held <= MAX_FRAMES_BYTES && held > MAX_FRAMES_BYTES - large.len());
    assert!(held <= MAX_MESSAGE_BYTES);
}

#[test]
fn a_dropped_stream_is_like_one_that_never_existed() {
    let mut fixture = Fixture::new();
    fixture.emit(0, 3, b"a");
    fixture.emit(1, 1, b"other");
    let cursor = fixture.page(output(0), Cursor::Start, 1).next;
    let dropping =
        Unit { drop_streams: vec![output(0), output(5)], ..Unit::new(Purpose::Finish, 1) };
    // A unit with a conflict drops nothing.
    let stale = Unit { expect: vec![(record(9), version(1, 1))], ..dropping.clone() };
    assert!(matches!(fixture.commit_one(stale), UnitReply::Conflict { .. }));
    assert_eq!(fixture.kept(&output(0)).len(), 3);
    assert_eq!(fixture.commit_one(dropping), UnitReply::Committed { fetched: vec![] });
    assert_eq!((fixture.kept(&output(0)), fixture.kept(&output(1)).len()), (vec![], 1));
    fixture.now = at(500);
    fixture.emit(0, 1, b"b");
    let kept = fixture.kept(&output(0));
    assert_eq!((kept.len(), kept[0].id.at), (1, at(500)), "the numbering starts again");
    assert!(!fixture.page(output(0), cursor, 1).gap);
}

#[test]
fn dropped_streams_count_with_the_values_and_cannot_be_appended_to() {
    let value = ValueWrite { key: ValueKey::Payload(uuid(1)), value: None };
    let dropping = |values: usize, streams: u32| Unit {
        values: vec![value.clone(); values],
        drop_streams: (0..streams).map(output).collect(),
        ..Unit::new(Purpose::Finish, 1)
    };
    let check = |unit| Request::Commit(Commit { partition: HERE, units: vec![unit] }).check();
    assert_eq!(check(dropping(200, 55)), Ok(()));
    assert_eq!(check(dropping(200, 56)).expect_err("one too many").what, "entries in a unit");
    let append = |attempt| vec![StreamAppend::new(output(attempt), bytes(b""))];
    assert_eq!(check(Unit { append: append(2), ..dropping(0, 2) }), Ok(()));
    let both = check(Unit { append: append(1), ..dropping(0, 2) }).expect_err("both");
    assert_eq!(both.what, "appends to a dropped stream");
}

/// An append can have smaller caps than its stream, but not larger ones, and its entry fits.
#[test]
fn the_caps_of_an_append_are_within_those_of_its_stream() {
    let check = |change: fn(&mut StreamAppend)| {
        let mut append = StreamAppend::new(StreamName::Journal, bytes(b"entry"));
        change(&mut append);
        let unit = Unit { append: vec![append], ..Unit::new(Purpose::Finish, 1) };
        let request = Request::Commit(Commit { partition: HERE, units: vec![unit] });
        request.check().map_err(|over| over.what)
    };
    assert_eq!(check(|_| {}), Ok(()));
    assert_eq!(check(|append| (append.caps.bytes, append.caps.entries) = (5, 1)), Ok(()));
    assert_eq!(check(|append| append.caps.bytes = 4), Err("bytes in a stream entry"));
    assert_eq!(check(|append| append.caps.entries = 0), Err("entries in an append"));
    assert_eq!(check(|append| append.caps.bytes += 1), Err("bytes in a stream"));
    assert_eq!(check(|append| append.caps.entries += 1), Err("entries in a stream"));
    assert_eq!(check(|append| append.caps.age_ms += 1), Err("milliseconds in a stream"));
}

#[test]
fn each_commit_that_names_the_output_of_an_attempt_rings_its_topic() {
    let mut fixture = Fixture::new();
    let topic = Topic::Frames { execution: uuid(1), attempt: AttemptIndex(0) };
    for _ in 0..2 {
        let ring = vec![topic.clone()];
        fixture.commit_one(Unit { ring, ..Unit::new(Purpose::Finish, 1) });
        let wakes = fixture.store.take_wakes();
        assert_eq!(wakes.len(), 1);
        assert_eq!((&wakes[0].topic, wakes[0].partition), (&topic, HERE));
    }
}
