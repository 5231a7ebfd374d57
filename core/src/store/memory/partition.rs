//! One partition of the reference store.

use std::collections::BTreeMap;
use std::iter::Sum;

use crate::id::Namespace;
use crate::partition::Partition;
use crate::planted::planted;
use crate::score::Score;
use crate::store::bounds::MAX_MESSAGE_BYTES;
use crate::store::contract::{
    Bytes, CountChange, DUE_SOON, Fetched, IndexWrite, Read, Scan, ScanEntry, Scanned, Stored,
    Take, TakeUntil, Taken, TakenEntry, Unit, UnitReply, Values, Version, Wake,
};
use crate::store::keys::{CountName, IndexName, RecordKey, StreamName, Topic, ValueKey};
use crate::store::poll::{CountOf, FirstOf};
use crate::time::TimestampMs;

use super::index::Index;
use super::stream::StreamData;

/// The data of one partition.
#[derive(Clone, Debug, Default)]
pub(super) struct PartitionData {
    pub(super) records: BTreeMap<RecordKey, Stored>,
    pub(super) values: BTreeMap<ValueKey, Bytes>,
    pub(super) indexes: BTreeMap<IndexName, Index>,
    /// The indexes with entries that are listed in their namespace, each with its first score or a
    /// lower one.
    pub(super) listed: BTreeMap<IndexName, Score>,
    /// The counts that are not 0.
    pub(super) counts: BTreeMap<CountName, i64>,
    pub(super) streams: BTreeMap<StreamName, StreamData>,
}

/// The wake-ups of a commit.
#[derive(Debug, Default)]
pub(super) struct Rings {
    /// The wake-ups of queues.
    pub(super) queues: Vec<Wake>,
    /// The scores that were written into `due` and are soon due.
    soon: Vec<Score>,
    /// The topics that the units name, each once.
    named: Vec<Topic>,
}

/// The memory use of a store, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The keys of records and values.
    pub keys: usize,
    /// The records with their versions.
    pub records: usize,
    /// The values.
    pub values: usize,
    /// The entries of indexes: member and score.
    pub entries: usize,
    /// The entries of streams.
    pub streams: usize,
}

impl Account {
    /// Returns the sum without streams, which have their own caps.
    pub const fn without_streams(&self) -> usize {
        self.keys + self.records + self.values + self.entries
    }
}

impl Sum for Account {
    fn sum<I: Iterator<Item = Self>>(accounts: I) -> Self {
        accounts.fold(Self::default(), |total, part| Self {
            keys: total.keys + part.keys,
            records: total.records + part.records,
            values: total.values + part.values,
            entries: total.entries + part.entries,
            streams: total.streams + part.streams,
        })
    }
}

const ENTRY_BYTES: usize = 16 + 8;

impl PartitionData {
    /// Checks a unit and applies it. Adds its wake-ups.
    pub(super) fn commit(
        &mut self,
        unit: Unit,
        partition: Partition,
        now: TimestampMs,
        rings: &mut Rings,
    ) -> UnitReply {
        if planted!(ConflictCounted) {
            unit.counts.iter().for_each(|change| self.count(change));
        }
        let unchanged = unit.expect.iter().all(|(key, seen)| self.version(key) == *seen);
        if !unchanged {
            return UnitReply::Conflict { current: self.current(&unit) };
        }
        if !unit.window.contains(now) {
            return UnitReply::OutsideWindow;
        }
        for write in unit.index {
            let is_due = write.index == IndexName::Due;
            let is_soon = |score: &Score| is_due && score.is_near(now, DUE_SOON);
            rings.soon.extend(write.score.filter(is_soon));
            if let Some(first) = self.write_entry(write)
                && let Some(topic) = first.index.topic()
            {
                rings.queues.push(Wake { topic, partition, first: Some(first) });
            }
        }
        for change in unit.counts.iter().filter(|_| !planted!(ConflictCounted)) {
            self.count(change);
        }
        for (key, bytes) in unit.put {
            let version = self.version(&key).next(unit.nonce);
            self.records.insert(key, Stored { version, bytes });
        }
        for key in &unit.remove {
            self.records.remove(key);
        }
        for write in unit.values {
            match write.value {
                Some(value) => self.values.insert(write.key, value),
                None => self.values.remove(&write.key),
            };
        }
        for stream in &unit.drop_streams {
            self.streams.remove(stream);
        }
        for append in unit.append {
            let stream = self.streams.entry(append.stream).or_default();
            stream.append(append.entry, append.caps, now);
        }
        for topic in unit.ring {
            if !rings.named.contains(&topic) {
                rings.named.push(topic);
            }
        }
        UnitReply::Committed { fetched: self.fetch(&unit.fetch) }
    }

