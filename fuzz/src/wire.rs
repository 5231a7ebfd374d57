//! The wire form of the Valkey backend. A request is encoded as a call with the same content. A
//! reply is unchanged after encoding and decoding. An answer of any other form is refused.

use std::borrow::Cow;

use arbitrary::{Result, Unstructured};
use ff_core::partition::{Partition, PartitionKey};
use ff_core::score::Score;
use ff_core::store::keys::{list_of_counts, list_of_queues};
use ff_core::store::{
    Commit, Cursor, Fetched, IndexWrite, Reply, ReplyBody, Request, ScanEntry, Scanned, Stored,
    StreamEntry, Streamed, Taken, TakenEntry, Unit, UnitReply, Values, Version,
};
use ff_io_valkey::wire::{Answer, Call, SECTIONS, decode, encode};

use crate::requests::{content, instant, list, position, request, score, stream_id, version};

/// Decodes the bytes as a request, followed by either a reply to it or an arbitrary answer.
pub fn check(data: &[u8]) {
    let _ = exchange(&mut Unstructured::new(data));
}

fn exchange(u: &mut Unstructured<'_>) -> Result<()> {
    let request = request(u)?;
    let _ = request.check();
    if let Some(call) = encode(&request) {
        assert_eq!(encode(&request).as_ref(), Some(&call));
        check_call(&request, &call);
    }
    if u.arbitrary()? {
        let Some(reply) = reply(u, &request)? else { return Ok(()) };
        assert_eq!(decode(&request, answer(&reply)), Ok(reply), "a decoded reply differs");
        return Ok(());
    }
    let given = any_answer(u, 4)?;
    if let Ok(reply) = decode(&request, given) {
        check_shape(&request, &reply);
        assert_eq!(decode(&request, answer(&reply)), Ok(reply), "a decoded reply differs");
    }
    Ok(())
}

// ------------------------------------------------------------------------------------- the calls

/// Checks that each key is in the partition of the request, and that a commit has the content of
/// its units.
fn check_call(request: &Request, call: &Call<'_>) {
    let tag = PartitionKey::from(request.partition());
    assert!(!call.keys.is_empty() || matches!(request, Request::Commit(_)));
    assert!(call.keys.iter().all(|key| key.starts_with(tag.as_str().as_bytes())), "{call:?}");
    if let Request::Commit(commit) = request {
        let mut reader = Reader { keys: call.keys.iter(), args: call.args.iter() };
        assert_eq!(reader.arg(), tag.as_str().as_bytes());
        for unit in &commit.units {
            reader.check_unit(unit, commit);
        }
        let is_read = reader.keys.next().is_none() && reader.args.next().is_none();
        assert!(is_read, "the call has more keys or arguments than its units");
    }
}

/// A reader of a commit's call, in the order of the function library.
struct Reader<'a> {
    keys: std::slice::Iter<'a, Vec<u8>>,
    args: std::slice::Iter<'a, Cow<'a, [u8]>>,
}

