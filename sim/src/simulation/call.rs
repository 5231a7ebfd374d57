//! Calls of the store and of services, while they are in flight.

use std::sync::Arc;

use ff_core::store::{Failure, Reply, Request};
use tokio::sync::oneshot;

use super::outbox::{AnyReply, Effect, ServiceCall};
use crate::plan::FaultKind;

/// A call in flight.
pub struct Call {
    pub slot: usize,
    pub cargo: Cargo,
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
        /// The sender's end.
        answer: Option<oneshot::Sender<Result<Reply, Failure>>>,
        /// The store's reply.
        reply: Option<Reply>,
    },
    /// A call of a service.
    Service {
        /// The service.
        service: Arc<str>,
        /// A description of the call.
        what: String,
        /// The effect on the service.
        effect: Option<Effect>,
        /// The sender's end.
        answer: Option<oneshot::Sender<Result<AnyReply, bool>>>,
        /// The service's reply.
        reply: Option<AnyReply>,
    },
}

impl Call {
    /// Creates a call of the store.
    pub const fn store(request: Request, answer: oneshot::Sender<Result<Reply, Failure>>) -> Self {
        Self::new(Cargo::Store { request, answer: Some(answer), reply: None })
    }

    /// Creates a call of a service.
    pub fn service(call: ServiceCall) -> Self {
        let ServiceCall { service, what, effect, answer } = call;
        let (effect, answer) = (Some(effect), Some(answer));
        Self::new(Cargo::Service { service, what, effect, answer, reply: None })
    }

    const fn new(cargo: Cargo) -> Self {
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
            Cargo::Store { answer, reply, .. } => {
                if let (Some(answer), Some(reply)) = (answer.take(), reply.take()) {
                    let _ = answer.send(Ok(reply));
                }
            }
            Cargo::Service { answer, reply, .. } => {
                if let (Some(answer), Some(reply)) = (answer.take(), reply.take()) {
                    let _ = answer.send(Ok(reply));
                }
            }
        }
    }

    /// Reports to the sender that there is no reply; `known`: and that the call never left.
    pub fn fail(&mut self, known: bool) {
        match &mut self.cargo {
            Cargo::Store { answer, .. } => {
                let failure = if known {
                    Failure::NotSent("the store is unreachable".to_owned())
                } else {
                    Failure::MaybeApplied("no reply in time".to_owned())
                };
                answer.take().map(|answer| answer.send(Err(failure)));
            }
            Cargo::Service { answer, .. } => {
                answer.take().map(|answer| answer.send(Err(known)));
            }
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
