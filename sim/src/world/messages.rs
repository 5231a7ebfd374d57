//! What travels between processes and the store, and what happens to the store.

use std::rc::Rc;

use ff_core::execution::Execution;
use ff_core::store::{Reply, Request};

use crate::fault::store::{ClockStep, Episode, Failover};

/// One call of an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// The operation.
    pub number: u64,
    /// By what its faults are known.
    pub key: u64,
    /// When it was sent.
    pub sent_at: u64,
    /// Whether it keeps its place among the calls of its process.
    pub in_order: bool,
}

/// A request that reaches the store.
#[derive(Debug)]
pub(super) struct Arrival {
    /// The call.
    pub call: Call,
    /// What it asks for.
    pub request: Request,
    /// How long the reply travels, if it does.
    pub reply_after: Option<u64>,
    /// Whether it comes again, after its sender has loaded the function library.
    pub again: bool,
}

/// A reply on its way back.
#[derive(Debug)]
pub(super) struct Delivery {
    /// The call.
    pub call: Call,
    /// The reply.
    pub reply: Reply,
    /// The record that it is about, as it is in the store.
    pub seen: Option<Rc<Execution>>,
    /// The connection on which it comes: how often all of them had broken.
    pub connection: u64,
    /// How often the store's clock or history had jumped.
    pub jumps: u64,
}

/// Something that happens to the store.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// Its clock steps.
    Step(ClockStep),
    /// It answers otherwise for a time.
    Episode(Episode),
    /// A replica hears nothing more.
    FallBehind(Failover),
    /// That replica takes over.
    FailOver(Failover),
    /// A server without the function library takes over.
    LibraryMissing(u64),
    /// Somebody has loaded the function library.
    LibraryLoaded,
}
