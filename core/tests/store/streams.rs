//! Streams: the journal of a partition and the output of attempts.

use ff_core::execution::Purpose;
use ff_core::id::AttemptIndex;
use ff_core::store::bounds::{
    MAX_FRAMES, MAX_FRAMES_BYTES, MAX_JOURNAL_AGE_MS, MAX_JOURNAL_BYTES, MAX_MESSAGE_BYTES,
    MAX_PAGE, MAX_STREAM_ENTRY_BYTES,
};
use ff_core::store::{
    Commit, Cursor, Request, StreamAppend, Topic, Unit, UnitReply, ValueKey, ValueWrite,
};
use ff_core::time::DurationMs;

use crate::ground::*;

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
fn the_output_of_an_attempt_is_capped_by_count_and_not_by_age() {
    let mut ground = Ground::new();
    ground.emit(0, MAX_FRAMES, b"a");
    let full = ground.kept(&output(0));
    assert_eq!(full.len(), MAX_FRAMES);
    let behind_first = ground.page(output(0), Cursor::Start, 1).next;
    ground.now = ground.now.plus(DurationMs::new(1 << 50));
    ground.emit(0, 1, b"b");
    let kept = ground.kept(&output(0));
    assert_eq!((kept.len(), &kept[0]), (MAX_FRAMES, &full[1]), "the oldest goes, whatever its age");
    assert!(!ground.page(output(0), behind_first, 1).gap);
    ground.emit(0, 1, b"c");
    assert!(ground.page(output(0), behind_first, 1).gap);
    assert_eq!(ground.kept(&output(1)), [], "each attempt has its own");
}

#[test]
fn the_output_of_an_attempt_is_capped_by_bytes_so_that_a_page_fits_into_a_reply() {
    let mut ground = Ground::new();
    let large = vec![7; MAX_STREAM_ENTRY_BYTES];
    ground.emit(0, MAX_FRAMES_BYTES / large.len(), &large);
    let first = ground.kept(&output(0))[0].clone();
    ground.emit(0, 1, b"b");
    ground.emit(0, 3, &large);
    let page = ground.page(output(0), Cursor::Start, MAX_PAGE as u32).entries;
    assert!(!page.contains(&first));
    let held: usize = page.iter().map(|entry| entry.entry.len()).sum();
    assert!(held <= MAX_FRAMES_BYTES && held > MAX_FRAMES_BYTES - large.len());
    assert!(held <= MAX_MESSAGE_BYTES);
}

#[test]
fn a_stream_that_went_is_as_one_that_never_was() {
    let mut ground = Ground::new();
    ground.emit(0, 3, b"a");
    ground.emit(1, 1, b"other");
    let place = ground.page(output(0), Cursor::Start, 1).next;
    let gone = Unit { drop_streams: vec![output(0), output(5)], ..Unit::new(Purpose::Finish, 1) };
    // A unit that is not committed drops nothing.
    let stale = Unit { expect: vec![(record(9), version(1, 1))], ..gone.clone() };
    assert!(matches!(ground.commit_one(stale), UnitReply::Conflict { .. }));
    assert_eq!(ground.kept(&output(0)).len(), 3);
    assert_eq!(ground.commit_one(gone), UnitReply::Committed { fetched: vec![] });
    assert_eq!((ground.kept(&output(0)), ground.kept(&output(1)).len()), (vec![], 1));
    ground.now = at(500);
    ground.emit(0, 1, b"b");
    let anew = ground.kept(&output(0));
    assert_eq!((anew.len(), anew[0].id.at), (1, at(500)), "it is numbered anew");
    assert!(!ground.page(output(0), place, 1).gap);
}

#[test]
fn streams_that_go_are_bounded_with_the_values_and_are_not_appended_to() {
    let value = ValueWrite { key: ValueKey::Payload(uuid(1)), value: None };
    let going = |values: usize, streams: u32| Unit {
        values: vec![value.clone(); values],
        drop_streams: (0..streams).map(output).collect(),
        ..Unit::new(Purpose::Finish, 1)
    };
    let check = |unit| Request::Commit(Commit { partition: HERE, units: vec![unit] }).check();
    assert_eq!(check(going(200, 55)), Ok(()));
    assert_eq!(check(going(200, 56)).expect_err("one too many").what, "entries in a unit");
    let append = |attempt| vec![StreamAppend { stream: output(attempt), entry: bytes(b"") }];
    assert_eq!(check(Unit { append: append(2), ..going(0, 2) }), Ok(()));
    let both = check(Unit { append: append(1), ..going(0, 2) }).expect_err("both");
    assert_eq!(both.what, "appends to a stream that goes");
}

#[test]
fn whoever_follows_an_attempt_is_rung_by_each_commit_that_names_it() {
    let mut ground = Ground::new();
    let topic = Topic::Frames { execution: uuid(1), attempt: AttemptIndex(0) };
    for _ in 0..2 {
        let ring = vec![topic.clone()];
        ground.commit_one(Unit { ring, ..Unit::new(Purpose::Finish, 1) });
        let wakes = ground.store.take_wakes();
        assert_eq!(wakes.len(), 1);
        assert_eq!((&wakes[0].topic, wakes[0].partition), (&topic, HERE));
    }
}
