//! Sends sequences of requests to the reference store and to the function library in process. Each
//! request fits the current state of the store, and both return the same replies.

use std::cell::RefCell;

use arbitrary::{Result, Unstructured};
use ff_core::store::ScanOrder;

use crate::conformance::{
    Action, AfterPlan, BYTES, CapsPlan, Census, DUE, Edge, FromPlan, INDEXES, MEMBERS, Model,
    OVER_BOUNDS, PARTITIONS, Place, PollPlan, QUEUES, RECORDS, Ring, STREAMS, Seen, Sequence, Step,
    UnitPlan, UntilPlan, VALUES, Write, conform,
};
use crate::requests::text;

/// The number of states in which executions are counted.
const STATES: usize = ff_core::state::CountedState::ALL.len();

/// The maximum number of steps in a sequence.
const STEPS: usize = 40;

const HOUR_MS: i64 = 3_600_000;

thread_local! {
    // Loading the library takes far longer than running a sequence, so each thread loads it once.
    static MODEL: RefCell<Model> = RefCell::new(Model::default());
}

/// Decodes the bytes as a sequence of steps, and runs it.
pub fn check(data: &[u8]) {
    let Ok(sequence) = sequence(&mut Unstructured::new(data)) else { return };
    MODEL.with_borrow_mut(|model| {
        let conforms = conform(model, &sequence, &mut Census::default());
        conforms.unwrap_or_else(|problem| panic!("{problem}\nin {sequence:?}"));
    });
}

fn sequence(u: &mut Unstructured<'_>) -> Result<Sequence> {
    let texts = vec![text(u)?, text(u)?];
    let mut steps = Vec::new();
    while !u.is_empty() && steps.len() < STEPS {
        let Ok(step) = step(u) else { break };
        steps.push(step);
    }
    Ok(Sequence { texts, steps })
}

fn step(u: &mut Unstructured<'_>) -> Result<Step> {
    let passes = [0, 0, 0, 1, 7, 5_000, HOUR_MS, 25 * HOUR_MS, -1, -7_000, -HOUR_MS];
    let pass_ms = *u.choose(&passes)?;
    let partition = if u.ratio(6, 7)? { 0 } else { u.choose_index(PARTITIONS)? };
    let action = match u.int_in_range(0..=15)? {
        0..=5 => commit(u)?,
        6..=8 => take(u)?,
        9 => {
            let of = match u.int_in_range(0..=2)? {
                0 => PollPlan::Index(u.choose_index(INDEXES)?),
                1 => PollPlan::Queues(u.choose_index(2)?, u.int_in_range(0..=2)?),
                _ => PollPlan::Counts(u.choose_index(2)?, u.int_in_range(0..=2)?),
            };
            let partitions = few(u, 5, |u| u.choose_index(PARTITIONS))?;
            Action::Poll { of, partitions }
        }
        10 => {
            let records = few(u, 5, |u| u.choose_index(RECORDS))?;
            Action::Read { records, values: few(u, 5, |u| u.choose_index(VALUES))? }
        }
        11 | 12 => scan(u)?,
        13 | 14 => stream(u)?,
        _ => Action::OverBound(u.choose_index(OVER_BOUNDS)?),
    };
    Ok(Step { pass_ms, partition, action })
}

/// Generates a list of fewer than `end` elements.
fn few<'a, T>(
    u: &mut Unstructured<'a>,
    end: usize,
    mut element: impl FnMut(&mut Unstructured<'a>) -> Result<T>,
) -> Result<Vec<T>> {
    let count = u.choose_index(end)?;
    (0..count).map(|_| element(u)).collect()
}

fn commit(u: &mut Unstructured<'_>) -> Result<Action> {
    let finish = u.arbitrary()?;
    let collide = u.ratio(1, 16)?;
    let mut units = vec![unit(u)?];
    units.extend(few(u, 3, unit)?);
    Ok(Action::Commit { finish, collide, units })
}

fn unit(u: &mut Unstructured<'_>) -> Result<UnitPlan> {
    Ok(UnitPlan {
        records: few(u, 4, |u| Ok((u.choose_index(RECORDS)?, seen(u)?, write(u)?)))?,
        window: (edge(u)?, edge(u)?),
        nonce: u.arbitrary()?,
        values: few(u, 3, |u| {
            let value = if u.arbitrary()? { Some(body(u)?) } else { None };
            Ok((u.choose_index(VALUES)?, value))
        })?,
        index: few(u, 6, |u| {
            let place = if u.ratio(4, 5)? { Some(place(u)?) } else { None };
            Ok((u.choose_index(INDEXES)?, u.choose_index(MEMBERS)?, place))
        })?,
        counts: few(u, 4, |u| {
            let by = if u.arbitrary()? { 1 } else { -1 };
            Ok((u.choose_index(2)?, u.choose_index(2)?, u.choose_index(STATES)?, by))
        })?,
        append: few(u, 3, |u| Ok((u.choose_index(STREAMS)?, body(u)?, caps(u)?)))?,
        drop_streams: few(u, 2, |u| u.choose_index(STREAMS))?,
        ring: few(u, 3, |u| {
            Ok(if u.ratio(1, 3)? {
                Ring::Routes(u.choose_index(2)?)
            } else {
                Ring::Stream(u.choose_index(STREAMS)?)
            })
        })?,
        fetch: few(u, 3, |u| u.choose_index(VALUES))?,
        conflict_bytes: bytes(u)?,
    })
}

