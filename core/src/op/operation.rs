//! The form of every operation: what it wants next, and how it is told what came back.

use crate::partition::Partition;
use crate::store::{Failure, Reply, Request};
use crate::time::{DurationMs, HostTime};

/// What an operation wants next.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // Moved once, from the operation to its shell.
pub enum Step<T> {
    /// Send this and report what comes back.
    Send(Request),
    /// Wake the operation after this time.
    Wait(DurationMs),
    /// It is over.
    Done(T),
}

/// Work that reads, decides and commits, without doing any of it itself.
///
/// A shell calls [`Operation::start`] once and then answers each step: a `Send` with
/// [`Operation::on_reply`] or [`Operation::on_failure`], a `Wait` with [`Operation::on_wake`].
pub trait Operation {
    /// What it comes to.
    type Output;

    /// The partition for whose clock the next step is to be taken; `None` where a step without a
    /// reply asks for no time of the store.
    fn partition(&self) -> Option<Partition> {
        None
    }

    /// The first step.
    fn start(&mut self, now: HostTime) -> Step<Self::Output>;

    /// The step after a reply.
    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<Self::Output>;

    /// The step after a call that got no reply.
    fn on_failure(&mut self, failure: &Failure, now: HostTime) -> Step<Self::Output>;

    /// The step after a wait.
    fn on_wake(&mut self, now: HostTime) -> Step<Self::Output>;
}
