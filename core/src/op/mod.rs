//! Sans-I/O operations: values that say what to send and are told what came back.
//!
//! An operation knows no socket and no runtime. A shell sends its requests and waits as it says;
//! the simulator schedules the same steps as events. Ambiguous calls are repeated here, until the
//! operation's deadline, so that no shell needs to (`docs/architecture.md`, Operations).

mod batch;
mod draw;
mod handed;
mod list;
mod meta;
mod query;
mod retry;
mod sweep;
mod tick;
mod transact;
mod unit;

use crate::store::{Failure, Reply, Request};
use crate::time::{DurationMs, HostTime};

pub use batch::Batch;
pub use draw::{Ask, Draw, Drawn, HOLD, Rotation};
pub use list::{ListExecutions, ListFilter, ListPage, ListPosition};
pub use meta::EnsureMeta;
pub use query::{Query, ReadExecution};
pub use retry::Patience;
pub use sweep::RouteSweep;
pub use tick::{Tick, TickReport};
pub use transact::{Committed, Known, Transact};
pub use unit::{Loaded, Stamp, load, unit_for};

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

    /// The first step.
    fn start(&mut self, now: HostTime) -> Step<Self::Output>;

    /// The step after a reply.
    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<Self::Output>;

    /// The step after a call that got no reply.
    fn on_failure(&mut self, failure: &Failure, now: HostTime) -> Step<Self::Output>;

    /// The step after a wait.
    fn on_wake(&mut self, now: HostTime) -> Step<Self::Output>;
}
