//! Reading: one request that changes nothing, repeated until it is answered.

use crate::error::{Applied, Bug, EngineError};
use crate::execution::ValueKind;
use crate::id::ExecutionId;
use crate::partition::Partition;
use crate::store::{
    Failure, Fetched, Read, RecordKey, Reply, ReplyBody, Request, Scan, Scanned, StreamPage,
    Streamed, Values,
};
use crate::time::{HostTime, TimestampMs};

use super::operation::{Operation, Step};
use super::retry::Patience;
use super::unit::{Loaded, load, value_key};

/// One read-only request and how its reply is understood.
#[derive(Clone, Debug)]
pub struct Query<T> {
    op: &'static str,
    request: Request,
    parse: fn(ReplyBody) -> Option<T>,
    patience: Patience,
}

impl Query<Values> {
    /// Records and values by key.
    pub const fn read(read: Read, patience: Patience) -> Self {
        let parse = |body| match body {
            ReplyBody::Read(values) => Some(values),
            _ => None,
        };
        Self { op: "read", request: Request::Read(read), parse, patience }
    }
}

impl Query<Scanned> {
    /// A page of an index.
    pub const fn scan(scan: Scan, patience: Patience) -> Self {
        let parse = |body| match body {
            ReplyBody::Scan(scanned) => Some(scanned),
            _ => None,
        };
        Self { op: "scan", request: Request::Scan(scan), parse, patience }
    }
}

impl Query<Streamed> {
    /// A page of a stream.
    pub const fn stream(page: StreamPage, patience: Patience) -> Self {
        let parse = |body| match body {
            ReplyBody::Stream(streamed) => Some(streamed),
            _ => None,
        };
        Self { op: "stream", request: Request::Stream(page), parse, patience }
    }
}

impl<T> Operation for Query<T> {
    /// What was read, and the store's clock when it was.
    type Output = Result<(T, TimestampMs), EngineError>;

    fn partition(&self) -> Option<Partition> {
        Some(self.request.partition())
    }

    fn start(&mut self, now: HostTime) -> Step<Self::Output> {
        self.patience.begin(now);
        Step::Send(self.request.clone())
    }

    fn on_reply(&mut self, reply: Reply, _now: HostTime) -> Step<Self::Output> {
        if let ReplyBody::OverBound(over) = reply.body {
            let (what, given, bound) = (over.what, over.given, over.bound);
            return Step::Done(Err(EngineError::ResourceExhausted { what, given, bound }));
        }
        let read = (self.parse)(reply.body).map(|read| (read, reply.at));
        Step::Done(read.ok_or_else(|| Bug::unexpected_reply(self.op)))
    }

    fn on_failure(&mut self, failure: &Failure, now: HostTime) -> Step<Self::Output> {
        match self.patience.after_failure(self.op, failure, Applied::No, now) {
            Ok(wait) => Step::Wait(wait),
            Err(error) => Step::Done(Err(error)),
        }
    }

    fn on_wake(&mut self, now: HostTime) -> Step<Self::Output> {
        self.start(now)
    }
}

/// Reads an execution and values beside it.
#[derive(Clone, Debug)]
pub struct ReadExecution(Query<Values>);

impl ReadExecution {
    /// Reads the record of an execution, and these of its values.
    pub fn new(id: &ExecutionId, values: &[ValueKind], patience: Patience) -> Self {
        let read = Read {
            partition: id.partition(),
            records: vec![RecordKey::of(id)],
            values: values.iter().map(|kind| value_key(id, *kind)).collect(),
        };
        Self(Query::read(read, patience))
    }

    fn understand(
        &mut self,
        step: impl FnOnce(&mut Query<Values>) -> Step<Result<(Values, TimestampMs), EngineError>>,
    ) -> Step<<Self as Operation>::Output> {
        match step(&mut self.0) {
            Step::Send(request) => Step::Send(request),
            Step::Wait(wait) => Step::Wait(wait),
            Step::Done(done) => Step::Done(done.and_then(|(mut read, at)| {
                let record = read.records.pop().flatten();
                let load = |stored| load(stored, self.0.patience.codec());
                Ok((record.as_ref().map(load).transpose()?, read.values, at))
            })),
        }
    }
}

impl Operation for ReadExecution {
    /// The record if there is one, the values in order, and the store's clock.
    type Output = Result<(Option<Loaded>, Vec<Fetched>, TimestampMs), EngineError>;

    fn partition(&self) -> Option<Partition> {
        self.0.partition()
    }

    fn start(&mut self, now: HostTime) -> Step<Self::Output> {
        self.understand(|query| query.start(now))
    }

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<Self::Output> {
        self.understand(|query| query.on_reply(reply, now))
    }

    fn on_failure(&mut self, failure: &Failure, now: HostTime) -> Step<Self::Output> {
        self.understand(|query| query.on_failure(failure, now))
    }

    fn on_wake(&mut self, now: HostTime) -> Step<Self::Output> {
        self.understand(|query| query.on_wake(now))
    }
}
