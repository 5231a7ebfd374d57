//! Resolves plans to requests: "the present version" or "after the second entry" is looked up in
//! the reference, whose state the subject must have too.

use std::collections::{BTreeMap, BTreeSet};

use ff_core::execution::Purpose;
use ff_core::id::{LaneId, Namespace};
use ff_core::partition::Partition;
use ff_core::resource::ResourceKind;
use ff_core::score::Score;
use ff_core::state::CountedState;
use ff_core::store::{
    Bytes, Commit, CountChange, CountName, Cursor, IndexName, IndexWrite, MemoryStore, Poll,
    PollOf, Read, RecordKey, ReplyBody, Request, Scan, ScanPosition, StreamAppend, StreamCaps,
    StreamEntry, StreamId, StreamName, StreamPage, Take, TakeUntil, Topic, Unit, ValueWrite,
    Version,
};
use ff_core::time::{DurationMs, TimestampMs, Window};

use super::names;
use super::over::over_bound;
use super::plan::{
    Action, AfterPlan, CapsPlan, Edge, FromPlan, Place, PollPlan, Ring, Seen, Sequence, Step,
    UnitPlan, UntilPlan, Write,
};

/// The state of a running sequence: the reference, and the ends of the pages so far.
pub(super) struct Resolver<'a> {
    texts: &'a [String],
    pub(super) reference: MemoryStore,
    history: u64,
    scans: BTreeMap<(Partition, IndexName), ScanPosition>,
    streams: BTreeMap<(Partition, StreamName), Cursor>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(sequence: &'a Sequence, history: u64) -> Self {
        Self {
            texts: &sequence.texts,
            reference: MemoryStore::new(history),
            history,
            scans: BTreeMap::new(),
            streams: BTreeMap::new(),
        }
    }

    /// Resolves a step to a request.
    pub(super) fn request(&mut self, step: &Step, now: TimestampMs) -> Request {
        let partition = names::partition(step.partition);
        match &step.action {
            Action::Commit { finish, collide, units } => {
                let mut named = BTreeSet::new();
                let purpose = if *finish { Purpose::Finish } else { Purpose::Admit };
                let units = units.iter().map(|unit| {
                    let mut unit = self.unit(unit, partition, purpose, now);
                    if !*collide {
                        distinct(&mut unit, &mut named);
                    }
                    unit
                });
                Request::Commit(Commit { partition, units: units.collect() })
            }
            Action::Take { from, count, bytes, until, hold_ms, ring_rest } => Request::Take(Take {
                partition,
                from: from.iter().map(|index| self.index(*index)).collect(),
                count: *count,
                bytes: *bytes,
                until: match until {
                    UntilPlan::End => TakeUntil::End,
                    UntilPlan::Now => TakeUntil::Now,
                    UntilPlan::Score(plan) => TakeUntil::Score(score(plan, now)),
                },
                hold: DurationMs::new(*hold_ms),
                ring_rest: *ring_rest,
            }),
            Action::Poll { of, partitions } => Request::Poll(Poll {
                of: match of {
                    PollPlan::Index(index) => PollOf::Index(self.index(*index)),
                    PollPlan::Queues(text, skip) => {
                        PollOf::Queues { namespace: self.namespace(*text), skip: *skip }
                    }
                    PollPlan::Counts(text, skip) => {
                        PollOf::Counts { namespace: self.namespace(*text), skip: *skip }
                    }
                },
                partitions: partitions.iter().map(|number| names::partition(*number)).collect(),
                // The number of listeners is that of other programs.
                listeners: None,
            }),
            Action::Read { records, values } => Request::Read(Read {
                partition,
                records: records.iter().map(|number| names::record(*number)).collect(),
                values: values.iter().map(|number| names::value(*number)).collect(),
            }),
            Action::Scan { index, order, after, limit, bytes } => Request::Scan(Scan {
                partition,
                index: self.index(*index),
                order: *order,
                after: self.after(partition, &self.index(*index), after, now),
                limit: *limit,
                bytes: *bytes,
            }),
            Action::Stream { stream, from, limit } => Request::Stream(StreamPage {
                partition,
                stream: names::stream(*stream),
                from: self.from(partition, &names::stream(*stream), from),
                limit: *limit,
            }),
            Action::OverBound(which) => over_bound(*which, partition),
        }
    }

    /// Stores the start of the next page.
    pub(super) fn learn(&mut self, request: &Request, body: &ReplyBody) {
        match (request, body) {
            (Request::Scan(scan), ReplyBody::Scan(scanned)) => {
                let key = (scan.partition, scan.index.clone());
                match scanned.next {
                    Some(next) => self.scans.insert(key, next),
                    None => self.scans.remove(&key),
                };
            }
            (Request::Stream(page), ReplyBody::Stream(streamed)) => {
                self.streams.insert((page.partition, page.stream.clone()), streamed.next);
            }
            _ => {}
        }
    }

    fn namespace(&self, text: usize) -> Namespace {
        Namespace::try_new(&self.texts[text]).expect("plans draw valid texts")
    }

    fn index(&self, number: usize) -> IndexName {
        names::index(number, self.texts)
    }

    fn present(&self, partition: Partition, key: &RecordKey) -> Version {
        let mut records = self.reference.records(partition);
        let found = records.find(|(other, _)| *other == key);
        found.map_or(Version::ABSENT, |(_, stored)| stored.version)
    }

    fn unit(
        &self,
        plan: &UnitPlan,
        partition: Partition,
        purpose: Purpose,
        now: TimestampMs,
    ) -> Unit {
        let mut unit = Unit {
            window: Window {
                not_before: edge(&plan.window.0, now, TimestampMs::ZERO),
                not_after: edge(&plan.window.1, now, TimestampMs::MAX),
            },
            fetch: plan.fetch.iter().map(|number| names::value(*number)).collect(),
            conflict_bytes: plan.conflict_bytes,
            ..Unit::new(purpose, plan.nonce)
        };
        for (number, seen, write) in &plan.records {
            let key = names::record(*number);
            unit.expect.push((key.clone(), self.seen(partition, &key, seen)));
            match write {
                Write::Keep => {}
                Write::Put(body) => unit.put.push((key, Bytes::from(body.as_slice()))),
                Write::Remove => unit.remove.push(key),
            }
        }
        unit.values.extend(plan.values.iter().map(|(number, value)| ValueWrite {
            key: names::value(*number),
            value: value.as_deref().map(Bytes::from),
        }));
        unit.index.extend(plan.index.iter().map(|(index, member, plan)| IndexWrite {
            index: self.index(*index),
            member: names::member(*member),
            score: plan.as_ref().map(|plan| score(plan, now)),
        }));
        unit.counts.extend(plan.counts.iter().map(|(text, lane, state, by)| {
            let lane = LaneId::try_new(&*self.texts[*lane]).expect("plans draw valid texts");
            let (namespace, state) = (self.namespace(*text), CountedState::ALL[*state]);
            CountChange { name: CountName { namespace, lane, state }, by: *by }
        }));
        unit.append.extend(plan.append.iter().map(|(stream, entry, caps)| {
            let entry = Bytes::from(entry.as_slice());
            capped(StreamAppend::new(names::stream(*stream), entry), caps)
        }));
        let grows = |stream: &StreamName| unit.append.iter().any(|append| append.stream == *stream);
        let dropped = plan.drop_streams.iter().map(|number| names::stream(*number));
        unit.drop_streams = dropped.filter(|stream| !grows(stream)).collect();
        unit.ring.extend(plan.ring.iter().map(|ring| match ring {
            Ring::Routes(text) => Topic::Routes { namespace: self.namespace(*text) },
            Ring::Lanes(text) => {
                let (kind, namespace) = (ResourceKind::Lanes, self.namespace(*text));
                Topic::Resources { kind, namespace }
            }
            Ring::Stream(stream) => names::topic(names::stream(*stream), partition),
        }));
        unit
    }

    fn seen(&self, partition: Partition, key: &RecordKey, seen: &Seen) -> Version {
        let present = self.present(partition, key);
        match seen {
            Seen::Present => present,
            Seen::Stale => Version { count: present.count.saturating_sub(1), ..present },
            Seen::Foreign => Version { nonce: present.nonce.wrapping_add(1), ..present },
            Seen::Absent => Version::ABSENT,
            Seen::Other(number) => self.present(partition, &names::record(*number)),
        }
    }

    fn after(
        &self,
        partition: Partition,
        index: &IndexName,
        plan: &AfterPlan,
        now: TimestampMs,
    ) -> Option<ScanPosition> {
        match plan {
            AfterPlan::Start => None,
            AfterPlan::Next => self.scans.get(&(partition, index.clone())).copied(),
            AfterPlan::Member(number, more) => {
                let member = names::member(*number);
                let entry = self
                    .reference
                    .entries(partition)
                    .find(|(name, position)| *name == index && position.member == member);
                let score = Score::new(entry.map_or(0, |(_, at)| at.score.get()) + more);
                Some(ScanPosition { score, member })
            }
            AfterPlan::Place(plan, number) => {
                Some(ScanPosition { score: score(plan, now), member: names::member(*number) })
            }
        }
    }

    fn from(&mut self, partition: Partition, stream: &StreamName, plan: &FromPlan) -> Cursor {
        let last = StreamId { at: TimestampMs::MAX, sequence: 7 };
        let (history, id) = match plan {
            FromPlan::Start => return Cursor::Start,
            FromPlan::End => return Cursor::End,
            FromPlan::Next => {
                let key = (partition, stream.clone());
                return self.streams.get(&key).copied().unwrap_or(Cursor::Start);
            }
            FromPlan::Entry(which, more) => {
                let entries = kept(&mut self.reference, partition, stream);
                let entry = entries.get(which % entries.len().max(1));
                let id = entry.map(|entry| entry.id).unwrap_or_default();
                (self.history, StreamId { sequence: id.sequence + more, ..id })
            }
            FromPlan::Beyond => (self.history, last),
            FromPlan::Zero => (self.history, StreamId::default()),
            FromPlan::OtherHistory => (self.history ^ 1, last),
        };
        Cursor::After { history, id }
    }
}

