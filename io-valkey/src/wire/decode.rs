//! Decodes the replies of functions into replies of the store contract.

use ff_core::partition::PartitionKey;
use ff_core::score::Score;
use ff_core::store::{
    Bytes, CountName, CountOf, Cursor, Fetched, FirstOf, Firsts, IndexName, PollOf, Reply,
    ReplyBody, Request, ScanEntry, ScanPosition, Scanned, Stored, StreamEntry, StreamId, Streamed,
    Take, Taken, TakenEntry, Topic, Unit, UnitReply, Values, Version, Wake,
};
use ff_core::time::TimestampMs;
use uuid::Uuid;

/// A reply value of the server's protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No value.
    Nil,
    /// An integer.
    Number(i64),
    /// Bytes.
    Data(Vec<u8>),
    /// A list of values.
    List(Vec<Self>),
}

/// A malformed reply of the function library. The call may have been applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed reply of the function library: {what}")]
pub struct WireError {
    what: &'static str,
}

impl WireError {
    /// The error of a reply to another call.
    pub(super) const OTHER_CALL: Self = Self { what: "it does not end with the tag of its call" };
}

type Decoded<T> = Result<T, WireError>;

const fn malformed<T>(what: &'static str) -> Decoded<T> {
    Err(WireError { what })
}

/// Decodes the reply to a request. It never panics, whatever the answer is.
///
/// # Errors
///
/// [`WireError`].
pub fn decode(request: &Request, answer: Answer) -> Decoded<Reply> {
    let mut items = list(answer)?.into_iter();
    let Some(Answer::Number(at)) = items.next() else { return malformed("no time") };
    let at = TimestampMs::new(u64::try_from(at).unwrap_or(0));
    let body = match request {
        Request::Commit(commit) => {
            let units = commit.units.iter().map(|asked| unit(asked, &mut items));
            let units = units.collect::<Decoded<_>>()?;
            if items.len() > 0 {
                return malformed("more than the replies of the units");
            }
            ReplyBody::Commit(units)
        }
        Request::Take(take) => ReplyBody::Take(taken(take, items)?),
        Request::Poll(_) => return malformed("no function answers a poll"),
        Request::Read(read) => {
            let (records, values) = (read.records.len(), read.values.len());
            // An empty read has one key that routes the call; its value is in the reply.
            if items.len() != (records + values).max(1) {
                return malformed("the number of records and values differs");
            }
            let stored = items.by_ref().take(records).map(stored).collect::<Decoded<_>>()?;
            let values = items.take(values).map(fetched).collect::<Decoded<_>>()?;
            ReplyBody::Read(Values { records: stored, values })
        }
        Request::Scan(_) => {
            let more = items.next() == Some(Answer::Number(1));
            let entries = entries(items)?;
            let last = entries.last().map(|entry| entry.position);
            ReplyBody::Scan(Scanned { next: if more { last } else { None }, entries })
        }
        Request::Stream(_) => ReplyBody::Stream(streamed(items)?),
    };
    Ok(Reply { at, body })
}

fn list(answer: Answer) -> Decoded<Vec<Answer>> {
    if let Answer::List(items) = answer { Ok(items) } else { malformed("not a list") }
}

fn data(answer: Option<Answer>) -> Decoded<Vec<u8>> {
    if let Some(Answer::Data(bytes)) = answer { Ok(bytes) } else { malformed("not a text") }
}

fn parsed<T: std::str::FromStr>(text: &[u8], what: &'static str) -> Decoded<T> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    parsed.map_or(malformed(what), Ok)
}

/// Parses a score of the server.
///
/// # Errors
///
/// [`WireError`] when the text is not an integer.
pub fn score(text: &[u8]) -> Decoded<Score> {
    parsed(text, "a score is not an integer").map(Score::new)
}

fn stored(answer: Answer) -> Decoded<Option<Stored>> {
    let record = match answer {
        Answer::Nil => return Ok(None),
        Answer::Data(record) => record,
        _ => return malformed("not a record"),
    };
    let parts = record.split_at_checked(16);
    let (version, body) = parts.map_or(malformed("a record is shorter than its version"), Ok)?;
    let half = |bytes: &[u8]| bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let version = Version { count: half(&version[..8]), nonce: half(&version[8..]) };
    Ok(Some(Stored { version, bytes: Bytes::from(body) }))
}