impl Reader<'_> {
    fn arg(&mut self) -> &[u8] {
        self.args.next().expect("an argument is missing")
    }

    fn check_number(&mut self, number: impl ToString) {
        assert_eq!(self.arg(), number.to_string().as_bytes());
    }

    fn check_key(&mut self, key: Vec<u8>) {
        assert_eq!(self.keys.next(), Some(&key));
    }

    fn check_unit(&mut self, unit: &Unit, commit: &Commit) {
        let at = commit.partition;
        let counts = [
            unit.expect.len(),
            unit.values.len() + unit.drop_streams.len(),
            indexes(unit, false).count(),
            indexes(unit, true).count(),
            unit.counts.len(),
            unit.append.len(),
            unit.ring.len(),
            unit.fetch.len(),
        ];
        assert_eq!(counts.len(), SECTIONS.len());
        let encoded: Vec<usize> = self.arg().iter().map(|count| usize::from(*count)).collect();
        assert_eq!(encoded, counts);
        self.check_number(unit.window.not_before.get());
        self.check_number(unit.window.not_after.get());
        self.check_number(unit.conflict_bytes);
        self.check_records(unit, at);
        for write in &unit.values {
            self.check_key(write.key.text(at));
            assert_eq!(self.arg() == b"+", write.value.is_some());
            assert_eq!(self.arg(), write.value.as_deref().unwrap_or_default());
        }
        for stream in &unit.drop_streams {
            self.check_key(stream.text(at));
            assert_eq!(self.arg(), b"-");
            assert_eq!(self.arg(), b"");
        }
        for write in indexes(unit, false).chain(indexes(unit, true)) {
            self.check_key(write.index.text(at));
            assert_eq!(self.arg(), write.member.as_bytes());
            assert_eq!(self.arg(), score_text(write.score).as_bytes());
            if let Some(namespace) = write.index.listed_in() {
                self.check_key(list_of_queues(namespace, at));
                assert_eq!(self.arg(), write.index.listed_name());
            }
            let channel = write.index.topic().map(|topic| topic.channel()).unwrap_or_default();
            assert_eq!(self.arg(), channel);
        }
        for change in &unit.counts {
            self.check_key(list_of_counts(&change.name.namespace, at));
            assert_eq!(self.arg(), change.name.listed_name());
            self.check_number(change.by);
        }
        for append in &unit.append {
            self.check_key(append.stream.text(at));
            assert_eq!(self.arg(), &*append.entry);
            let caps = append.caps;
            self.check_number(caps.bytes);
            self.check_number(caps.entries);
            self.check_number(caps.age_ms);
        }
        for topic in &unit.ring {
            self.keys.next().expect("a topic to ring has a key");
            assert_eq!(self.arg(), topic.channel());
        }
        unit.fetch.iter().for_each(|key| self.check_key(key.text(at)));
    }

    fn check_records(&mut self, unit: &Unit, at: Partition) {
        for (key, seen) in &unit.expect {
            self.check_key(key.text(at));
            assert_eq!(self.arg(), version_bytes(*seen));
            let written = self.arg();
            match unit.put.iter().find(|(put, _)| put == key) {
                Some((_, body)) => {
                    let next = version_bytes(seen.next(unit.nonce));
                    assert_eq!(written, [&*next, &**body].concat());
                }
                None if unit.remove.contains(key) => assert_eq!(written, b"-"),
                None => assert_eq!(written, b""),
            }
        }
    }
}

/// The index entries of a unit: those of queues, or the others.
fn indexes(unit: &Unit, of_queues: bool) -> impl Iterator<Item = &IndexWrite> {
    unit.index.iter().filter(move |write| write.index.listed_in().is_some() == of_queues)
}

fn version_bytes(version: Version) -> Vec<u8> {
    match version {
        Version::ABSENT => Vec::new(),
        version => [version.count.to_be_bytes(), version.nonce.to_be_bytes()].concat(),
    }
}

fn score_text(score: Option<ff_core::score::Score>) -> String {
    score.map_or_else(String::new, |score| score.get().to_string())
}

// ----------------------------------------------------------------------------------- the replies

/// Checks that a reply has one part for each part of its request. Callers rely on it.
fn check_shape(request: &Request, reply: &Reply) {
    match (request, &reply.body) {
        (Request::Commit(commit), ReplyBody::Commit(units)) => {
            assert_eq!(units.len(), commit.units.len());
            for (unit, reply) in commit.units.iter().zip(units) {
                match reply {
                    UnitReply::Committed { fetched } => {
                        assert_eq!(fetched.len(), unit.fetch.len(), "fetched values");
                    }
                    UnitReply::Conflict { current } => {
                        let fits = [0, unit.expect.len()].contains(&current.len());
                        assert!(fits, "current records");
                    }
                    UnitReply::OutsideWindow => {}
                }
            }
        }
        (Request::Read(read), ReplyBody::Read(values)) => {
            assert_eq!(values.records.len(), read.records.len(), "records of the read");
            assert_eq!(values.values.len(), read.values.len(), "values of the read");
        }
        (Request::Take(take), ReplyBody::Take(taken)) => {
            assert_eq!(taken.rest.len(), take.from.len(), "rests of the take");
        }
        (Request::Scan(_), ReplyBody::Scan(_)) | (Request::Stream(_), ReplyBody::Stream(_)) => {}
        (request, body) => panic!("{request:?} has a reply of another kind: {body:?}"),
    }
}