/// The entries of a stream.
fn kept(store: &mut MemoryStore, partition: Partition, stream: &StreamName) -> Vec<StreamEntry> {
    let stream = stream.clone();
    let page = StreamPage { partition, stream, from: Cursor::Start, limit: 1_024 };
    match store.handle(Request::Stream(page), TimestampMs::ZERO).body {
        ReplyBody::Stream(streamed) => streamed.entries,
        _ => Vec::new(),
    }
}

/// Removes the records that an earlier unit, or this one, has named already.
fn distinct(unit: &mut Unit, named: &mut BTreeSet<RecordKey>) {
    let mut kept = BTreeSet::new();
    unit.expect.retain(|(key, _)| named.insert(key.clone()) && kept.insert(key.clone()));
    let mut written = BTreeSet::new();
    unit.put.retain(|(key, _)| kept.contains(key) && written.insert(key.clone()));
    unit.remove.retain(|key| kept.contains(key) && written.insert(key.clone()));
}

/// The append with the planned caps.
fn capped(mut append: StreamAppend, plan: &CapsPlan) -> StreamAppend {
    if let CapsPlan::Small { bytes, entries, age_ms } = *plan {
        append.caps = StreamCaps { bytes: bytes.max(append.entry.len()), entries, age_ms };
    }
    append
}

fn edge(edge: &Edge, now: TimestampMs, open: TimestampMs) -> TimestampMs {
    match edge {
        Edge::Open => open,
        Edge::FromNow(by_ms) => now.shifted(*by_ms),
    }
}

fn score(plan: &Place, now: TimestampMs) -> Score {
    match plan {
        Place::At(score) => Score::new(*score),
        Place::FromNow(by_ms) => Score::at(now.shifted(*by_ms)),
    }
}