    /// Returns the wake-ups of a commit whose units are applied: those of queues and timers come
    /// first, since indexes are written before records.
    pub(super) fn wakes(&self, rings: Rings, partition: Partition) -> impl Iterator<Item = Wake> {
        let index = IndexName::Due;
        let first = self.indexes.get(&index).and_then(Index::first).map(|first| first.score);
        let first = first.filter(|first| rings.soon.contains(first));
        let timer = first.map(|score| Wake {
            topic: Topic::Due,
            partition,
            first: Some(FirstOf { index, score }),
        });
        let named =
            rings.named.into_iter().map(move |topic| Wake { topic, partition, first: None });
        rings.queues.into_iter().chain(timer).chain(named)
    }

    /// The current records of a unit; none if they are too large. A single record never is.
    fn current(&self, unit: &Unit) -> Vec<Option<Stored>> {
        let records = unit.expect.iter().map(|(key, _)| self.records.get(key));
        let bytes: usize = records.clone().flatten().map(Stored::size).sum();
        if unit.expect.len() > 1 && bytes > unit.conflict_bytes as usize {
            return Vec::new();
        }
        records.map(Option::<&Stored>::cloned).collect()
    }

    fn version(&self, key: &RecordKey) -> Version {
        self.records.get(key).map_or(Version::ABSENT, |stored| stored.version)
    }

    /// Writes an index entry and the list of queues. Returns the queue whose score in the list
    /// became lower.
    fn write_entry(&mut self, write: IndexWrite) -> Option<FirstOf> {
        let IndexWrite { index, member, score } = write;
        let had = self.indexes.contains_key(&index);
        self.write_index(index.clone(), member, score);
        index.listed_in()?;
        let Some(score) = score else {
            if had && !self.indexes.contains_key(&index) {
                self.listed.remove(&index);
            }
            return None;
        };
        let is_lower = self.listed.get(&index).is_none_or(|listed| score < *listed);
        is_lower.then(|| {
            self.listed.insert(index.clone(), score);
            FirstOf { index, score }
        })
    }

    /// Returns the listed indexes of a namespace, in the order of their scores and names.
    pub(super) fn queues(&self, namespace: &Namespace) -> impl Iterator<Item = FirstOf> {
        let here = self.listed.iter().filter(|(index, _)| index.listed_in() == Some(namespace));
        let mut queues: Vec<FirstOf> =
            here.map(|(index, score)| FirstOf { index: index.clone(), score: *score }).collect();
        queues.sort_by_cached_key(|first| (first.score, first.index.listed_name()));
        queues.into_iter()
    }

    /// Changes a count. A count of 0 does not exist.
    fn count(&mut self, change: &CountChange) {
        let number = self.counts.entry(change.name.clone()).or_default();
        *number += i64::from(change.by);
        if *number == 0 {
            self.counts.remove(&change.name);
        }
    }

    /// Returns the counts of a namespace, in the order of their numbers and names.
    pub(super) fn counts_of(&self, namespace: &Namespace) -> impl Iterator<Item = CountOf> {
        let here = self.counts.iter().filter(|(name, _)| name.namespace == *namespace);
        let mut counts: Vec<CountOf> =
            here.map(|(name, number)| CountOf { name: name.clone(), number: *number }).collect();
        counts.sort_by_cached_key(|counted| (counted.number, counted.name.listed_name()));
        counts.into_iter()
    }

    /// Writes an index entry. An index without entries does not exist.
    fn write_index(&mut self, name: IndexName, member: uuid::Uuid, score: Option<Score>) {
        if let Some(index) = self.indexes.get_mut(&name) {
            index.write(member, score);
            if index.is_empty() {
                self.indexes.remove(&name);
            }
        } else if score.is_some() {
            self.indexes.entry(name).or_default().write(member, score);
        }
    }

