//! Reading records beside executions by their ids.

use crate::error::{Applied, EngineError};
use crate::op::loaded::other_reply;
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::partition::Partition;
use crate::resource::{Resource, ResourceId};
use crate::store::{Read, ReplyBody, Request};
use crate::time::{DurationMs, HostTime};

use super::stored::{LoadedResource, key_of};

/// Reads records of one kind and one partition.
#[derive(Clone, Debug)]
pub struct ReadResources<R> {
    partition: Partition,
    ids: Vec<ResourceId>,
    patience: Patience,
    kind: std::marker::PhantomData<R>,
}

const OP: &str = "read_resources";

impl<R: Resource> ReadResources<R> {
    /// Creates an operation that reads these records, which are all in the partition of the first
    /// one; at most [`MAX_READ_RECORDS`](crate::store::bounds::MAX_READ_RECORDS).
    pub fn new(ids: Vec<ResourceId>, patience: Patience) -> Self {
        let partition = ids.first().map_or(Partition::META, |id| id.partition);
        Self { partition, ids, patience, kind: std::marker::PhantomData }
    }
}

impl<R: Resource> Operation for ReadResources<R> {
    /// The records in the order of the ids; `None` for one that does not exist.
    type Output = Result<Vec<Option<LoadedResource<R>>>, EngineError>;

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
                let records = self.ids.iter().map(key_of).collect();
                let read = Read { partition: self.partition, records, values: Vec::new() };
                let step = Step::Send(Request::Read(read));
                self.patience.in_time(step, OP, Applied::No, now)
            }
            Event::Reply(reply) => match reply.body {
                ReplyBody::Read(read) if read.records.len() == self.ids.len() => {
                    let codec = self.patience.codec();
                    let records = read.records.iter();
                    let records = records.map(|stored| {
                        stored.as_ref().map(|stored| LoadedResource::of(stored, codec)).transpose()
                    });
                    Step::Done(records.collect())
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
