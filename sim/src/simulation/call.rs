//! Calls on their way: to the store, to services, and back.

use std::sync::Arc;

use ff_core::store::{Failure, Reply, Request};
use tokio::sync::oneshot;

use super::outbox::{AnyReply, Effect, ServiceCall};
use crate::plan::FaultKind;

/// A call and what has come of it.
pub struct Call {
    pub slot: usize,
    pub cargo: Cargo,
    /// When its sender gives it up where no reply comes.
    pub gives_up: u64,
    /// Whether its sender ends when the reply comes, before it has seen it.
    pub ends_sender: bool,
}

/// What a call is about.
pub enum Cargo {
    /// The store.
    Store {
        /// What is asked.
        request: Request,
        /// Where the answer goes.
        answer: Option<oneshot::Sender<Result<Reply, Failure>>>,
        /// What the store has answered.
        reply: Option<Reply>,
    },
    /// A service.
    Service {
        /// Which.
        service: Arc<str>,
        /// What is asked, in words.
        what: String,
        /// What it does.
        effect: Option<Effect>,
        /// Where the answer goes.
        answer: Option<oneshot::Sender<Result<AnyReply, bool>>>,
        /// What the service has answered.
        reply: Option<AnyReply>,
    },
}

impl Call {
    /// A call of the store.
    pub const fn store(request: Request, answer: oneshot::Sender<Result<Reply, Failure>>) -> Self {
        Self::new(Cargo::Store { request, answer: Some(answer), reply: None })
    }

    /// A call of a service.
    pub fn service(call: ServiceCall) -> Self {
        let ServiceCall { service, what, effect, answer } = call;
        let (effect, answer) = (Some(effect), Some(answer));
        Self::new(Cargo::Service { service, what, effect, answer, reply: None })
    }

    const fn new(cargo: Cargo) -> Self {
        Self { slot: 0, cargo, gives_up: 0, ends_sender: false }
    }

    /// Whether a service is called.
    pub const fn is_service(&self) -> bool {
        matches!(self.cargo, Cargo::Service { .. })
    }

    /// Whether the store is asked for something and nothing is to change.
    pub const fn only_reads(&self) -> bool {
        matches!(&self.cargo, Cargo::Store { request, .. } if request.is_read_only())
    }

    /// Hands the reply to the sender, if it still waits for it.
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

    /// Tells the sender that there is no reply, and whether it is known that nothing left.
    pub fn fail(&mut self, known: bool) {
        match &mut self.cargo {
            Cargo::Store { answer, .. } => {
                let failure = if known {
                    Failure::NotSent("the store is not reached".to_owned())
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

/// What a fault is called in the trace, after what it met.
pub const fn fault_words(fault: FaultKind) -> &'static str {
    match fault {
        FaultKind::RequestLost => "never arrives",
        FaultKind::ReplyLost => "is carried out and its reply is lost",
        FaultKind::LateExecution => "is given up, and carried out later",
        FaultKind::Resend => "is sent twice",
        _ => "is slow",
    }
}
