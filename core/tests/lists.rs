//! Lists by creation time: their pages, joined, are the whole list in its order, whatever the size
//! of the pages and the replies of the store.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use ff_core::entropy::Entropy;
use ff_core::execution::{Execution, Purpose};
use ff_core::id::{ExecutionId, ExecutionKind, Namespace};
use ff_core::op::{
    Event, ListByTime, ListExecutions, ListFilter, ListOrder, ListPage, ListPosition, MAX_FILTERED,
    Operation, OperationContext, Patience, Step,
};
use ff_core::partition::{Partition, PartitionConfig};
use ff_core::score::Score;
use ff_core::store::codec::{Codec, FORMAT, encode};
use ff_core::store::{
    Bytes, Commit, IndexName, IndexWrite, MemoryStore, RecordKey, ReplyBody, Request, Unit, Version,
};
use ff_core::time::{DurationMs, HostTime, TimestampMs};
use proptest::prelude::*;
use uuid::Uuid;

use crate::golden::{plain, waiting};

const NOW: TimestampMs = TimestampMs::new(1_000_000);

/// An entry of a list: few times, partitions and uuids, so that many are equal.
#[derive(Clone, Debug)]
struct Entry {
    created: u64,
    partition: u16,
    uuid: u128,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    A,
    B,
    /// Its record cannot be read.
    Unreadable,
    /// Its record was removed.
    Absent,
}

impl Entry {
    fn id(&self) -> ExecutionId {
        ExecutionId::from_parts(self.partition, Uuid::from_u128(self.uuid))
    }

    fn record(&self) -> Option<Bytes> {
        let kind = match self.kind {
            Kind::A => "a",
            Kind::B => "b",
            Kind::Unreadable => return Some(Bytes::from(*b"no record")),
            Kind::Absent => return None,
        };
        let execution = Execution {
            id: self.id(),
            kind: ExecutionKind::try_new(kind).expect("a kind"),
            created_at: TimestampMs::new(self.created),
            ..plain(waiting())
        };
        Some(Bytes::from(encode(&execution, FORMAT)))
    }

    /// Its place in a list.
    fn place(&self, order: ListOrder) -> (i64, Result<u128, Reverse<u128>>, u16) {
        let created = i64::try_from(self.created).expect("it is small");
        match order {
            ListOrder::OldestFirst => (created, Ok(self.uuid), self.partition),
            ListOrder::NewestFirst => (-created, Err(Reverse(self.uuid)), self.partition),
        }
    }
}

fn namespace() -> Namespace {
    Namespace::try_new("ns").expect("a namespace")
}

fn config(partitions: u16) -> PartitionConfig {
    PartitionConfig { num_flow_partitions: partitions, ..PartitionConfig::default() }
}

fn filled(entries: &[Entry]) -> MemoryStore {
    let mut store = MemoryStore::new(1);
    for entry in entries {
        let (member, score) = (entry.id().uuid(), Score::at(TimestampMs::new(entry.created)));
        let mut unit = Unit::new(Purpose::Admit, 7);
        let index = IndexName::All { namespace: namespace() };
        unit.index.push(IndexWrite { index, member, score: Some(score) });
        if let Some(record) = entry.record() {
            let key = RecordKey::of(&entry.id());
            unit.expect.push((key.clone(), Version::ABSENT));
            unit.put.push((key, record));
        }
        let partition = Partition::flow(entry.partition);
        store.handle(Request::Commit(Commit { partition, units: vec![unit] }), NOW);
    }
    store
}

/// Reads a page. The scans of a round are answered in reverse order.
fn page_by_time(store: &mut MemoryStore, mut list: ListByTime, rounds: &mut usize) -> ListPage {
    loop {
        let mut wanted = list.wanted();
        if wanted.is_empty() {
            return list.page();
        }
        *rounds += 1;
        wanted.reverse();
        for scan in wanted {
            let partition = scan.partition;
            let ReplyBody::Scan(scanned) = store.handle(Request::Scan(scan), NOW).body else {
                panic!("a page")
            };
            list.scanned(partition, &scanned, NOW);
        }
    }
}

