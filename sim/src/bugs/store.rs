//! Bugs between the programs and the store: in the commits that operations make of decisions, in
//! the store, and in what programs take for their replies.

use ff_core::execution::{Execution, Phase, index_entries};
use ff_core::policy::Priority;
use ff_core::score::Score;
use ff_core::state::CountedState;
use ff_core::store::codec::{FORMAT, decode, encode};
use ff_core::store::{
    CountChange, Cursor, IndexName, JournalEntry, Read, RecordKey, Reply, ReplyBody, Request, Scan,
    StreamName, StreamPage, Unit,
};
use ff_core::time::{DurationMs, Window};

use crate::model::Model;

/// The units of a commit, each with the record before it and the one after it.
fn each_unit(
    request: &mut Request,
    model: &Model,
    mut change: impl FnMut(&mut Unit, Option<&Execution>, Option<&Execution>),
) {
    let Request::Commit(commit) = request else { return };
    for unit in &mut commit.units {
        let Some((RecordKey::Execution(uuid), _)) = unit.expect.first() else { continue };
        let key = RecordKey::Execution(*uuid);
        let before = model.records.get(&Model::id(commit.partition.index, *uuid)).cloned();
        let put = unit.put.iter().find(|(put, _)| *put == key);
        let written = put.and_then(|(_, bytes)| decode::<Execution>(bytes, FORMAT).ok());
        let kept = before.as_deref().filter(|_| unit.put.is_empty() && unit.remove.is_empty());
        let after = written.as_ref().or(kept);
        change(unit, before.as_deref(), after);
    }
}

/// Whether a unit only writes the index entries of its record again.
const fn is_repair(unit: &Unit) -> bool {
    unit.put.is_empty() && unit.remove.is_empty()
}

/// A decision is committed without a window around its time.
pub fn wall_clock_trusted(request: &mut Request, model: &Model) {
    each_unit(request, model, |unit, _, _| unit.window = Window::ALWAYS);
}

/// The journal names the version before the commit.
pub fn journal_version_old(request: &mut Request, model: &Model) {
    each_unit(request, model, |unit, _, _| {
        for append in unit.append.iter_mut().filter(|one| one.stream == StreamName::Journal) {
            if let Ok(mut entry) = decode::<JournalEntry>(&append.entry, FORMAT) {
                entry.version -= 1;
                append.entry = encode(&entry, FORMAT);
            }
        }
    });
}

/// An entry of a lane stays when its execution leaves the lane.
pub fn index_entry_left_behind(request: &mut Request, model: &Model) {
    each_unit(request, model, |unit, _, _| {
        let is_lane = |index: &IndexName| matches!(index, IndexName::Eligible { .. });
        unit.index.retain(|write| write.score.is_some() || !is_lane(&write.index));
    });
}

/// A removed execution stays counted.
pub fn removed_stays_counted(request: &mut Request, model: &Model) {
    each_unit(request, model, |unit, _, after| {
        if after.is_none() {
            unit.counts.clear();
        }
    });
}

/// A delayed execution is counted as one that waits.
pub fn delayed_counted_as_waiting(request: &mut Request, model: &Model) {
    each_unit(request, model, |unit, _, _| {
        let delayed = |change: &&mut CountChange| change.name.state == CountedState::Delayed;
        for change in unit.counts.iter_mut().filter(delayed) {
            change.name.state = CountedState::Waiting;
        }
    });
}

/// An entry that was taken from a lane and not kept is not put back.
pub fn hold_not_given_back(request: &mut Request, model: &Model) {
    each_unit(request, model, |unit, _, _| {
        let repair = is_repair(unit);
        unit.index.retain(|write| !(repair && matches!(write.index, IndexName::Eligible { .. })));
    });
}