fn seen(u: &mut Unstructured<'_>) -> Result<Seen> {
    Ok(match u.int_in_range(0..=15)? {
        0 => Seen::Stale,
        1 => Seen::Foreign,
        2 => Seen::Absent,
        3 => Seen::Other(u.choose_index(RECORDS)?),
        _ => Seen::Present,
    })
}

fn write(u: &mut Unstructured<'_>) -> Result<Write> {
    Ok(match u.int_in_range(0..=7)? {
        0 | 1 => Write::Keep,
        2 => Write::Remove,
        _ => Write::Put(body(u)?),
    })
}

fn body(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let special: [&[u8]; 8] = [b"", b"-", b"+", b"0", b"nil", b"\r\n", b"0-0-0 ", b"now"];
    if u.arbitrary()? {
        return Ok(u.choose(&special)?.to_vec());
    }
    let length = u.int_in_range(0..=24)?;
    Ok(u.bytes(length)?.to_vec())
}

fn caps(u: &mut Unstructured<'_>) -> Result<CapsPlan> {
    if u.ratio(2, 3)? {
        return Ok(CapsPlan::OfStream);
    }
    Ok(CapsPlan::Small {
        bytes: u.int_in_range(0..=60)?,
        entries: u.int_in_range(1..=5)?,
        age_ms: *u.choose(&[0, 1, 5_000, HOUR_MS.unsigned_abs()])?,
    })
}

fn edge(u: &mut Unstructured<'_>) -> Result<Edge> {
    Ok(if u.ratio(3, 4)? { Edge::Open } else { Edge::FromNow(offset(u)?) })
}

fn offset(u: &mut Unstructured<'_>) -> Result<i64> {
    Ok(*u.choose(&[-HOUR_MS, -1, 0, 1, HOUR_MS])?)
}

fn place(u: &mut Unstructured<'_>) -> Result<Place> {
    Ok(match u.int_in_range(0..=3)? {
        0 => Place::FromNow(offset(u)?),
        1 => Place::At(u.arbitrary()?),
        _ => Place::At(u.int_in_range(-1..=3)?),
    })
}

fn take(u: &mut Unstructured<'_>) -> Result<Action> {
    let until = match u.int_in_range(0..=2)? {
        0 => UntilPlan::End,
        1 => UntilPlan::Now,
        _ => UntilPlan::Score(place(u)?),
    };
    let from = match u.int_in_range(0..=3)? {
        0 => vec![DUE],
        1 => QUEUES.to_vec(),
        2 => vec![*u.choose(&QUEUES)?],
        _ => vec![u.choose_index(INDEXES)?],
    };
    Ok(Action::Take {
        from,
        count: u.int_in_range(0..=5)?,
        bytes: bytes(u)?,
        until,
        hold_ms: *u.choose(&[0, 1, 5_000, 3_600_000, 1 << 51, u64::MAX])?,
        ring_rest: u.arbitrary()?,
    })
}

/// A bound on the bytes of records, which some requests reach.
fn bytes(u: &mut Unstructured<'_>) -> Result<u32> {
    Ok(*u.choose(&BYTES)?)
}

fn scan(u: &mut Unstructured<'_>) -> Result<Action> {
    let after = match u.int_in_range(0..=3)? {
        0 => AfterPlan::Start,
        1 => AfterPlan::Next,
        2 => AfterPlan::Member(u.choose_index(MEMBERS)?, u.int_in_range(-1..=1)?),
        _ => AfterPlan::Place(place(u)?, u.choose_index(MEMBERS)?),
    };
    let (index, limit, bytes) = (u.choose_index(INDEXES)?, u.int_in_range(0..=4)?, bytes(u)?);
    let order = if u.arbitrary()? { ScanOrder::Ascending } else { ScanOrder::Descending };
    Ok(Action::Scan { index, order, after, limit, bytes })
}

fn stream(u: &mut Unstructured<'_>) -> Result<Action> {
    let from = match u.int_in_range(0..=7)? {
        0 => FromPlan::Start,
        1 => FromPlan::End,
        2 | 3 => FromPlan::Next,
        4 => FromPlan::Entry(u.choose_index(8)?, u.int_in_range(0..=1)?),
        5 => FromPlan::Beyond,
        6 => FromPlan::Zero,
        _ => FromPlan::OtherHistory,
    };
    let stream = u.choose_index(STREAMS)?;
    Ok(Action::Stream { stream, from, limit: u.int_in_range(0..=4)? })
}