fn fetched(answer: Answer) -> Decoded<Fetched> {
    match answer {
        Answer::Nil => Ok(Fetched::Absent),
        Answer::Number(0) => Ok(Fetched::Deferred),
        Answer::Data(value) => Ok(Fetched::Value(Bytes::from(value))),
        _ => malformed("not a value"),
    }
}

fn unit(asked: &Unit, items: &mut impl ExactSizeIterator<Item = Answer>) -> Decoded<UnitReply> {
    let (values, records) = (asked.fetch.len(), asked.expect.len());
    Ok(match items.next() {
        Some(Answer::Number(0)) if items.len() >= values => {
            let fetched = items.take(values).map(fetched).collect::<Decoded<_>>()?;
            UnitReply::Committed { fetched }
        }
        Some(Answer::Number(1)) if items.len() >= records => {
            let current = items.take(records).map(stored).collect::<Decoded<_>>()?;
            UnitReply::Conflict { current }
        }
        Some(Answer::Number(2)) => UnitReply::OutsideWindow,
        // Its records are too large.
        Some(Answer::Number(3)) => UnitReply::Conflict { current: Vec::new() },
        _ => return malformed("not the outcome of a unit"),
    })
}

fn taken(take: &Take, mut items: impl ExactSizeIterator<Item = Answer>) -> Decoded<Taken> {
    if items.len() < take.from.len() {
        return malformed("the first remaining score of a queue is missing");
    }
    let rest = items.by_ref().take(take.from.len()).map(|item| match item {
        Answer::Data(text) => score(&text).map(Some),
        _ => Ok(None),
    });
    let rest = rest.collect::<Decoded<_>>()?;
    let mut entries = Vec::with_capacity(items.len() / 4);
    while let Some(number) = items.next() {
        let Answer::Number(from) = number else { return malformed("not the number of a queue") };
        let from = usize::try_from(from).ok().filter(|from| *from < take.from.len());
        let from = from.map_or(malformed("the number of a queue"), Ok)?;
        entries.push(TakenEntry { from, entry: scan_entry(&mut items)? });
    }
    Ok(Taken { entries, rest })
}

fn entries(mut items: impl ExactSizeIterator<Item = Answer>) -> Decoded<Vec<ScanEntry>> {
    let mut entries = Vec::new();
    while items.len() > 0 {
        entries.push(scan_entry(&mut items)?);
    }
    Ok(entries)
}

fn scan_entry(items: &mut impl Iterator<Item = Answer>) -> Decoded<ScanEntry> {
    let member = data(items.next())?;
    let member = Uuid::from_slice(&member).or(malformed("a member is not a uuid"))?;
    let score = score(&data(items.next())?)?;
    let record = stored(items.next().unwrap_or(Answer::Nil))?;
    Ok(ScanEntry { position: ScanPosition { score, member }, record })
}

/// Decodes what a poll of one key found at a time, the list of the server with scores: the first
/// score of an index, or a page of a list of queues or counts.
///
/// # Errors
///
/// [`WireError`] when it is not such a list.
pub fn firsts(of: &PollOf, at: TimestampMs, answer: Answer) -> Decoded<Firsts> {
    let (mut items, mut firsts) = (list(answer)?.into_iter(), Firsts::none(at));
    while let Some(member) = items.next() {
        let number = score(&data(items.next())?)?;
        let index = match of {
            PollOf::Index(index) => Some(index.clone()),
            PollOf::Queues { namespace, .. } => {
                IndexName::from_listed(namespace, &data(Some(member))?)
            }
            PollOf::Counts { namespace, .. } => {
                let name = CountName::from_listed(namespace, &data(Some(member))?);
                let name = name.map_or(malformed("not the name of a count"), Ok)?;
                firsts.counts.push(CountOf { name, number: number.get() });
                continue;
            }
        };
        let index = index.map_or(malformed("not the name of a queue"), Ok)?;
        firsts.found.push(FirstOf { index, score: number });
    }
    Ok(firsts)
}

