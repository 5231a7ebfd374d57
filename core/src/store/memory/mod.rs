//! The reference implementation of the store contract: ordered maps that process one request at a
//! time.
//!
//! The simulator uses it unchanged. A backend for one process adds a mutex and a clock.

mod index;
mod partition;
mod stream;

use std::collections::BTreeMap;

use crate::partition::Partition;
use crate::time::TimestampMs;

use super::bounds::MAX_PAGE;
use super::contract::{
    Commit, Fetched, Member, Read, Reply, ReplyBody, Request, Scan, ScanPosition, Stored,
    StreamPage, Streamed, Take, Taken, UnitReply, Values, Wake,
};
use super::keys::{CountName, IndexName, RecordKey};
use super::poll::{FirstOf, Firsts, Poll, PollOf, Polled};

pub use partition::Account;
use partition::{PartitionData, Rings};

/// A store in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    partitions: BTreeMap<Partition, PartitionData>,
    history: u64,
    wakes: Vec<Wake>,
}

impl MemoryStore {
    /// Creates an empty store with the given history.
    pub fn new(history: u64) -> Self {
        Self { history, ..Self::default() }
    }

    /// Processes a request at the instant `now` of the store's clock.
    pub fn handle(&mut self, request: Request, now: TimestampMs) -> Reply {
        let body = match request.check() {
            Err(over) => ReplyBody::OverBound(over),
            Ok(()) => match request {
                Request::Commit(commit) => ReplyBody::Commit(self.commit(commit, now)),
                Request::Take(take) => ReplyBody::Take(self.take(&take, now)),
                Request::Poll(poll) => self.poll(&poll, now),
                Request::Read(read) => ReplyBody::Read(self.read(&read)),
                Request::Scan(scan) => self.scan(&scan),
                Request::Stream(page) => ReplyBody::Stream(self.stream(&page)),
            },
        };
        Reply { at: now, body }
    }

    /// Returns the wake-ups that rang since the last call.
    pub fn take_wakes(&mut self) -> Vec<Wake> {
        std::mem::take(&mut self.wakes)
    }

    /// Starts another history, so that readers of streams find a gap.
    pub const fn set_history(&mut self, history: u64) {
        self.history = history;
    }

    /// Returns the memory use of the store, in bytes.
    pub fn account(&self) -> Account {
        self.partitions.iter().map(|(partition, data)| data.account(*partition)).sum()
    }

    /// Iterates over the records of a partition in the order of their keys, for checkers.
    pub fn records(&self, partition: Partition) -> impl Iterator<Item = (&RecordKey, &Stored)> {
        self.partitions.get(&partition).into_iter().flat_map(|data| &data.records)
    }

    /// Iterates over the entries of all indexes of a partition, for checkers.
    pub fn entries(
        &self,
        partition: Partition,
    ) -> impl Iterator<Item = (&IndexName, ScanPosition)> {
        let data = self.partitions.get(&partition).into_iter();
        data.flat_map(|data| &data.indexes)
            .flat_map(|(name, index)| index.iter().map(move |position| (name, position)))
    }

    /// Iterates over the entries of one member in all indexes of a partition, for checkers.
    pub fn entries_of(
        &self,
        partition: Partition,
        member: Member,
    ) -> impl Iterator<Item = (&IndexName, ScanPosition)> {
        let data = self.partitions.get(&partition).into_iter();
        data.flat_map(|data| &data.indexes).filter_map(move |(name, index)| {
            let score = index.score(&member)?;
            Some((name, ScanPosition { score, member }))
        })
    }

    /// Iterates over the lists of queues of a partition, for checkers.
    pub fn listed(&self, partition: Partition) -> impl Iterator<Item = FirstOf> {
        let data = self.partitions.get(&partition).into_iter();
        let listed = data.flat_map(|data| &data.listed);
        listed.map(|(index, score)| FirstOf { index: index.clone(), score: *score })
    }

    /// Iterates over the counts of a partition, for checkers.
    pub fn counts(&self, partition: Partition) -> impl Iterator<Item = (&CountName, i64)> {
        let data = self.partitions.get(&partition).into_iter();
        data.flat_map(|data| &data.counts).map(|(name, number)| (name, *number))
    }

    /// Iterates over the partitions that a commit or a take has used.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> {
        self.partitions.keys().copied()
    }

    fn commit(&mut self, commit: Commit, now: TimestampMs) -> Vec<UnitReply> {
        let data = self.partitions.entry(commit.partition).or_default();
        let (mut replies, mut rings) = (Vec::with_capacity(commit.units.len()), Rings::default());
        for unit in commit.units {
            replies.push(data.commit(unit, commit.partition, now, &mut rings));
        }
        self.wakes.extend(data.wakes(rings, commit.partition));
        replies
    }

    fn take(&mut self, take: &Take, now: TimestampMs) -> Taken {
        let data = self.partitions.entry(take.partition).or_default();
        let taken = data.take(take, now);
        self.wakes.extend(take.wake(&taken));
        taken
    }

    fn poll(&self, poll: &Poll, now: TimestampMs) -> ReplyBody {
        let found = |data: &PartitionData| match &poll.of {
            PollOf::Index(index) => {
                let first = data.indexes.get(index).and_then(|entries| entries.first());
                let first = first.map(|first| (index.clone(), first.score));
                first.into_iter().map(|(index, score)| FirstOf { index, score }).collect()
            }
            PollOf::Queues { namespace, skip } => {
                data.queues(namespace).skip(*skip as usize).take(MAX_PAGE).collect()
            }
            PollOf::Counts { .. } => Vec::new(),
        };
        let counts = |data: &PartitionData| match &poll.of {
            PollOf::Counts { namespace, skip } => {
                data.counts_of(namespace).skip(*skip as usize).take(MAX_PAGE).collect()
            }
            PollOf::Index(_) | PollOf::Queues { .. } => Vec::new(),
        };
        let firsts = |partition| {
            let data = self.partitions.get(partition);
            let (found, counts) = (data.map(found), data.map(counts));
            let (found, counts) = (found.unwrap_or_default(), counts.unwrap_or_default());
            Ok(Firsts { at: now, found, counts })
        };
        let firsts = poll.partitions.iter().map(firsts).collect();
        // The host of the store corrects the number.
        ReplyBody::Poll(Polled { firsts, listeners: u64::from(poll.listeners.is_some()) })
    }

    fn read(&self, read: &Read) -> Values {
        match self.partitions.get(&read.partition) {
            Some(data) => data.read(read),
            None => Values {
                records: vec![None; read.records.len()],
                values: vec![Fetched::Absent; read.values.len()],
            },
        }
    }

    fn scan(&self, scan: &Scan) -> ReplyBody {
        let scanned = self.partitions.get(&scan.partition).map(|data| data.scan(scan));
        ReplyBody::Scan(scanned.unwrap_or_default())
    }

    fn stream(&self, page: &StreamPage) -> Streamed {
        let empty = stream::StreamData::default();
        let data = self.partitions.get(&page.partition);
        let stream = data.and_then(|data| data.streams.get(&page.stream)).unwrap_or(&empty);
        stream.page(page.from, page.limit as usize, self.history)
    }
}
