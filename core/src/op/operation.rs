//! The form of every operation: an event goes in, the next step comes out.

use crate::error::EngineError;
use crate::partition::Partition;
use crate::store::{Failure, OverBound, Reply, Request};
use crate::time::{DurationMs, HostTime};

/// An event since an operation's last step.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The caller starts the operation.
    Start,
    /// The store answered the request.
    Reply(Reply),
    /// The request got no reply.
    Failure(Failure),
    /// The wait is over.
    Wake,
}

/// The next step of an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<T> {
    /// Sends a request. The next event is [`Event::Reply`] or [`Event::Failure`].
    Send(Request),
    /// Waits for this time. The next event is [`Event::Wake`].
    Wait(DurationMs),
    /// Ends.
    Done(T),
}

/// Work that reads, decides and commits without doing any I/O itself.
///
/// A shell calls [`Operation::resume`] with [`Event::Start`], does what the step says, and calls it
/// again with what happened, until the step is [`Step::Done`].
pub trait Operation {
    /// The result that the operation returns.
    type Output;

    /// The partition whose clock the shell passes with an event that carries no reply; `None` if
    /// the operation does not use the store's time there.
    fn partition(&self) -> Option<Partition> {
        None
    }

    /// How long the shell waits for the reply to the request that was just sent. After it the shell
    /// drops the call and reports [`Failure::MaybeApplied`], so that a store that does not answer
    /// holds up no operation beyond its deadline. `None` leaves the limit to the backend.
    fn reply_within(&self, _now: HostTime) -> Option<DurationMs> {
        None
    }

    /// Takes the next step.
    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output>;
}

impl<O: Operation + ?Sized> Operation for Box<O> {
    type Output = O::Output;

    fn partition(&self) -> Option<Partition> {
        (**self).partition()
    }

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        (**self).reply_within(now)
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        (**self).resume(event, now)
    }
}

impl<T> Step<T> {
    /// The same step with another output.
    pub fn map<U>(self, output: impl FnOnce(T) -> U) -> Step<U> {
        self.then(|done| Step::Done(output(done)))
    }

    /// The same step, or the one that follows when the operation is over.
    pub fn then<U>(self, next: impl FnOnce(T) -> Step<U>) -> Step<U> {
        match self {
            Self::Send(request) => Step::Send(request),
            Self::Wait(wait) => Step::Wait(wait),
            Self::Done(done) => next(done),
        }
    }
}

impl<T> Step<Result<T, EngineError>> {
    /// The same step, or the one that follows when the operation has succeeded.
    pub fn then_ok<U>(
        self,
        next: impl FnOnce(T) -> Step<Result<U, EngineError>>,
    ) -> Step<Result<U, EngineError>> {
        self.then(|result| match result {
            Ok(done) => next(done),
            Err(error) => Step::Done(Err(error)),
        })
    }

    /// Waits before the next try, or fails if there is none.
    pub(super) fn retry(wait: Result<DurationMs, EngineError>) -> Self {
        wait.map_or_else(Self::fail, Self::Wait)
    }

    /// Ends with an error.
    pub(super) fn fail(error: impl Into<EngineError>) -> Self {
        Self::Done(Err(error.into()))
    }
}

impl From<OverBound> for EngineError {
    fn from(over: OverBound) -> Self {
        Self::ResourceExhausted { what: over.what, given: over.given, bound: over.bound }
    }
}