/// Generates a reply to a request. A poll has none, since the function library does not process it.
fn reply(u: &mut Unstructured<'_>, request: &Request) -> Result<Option<Reply>> {
    let at = instant(u)?;
    let body = match request {
        Request::Commit(commit) => {
            let units = commit.units.iter().map(|unit| unit_reply(u, unit));
            ReplyBody::Commit(units.collect::<Result<_>>()?)
        }
        Request::Take(take) => {
            let rest = take.from.iter().map(|_| Ok(u.arbitrary::<bool>()?.then_some(score(u)?)));
            let rest = rest.collect::<Result<_>>()?;
            let entries = match take.from.len() {
                0 => Vec::new(),
                count => {
                    list(u, |u| Ok(TakenEntry { from: u.choose_index(count)?, entry: entry(u)? }))?
                }
            };
            ReplyBody::Take(Taken { rest, entries })
        }
        Request::Poll(_) => return Ok(None),
        Request::Read(read) => {
            let records = read.records.iter().map(|_| stored(u)).collect::<Result<_>>()?;
            let values = read.values.iter().map(|_| fetched(u)).collect::<Result<_>>()?;
            ReplyBody::Read(Values { records, values })
        }
        Request::Scan(_) => {
            let entries = list(u, entry)?;
            let last = entries.last().map(|entry| entry.position);
            ReplyBody::Scan(Scanned { next: if u.arbitrary()? { last } else { None }, entries })
        }
        Request::Stream(_) => {
            let entries = list(u, |u| Ok(StreamEntry { id: stream_id(u)?, entry: content(u)? }))?;
            let next = Cursor::After { history: u.arbitrary()?, id: stream_id(u)? };
            ReplyBody::Stream(Streamed { entries, next, gap: u.arbitrary()? })
        }
    };
    Ok(Some(Reply { at, body }))
}

fn unit_reply(u: &mut Unstructured<'_>, unit: &Unit) -> Result<UnitReply> {
    Ok(match u.int_in_range(0..=2)? {
        0 => {
            let fetched = unit.fetch.iter().map(|_| fetched(u)).collect::<Result<_>>()?;
            UnitReply::Committed { fetched }
        }
        1 => {
            let shown = if u.ratio(1, 4)? { &[] } else { &*unit.expect };
            let current = shown.iter().map(|_| stored(u)).collect::<Result<_>>()?;
            UnitReply::Conflict { current }
        }
        _ => UnitReply::OutsideWindow,
    })
}

fn entry(u: &mut Unstructured<'_>) -> Result<ScanEntry> {
    Ok(ScanEntry { position: position(u)?, record: stored(u)? })
}

fn stored(u: &mut Unstructured<'_>) -> Result<Option<Stored>> {
    if u.ratio(1, 3)? {
        return Ok(None);
    }
    Ok(Some(Stored { version: version(u)?, bytes: content(u)? }))
}

fn fetched(u: &mut Unstructured<'_>) -> Result<Fetched> {
    Ok(match u.int_in_range(0..=2)? {
        0 => Fetched::Absent,
        1 => Fetched::Deferred,
        _ => Fetched::Value(content(u)?),
    })
}

