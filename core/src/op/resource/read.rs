//! Reading records beside executions by their ids.

use std::marker::PhantomData;

use crate::error::EngineError;
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::op::query::Query;
use crate::partition::Partition;
use crate::resource::{Resource, ResourceId};
use crate::store::codec::Codec;
use crate::store::{Read, Values};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::stored::{LoadedResource, key_of};

/// Reads records of one kind and one partition.
#[derive(Clone, Debug)]
pub struct ReadResources<R> {
    query: Query<(Values, TimestampMs)>,
    codec: Codec,
    kind: PhantomData<R>,
}

impl<R: Resource> ReadResources<R> {
    /// Creates an operation that reads these records, which are all in the partition of the first
    /// one; at most [`MAX_READ_RECORDS`](crate::store::bounds::MAX_READ_RECORDS).
    pub fn new(ids: &[ResourceId], patience: Patience) -> Self {
        let partition = ids.first().map_or(Partition::META, |id| id.partition);
        let (records, codec) = (ids.iter().map(key_of).collect(), patience.codec().clone());
        let read = Read { partition, records, values: Vec::new() };
        Self { query: Query::read(read, patience), codec, kind: PhantomData }
    }

    fn decoded(&self, read: &Values) -> Result<Vec<Option<LoadedResource<R>>>, EngineError> {
        let decode = |stored| LoadedResource::of(stored, &self.codec);
        read.records.iter().map(|stored| stored.as_ref().map(decode).transpose()).collect()
    }
}

impl<R: Resource> Operation for ReadResources<R> {
    /// The records in the order of the ids; `None` for one that does not exist.
    type Output = Result<Vec<Option<LoadedResource<R>>>, EngineError>;

    fn partition(&self) -> Option<Partition> {
        self.query.partition()
    }

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        self.query.reply_within(now)
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        let step = self.query.resume(event, now);
        step.then_ok(|(read, _)| Step::Done(self.decoded(&read)))
    }
}
