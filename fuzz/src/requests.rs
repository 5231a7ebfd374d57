//! Generators for requests of the store contract, with arbitrary content that does not depend on
//! any store.

use arbitrary::{Result, Unstructured};
use ff_core::execution::Purpose;
use ff_core::id::{AttemptIndex, ExecutionKind, LaneId, Namespace};
use ff_core::partition::{Partition, PartitionFamily};
use ff_core::resource::ResourceKind;
use ff_core::score::Score;
use ff_core::state::CountedState;
use ff_core::store::{
    Bytes, Commit, CountChange, CountName, Cursor, IndexName, IndexWrite, Member, Poll, PollOf,
    Read, RecordKey, Request, Scan, ScanOrder, ScanPosition, StreamAppend, StreamId, StreamName,
    StreamPage, Take, TakeUntil, Topic, Unit, ValueKey, ValueWrite, Version,
};
use ff_core::time::{DurationMs, TimestampMs, Window};

/// Generates a request.
pub(crate) fn request(u: &mut Unstructured<'_>) -> Result<Request> {
    let partition = partition(u)?;
    Ok(match u.int_in_range(0..=5)? {
        0 => Request::Commit(Commit { partition, units: list(u, |u| unit(u, partition))? }),
        1 => Request::Take(Take {
            partition,
            from: list(u, index)?,
            count: u.arbitrary()?,
            bytes: u.arbitrary()?,
            until: match u.int_in_range(0..=2)? {
                0 => TakeUntil::End,
                1 => TakeUntil::Now,
                _ => TakeUntil::Score(score(u)?),
            },
            hold: DurationMs::new(u.arbitrary()?),
            ring_rest: u.arbitrary()?,
        }),
        2 => {
            let of = match u.int_in_range(0..=2)? {
                0 => PollOf::Index(index(u)?),
                1 => PollOf::Queues { namespace: namespace(u)?, skip: u.arbitrary()? },
                _ => PollOf::Counts { namespace: namespace(u)?, skip: u.arbitrary()? },
            };
            let listeners = if u.arbitrary()? { Some(Topic::Due) } else { None };
            Request::Poll(Poll { of, partitions: list(u, self::partition)?, listeners })
        }
        3 => Request::Read(Read {
            partition,
            records: list(u, record_key)?,
            values: list(u, value_key)?,
        }),
        4 => {
            let after = if u.arbitrary()? { Some(position(u)?) } else { None };
            let (limit, bytes) = (u.arbitrary()?, u.arbitrary()?);
            let order = if u.arbitrary()? { ScanOrder::Ascending } else { ScanOrder::Descending };
            Request::Scan(Scan { partition, index: index(u)?, order, after, limit, bytes })
        }
        _ => {
            let from = match u.int_in_range(0..=2)? {
                0 => Cursor::Start,
                1 => Cursor::End,
                _ => Cursor::After { history: u.arbitrary()?, id: stream_id(u)? },
            };
            let stream = stream(u)?;
            Request::Stream(StreamPage { partition, stream, from, limit: u.arbitrary()? })
        }
    })
}

/// Generates a list of up to seven elements.
pub(crate) fn list<'a, T>(
    u: &mut Unstructured<'a>,
    mut element: impl FnMut(&mut Unstructured<'a>) -> Result<T>,
) -> Result<Vec<T>> {
    let count: usize = u.int_in_range(0..=7)?;
    (0..count).map(|_| element(u)).collect()
}

/// Generates up to 32 bytes.
pub(crate) fn content(u: &mut Unstructured<'_>) -> Result<Bytes> {
    let length = u.int_in_range(0..=32)?;
    Ok(Bytes::from(u.bytes(length)?))
}

/// Generates a position in an index.
pub(crate) fn position(u: &mut Unstructured<'_>) -> Result<ScanPosition> {
    Ok(ScanPosition { score: score(u)?, member: member(u)? })
}

/// Generates the number of a stream entry.
pub(crate) fn stream_id(u: &mut Unstructured<'_>) -> Result<StreamId> {
    Ok(StreamId { at: instant(u)?, sequence: u.arbitrary()? })
}

/// Generates a score.
pub(crate) fn score(u: &mut Unstructured<'_>) -> Result<Score> {
    Ok(Score::new(u.arbitrary()?))
}

/// Generates an instant.
pub(crate) fn instant(u: &mut Unstructured<'_>) -> Result<TimestampMs> {
    Ok(TimestampMs::new(u.arbitrary()?))
}

/// Generates the version of a record, which may be the absent one.
pub(crate) fn version(u: &mut Unstructured<'_>) -> Result<Version> {
    Ok(Version { count: u.arbitrary()?, nonce: u.arbitrary()? })
}

fn count_name(u: &mut Unstructured<'_>) -> Result<CountName> {
    let lane = LaneId::try_new(text(u)?).expect("it is a valid lane");
    Ok(CountName { namespace: namespace(u)?, lane, state: *u.choose(CountedState::ALL)? })
}