/// Generates an answer of any form. Most of its parts are those of a valid answer.
fn any_answer(u: &mut Unstructured<'_>, depth: u32) -> Result<Answer> {
    Ok(match u.int_in_range(0..=if depth == 0 { 5 } else { 9 })? {
        0 => Answer::Nil,
        1 => Answer::Number(u.int_in_range(0..=3)?),
        2 => Answer::Number(u.arbitrary()?),
        3 => Answer::Data(u.arbitrary::<i64>()?.to_string().into_bytes()),
        4 => Answer::Data(u.arbitrary::<[u8; 16]>()?.to_vec()),
        5 => Answer::Data(content(u)?.to_vec()),
        _ => Answer::List(list(u, |u| any_answer(u, depth - 1))?),
    })
}

// -------------------------------------------------------- replies in the form of the library

fn answer(reply: &Reply) -> Answer {
    let at = i64::try_from(reply.at.get()).expect("an instant is below 2^52");
    let mut items = vec![Answer::Number(at)];
    match &reply.body {
        ReplyBody::Commit(units) => items.extend(units.iter().flat_map(unit_answers)),
        ReplyBody::Take(taken) => {
            let rest =
                |rest: &Option<Score>| rest.map_or(Answer::Nil, |rest| number_text(rest.get()));
            items.extend(taken.rest.iter().map(rest));
            for TakenEntry { from, entry } in &taken.entries {
                items.push(Answer::Number(*from as i64));
                items.extend(entry_answers(entry));
            }
        }
        ReplyBody::Read(values) => {
            items.extend(values.records.iter().map(stored_answer));
            items.extend(values.values.iter().map(fetched_answer));
            if items.len() == 1 {
                // An empty read still sends one key, so its answer has one element.
                items.push(Answer::Nil);
            }
        }
        ReplyBody::Scan(scanned) => {
            items.push(Answer::Number(i64::from(scanned.next.is_some())));
            items.extend(scanned.entries.iter().flat_map(entry_answers));
        }
        ReplyBody::Stream(streamed) => {
            let Cursor::After { history, id } = streamed.next else {
                panic!("the next cursor of a page is after an entry");
            };
            items.push(Answer::Data(format!("{history:016x}").into_bytes()));
            items.push(Answer::Number(i64::from(streamed.gap)));
            items.extend([number_text(id.at.get()), number_text(id.sequence)]);
            for entry in &streamed.entries {
                // The function library uses the two numbers after time and sequence.
                let head = format!("{}:{}:1:1 ", entry.id.at.get(), entry.id.sequence);
                items.push(Answer::Data([head.as_bytes(), &entry.entry].concat()));
            }
        }
        ReplyBody::Poll(_) | ReplyBody::OverBound(_) => panic!("not a reply of the library"),
    }
    Answer::List(items)
}

fn number_text(number: impl ToString) -> Answer {
    Answer::Data(number.to_string().into_bytes())
}

fn unit_answers(unit: &UnitReply) -> Vec<Answer> {
    let (outcome, mut items): (i64, Vec<Answer>) = match unit {
        UnitReply::Committed { fetched } => (0, fetched.iter().map(fetched_answer).collect()),
        UnitReply::Conflict { current } if current.is_empty() => (3, Vec::new()),
        UnitReply::Conflict { current } => (1, current.iter().map(stored_answer).collect()),
        UnitReply::OutsideWindow => (2, Vec::new()),
    };
    items.insert(0, Answer::Number(outcome));
    items
}

fn entry_answers(entry: &ScanEntry) -> [Answer; 3] {
    let member = Answer::Data(entry.position.member.as_bytes().to_vec());
    [member, number_text(entry.position.score.get()), stored_answer(&entry.record)]
}

fn stored_answer(stored: &Option<Stored>) -> Answer {
    match stored {
        None => Answer::Nil,
        Some(Stored { version, bytes }) => {
            let version = [version.count.to_be_bytes(), version.nonce.to_be_bytes()].concat();
            Answer::Data([&*version, &**bytes].concat())
        }
    }
}

fn fetched_answer(fetched: &Fetched) -> Answer {
    match fetched {
        Fetched::Absent => Answer::Nil,
        Fetched::Deferred => Answer::Number(0),
        Fetched::Value(value) => Answer::Data(value.to_vec()),
    }
}
