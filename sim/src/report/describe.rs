//! Short descriptions of requests and replies, for traces.

use ff_core::bounded::truncated;
use ff_core::execution::{Event, situation};
use ff_core::id::LaneId;
use ff_core::lane::{LaneSetting, Lanes};
use ff_core::op::load;
use ff_core::quota::{Quota, QuotaUse};
use ff_core::registry::Worker;
use ff_core::resource::Kept;
use ff_core::store::codec::{Codec, FORMAT, decode};
use ff_core::store::{
    Bytes, FirstOf, Firsts, IndexName, JournalEntry, Member, PollOf, Polled, ReplyBody, Request,
    ScanEntry, Stored, Unit, UnitReply,
};
use ff_core::time::TimestampMs;

/// Describes a request.
pub fn request(request: &Request, now: TimestampMs) -> String {
    match request {
        Request::Commit(commit) => {
            let units: Vec<String> = commit.units.iter().map(|each| unit(each, now)).collect();
            format!("Commit in {}: {}", commit.partition, units.join(", "))
        }
        Request::Take(take) => {
            let from = take.from.iter().map(index).collect::<Vec<_>>().join(" and ");
            format!("Take {} of {from} in {}", take.count, take.partition)
        }
        Request::Poll(poll) => match &poll.of {
            PollOf::Index(name) => format!("Poll {}", index(name)),
            PollOf::Queues { skip, .. } => format!("Poll the queues from number {skip}"),
            PollOf::Counts { skip, .. } => format!("Poll the counts from number {skip}"),
        },
        Request::Read(read) => format!("Read in {}: {:?}", read.partition, read.records),
        Request::Scan(scan) => format!("Scan {} in {}", index(&scan.index), scan.partition),
        Request::Stream(page) => format!("Stream {:?} in {}", page.stream, page.partition),
    }
}

/// Describes a reply.
pub fn reply(body: &ReplyBody, now: TimestampMs) -> String {
    match body {
        ReplyBody::Commit(units) => {
            let word = |unit: &UnitReply| match unit {
                UnitReply::Committed { .. } => "committed".to_owned(),
                UnitReply::Conflict { current } if current.is_empty() => {
                    "conflict with records that are too large".to_owned()
                }
                UnitReply::Conflict { current } => {
                    format!(
                        "conflict with {}",
                        record(current.first().and_then(Option::as_ref), now)
                    )
                }
                UnitReply::OutsideWindow => "outside of the window".to_owned(),
            };
            units.iter().map(word).collect::<Vec<_>>().join(", ")
        }
        ReplyBody::Take(taken) => entries(taken.entries.iter().map(|taken| &taken.entry), now),
        ReplyBody::Scan(scanned) => entries(scanned.entries.iter(), now),
        ReplyBody::Read(read) => {
            let records = read.records.iter().map(|found| record(found.as_ref(), now));
            records.collect::<Vec<_>>().join(", ")
        }
        ReplyBody::Poll(Polled { firsts, .. }) => {
            let of = |first: &FirstOf| format!("{} {}", index(&first.index), first.score.get());
            let found = |firsts: &Result<Firsts, String>| match firsts {
                Ok(firsts) if !firsts.found.is_empty() => {
                    firsts.found.iter().map(of).collect::<Vec<_>>().join(" and ")
                }
                _ => "-".to_owned(),
            };
            firsts.iter().map(found).collect::<Vec<_>>().join(", ")
        }
        other => format!("{other:?}"),
    }
}

/// Shortens a text to fit a trace.
pub fn shortened(text: &str) -> &str {
    truncated(text, 2_000)
}

fn unit(unit: &Unit, now: TimestampMs) -> String {
    let key = unit.expect.first().map(|(key, version)| format!("{key:?} at {}", version.count));
    let key = key.unwrap_or_default();
    let what = match unit.put.first() {
        Some((_, bytes)) => {
            let stored = Stored { version: Default::default(), bytes: bytes.clone() };
            format!("becomes {}", record(Some(&stored), now))
        }
        None if unit.remove.is_empty() => "stays".to_owned(),
        None => "goes".to_owned(),
    };
    let entries =
        unit.append.iter().filter_map(|append| decode::<JournalEntry>(&append.entry, FORMAT).ok());
    let events: Vec<_> =
        entries.flat_map(|entry| entry.events).map(|event| Event::kind(&event)).collect();
    let window = &unit.window;
    format!(
        "{key} {what} {events:?} within {}..{}",
        window.not_before.get(),
        window.not_after.get()
    )
}

fn entries<'e>(entries: impl Iterator<Item = &'e ScanEntry>, now: TimestampMs) -> String {
    let entry = |entry: &ScanEntry| {
        let member: Member = entry.position.member;
        format!(
            "{member} at {}: {}",
            entry.position.score.get(),
            record(entry.record.as_ref(), now)
        )
    };
    entries.map(entry).collect::<Vec<_>>().join(", ")
}

fn record(stored: Option<&Stored>, now: TimestampMs) -> String {
    match stored.map(|stored| (stored.version.count, load(stored, &Codec::default()))) {
        None => "no record".to_owned(),
        Some((count, Ok(loaded))) => {
            let (record, epoch) = (&loaded.execution, loaded.execution.epoch);
            format!("v{count} {} epoch {epoch}", situation(record, now))
        }
        Some((count, Err(error))) => match stored.and_then(|stored| beside(&stored.bytes)) {
            Some(beside) => format!("v{count} {beside}"),
            None => format!("v{count}, which does not decode: {error}"),
        },
    }
}

/// Describes a record beside executions.
fn beside(bytes: &Bytes) -> Option<String> {
    if let Some(lanes) = lanes_in(bytes) {
        return Some(states(&lanes));
    }
    if let Ok(kept) = decode::<Kept<Worker>>(bytes, FORMAT) {
        let Worker { nonce, state, expires_at, .. } = kept.record;
        return Some(format!("worker {:x}, {state} until {expires_at}", nonce.0));
    }
    if let Ok(kept) = decode::<Kept<QuotaUse>>(bytes, FORMAT) {
        let slots: Vec<_> = kept.record.holders.iter().map(|held| held.slot.to_string()).collect();
        let promised = kept.record.promised().count();
        return Some(format!("use of {}: [{}], {promised} kept", kept.record.of, slots.join(" ")));
    }
    let Quota { id, limits, .. } = decode::<Kept<Quota>>(bytes, FORMAT).ok()?.record;
    Some(format!("quota {id} {limits:?}"))
}

fn states(lanes: &Lanes) -> String {
    let state = |(lane, setting): (&LaneId, &LaneSetting)| format!("{lane} {}", setting.state);
    let held: Vec<_> = lanes.iter().map(state).collect();
    if held.is_empty() { "all lanes active".to_owned() } else { held.join(", ") }
}

/// The lanes in a stored record.
pub fn lanes_in(bytes: &Bytes) -> Option<Lanes> {
    decode::<Kept<Lanes>>(bytes, FORMAT).ok().map(|kept| kept.record)
}

fn index(index: &IndexName) -> String {
    match index {
        IndexName::Eligible { lane, kind, .. } => format!("eligible in {lane} as {kind}"),
        other => format!("{other:?}"),
    }
}
