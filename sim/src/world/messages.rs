//! Messages in flight between processes and the store, and events of the store.

use std::rc::Rc;

use ff_core::execution::Execution;
use ff_core::id::SlotId;
use ff_core::store::{Reply, Request};

use crate::fault::store::{ClockStep, Episode, Failover};

/// One call of an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// The operation.
    pub number: u64,
    /// The key of its faults.
    pub key: u64,
    /// When it was sent.
    pub sent_at: u64,
    /// Whether it keeps its place among the calls of its process.
    pub in_order: bool,
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct Arrival {
    /// The call.
    pub call: Call,
    /// The request.
    pub request: Request,
    /// How long the reply takes, if there is one.
    pub reply_after: Option<u64>,
    /// Whether it is sent again, after its sender has loaded the function library.
    pub again: bool,
}

/// A reply in flight.
#[derive(Debug)]
pub(super) struct Delivery {
    /// The call.
    pub call: Call,
    /// The reply.
    pub reply: Reply,
    /// The record that it is about, as the store has it.
    pub seen: Option<Rc<Execution>>,
    /// The connection of the reply: how often all connections had broken.
    pub connection: u64,
    /// How often the store's clock or history had jumped.
    pub jumps: u64,
    /// The grants under which executions have ceased to run with this call.
    pub stopped: Vec<SlotId>,
}

/// An event of the store.
#[derive(Clone, Copy, Debug)]
pub(super) enum StoreEvent {
    /// Its clock steps.
    Step(ClockStep),
    /// An episode of another condition begins.
    Episode(Episode),
    /// A replica stops receiving commits.
    FallBehind(Failover),
    /// The replica that stopped receiving commits takes over.
    FailOver(Failover),
    /// It loses everything.
    Emptied(u64),
    /// A server without the function library takes over.
    LibraryMissing(u64),
    /// A process has loaded the function library.
    LibraryLoaded,
}
