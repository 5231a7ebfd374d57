//! Fixed sequences for cases that are too large for random ones: the caps of streams, and replies
//! at their bound. They are compared with the reference in the same way.

use ff_core::execution::Purpose;
use ff_core::partition::Partition;
use ff_core::score::Score;
use ff_core::store::bounds::{
    MAX_ENTRIES_PER_UNIT, MAX_FRAMES, MAX_JOURNAL_AGE_MS, MAX_PAGE, MAX_UNITS, MAX_VALUE_BYTES,
};
use ff_core::store::{
    Bytes, Commit, Cursor, Fetched, IndexName, IndexWrite, Member, MemoryStore, Read, RecordKey,
    Reply, ReplyBody, Request, Scan, ScanOrder, StreamAppend, StreamEntry, StreamName, StreamPage,
    Take, TakeUntil, Unit, UnitReply, ValueKey, ValueWrite, Version,
};
use ff_core::time::DurationMs;

use super::names;
use super::subject::{Subject, compare, history};

const AT: Partition = Partition::flow(3);

/// The most entries of a page.
const MOST: u32 = MAX_PAGE as u32;

/// A subject and the reference, with the stream under test.
struct Pair<'a, S> {
    subject: &'a mut S,
    reference: MemoryStore,
    stream: StreamName,
}

impl<'a, S: Subject> Pair<'a, S> {
    fn new(subject: &'a mut S, stream: StreamName) -> Result<Self, String> {
        subject.clear();
        let history = history(subject)?;
        Ok(Self { subject, reference: MemoryStore::new(history), stream })
    }

    fn ask(&mut self, request: Request) -> Result<Reply, String> {
        // The requests are too large to be shown in full.
        let short = |problem: String| problem.chars().take(8_000).collect::<String>();
        let answered = compare(self.subject, &mut self.reference, &request);
        answered.map(|(reply, _)| reply).map_err(short)
    }

    fn page(&mut self, from: Cursor, limit: u32) -> Result<(Vec<StreamEntry>, Cursor), String> {
        let stream = self.stream.clone();
        let reply = self.ask(Request::Stream(StreamPage { partition: AT, stream, from, limit }))?;
        match reply.body {
            ReplyBody::Stream(streamed) => Ok((streamed.entries, streamed.next)),
            other => Err(format!("a page of a stream is answered with {other:?}")),
        }
    }

    /// Appends entries of these lengths, as many units as there are lists.
    fn append(&mut self, units: &[&[usize]]) -> Result<(), String> {
        let unit = |lengths: &&[usize]| Unit {
            append: lengths.iter().map(|length| self.entry(*length)).collect(),
            ..empty_unit()
        };
        self.ask(commit(units.iter().map(unit).collect())).map(drop)
    }

    fn entry(&self, length: usize) -> StreamAppend {
        StreamAppend::new(self.stream.clone(), data(length))
    }
}

fn empty_unit() -> Unit {
    Unit::new(Purpose::Finish, 1)
}

fn commit(units: Vec<Unit>) -> Request {
    Request::Commit(Commit { partition: AT, units })
}

/// Content that begins with its length, if there is room.
fn data(length: usize) -> Bytes {
    let mut bytes = length.to_string().into_bytes();
    bytes.resize(length, b'.');
    Bytes::from(bytes)
}

/// A journal keeps exactly its latest mebibyte, within a unit, across units and across calls, and
/// entries of at most a day; dropped entries are a gap.
///
/// # Errors
///
/// A description of the first difference, or that the cap was not reached.
pub fn journals_are_capped_by_bytes(subject: &mut impl Subject) -> Result<(), String> {
    let mut pair = Pair::new(subject, StreamName::Journal)?;
    fill_to_the_byte(&mut pair)?;
    let (_, after_two) = pair.page(Cursor::Start, 2)?;
    let day_ms = i64::try_from(MAX_JOURNAL_AGE_MS).expect("a day is short");
    for pass_ms in [day_ms, 1, day_ms + 1] {
        pair.subject.pass(pass_ms);
        pair.append(&[&[3], &[4]])?;
        pair.page(after_two, 100)?;
        pair.page(Cursor::Start, 100)?;
        pair.page(Cursor::End, 100)?;
    }
    Ok(())
}

