//! The function library as the store that answers, compared with the reference store.
//!
//! Both get every request at the same instant and must give the same reply and the same wake-ups.
//! The checks read indexes and records from the library's keyspace.

use std::collections::{BTreeMap, BTreeSet};

use ff_core::id::Namespace;
use ff_core::partition::Partition;
use ff_core::score::Score;
use ff_core::store::keys::{list_of_counts, list_of_queues};
use ff_core::store::{
    Bytes, CountName, FirstOf, IndexName, Member, MemoryStore, RecordKey, Reply, Request,
    ScanPosition, Stored, StreamName, Take, Version, Wake,
};
use ff_core::time::TimestampMs;
use ff_io_valkey::model::{Keyspace, ModelStore, Value};

use crate::report::{Broken, ensure};

const TAG: &str = "CONFORMANCE";

/// The length of the version that precedes a record's body.
const VERSION_BYTES: usize = 16;

/// The function library and the reference store.
#[derive(Debug)]
pub(super) struct LuaStore {
    library: ModelStore,
    reference: MemoryStore,
    /// The indexes that requests have named, by partition and key.
    indexes: BTreeMap<Partition, BTreeMap<Vec<u8>, IndexName>>,
    /// The namespaces whose counts requests have changed, by partition and key.
    counts: BTreeMap<Partition, BTreeMap<Vec<u8>, Namespace>>,
    /// The keys of the streams other than journals that requests have appended to.
    streams: BTreeSet<Vec<u8>>,
    wakes: Vec<Wake>,
}

/// A copy of both stores' contents.
#[derive(Debug)]
pub(super) struct LuaReplica {
    keyspace: Keyspace,
    reference: MemoryStore,
}

impl LuaStore {
    /// An empty store with its own history.
    pub(super) fn new(history: u64) -> Self {
        Self {
            library: ModelStore::new(history),
            reference: MemoryStore::new(history),
            indexes: BTreeMap::new(),
            counts: BTreeMap::new(),
            streams: BTreeSet::new(),
            wakes: Vec::new(),
        }
    }

    /// Answers a request, if both stores answer the same.
    pub(super) fn handle(&mut self, request: Request, now: TimestampMs) -> Result<Reply, Broken> {
        self.note_names(&request);
        let answer = self.library.handle(request.clone(), now);
        let reference = self.reference.handle(request.clone(), now);
        match answer {
            Ok(reply) => {
                ensure!(
                    reply == reference,
                    TAG,
                    "the function library answers {request:?} with {reply:?}, the reference store \
                     with {reference:?}"
                );
                let (mut wakes, expected) =
                    (self.library.take_wakes(), self.reference.take_wakes());
                // Their order is undefined. With that of the reference store, a seed gives the same
                // run with either.
                let mut sorted = expected.clone();
                wakes.sort();
                sorted.sort();
                ensure!(
                    wakes == sorted,
                    TAG,
                    "{request:?} rings {wakes:?}, and with the reference store {sorted:?}"
                );
                self.wakes.extend(expected);
                Ok(reply)
            }
            Err(failure) => {
                let detail = format!("the function library answers {request:?}: {failure}");
                Err(Broken { tag: TAG, detail })
            }
        }
    }

    fn note_names(&mut self, request: &Request) {
        let mut note = |partition: Partition, name: &IndexName| {
            let names = self.indexes.entry(partition).or_default();
            if !names.values().any(|known| known == name) {
                names.insert(name.text(partition), name.clone());
            }
        };
        match request {
            Request::Commit(commit) => {
                let writes = commit.units.iter().flat_map(|unit| &unit.index);
                writes.for_each(|write| note(commit.partition, &write.index));
                let counts = self.counts.entry(commit.partition).or_default();
                for change in commit.units.iter().flat_map(|unit| &unit.counts) {
                    let namespace = &change.name.namespace;
                    let key = list_of_counts(namespace, commit.partition);
                    counts.entry(key).or_insert_with(|| namespace.clone());
                }
                let appends = commit.units.iter().flat_map(|unit| &unit.append);
                let others = appends.filter(|append| append.stream != StreamName::Journal);
                self.streams.extend(others.map(|append| append.stream.text(commit.partition)));
            }
            Request::Take(Take { partition, from, .. }) => {
                from.iter().for_each(|index| note(*partition, index));
                note(*partition, &IndexName::Due);
            }
            _ => {}
        }
    }

    /// Copies the contents of both stores.
    pub(super) fn replicate(&mut self) -> LuaReplica {
        let keyspace = self.library.with_keyspace(|keyspace| keyspace.clone());
        LuaReplica { keyspace, reference: self.reference.clone() }
    }

    /// A replica takes over.
    pub(super) fn take_over(&mut self, replica: LuaReplica) {
        self.library.with_keyspace(|keyspace| *keyspace = replica.keyspace);
        self.reference = replica.reference;
        self.wakes.clear();
    }

    /// Starts another history.
    pub(super) fn set_history(&mut self, history: u64) {
        self.library.set_history(history);
        self.reference.set_history(history);
    }

    /// The wake-ups since the last call.
    pub(super) fn take_wakes(&mut self) -> Vec<Wake> {
        std::mem::take(&mut self.wakes)
    }

