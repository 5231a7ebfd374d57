//! Lists of executions by creation time over all partitions: a merge of the partitions' indexes.

use std::collections::{BTreeMap, BTreeSet};

use crate::execution::ExecutionSnapshot;
use crate::id::Namespace;
use crate::partition::{Partition, PartitionConfig};
use crate::score::Score;
use crate::store::bounds::{MAX_PAGE, MAX_PAGE_BYTES};
use crate::store::codec::Codec;
use crate::store::{IndexName, Member, Scan, ScanOrder, ScanPosition, Scanned};
use crate::time::TimestampMs;

use super::list::{Found, ListFilter, ListPage, ListPosition, MAX_FILTERED};

/// The bytes of records after which the page of one partition ends. So the partitions can be read
/// at the same time.
const PARTITION_BYTES: u32 = MAX_PAGE_BYTES / 16;
/// The least entries of the first page of a partition.
const FIRST_ENTRIES: usize = 4;
/// The least entries of that page if the filter leaves out executions.
const FIRST_ENTRIES_FILTERED: usize = 16;
/// The most entries of a later page of a partition.
const MOST_ENTRIES: usize = 256;

/// The order of a list by creation time. Executions of the same millisecond are ordered by uuid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListOrder {
    /// The latest creation first.
    NewestFirst,
    /// The earliest creation first.
    OldestFirst,
}

/// Gathers a page of a list by creation time. It sends nothing: its caller runs the scans of
/// [`wanted`](Self::wanted), in any order or at the same time, reports each to
/// [`scanned`](Self::scanned), and asks again, until none is wanted.
///
/// The first scans read a few entries of every partition. Later ones read on only in partitions
/// that may still have executions of this page.
#[derive(Clone, Debug)]
pub struct ListByTime {
    namespace: Namespace,
    filter: ListFilter,
    order: ListOrder,
    limit: usize,
    codec: Codec,
    /// The merge of each partition, by its number.
    partitions: Vec<Merged>,
    /// The first executions found so far, at most `limit`.
    found: BTreeMap<Place, ExecutionSnapshot>,
    /// Whether executions after these were found and dropped.
    dropped: bool,
    unreadable: BTreeSet<Place>,
    read: usize,
    filtered: usize,
}

/// How far a partition has been read.
#[derive(Clone, Copy, Debug)]
struct Merged {
    /// The key up to which it has been read; `None` before the first entry.
    read_to: Option<Key>,
    ended: bool,
    /// The entries of its next page.
    entries: usize,
}

/// The position of an entry in the index of its partition, such that keys grow along the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    score: i64,
    member: u128,
}

/// The position of an entry in the list. Partitions order entries with equal keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    key: Key,
    partition: u16,
}

impl Key {
    fn new(position: ScanPosition, order: ListOrder) -> Self {
        let (score, member) = (position.score.get(), position.member.as_u128());
        match order {
            ListOrder::OldestFirst => Self { score, member },
            ListOrder::NewestFirst => Self { score: -score, member: !member },
        }
    }

    /// The position in the index.
    fn position(self, order: ListOrder) -> ScanPosition {
        let (score, member) = match order {
            ListOrder::OldestFirst => (self.score, self.member),
            ListOrder::NewestFirst => (-self.score, !self.member),
        };
        ScanPosition { score: Score::new(score), member: Member::from_u128(member) }
    }

    /// The last key of the entries with this score.
    const fn last_of(score: i64) -> Self {
        Self { score, member: u128::MAX }
    }

    /// The key before this one.
    const fn before(self) -> Self {
        match self.member.checked_sub(1) {
            Some(member) => Self { member, ..self },
            None => Self::last_of(self.score - 1),
        }
    }
}

impl ListByTime {
    /// Begins a page of at most `limit` executions of a namespace. `from` is [`ListPage::next`] of
    /// the previous page.
    pub fn new(
        config: &PartitionConfig,
        namespace: Namespace,
        filter: ListFilter,
        order: ListOrder,
        from: Option<ListPosition>,
        limit: usize,
        codec: Codec,
    ) -> Self {
        let (limit, count) = (limit.max(1), usize::from(config.num_flow_partitions));
        let first = match (order, filter.created_from, filter.created_before) {
            (ListOrder::OldestFirst, Some(from), _) => Some(Key::last_of(score(from) - 1)),
            (ListOrder::NewestFirst, _, Some(before)) => Some(Key::last_of(-score(before))),
            _ => None,
        };
        let least = match filter.is_selective() {
            true => FIRST_ENTRIES_FILTERED,
            false => FIRST_ENTRIES,
        };
        // Twice the average, since partitions differ.
        let entries = (2 * limit.div_ceil(count.max(1))).clamp(least, MAX_PAGE);
        let merged = |partition: u16| {
            let from = from.and_then(|from| {
                let key = Key::new(from.after?, order);
                // An entry of a later partition with this key comes after the position.
                Some(if partition > from.partition { key.before() } else { key })
            });
            Merged { read_to: first.max(from), ended: false, entries }
        };
        let partitions = (0..config.num_flow_partitions).map(merged).collect();
        Self {
            namespace,
            filter,
            order,
            limit,
            codec,
            partitions,
            found: BTreeMap::new(),
            dropped: false,
            unreadable: BTreeSet::new(),
            read: 0,
            filtered: 0,
        }
    }