fn by_time(
    store: &mut MemoryStore,
    partitions: u16,
    filter: &ListFilter,
    order: ListOrder,
    from: Option<ListPosition>,
    limit: usize,
) -> ListPage {
    let (config, codec) = (config(partitions), Codec::default());
    let list = ListByTime::new(&config, namespace(), filter.clone(), order, from, limit, codec);
    page_by_time(store, list, &mut 0)
}

fn by_partition(
    store: &mut MemoryStore,
    partitions: u16,
    filter: &ListFilter,
    from: Option<ListPosition>,
    limit: usize,
) -> ListPage {
    let context = OperationContext::new(DurationMs::from_secs(1), Codec::default());
    let patience = Patience::new(context, Entropy::from_u64(0));
    let config = config(partitions);
    let mut list = ListExecutions::new(&config, namespace(), filter.clone(), from, limit, patience);
    let host = HostTime { local: NOW, store: NOW };
    let mut step = list.resume(Event::Start, host);
    loop {
        step = match step {
            Step::Send(request) => list.resume(Event::Reply(store.handle(request, NOW)), host),
            Step::Wait(_) => list.resume(Event::Wake, host),
            Step::Done(page) => return page.expect("the store answers"),
        };
    }
}

/// Reads all pages, and returns the IDs in order, and the number of unreadable records.
fn joined(
    limit: usize,
    mut page: impl FnMut(Option<ListPosition>) -> ListPage,
) -> (Vec<ExecutionId>, usize) {
    let (mut shown, mut unreadable, mut from) = (Vec::new(), 0, None);
    loop {
        let page = page(from);
        assert!(page.executions.len() <= limit);
        shown.extend(page.executions.iter().map(|seen| seen.execution_id));
        unreadable += page.unreadable;
        from = page.next;
        if from.is_none() {
            return (shown, unreadable);
        }
    }
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let kind = prop_oneof![
        6 => Just(Kind::A),
        3 => Just(Kind::B),
        1 => Just(Kind::Unreadable),
        1 => Just(Kind::Absent),
    ];
    let uuid = prop_oneof![4 => 0..6_u128, 1 => Just(u128::MAX)];
    let entry = (0..8_u64, 0..4_u16, uuid, kind);
    let entry =
        entry.prop_map(|(created, partition, uuid, kind)| Entry { created, partition, uuid, kind });
    prop::collection::vec(entry, 0..60).prop_map(|mut entries| {
        let mut ids = BTreeSet::new();
        entries.retain(|entry| ids.insert(entry.id()));
        entries
    })
}

fn filter() -> impl Strategy<Value = ListFilter> {
    let time = || prop::option::of((0..9_u64).prop_map(TimestampMs::new));
    (any::<bool>(), time(), time()).prop_map(|(only_a, created_from, created_before)| {
        let kind = only_a.then(|| ExecutionKind::try_new("a").expect("a kind"));
        ListFilter { kind, created_from, created_before, ..ListFilter::default() }
    })
}

/// The entries that pass the filter, in order; and how many of its time are unreadable.
fn expected(entries: &[Entry], filter: &ListFilter, order: ListOrder) -> (Vec<ExecutionId>, usize) {
    let in_time = |entry: &&Entry| {
        let created = TimestampMs::new(entry.created);
        filter.created_from.is_none_or(|from| from <= created)
            && filter.created_before.is_none_or(|before| created < before)
    };
    let mut found: Vec<&Entry> = entries.iter().filter(in_time).collect();
    found.sort_by_key(|entry| entry.place(order));
    let unreadable = found.iter().filter(|entry| entry.kind == Kind::Unreadable).count();
    let fits =
        |entry: &&&Entry| entry.kind == Kind::A || entry.kind == Kind::B && filter.kind.is_none();
    (found.iter().filter(fits).map(|entry| entry.id()).collect(), unreadable)
}