/// The output of an attempt keeps exactly its latest 8 MiB, however old they are.
///
/// # Errors
///
/// A description of the first difference, or that the cap was not reached.
pub fn frames_are_capped_by_bytes(subject: &mut impl Subject) -> Result<(), String> {
    let mut pair = Pair::new(subject, names::stream(1))?;
    fill_to_the_byte(&mut pair)?;
    let (before, _) = pair.page(Cursor::Start, MOST)?;
    pair.subject.pass(1 << 45);
    pair.append(&[&[0]])?;
    let (after, _) = pair.page(Cursor::Start, MOST)?;
    if after.len() != before.len() + 1 {
        return Err("frames are dropped because of their age".to_owned());
    }
    Ok(())
}

/// Fills an empty stream exactly to its cap in bytes, and then above it.
fn fill_to_the_byte<S: Subject>(pair: &mut Pair<'_, S>) -> Result<(), String> {
    // Eight of them fill a journal.
    const LARGE: usize = 1 << 17;
    let cap = pair.stream.caps().bytes;
    pair.append(&[&[10, LARGE, 0]])?;
    let (first, after_all) = pair.page(Cursor::Start, 10)?;
    let (_, after_first) = pair.page(Cursor::Start, 1)?;
    // Exactly full, then above the cap by a single byte.
    let many = vec![LARGE; cap / LARGE - 3];
    pair.append(&[&many, &[LARGE, LARGE - 10]])?;
    let (full, _) = pair.page(Cursor::Start, MOST)?;
    let bytes: usize = full.iter().map(|entry| entry.entry.len()).sum();
    if bytes != cap || full.len() != first.len() + many.len() + 2 {
        return Err(format!("a full stream has {} entries and {bytes} bytes", full.len()));
    }
    pair.append(&[&[1]])?;
    pair.page(after_first, 3)?;
    pair.page(after_all, 3)?;
    let (kept, _) = pair.page(Cursor::Start, MOST)?;
    if kept.first() != full.get(1) {
        return Err("one byte too many does not drop exactly one entry".to_owned());
    }
    // Several entries are dropped by one unit, others by the next.
    pair.append(&[&[LARGE, LARGE, 5], &[LARGE, 7]])?;
    pair.page(after_first, MOST)?;
    pair.page(after_all, MOST).map(drop)
}

/// The output of an attempt keeps exactly its latest 10,000 frames, within a unit, across units and
/// across calls. A dropped stream starts again empty.
///
/// # Errors
///
/// A description of the first difference, or that the cap was not reached.
pub fn frames_are_capped_by_count(subject: &mut impl Subject) -> Result<(), String> {
    let mut pair = Pair::new(subject, names::stream(1))?;
    let unit = [1; MAX_ENTRIES_PER_UNIT];
    let mut full = vec![&unit[..]; MAX_FRAMES / unit.len()];
    full.push(&unit[..MAX_FRAMES % unit.len()]);
    pair.append(&full)?;
    let (first, after_first) = pair.page(Cursor::Start, 1)?;
    let (_, after_second) = pair.page(after_first, 1)?;
    // Exactly full, then above the cap by one frame, and by more in one unit and in the next.
    let (_, cursor) = pair.page(Cursor::Start, MOST)?;
    pair.append(&[&[2]])?;
    let (kept, _) = pair.page(Cursor::Start, 1)?;
    let (rest, _) = pair.page(after_first, 1)?;
    if kept == first || kept != rest {
        return Err("one frame too many does not drop exactly one".to_owned());
    }
    pair.append(&[&[3, 0, 4], &unit])?;
    pair.page(after_second, 3)?;
    pair.page(cursor, MOST)?;
    let end = pair.page(Cursor::End, 1)?.1;
    let drop_it = Unit { drop_streams: vec![pair.stream.clone()], ..empty_unit() };
    let append = Unit { append: vec![pair.entry(5)], ..empty_unit() };
    pair.ask(commit(vec![append.clone(), drop_it, append]))?;
    let (entries, _) = pair.page(Cursor::Start, MOST)?;
    if entries.len() != 1 {
        return Err(format!("a dropped stream has {} entries", entries.len()));
    }
    pair.page(end, MOST).map(drop)
}