fn unit(u: &mut Unstructured<'_>, partition: Partition) -> Result<Unit> {
    let expect = list(u, |u| Ok((record_key(u)?, version(u)?)))?;
    let mut put = Vec::new();
    let mut remove = Vec::new();
    for (key, _) in &expect {
        match u.int_in_range(0..=2)? {
            0 => {}
            1 => put.push((key.clone(), content(u)?)),
            _ => remove.push(key.clone()),
        }
    }
    Ok(Unit {
        expect,
        window: Window { not_before: instant(u)?, not_after: instant(u)? },
        purpose: if u.arbitrary()? { Purpose::Finish } else { Purpose::Admit },
        nonce: u.arbitrary()?,
        put,
        remove,
        values: list(u, |u| {
            let value = if u.arbitrary()? { Some(content(u)?) } else { None };
            Ok(ValueWrite { key: value_key(u)?, value })
        })?,
        index: list(u, |u| {
            let score = if u.arbitrary()? { Some(score(u)?) } else { None };
            Ok(IndexWrite { index: index(u)?, member: member(u)?, score })
        })?,
        counts: list(u, |u| Ok(CountChange { name: count_name(u)?, by: u.arbitrary()? }))?,
        append: list(u, |u| Ok(StreamAppend::new(stream(u)?, content(u)?)))?,
        drop_streams: list(u, stream)?,
        ring: list(u, |u| {
            Ok(if u.arbitrary()? {
                match stream(u)? {
                    StreamName::Journal => Topic::Journal(partition),
                    StreamName::Frames { execution, attempt } => {
                        Topic::Frames { execution, attempt }
                    }
                }
            } else {
                Topic::Routes { namespace: namespace(u)? }
            })
        })?,
        fetch: list(u, value_key)?,
        conflict_bytes: u.arbitrary()?,
    })
}

fn partition(u: &mut Unstructured<'_>) -> Result<Partition> {
    use PartitionFamily::{Budget, Flow, Quota, Worker};
    Ok(match u.int_in_range(0..=4)? {
        4 => Partition::META,
        family => {
            let family = [Flow, Budget, Quota, Worker][family];
            Partition { family, index: u.arbitrary()? }
        }
    })
}

fn member(u: &mut Unstructured<'_>) -> Result<Member> {
    Ok(Member::from_bytes(u.arbitrary()?))
}

fn record_key(u: &mut Unstructured<'_>) -> Result<RecordKey> {
    Ok(match u.int_in_range(0..=8)? {
        0 => RecordKey::Meta,
        1 => RecordKey::Secrets,
        8 => RecordKey::Resource(*u.choose(&ResourceKind::ALL)?, member(u)?),
        2 | 3 => RecordKey::Signal { execution: member(u)?, signal: member(u)? },
        _ => RecordKey::Execution(member(u)?),
    })
}

fn value_key(u: &mut Unstructured<'_>) -> Result<ValueKey> {
    Ok(match u.int_in_range(0..=2)? {
        0 => ValueKey::Payload(member(u)?),
        1 => ValueKey::Result(member(u)?),
        _ => ValueKey::Signal { execution: member(u)?, signal: member(u)? },
    })
}

fn stream(u: &mut Unstructured<'_>) -> Result<StreamName> {
    Ok(if u.arbitrary()? {
        StreamName::Journal
    } else {
        StreamName::Frames { execution: member(u)?, attempt: AttemptIndex(u.arbitrary()?) }
    })
}

fn index(u: &mut Unstructured<'_>) -> Result<IndexName> {
    Ok(match u.int_in_range(0..=7)? {
        0 => {
            let lane = LaneId::try_new(text(u)?).expect("text() generates valid ids");
            let kind = ExecutionKind::try_new(text(u)?).expect("text() generates valid ids");
            IndexName::Eligible { namespace: namespace(u)?, lane, kind }
        }
        1 => IndexName::Due,
        2 => IndexName::BlockedRoute { namespace: namespace(u)? },
        3 => IndexName::All { namespace: namespace(u)? },
        4 => IndexName::Signals { execution: member(u)? },
        5 => {
            let kind = *u.choose(&ResourceKind::ALL)?;
            IndexName::Resources { kind, namespace: namespace(u)? }
        }
        6 => IndexName::Expiry(*u.choose(&ResourceKind::ALL)?),
        _ => IndexName::Quarantine,
    })
}

fn namespace(u: &mut Unstructured<'_>) -> Result<Namespace> {
    Ok(Namespace::try_new(text(u)?).expect("text() generates valid ids"))
}

/// Generates a valid text id.
pub(crate) fn text(u: &mut Unstructured<'_>) -> Result<String> {
    let length = u.int_in_range(1..=6)?;
    let letter = |byte: &u8| char::from(0x21 + byte % (0x7f - 0x21));
    Ok(u.bytes(length)?.iter().map(letter).collect())
}