/// The entry in `due` is not moved when a lease is renewed.
pub fn due_not_moved(request: &mut Request, model: &Model) {
    let is_active = |record: Option<&Execution>| {
        record.is_some_and(|record| matches!(record.phase, Phase::Active(_)))
    };
    each_unit(request, model, |unit, before, after| {
        let renewed = is_active(before) && is_active(after);
        unit.index.retain(|write| !(renewed && write.index == IndexName::Due));
    });
}

/// The entry that a `Take` left in `due` stays there when nothing is due.
pub fn held_entry_kept(request: &mut Request, model: &Model) {
    each_unit(request, model, |unit, before, _| {
        let Some(before) = before else { return };
        let due = index_entries(before).due;
        unit.index.retain(|write| !(write.index == IndexName::Due && write.score == due));
    });
}

/// The positions in a lane are computed without the priority.
pub fn priority_lost(request: &mut Request, model: &Model) {
    each_unit(request, model, |unit, _, after| {
        let Some(after) = after else { return };
        let score = Score::in_lane(after.created_at, after.position, Priority::default());
        for write in &mut unit.index {
            if let IndexName::Eligible { .. } | IndexName::BlockedRoute { .. } = write.index {
                write.score = write.score.map(|_| score);
            }
        }
    });
}

/// The store compares the counts of versions and not their nonces.
pub fn version_by_count(request: &mut Request, ask: &mut dyn FnMut(Request) -> Reply) {
    let Request::Commit(commit) = request else { return };
    for (key, expected) in commit.units.iter_mut().flat_map(|unit| &mut unit.expect) {
        let (partition, records) = (commit.partition, vec![key.clone()]);
        let reply = ask(Request::Read(Read { partition, records, values: Vec::new() }));
        let ReplyBody::Read(mut read) = reply.body else { continue };
        if let Some(found) = read.records.pop().flatten()
            && found.version.count == expected.count
        {
            *expected = found.version;
        }
    }
}

/// The entries that a `Take` returns are not left in `due`.
pub fn take_without_hold(request: &mut Request, _: &mut dyn FnMut(Request) -> Reply) {
    if let Request::Take(take) = request {
        take.hold = DurationMs::from_secs(1_000_000);
    }
}

/// A reader is not told that the history of the store has changed.
pub fn journal_gap_hidden(request: &mut Request, ask: &mut dyn FnMut(Request) -> Reply) {
    let Request::Stream(page) = request else { return };
    let reply = ask(Request::Stream(StreamPage { from: Cursor::End, ..page.clone() }));
    if let (Cursor::After { history, .. }, ReplyBody::Stream(end)) = (&mut page.from, reply.body)
        && let Cursor::After { history: present, .. } = end.next
    {
        *history = present;
    }
}

/// Each command of a batch gets the reply of another.
pub fn replies_mixed_up(_: &Request, reply: &mut Reply) {
    if let ReplyBody::Commit(units) = &mut reply.body {
        units.reverse();
    }
}

/// A page that ends early, since its records have many bytes, is taken for the last one.
pub fn cut_page_taken_as_last(request: &Request, reply: &mut Reply) {
    match (request, &mut reply.body) {
        (Request::Take(take), ReplyBody::Take(taken))
            if taken.entries.len() != take.count as usize =>
        {
            taken.rest.fill(None);
        }
        (Request::Scan(scan), ReplyBody::Scan(page)) => {
            page.next = page.next.filter(|_| page.entries.len() == scan.limit as usize);
        }
        _ => {}
    }
}

/// The first entry of a list's next page is skipped.
pub fn list_skips_between_pages(request: &mut Request, ask: &mut dyn FnMut(Request) -> Reply) {
    let Request::Scan(scan) = request else { return };
    if scan.after.is_none() || !matches!(scan.index, IndexName::All { .. }) {
        return;
    }
    let reply = ask(Request::Scan(Scan { limit: 1, ..scan.clone() }));
    if let ReplyBody::Scan(page) = reply.body
        && let Some(first) = page.entries.first()
    {
        scan.after = Some(first.position);
    }
}