    /// Returns the scans that the page still needs, at most one of each partition; none when it is
    /// complete.
    pub fn wanted(&self) -> Vec<Scan> {
        if self.filtered >= MAX_FILTERED {
            return Vec::new();
        }
        let last = self.last();
        let needed = self.reading().filter(|(partition, merged)| match (last, merged.read_to) {
            (Some(last), Some(key)) => Place { key, partition: *partition } < last,
            _ => true,
        });
        let scan = |(partition, merged): (u16, &Merged)| Scan {
            partition: Partition::flow(partition),
            index: IndexName::All { namespace: self.namespace.clone() },
            order: match self.order {
                ListOrder::NewestFirst => ScanOrder::Descending,
                ListOrder::OldestFirst => ScanOrder::Ascending,
            },
            after: merged.read_to.map(|key| key.position(self.order)),
            limit: merged.entries as u32,
            bytes: PARTITION_BYTES,
        };
        needed.map(scan).collect()
    }

    /// Takes the reply to a scan of [`wanted`](Self::wanted), and the store's time of the reply.
    pub fn scanned(&mut self, partition: Partition, scanned: &Scanned, at: TimestampMs) {
        let (partition, end) = (partition.index, self.end());
        let mut merged = self.partitions[usize::from(partition)];
        merged.ended = scanned.next.is_none();
        merged.entries = merged.entries.max((2 * merged.entries).min(MOST_ENTRIES));
        for entry in &scanned.entries {
            let key = Key::new(entry.position, self.order);
            if end.is_some_and(|end| end <= key.score) {
                merged.ended = true;
                break;
            }
            let place = Place { key, partition };
            match Found::at(partition, entry, &self.filter, &self.codec, at) {
                Found::Shown(seen) => {
                    self.found.insert(place, seen);
                }
                Found::Unreadable => {
                    self.unreadable.insert(place);
                }
                Found::Filtered(count) => self.filtered += count,
            }
            self.read += 1;
            merged.read_to = Some(key);
        }
        self.partitions[usize::from(partition)] = merged;
        while self.found.len() > self.limit {
            self.found.pop_last();
            self.dropped = true;
        }
    }

    /// Returns the page, once no scan is wanted.
    pub fn page(mut self) -> ListPage {
        // Before this place every entry of every partition has been read.
        let frontier = self
            .reading()
            .filter_map(|(partition, merged)| merged.read_to.map(|key| Place { key, partition }));
        let frontier = frontier.min();
        let last = self.last().filter(|_| self.dropped || frontier.is_some());
        let end = last.into_iter().chain(frontier).min();
        if let Some(end) = end {
            self.found.retain(|place, _| *place <= end);
            self.unreadable.retain(|place| *place <= end);
        }
        ListPage {
            executions: self.found.into_values().collect(),
            unreadable: self.unreadable.len(),
            read: self.read,
            next: end.map(|place| ListPosition {
                partition: place.partition,
                after: Some(place.key.position(self.order)),
            }),
        }
    }

    /// The partitions that have not been read to their ends.
    fn reading(&self) -> impl Iterator<Item = (u16, &Merged)> {
        (0..).zip(&self.partitions).filter(|(_, merged)| !merged.ended)
    }

    /// The place of the last execution, if the page has as many as it may have.
    fn last(&self) -> Option<Place> {
        let is_full = self.found.len() == self.limit;
        self.found.last_key_value().filter(|_| is_full).map(|(place, _)| *place)
    }

    /// The first score of keys that are beyond the filter's time.
    fn end(&self) -> Option<i64> {
        match self.order {
            ListOrder::OldestFirst => self.filter.created_before.map(score),
            ListOrder::NewestFirst => self.filter.created_from.map(|from| 1 - score(from)),
        }
    }
}

const fn score(instant: TimestampMs) -> i64 {
    Score::at(instant).get()
}