/// A reply has at most 32 MiB of values and defers the others, for a commit and a read.
///
/// # Errors
///
/// A description of the first difference, or that no value was deferred.
pub fn large_values_are_deferred(subject: &mut impl Subject) -> Result<(), String> {
    let mut pair = Pair::new(subject, StreamName::Journal)?;
    let lengths = [MAX_VALUE_BYTES, MAX_VALUE_BYTES - 1, 1, 2, 0];
    let key = |number: usize| ValueKey::Result(names::member(number));
    let mut keys: Vec<ValueKey> = (0..lengths.len()).map(key).collect();
    for half in [0..2, 2..lengths.len()] {
        let write =
            |number: usize| ValueWrite { key: key(number), value: Some(data(lengths[number])) };
        let unit = Unit { values: half.map(write).collect(), ..empty_unit() };
        pair.ask(commit(vec![unit]))?;
    }
    keys.push(ValueKey::Payload(names::member(0)));
    let units = vec![
        Unit { fetch: keys.clone(), ..empty_unit() },
        Unit { fetch: vec![keys[3].clone()], ..empty_unit() },
    ];
    let deferred = |values: &[Fetched]| values.contains(&Fetched::Deferred);
    match pair.ask(commit(units))?.body {
        ReplyBody::Commit(units)
            if matches!(
                &units[0], UnitReply::Committed { fetched } if deferred(fetched)
            ) => {}
        _ => return Err("a commit's reply defers no value".to_owned()),
    }
    for values in [keys.clone(), keys.iter().rev().cloned().collect(), keys[..1].to_vec()] {
        let few = values.len() == 1;
        match pair.ask(Request::Read(Read { partition: AT, records: Vec::new(), values }))?.body {
            ReplyBody::Read(read) if deferred(&read.values) != few => {}
            _ => return Err("a read's reply defers the wrong values".to_owned()),
        }
    }
    Ok(())
}

/// Compares takes and pages with more records than the store reads in one step, at bounds in bytes
/// around these steps.
///
/// # Errors
///
/// A description of the first difference.
pub fn long_pages_end_at_the_same_entry(subject: &mut impl Subject) -> Result<(), String> {
    const RECORD_BYTES: u32 = 10;
    let mut pair = Pair::new(subject, StreamName::Journal)?;
    let members: Vec<Member> = (1..=100).map(Member::from_u128).collect();
    let indexes = [IndexName::Due, names::index(0, &["a".to_owned(), "b".to_owned()])];
    for some in members.chunks(MAX_UNITS) {
        let unit = |member: &Member| {
            let (member, key) = (*member, RecordKey::Execution(*member));
            let score = Some(Score::new(7));
            let write = |index: &IndexName| IndexWrite { index: index.clone(), member, score };
            Unit {
                expect: vec![(key.clone(), Version::ABSENT)],
                put: vec![(key, data(RECORD_BYTES as usize))],
                index: indexes.iter().map(write).collect(),
                ..empty_unit()
            }
        };
        pair.ask(commit(some.iter().map(unit).collect()))?;
    }
    for records in [31, 32, 33, 63, 64, 65, 99, 100, 101] {
        // A version has 16 bytes.
        let bytes = records * (RECORD_BYTES + 16);
        for (limit, bytes) in [(MOST, bytes), (MOST, bytes - 1), (40, bytes)] {
            let (index, after) = (IndexName::Due, None);
            pair.ask(Request::Scan(Scan {
                partition: AT,
                index,
                order: ScanOrder::Ascending,
                after,
                limit,
                bytes,
            }))?;
        }
    }
    for records in [33, 64] {
        let (from, until) = (vec![indexes[1].clone()], TakeUntil::End);
        let (count, bytes, hold) = (90, records * (RECORD_BYTES + 16), DurationMs::ZERO);
        let take = Take { partition: AT, from, count, bytes, until, hold, ring_rest: false };
        pair.ask(Request::Take(take))?;
    }
    Ok(())
}
