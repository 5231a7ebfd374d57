//! A census of the cases of a run: a suite that never meets a conflict proves nothing about
//! conflicts.

use std::collections::{BTreeMap, BTreeSet};

use ff_core::store::{
    Cursor, Fetched, Firsts, IndexName, Read, RecordKey, Reply, ReplyBody, Request, ScanEntry,
    ScanOrder, Stored, StreamName, TakeUntil, Topic, Unit, UnitReply, ValueKey, Values, Version,
    Wake,
};

/// The number of occurrences of each case.
#[derive(Clone, Debug, Default)]
pub struct Census(BTreeMap<String, u64>);

/// All cases that a run of the suite has to meet.
pub const EXPECTED: &[&str] = &[
    "commit: committed",
    "commit: conflict with a record",
    "commit: conflict with an absent record",
    "commit: conflict and committed in one",
    "commit: conflict of several records, some absent",
    "commit: conflict with a later record only, which is absent",
    "commit: conflict with a later record only, which is another",
    "commit: conflict with a later record only, which is newer",
    "commit: conflict with a later record only, which is there",
    "commit: conflict of too large records",
    "commit: dropped a stream",
    "commit: fetched a value",
    "commit: fetched nothing",
    "commit: outside of its window",
    "commit: removed a record",
    "commit: several records, of which some are written",
    "over a bound: appends to a dropped stream",
    "over a bound: bytes in a record",
    "over a bound: bytes in a stream",
    "over a bound: bytes in a stream entry",
    "over a bound: entries in a stream",
    "over a bound: bytes of current records",
    "over a bound: bytes on a page",
    "over a bound: entries in a unit",
    "over a bound: entries in an append",
    "over a bound: entries on a page",
    "over a bound: indexes in a take",
    "over a bound: keys in a read",
    "over a bound: members in a take",
    "over a bound: milliseconds in a stream",
    "over a bound: other indexes in a take",
    "over a bound: partitions in a poll",
    "over a bound: purposes of a commit",
    "over a bound: records in a read",
    "over a bound: records written without a version",
    "over a bound: units for one record",
    "over a bound: units in a commit",
    "poll: a count",
    "poll: a count below zero",
    "poll: a score",
    "poll: nothing",
    "poll: several counts",
    "poll: several queues",
    "read: a record",
    "read: a signal",
    "read: a signal's value",
    "read: a value",
    "read: an empty value",
    "read: no record",
    "read: no value",
    "scan: a next page",
    "scan: descending on from a page",
    "scan: descending over equal scores",
    "scan: a signal",
    "scan: an entry without a record",
    "scan: ended by its bytes",
    "scan: entries",
    "scan: nothing",
    "scan: on from a page",
    "stream: a gap",
    "stream: entries",
    "stream: frames",
    "stream: frames after a gap",
    "stream: frames on from a page",
    "stream: nothing",
    "stream: on from a page",
    "take: a rest",
    "take: an entry without a record",
    "take: ended by its bytes",
    "take: entries from due",
    "take: entries from queues",
    "take: entries from retention",
    "take: from several queues",
    "take: nothing",
    "take: up to a score",
    "take: up to now",
    "wake: a journal",
    "wake: a lane by a commit",
    "wake: a lane by a take",
    "wake: records beside executions",
    "wake: routes",
    "wake: a stream of frames",
    "wake: no timers",
    "wake: timers by a commit",
    "wake: timers by a take",
];

