//! Lists of records beside executions.

use std::marker::PhantomData;

use crate::error::EngineError;
use crate::id::Namespace;
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::op::query::Query;
use crate::partition::Partition;
use crate::resource::Resource;
use crate::store::bounds::{MAX_PAGE_BYTES, MAX_READ_RECORDS};
use crate::store::codec::Codec;
use crate::store::{IndexName, Scan, ScanOrder, ScanPosition, Scanned};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::stored::LoadedResource;

/// Reads one page of the records of a kind that a namespace has in one partition.
#[derive(Clone, Debug)]
pub struct ListResources<R> {
    namespace: Namespace,
    query: Query<(Scanned, TimestampMs)>,
    codec: Codec,
    kind: PhantomData<R>,
}

/// A page of records of one partition, in the order of their list.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourcePage<R> {
    /// The records.
    pub records: Vec<R>,
    /// How many records could not be read: damaged, or of a newer format.
    pub unreadable: usize,
    /// Where the next page begins; `None` on the last page.
    pub next: Option<ScanPosition>,
    /// The store's time.
    pub at: TimestampMs,
}

impl<R: Resource> ListResources<R> {
    /// Creates an operation that reads the page after a position; the first page after `None`.
    pub fn new(
        partition: Partition,
        namespace: Namespace,
        after: Option<ScanPosition>,
        patience: Patience,
    ) -> Self {
        let scan = Scan {
            partition,
            index: IndexName::Resources { kind: R::KIND, namespace: namespace.clone() },
            order: ScanOrder::Ascending,
            after,
            limit: MAX_READ_RECORDS as u32,
            bytes: MAX_PAGE_BYTES,
        };
        let codec = patience.codec().clone();
        Self { namespace, query: Query::scan(scan, patience), codec, kind: PhantomData }
    }

    fn page(&self, scanned: &Scanned, at: TimestampMs) -> ResourcePage<R> {
        let stored = scanned.entries.iter().filter_map(|entry| entry.record.as_ref());
        let read: Vec<_> = stored
            .map(|stored| LoadedResource::<R>::of(stored, &self.codec).ok())
            .map(|loaded| loaded.map(LoadedResource::into_record))
            .collect();
        let unreadable = read.iter().filter(|record| record.is_none()).count();
        let own = |record: &R| record.listed().is_some_and(|(of, _)| *of == self.namespace);
        let records = read.into_iter().flatten().filter(own).collect();
        ResourcePage { records, unreadable, next: scanned.next, at }
    }
}

impl<R: Resource> Operation for ListResources<R> {
    /// The page.
    type Output = Result<ResourcePage<R>, EngineError>;

    fn partition(&self) -> Option<Partition> {
        self.query.partition()
    }

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        self.query.reply_within(now)
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        let step = self.query.resume(event, now);
        step.then_ok(|(scanned, at)| Step::Done(Ok(self.page(&scanned, at))))
    }
}
