//! Lists of records beside executions.

use crate::error::{Applied, EngineError};
use crate::id::Namespace;
use crate::op::loaded::other_reply;
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::partition::Partition;
use crate::resource::Resource;
use crate::store::bounds::{MAX_PAGE_BYTES, MAX_READ_RECORDS};
use crate::store::{IndexName, ReplyBody, Request, Scan, ScanOrder, ScanPosition};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::stored::LoadedResource;

/// Reads one page of the records of a kind that a namespace has in one partition.
#[derive(Clone, Debug)]
pub struct ListResources<R> {
    partition: Partition,
    namespace: Namespace,
    after: Option<ScanPosition>,
    patience: Patience,
    kind: std::marker::PhantomData<R>,
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

const OP: &str = "list_resources";

impl<R: Resource> ListResources<R> {
    /// Creates an operation that reads the page after a position; the first page after `None`.
    pub const fn new(
        partition: Partition,
        namespace: Namespace,
        after: Option<ScanPosition>,
        patience: Patience,
    ) -> Self {
        Self { partition, namespace, after, patience, kind: std::marker::PhantomData }
    }
}

impl<R: Resource> Operation for ListResources<R> {
    /// The page.
    type Output = Result<ResourcePage<R>, EngineError>;

    fn partition(&self) -> Option<Partition> {
        Some(self.partition)
    }

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        Some(self.patience.left(now))
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        match event {
            Event::Start | Event::Wake => {
                self.patience.begin(now);
                let namespace = self.namespace.clone();
                let step = Step::Send(Request::Scan(Scan {
                    partition: self.partition,
                    index: IndexName::Resources { kind: R::KIND, namespace },
                    order: ScanOrder::Ascending,
                    after: self.after,
                    limit: MAX_READ_RECORDS as u32,
                    bytes: MAX_PAGE_BYTES,
                }));
                self.patience.in_time(step, OP, Applied::No, now)
            }
            Event::Reply(reply) => match reply.body {
                ReplyBody::Scan(scanned) => {
                    let codec = self.patience.codec();
                    let stored = scanned.entries.iter().filter_map(|entry| entry.record.as_ref());
                    let read: Vec<_> = stored
                        .map(|stored| LoadedResource::<R>::of(stored, codec).ok())
                        .map(|loaded| loaded.map(LoadedResource::into_record))
                        .collect();
                    let unreadable = read.iter().filter(|record| record.is_none()).count();
                    let records = read.into_iter().flatten();
                    let records = records.filter(|record| {
                        record.listed().is_some_and(|(of, _)| *of == self.namespace)
                    });
                    let (records, next, at) = (records.collect(), scanned.next, reply.at);
                    Step::Done(Ok(ResourcePage { records, unreadable, next, at }))
                }
                ReplyBody::OverBound(over) => Step::fail(over),
                _ => self.resume(Event::Failure(other_reply(OP)), now),
            },
            Event::Failure(failure) => {
                Step::retry(self.patience.after_failure(OP, &failure, Applied::No, now))
            }
        }
    }
}