proptest! {
    /// Pages by time show each execution that passes the filter once, in order.
    #[test]
    fn pages_by_time_are_the_whole_list(
        entries in entries(),
        filter in filter(),
        newest in any::<bool>(),
        limit in 1..70_usize,
    ) {
        let order = if newest { ListOrder::NewestFirst } else { ListOrder::OldestFirst };
        let mut store = filled(&entries);
        let shown = joined(limit, |from| by_time(&mut store, 4, &filter, order, from, limit));
        prop_assert_eq!(shown, expected(&entries, &filter, order));
    }

    /// Pages by partition show the same executions.
    #[test]
    fn pages_by_partition_are_the_whole_list(
        entries in entries(),
        filter in filter(),
        limit in 1..70_usize,
    ) {
        let mut store = filled(&entries);
        let (mut shown, unreadable) =
            joined(limit, |from| by_partition(&mut store, 4, &filter, from, limit));
        let (mut wanted, of_them) = expected(&entries, &filter, ListOrder::OldestFirst);
        shown.sort();
        wanted.sort();
        prop_assert_eq!((shown, unreadable), (wanted, of_them));
    }
}

/// The first screen of a store with 256 partitions needs one small scan of each, and a few more.
#[test]
fn the_first_page_reads_a_few_entries_of_each_partition() {
    let entry = |number: u64| Entry {
        created: number,
        // Not in turn: neighbours share a partition now and then.
        partition: (number * 7_919 % 1_009 % 256) as u16,
        uuid: u128::from(number),
        kind: Kind::A,
    };
    let entries: Vec<Entry> = (0..4_000).map(entry).collect();
    let mut store = filled(&entries);
    let (config, codec, filter) = (config(256), Codec::default(), ListFilter::default());
    let order = ListOrder::NewestFirst;
    let list = ListByTime::new(&config, namespace(), filter, order, None, 50, codec);
    let mut rounds = 0;
    let page = page_by_time(&mut store, list, &mut rounds);
    let newest: Vec<ExecutionId> = (3_950..4_000).rev().map(|n| entry(n).id()).collect();
    let shown: Vec<ExecutionId> = page.executions.iter().map(|seen| seen.execution_id).collect();
    assert_eq!(shown, newest);
    assert!((256..=256 * 4 + 64).contains(&page.read), "{} entries were read", page.read);
    assert!(rounds <= 3, "{rounds} rounds");
}

/// A filter that nothing passes ends a page after a bounded number of entries, with a position from
/// which the list continues.
#[test]
fn a_filter_that_matches_nothing_ends_pages_early() {
    let count = MAX_FILTERED as u64 * 2;
    let mut store = MemoryStore::new(1);
    for partition in 0..4_u16 {
        let writes = (0..count / 4).map(|number| IndexWrite {
            index: IndexName::All { namespace: namespace() },
            member: Uuid::from_u128(u128::from(number)),
            score: Some(Score::at(TimestampMs::new(number))),
        });
        let writes: Vec<IndexWrite> = writes.collect();
        let unit =
            |index: &[IndexWrite]| Unit { index: index.to_vec(), ..Unit::new(Purpose::Admit, 7) };
        let units = writes.chunks(200).map(unit).collect::<Vec<_>>();
        for units in units.chunks(64) {
            let partition = Partition::flow(partition);
            store.handle(Request::Commit(Commit { partition, units: units.to_vec() }), NOW);
        }
    }
    let filter =
        ListFilter { tags: vec![("a.b".to_owned(), "c".to_owned())], ..ListFilter::default() };
    let most = MAX_FILTERED + 4 * 256;
    let pages = |page: &mut dyn FnMut(Option<ListPosition>) -> ListPage| {
        let (mut from, mut read, mut pages) = (None, 0, 0);
        loop {
            let page = page(from);
            assert!(page.executions.is_empty());
            assert!(page.read <= most, "{} entries were read for a page", page.read);
            read += page.read;
            pages += 1;
            from = page.next;
            if from.is_none() {
                return (read, pages);
            }
        }
    };
    let mut by_time = |from| by_time(&mut store, 4, &filter, ListOrder::NewestFirst, from, 50);
    let (read, count_of_pages) = pages(&mut by_time);
    assert!((2..=4).contains(&count_of_pages), "{count_of_pages} pages");
    assert!(read as u64 >= count && read as u64 <= count + 4 * 256 * 4, "{read} entries were read");
    let mut by_partition = |from| by_partition(&mut store, 4, &filter, from, 50);
    let (read, count_of_pages) = pages(&mut by_partition);
    assert_eq!((read as u64, count_of_pages), (count, 2));
}