    /// Takes the first entries of some indexes, and keeps each in `due`.
    pub(super) fn take(&mut self, take: &Take, now: TimestampMs) -> Taken {
        let limit = match take.until {
            TakeUntil::End => Score::MAX,
            TakeUntil::Score(score) => score,
            TakeUntil::Now => Score::at(now),
        };
        let first = |data: &Self, index: &IndexName| data.indexes.get(index).and_then(Index::first);
        let next = |data: &Self| {
            let firsts = take
                .from
                .iter()
                .enumerate()
                .filter_map(|(number, index)| Some((first(data, index)?, number)));
            firsts
                .filter(|(first, _)| first.score <= limit)
                .min_by_key(|(first, number)| (first.score, *number))
        };
        let hold = Score::at(now.plus(take.hold));
        let (mut entries, mut held, mut bytes) = (Vec::new(), Vec::new(), 0);
        for examined in 0..take.count {
            if examined > 0 && bytes >= take.bytes as usize {
                break;
            }
            let Some((position, from)) = next(self) else { break };
            let index = &take.from[from];
            self.write_index(index.clone(), position.member, None);
            if let Some(record) = self.records.get(&index.record_of(position.member)) {
                held.push(position.member);
                bytes += record.size();
                let entry = ScanEntry { position, record: Some(record.clone()) };
                entries.push(TakenEntry { from, entry });
            }
        }
        let rest = take.from.iter().map(|index| {
            let rest = first(self, index).map(|first| first.score);
            if index.listed_in().is_some() {
                match rest.filter(|_| !planted!(RestNotListed)) {
                    Some(rest) => self.listed.insert(index.clone(), rest),
                    None => self.listed.remove(index),
                };
            }
            rest
        });
        let rest = rest.collect();
        for member in held {
            let due = self.indexes.get(&IndexName::Due).and_then(|due| due.score(&member));
            let score = due.map_or(hold, |due| due.min(hold));
            self.write_index(IndexName::Due, member, Some(score));
        }
        Taken { entries, rest }
    }

    pub(super) fn read(&self, read: &Read) -> Values {
        let records = read.records.iter().map(|key| self.records.get(key).cloned()).collect();
        Values { records, values: self.fetch(&read.values) }
    }

    /// Returns the values in order. Values that would make the reply too large are deferred, but
    /// never the first one, so that each request makes progress.
    fn fetch(&self, keys: &[ValueKey]) -> Vec<Fetched> {
        let mut total = 0;
        let fetch = |key| match self.values.get(key) {
            None => Fetched::Absent,
            Some(value) => {
                let before = total;
                total += value.len();
                if before > 0 && !value.is_empty() && total > MAX_MESSAGE_BYTES {
                    Fetched::Deferred
                } else {
                    Fetched::Value(value.clone())
                }
            }
        };
        keys.iter().map(fetch).collect()
    }

    pub(super) fn scan(&self, scan: &Scan) -> Scanned {
        let Some(index) = self.indexes.get(&scan.index) else {
            return Scanned::default();
        };
        let mut positions = index.after(scan.after, scan.order).peekable();
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while entries.len() < scan.limit as usize
            && (entries.is_empty() || bytes < scan.bytes as usize)
        {
            let Some(position) = positions.next() else { break };
            let record = self.records.get(&scan.index.record_of(position.member)).cloned();
            bytes += record.as_ref().map_or(0, Stored::size);
            entries.push(ScanEntry { position, record });
        }
        let last = entries.last().map(|entry| entry.position);
        let next = positions.peek().and(last);
        Scanned { entries, next }
    }

    pub(super) fn account(&self, partition: Partition) -> Account {
        let record_keys: usize = self.records.keys().map(|key| key.text(partition).len()).sum();
        let value_keys: usize = self.values.keys().map(|key| key.text(partition).len()).sum();
        Account {
            keys: record_keys + value_keys,
            records: self.records.values().map(Stored::size).sum(),
            values: self.values.values().map(|value| value.len()).sum(),
            entries: self.indexes.values().map(|index| index.len() * ENTRY_BYTES).sum(),
            streams: self.streams.values().map(StreamData::bytes).sum(),
        }
    }
}
