//! Reading: one request that changes nothing, repeated until it is answered.

use crate::error::{Applied, Bug, EngineError};
use crate::execution::ValueKind;
use crate::id::ExecutionId;
use crate::partition::Partition;
use crate::store::{
    Fetched, FirstOf, IndexName, Poll, PollOf, Read, RecordKey, Reply, ReplyBody, Request, Scan,
    Scanned, StreamPage, Streamed, Topic, Values,
};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::context::OperationContext;
use super::loaded::{Loaded, load_of, other_reply, value_key};
use super::operation::{Event, Operation, Step};
use super::patience::Patience;

/// One read-only request, and how its reply is understood.
#[derive(Clone, Debug)]
pub struct Query<T> {
    op: &'static str,
    request: Request,
    parse: Parse<T>,
    patience: Patience,
}

/// Understands a reply; `None` if it is the reply to another request.
type Parse<T> = fn(Reply, &Request, &OperationContext) -> Option<Result<T, EngineError>>;

impl<T> Query<T> {
    /// A query for records and values by key.
    pub(super) const fn of_values(
        op: &'static str,
        read: Read,
        parse: Parse<T>,
        patience: Patience,
    ) -> Self {
        Self { op, request: Request::Read(read), parse, patience }
    }
}

impl Query<(Values, TimestampMs)> {
    /// Reads records and values by key.
    pub const fn read(read: Read, patience: Patience) -> Self {
        let parse: Parse<_> = |reply, request, _| match (reply.body, request) {
            (ReplyBody::Read(values), Request::Read(read))
                if values.records.len() == read.records.len()
                    && values.values.len() == read.values.len() =>
            {
                Some(Ok((values, reply.at)))
            }
            _ => None,
        };
        Self::of_values("read", read, parse, patience)
    }
}

impl Query<(Scanned, TimestampMs)> {
    /// Reads a page of an index.
    pub const fn scan(scan: Scan, patience: Patience) -> Self {
        let parse: Parse<_> = |reply, _, _| match reply.body {
            ReplyBody::Scan(scanned) => Some(Ok((scanned, reply.at))),
            _ => None,
        };
        Self { op: "scan", request: Request::Scan(scan), parse, patience }
    }
}

impl Query<Vec<FirstOf>> {
    /// Polls one partition.
    pub fn poll(of: PollOf, partition: Partition, patience: Patience) -> Self {
        let parse: Parse<_> = |reply, _, _| match reply.body {
            ReplyBody::Poll(mut polled) if polled.firsts.len() == 1 => {
                polled.firsts.pop()?.ok().map(|firsts| Ok(firsts.found))
            }
            _ => None,
        };
        let request = Request::Poll(Poll { of, partitions: vec![partition], listeners: None });
        Self { op: "poll", request, parse, patience }
    }
}

impl Query<u64> {
    /// Counts the programs that listen to a topic.
    pub fn listeners(topic: Topic, partition: Partition, patience: Patience) -> Self {
        let parse: Parse<_> = |reply, _, _| match reply.body {
            ReplyBody::Poll(polled) => Some(Ok(polled.listeners)),
            _ => None,
        };
        let (of, partitions) = (PollOf::Index(IndexName::Due), vec![partition]);
        let request = Request::Poll(Poll { of, partitions, listeners: Some(topic) });
        Self { op: "listeners", request, parse, patience }
    }
}

impl Query<(Streamed, TimestampMs)> {
    /// Reads a page of a stream.
    pub const fn stream(page: StreamPage, patience: Patience) -> Self {
        let parse: Parse<_> = |reply, _, _| match reply.body {
            ReplyBody::Stream(streamed) => Some(Ok((streamed, reply.at))),
            _ => None,
        };
        Self { op: "stream", request: Request::Stream(page), parse, patience }
    }
}

impl<T> Operation for Query<T> {
    /// The data that was read.
    type Output = Result<T, EngineError>;

    fn partition(&self) -> Option<Partition> {
        Some(self.request.partition())
    }

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        Some(self.patience.left(now))
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        match event {
            Event::Start | Event::Wake => {
                self.patience.begin(now);
                let step = Step::Send(self.request.clone());
                self.patience.in_time(step, self.op, Applied::No, now)
            }
            Event::Reply(Reply { body: ReplyBody::OverBound(over), .. }) => Step::fail(over),
            Event::Reply(reply) => {
                match (self.parse)(reply, &self.request, self.patience.context()) {
                    Some(read) => Step::Done(read),
                    None => self.resume(Event::Failure(other_reply(self.op)), now),
                }
            }
            Event::Failure(failure) => {
                Step::retry(self.patience.after_failure(self.op, &failure, Applied::No, now))
            }
        }
    }
}

/// Reads an execution and some of its values. The output is the record if there is one, the values
/// in order, and the store's clock.
pub type ReadExecution = Query<(Option<Loaded>, Vec<Fetched>, TimestampMs)>;

impl ReadExecution {
    /// Reads the record of an execution and these of its values.
    pub fn new(id: &ExecutionId, values: &[ValueKind], patience: Patience) -> Self {
        let read = Read {
            partition: id.partition(),
            records: vec![RecordKey::of(id)],
            values: values.iter().map(|kind| value_key(id, *kind)).collect(),
        };
        let parse: Parse<_> = |reply, request, context| {
            let (ReplyBody::Read(mut found), Request::Read(read)) = (reply.body, request) else {
                return None;
            };
            let Some(RecordKey::Execution(uuid)) = read.records.first() else { return None };
            let id = ExecutionId::from_parts(read.partition.index, *uuid);
            let record = found.records.pop()?;
            match record.map(|stored| load_of(&id, &stored, context.codec())).transpose() {
                Err(EngineError::Bug(Bug::UnexpectedReply { .. })) => None,
                loaded => Some(loaded.map(|loaded| (loaded, found.values, reply.at))),
            }
        };
        Self::of_values("read", read, parse, patience)
    }
}