impl Census {
    /// Counts one case.
    fn count(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// The cases of [`EXPECTED`] that did not occur, and those that occurred and are not in it.
    pub fn gaps(&self) -> Vec<String> {
        let unseen = EXPECTED.iter().filter(|what| !self.0.contains_key(**what));
        let unknown = self.0.keys().filter(|what| !EXPECTED.contains(&what.as_str()));
        unseen.map(|what| (*what).to_owned()).chain(unknown.cloned()).collect()
    }

    /// Counts the cases of a request and its reply.
    pub(super) fn record(&mut self, request: &Request, reply: &Reply, wakes: &[Wake]) {
        for wake in wakes {
            self.count(match (&wake.topic, request) {
                (Topic::Journal(_), _) => "wake: a journal",
                (Topic::Frames { .. }, _) => "wake: a stream of frames",
                (Topic::Lane { .. }, Request::Take(_)) => "wake: a lane by a take",
                (Topic::Lane { .. }, _) => "wake: a lane by a commit",
                (Topic::Routes { .. }, _) => "wake: routes",
                (Topic::Resources { .. }, _) => "wake: records beside executions",
                (Topic::Due, Request::Take(_)) if wake.first.is_none() => "wake: no timers",
                (Topic::Due, Request::Take(_)) => "wake: timers by a take",
                (Topic::Due, _) => "wake: timers by a commit",
            });
        }
        match (request, &reply.body) {
            (_, ReplyBody::OverBound(over)) => {
                self.count(format!("over a bound: {}", over.what));
            }
            (Request::Commit(commit), ReplyBody::Commit(units)) => {
                for (unit, reply) in commit.units.iter().zip(units) {
                    match reply {
                        UnitReply::Committed { .. } => self.written(unit),
                        UnitReply::Conflict { current } => self.later_conflict(unit, current),
                        UnitReply::OutsideWindow => {}
                    }
                }
                self.commit(units);
            }
            (Request::Take(take), ReplyBody::Take(taken)) => {
                let full = taken.entries.len() == take.count as usize;
                let due = take.from == [IndexName::Due];
                let found: Vec<_> = taken.entries.iter().map(|taken| taken.entry.clone()).collect();
                let reached = has_reached(&found, take.bytes);
                let rest = taken.rest.iter().any(Option::is_some);
                let from: BTreeSet<_> = taken.entries.iter().map(|taken| taken.from).collect();
                if from.len() > 1 {
                    self.count("take: from several queues");
                }
                if rest && !full && !reached && take.until == TakeUntil::End {
                    self.count("take: an entry without a record");
                }
                if rest && !full && reached && !found.is_empty() {
                    self.count("take: ended by its bytes");
                }
                if rest {
                    self.count("take: a rest");
                }
                match (taken.entries.is_empty(), due) {
                    (true, _) => self.count("take: nothing"),
                    (false, true) => self.count("take: entries from due"),
                    (false, false) if take.from == [IndexName::Retention] => {
                        self.count("take: entries from retention");
                    }
                    (false, false) => self.count("take: entries from queues"),
                }
                match take.until {
                    TakeUntil::End => {}
                    TakeUntil::Now => self.count("take: up to now"),
                    TakeUntil::Score(_) => self.count("take: up to a score"),
                }
            }
            _ => self.page(request, &reply.body),
        }
    }

    /// Counts the writes of a committed unit.
    fn written(&mut self, unit: &Unit) {
        if !unit.remove.is_empty() {
            self.count("commit: removed a record");
        }
        if !unit.drop_streams.is_empty() {
            self.count("commit: dropped a stream");
        }
        if unit.expect.len() > 1 && (1..unit.expect.len()).contains(&unit.put.len()) {
            self.count("commit: several records, of which some are written");
        }
    }

    /// Counts a conflict in which the first record has the expected version.
    fn later_conflict(&mut self, unit: &Unit, current: &[Option<Stored>]) {
        let version = |found: &Option<Stored>| {
            found.as_ref().map_or(Version::ABSENT, |stored| stored.version)
        };
        let pairs =
            unit.expect.iter().map(|(_, expected)| *expected).zip(current.iter().map(version));
        let first_wrong = pairs.enumerate().find(|(_, (expected, found))| expected != found);
        let Some((1.., (expected, found))) = first_wrong else { return };
        self.count(match (expected, found) {
            (_, Version::ABSENT) => "commit: conflict with a later record only, which is absent",
            (Version::ABSENT, _) => "commit: conflict with a later record only, which is there",
            _ if found.count > expected.count => {
                "commit: conflict with a later record only, which is newer"
            }
            _ => "commit: conflict with a later record only, which is another",
        });
    }

    fn commit(&mut self, units: &[UnitReply]) {
        let committed = units.iter().any(|unit| matches!(unit, UnitReply::Committed { .. }));
        for unit in units {
            match unit {
                UnitReply::Committed { fetched } => {
                    self.count("commit: committed");
                    for value in fetched {
                        self.count(match value {
                            Fetched::Value(_) => "commit: fetched a value",
                            _ => "commit: fetched nothing",
                        });
                    }
                }
                UnitReply::Conflict { current } => {
                    if committed {
                        self.count("commit: conflict and committed in one");
                    }
                    if current.is_empty() {
                        self.count("commit: conflict of too large records");
                    }
                    let present = current.iter().flatten().count();
                    if (1..current.len()).contains(&present) {
                        self.count("commit: conflict of several records, some absent");
                    }
                    for record in current {
                        self.count(match record {
                            Some(_) => "commit: conflict with a record",
                            None => "commit: conflict with an absent record",
                        });
                    }
                }
                UnitReply::OutsideWindow => self.count("commit: outside of its window"),
            }
        }
    }

    fn polled(&mut self, firsts: &Firsts) {
        if firsts.counts.first().is_some_and(|counted| counted.number < 0) {
            self.count("poll: a count below zero");
        }
        self.count(match (firsts.found.len(), firsts.counts.len()) {
            (0, 0) => "poll: nothing",
            (0, 1) => "poll: a count",
            (0, _) => "poll: several counts",
            (1, _) => "poll: a score",
            _ => "poll: several queues",
        });
    }

    fn page(&mut self, request: &Request, body: &ReplyBody) {
        match (request, body) {
            (_, ReplyBody::Poll(polled)) => {
                for firsts in polled.firsts.iter().flatten() {
                    self.polled(firsts);
                }
            }
            (Request::Read(read), ReplyBody::Read(values)) => self.read(read, values),
            (Request::Scan(scan), ReplyBody::Scan(scanned)) => {
                let empty = scanned.entries.is_empty();
                self.count(if empty { "scan: nothing" } else { "scan: entries" });
                if scanned.next.is_some() {
                    self.count("scan: a next page");
                }
                let full = scanned.entries.len() == scan.limit as usize;
                if scanned.next.is_some() && !full && has_reached(&scanned.entries, scan.bytes) {
                    self.count("scan: ended by its bytes");
                }
                let down = scan.order == ScanOrder::Descending;
                if scan.after.is_some() && !empty {
                    self.count(match down {
                        true => "scan: descending on from a page",
                        false => "scan: on from a page",
                    });
                }
                let one_score =
                    |pair: &[ScanEntry]| pair[0].position.score == pair[1].position.score;
                if down && scanned.entries.windows(2).any(one_score) {
                    self.count("scan: descending over equal scores");
                }
                if scanned.entries.iter().any(|entry| entry.record.is_none()) {
                    self.count("scan: an entry without a record");
                }
                let found = scanned.entries.iter().any(|entry| entry.record.is_some());
                if found && is_of_signals(&scan.index) {
                    self.count("scan: a signal");
                }
            }
            (Request::Stream(page), ReplyBody::Stream(streamed)) => {
                let empty = streamed.entries.is_empty();
                self.count(if empty { "stream: nothing" } else { "stream: entries" });
                if streamed.gap {
                    self.count("stream: a gap");
                }
                let on = matches!(page.from, Cursor::After { .. }) && !empty && !streamed.gap;
                if on {
                    self.count("stream: on from a page");
                }
                if matches!(page.stream, StreamName::Frames { .. }) && !empty {
                    self.count("stream: frames");
                    if streamed.gap {
                        self.count("stream: frames after a gap");
                    }
                    if on {
                        self.count("stream: frames on from a page");
                    }
                }
            }
            _ => self.count("a reply of another request"),
        }
    }

    fn read(&mut self, read: &Read, values: &Values) {
        for (key, record) in read.records.iter().zip(&values.records) {
            self.count(if record.is_some() { "read: a record" } else { "read: no record" });
            if record.is_some() && matches!(key, RecordKey::Signal { .. }) {
                self.count("read: a signal");
            }
        }
        for (key, value) in read.values.iter().zip(&values.values) {
            self.count(match value {
                Fetched::Value(value) if value.is_empty() => "read: an empty value",
                Fetched::Value(_) => "read: a value",
                _ => "read: no value",
            });
            if matches!((key, value), (ValueKey::Signal { .. }, Fetched::Value(_))) {
                self.count("read: a signal's value");
            }
        }
    }
}

/// Whether the records of these entries have this many bytes.
fn has_reached(entries: &[ScanEntry], bytes: u32) -> bool {
    entries.iter().flat_map(|entry| &entry.record).map(Stored::size).sum::<usize>()
        >= bytes as usize
}

fn is_of_signals(index: &IndexName) -> bool {
    matches!(index, IndexName::Signals { .. })
}