/// Decodes a wake-up of a topic: the partition, for `due` and a queue followed by its first score,
/// for a queue also by its name. `None` if it is malformed; then it is ignored.
pub fn wake(topic: &Topic, message: &[u8]) -> Option<Wake> {
    let mut parts = message.splitn(3, |byte| *byte == b' ');
    let text = std::str::from_utf8(parts.next()?).ok()?;
    let partition = PartitionKey::new(text.to_owned()).parse().ok()?;
    let first = match (topic, parts.next()) {
        (Topic::Lane { namespace, .. }, Some(text)) => {
            let index = IndexName::from_listed(namespace, parts.next()?)?;
            Some(FirstOf { index, score: score(text).ok()? })
        }
        (Topic::Due, Some(text)) if parts.next().is_none() => {
            Some(FirstOf { index: IndexName::Due, score: score(text).ok()? })
        }
        (_, None) => None,
        _ => return None,
    };
    Some(Wake { topic: topic.clone(), partition, first })
}

fn stream_id(mut number: impl FnMut() -> Decoded<u64>) -> Decoded<StreamId> {
    Ok(StreamId { at: TimestampMs::new(number()?), sequence: number()? })
}

fn streamed(mut items: impl Iterator<Item = Answer>) -> Decoded<Streamed> {
    let history = data(items.next())?;
    let text = std::str::from_utf8(&history).or(malformed("not a history"))?;
    let history = u64::from_str_radix(text, 16).or(malformed("not a history"))?;
    let gap = items.next() == Some(Answer::Number(1));
    let id = stream_id(|| parsed(&data(items.next())?, "not a number"))?;
    let next = Cursor::After { history, id };
    let entries = items.map(|item| entry(&data(Some(item))?)).collect::<Decoded<_>>()?;
    Ok(Streamed { entries, next, gap })
}

/// Decodes an element of a stream's list: a head that begins with time and sequence, and the
/// content.
fn entry(element: &[u8]) -> Decoded<StreamEntry> {
    let (head, content) = element.split_at(element.iter().position(|b| *b == b' ').unwrap_or(0));
    let mut numbers = head.split(|byte| *byte == b':');
    let id = stream_id(|| parsed(numbers.next().unwrap_or_default(), "not a number"))?;
    Ok(StreamEntry { id, entry: Bytes::from(content.get(1..).unwrap_or_default()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_core::execution::Purpose;
    use ff_core::partition::Partition;
    use ff_core::store::{Commit, Read, RecordKey, ValueKey};

    fn decodes(request: &Request, answers: Vec<Answer>) -> bool {
        let items = std::iter::once(Answer::Number(1)).chain(answers);
        decode(request, Answer::List(items.collect())).is_ok()
    }

    /// Otherwise a missing part would be decoded as an absent record.
    #[test]
    fn a_reply_with_a_missing_or_additional_part_is_refused() {
        let partition = Partition::flow(0);
        let (records, values) = (vec![RecordKey::Meta; 2], vec![ValueKey::Result(Uuid::nil())]);
        let expect = records.iter().map(|key| (key.clone(), Version::ABSENT)).collect();
        let unit = Unit { expect, fetch: values.clone(), ..Unit::new(Purpose::Finish, 1) };
        let read = Request::Read(Read { partition, records, values });
        let (records, values) = (Vec::new(), Vec::new());
        let nothing = Request::Read(Read { partition, records, values });
        let commit = Request::Commit(Commit { partition, units: vec![unit] });
        let parts = |outcome: i64, count: usize| {
            let outcome = std::iter::once(Answer::Number(outcome));
            outcome.chain(vec![Answer::Nil; count]).collect()
        };
        for count in 0..5 {
            assert_eq!(decodes(&read, vec![Answer::Nil; count]), count == 3, "{count} parts");
            assert_eq!(decodes(&nothing, vec![Answer::Nil; count]), count == 1, "{count} parts");
            assert_eq!(decodes(&commit, parts(0, count)), count == 1, "{count} values");
            assert_eq!(decodes(&commit, parts(1, count)), count == 2, "{count} records");
            assert_eq!(decodes(&commit, parts(2, count)), count == 0, "{count} parts");
            assert_eq!(decodes(&commit, parts(3, count)), count == 0, "{count} parts");
        }
    }
}