    /// The partitions that hold anything.
    pub(super) fn partitions(&self) -> Vec<Partition> {
        self.reference.partitions().collect()
    }

    /// The entries of all indexes of a partition, in the order of the reference store's.
    pub(super) fn entries(
        &mut self,
        partition: Partition,
    ) -> Result<Vec<(IndexName, ScanPosition)>, Broken> {
        let names = self.indexes.get(&partition).into_iter().flatten();
        self.library.with_keyspace(|keyspace| {
            let mut entries = Vec::new();
            for (key, name) in names {
                match keyspace.value(key) {
                    None => {}
                    Some(Value::Sorted(sorted)) => {
                        for (member, score) in sorted.iter() {
                            entries.push((name.clone(), position(member, score)?));
                        }
                    }
                    Some(other) => ensure!(false, TAG, "{name:?} holds {other:?}"),
                }
            }
            Ok(entries)
        })
    }

    /// The lists of queues of a partition.
    pub(super) fn listed(&mut self, partition: Partition) -> Result<Vec<FirstOf>, Broken> {
        let names = self.indexes.get(&partition).into_iter().flatten();
        let namespaces: BTreeSet<_> = names.filter_map(|(_, index)| index.listed_in()).collect();
        self.library.with_keyspace(|keyspace| {
            let mut listed = Vec::new();
            for namespace in namespaces {
                let Some(Value::Sorted(list)) =
                    keyspace.value(&list_of_queues(namespace, partition))
                else {
                    continue;
                };
                for (name, score) in list.iter() {
                    let index = IndexName::from_listed(namespace, name);
                    ensure!(index.is_some(), TAG, "not a queue: {}", name.escape_ascii());
                    let score = Score::new(score);
                    listed.extend(index.map(|index| FirstOf { index, score }));
                }
            }
            Ok(listed)
        })
    }

    /// The counts of a partition.
    pub(super) fn counts(&mut self, partition: Partition) -> Result<Vec<(CountName, i64)>, Broken> {
        let lists = self.counts.get(&partition).into_iter().flatten();
        self.library.with_keyspace(|keyspace| {
            let mut counts = Vec::new();
            for (key, namespace) in lists {
                let Some(Value::Sorted(list)) = keyspace.value(key) else { continue };
                for (name, number) in list.iter() {
                    let count = CountName::from_listed(namespace, name);
                    ensure!(count.is_some(), TAG, "not a count: {}", name.escape_ascii());
                    counts.extend(count.map(|name| (name, number)));
                }
            }
            Ok(counts)
        })
    }

    /// The records of a partition's executions.
    pub(super) fn records(&mut self, partition: Partition) -> Vec<(RecordKey, Stored)> {
        let prefix = IndexName::Due.record_prefix(partition);
        self.library.with_keyspace(|keyspace| {
            let texts = keyspace.iter().filter_map(|(key, value)| match value {
                Value::Text(text) => Some((key.strip_prefix(prefix.as_slice())?, text)),
                _ => None,
            });
            texts.filter_map(|(member, text)| record(member, text)).collect()
        })
    }

    /// Checks that requests have named each list and sorted set, and that there are no keys of
    /// partitions in which the reference store has nothing.
    pub(super) fn check_keys(&mut self) -> Result<(), Broken> {
        let partitions = self.partitions();
        let (indexes, streams, counts) = (&self.indexes, &self.streams, &self.counts);
        self.library.with_keyspace(|keyspace| {
            for (key, value) in keyspace.iter() {
                let named = match value {
                    Value::Text(_) => partitions.iter().any(|at| is_of(key, *at)),
                    Value::Sorted(_) if counts.values().any(|lists| lists.contains_key(key)) => {
                        true
                    }
                    Value::Sorted(_) => indexes.iter().any(|(partition, names)| {
                        let lists = names.values().filter_map(|index| index.listed_in());
                        let is_list = |namespace| list_of_queues(namespace, *partition) == *key;
                        names.contains_key(key) || lists.into_iter().any(is_list)
                    }),
                    Value::List(_) => {
                        streams.contains(key)
                            || partitions.iter().any(|at| StreamName::Journal.text(*at) == key)
                    }
                };
                ensure!(named, TAG, "no request has named the key {}", key.escape_ascii());
            }
            Ok(())
        })
    }
}

fn is_of(key: &[u8], partition: Partition) -> bool {
    key.starts_with(partition.to_string().as_bytes())
}

fn position(member: &[u8], score: i64) -> Result<ScanPosition, Broken> {
    match Member::from_slice(member) {
        Ok(member) => Ok(ScanPosition { score: Score::new(score), member }),
        Err(error) => Err(Broken { tag: TAG, detail: format!("a member of an index: {error}") }),
    }
}

fn record(member: &[u8], text: &[u8]) -> Option<(RecordKey, Stored)> {
    let (version, body) = text.split_at_checked(VERSION_BYTES)?;
    let half = |bytes: &[u8]| bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let version = Version { count: half(&version[..8]), nonce: half(&version[8..]) };
    let key = RecordKey::Execution(Member::from_slice(member).ok()?);
    Some((key, Stored { version, bytes: Bytes::from(body) }))
}
