//! Calls of the store and of services, while they are in flight.

use std::any::Any;
use std::sync::Arc;

use ff_core::store::{Failure, Reply, Request};
use tokio::sync::oneshot;

use crate::plan::FaultKind;

/// The reply of a service.
pub type AnyReply = Box<dyn Any + Send>;

/// The effect of a call on a service.
pub type Effect = Box<dyn FnOnce() -> AnyReply + Send>;

/// A call, until its sender has its reply.
pub struct Call {
    pub cargo: Cargo,
    /// The number of its sender.
    pub slot: usize,
    /// When its sender gives up without a reply.
    pub gives_up: u64,
    /// Whether its sender crashes right before it would receive the reply.
    pub ends_sender: bool,
}

/// The content of a call.
pub enum Cargo {
    /// A call of the store.
    Store {
        /// The request.
        request: Request,
        /// The store's reply.
        reply: Pending<Reply, Failure>,
    },
    /// A call of a service.
    Service {
        /// The service.
        service: Arc<str>,
        /// A description of the call.
        what: String,
        /// The effect on the service, until it has happened.
        effect: Option<Effect>,
        /// The service's reply, or whether the sender knows that the call was not sent.
        reply: Pending<AnyReply, bool>,
    },
}

/// A reply for which a sender waits.
pub struct Pending<T, E> {
    /// The reply, once there is one.
    pub reply: Option<T>,
    sender: Option<oneshot::Sender<Result<T, E>>>,
}

impl<T, E> Pending<T, E> {
    /// No reply yet, and the end of the sender that waits for it.
    pub fn new() -> (Self, oneshot::Receiver<Result<T, E>>) {
        let (sender, receiver) = oneshot::channel();
        (Self { reply: None, sender: Some(sender) }, receiver)
    }

    fn answer(&mut self) {
        if let (Some(sender), Some(reply)) = (self.sender.take(), self.reply.take()) {
            let _ = sender.send(Ok(reply));
        }
    }

    fn fail(&mut self, error: E) {
        self.sender.take().map(|sender| sender.send(Err(error)));
    }
}

impl Call {
    /// A call that was not sent yet.
    pub const fn new(cargo: Cargo) -> Self {
        Self { slot: 0, cargo, gives_up: 0, ends_sender: false }
    }

    /// Whether it is a call of a service.
    pub const fn is_service(&self) -> bool {
        matches!(self.cargo, Cargo::Service { .. })
    }

    /// Whether it only reads from the store.
    pub const fn only_reads(&self) -> bool {
        matches!(&self.cargo, Cargo::Store { request, .. } if request.is_read_only())
    }

    /// Passes the reply to the sender, if it still waits.
    pub fn answer(&mut self) {
        match &mut self.cargo {
            Cargo::Store { reply, .. } => reply.answer(),
            Cargo::Service { reply, .. } => reply.answer(),
        }
    }

    /// Reports to the sender that there is no reply; `known`: and that the call never left.
    pub fn fail(&mut self, known: bool) {
        match &mut self.cargo {
            Cargo::Store { reply, .. } => reply.fail(match known {
                true => Failure::NotSent("the store is unreachable".to_owned()),
                false => Failure::MaybeApplied("no reply in time".to_owned()),
            }),
            Cargo::Service { reply, .. } => reply.fail(known),
        }
    }
}

/// Describes the effect of a fault on a call, for the trace.
pub const fn fault_effect(fault: FaultKind) -> &'static str {
    match fault {
        FaultKind::RequestLost => "never arrives",
        FaultKind::ReplyLost => "is carried out, but its reply is lost",
        FaultKind::LateExecution => "times out and is carried out later",
        FaultKind::Resend => "is sent twice",
        _ => "is slow",
    }
}
