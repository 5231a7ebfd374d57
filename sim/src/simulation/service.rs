//! Services outside of all processes, which handlers call over the simulated network.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::call::{AnyReply, Call, Cargo, Pending};
use super::outbox::{Content, Turn, lock};

/// A service outside of all workers, such as a payment service. It survives their crashes, and
/// calls of it are subject to faults as calls of the store are. A clone is another handle to the
/// same service: give one to the handlers and keep one for assertions.
///
/// [`Sim::service`](super::Sim::service) creates one from any value.
pub struct Service<T> {
    name: Arc<str>,
    value: Arc<Mutex<T>>,
    turn: Turn,
}

impl<T> Clone for Service<T> {
    fn clone(&self) -> Self {
        let (name, value, turn) = (self.name.clone(), self.value.clone(), self.turn.clone());
        Self { name, value, turn }
    }
}

impl<T> fmt::Debug for Service<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Service<T> {
    /// Creates a service with a name and a value.
    pub(super) fn new(name: &str, value: T, turn: Turn) -> Self {
        Self { name: name.into(), value: Arc::new(Mutex::new(value)), turn }
    }

    /// Calls the service. `what` describes the call in the trace; `effect` is applied atomically
    /// when the call arrives. A panic in it fails the run, so that a service can check its
    /// arguments.
    ///
    /// # Errors
    ///
    /// [`CallFailed::NotSent`] when the call was not sent, [`CallFailed::NoReply`] when no reply
    /// arrived: the call may have been carried out, or may still be.
    ///
    /// Dropping the future does not cancel the call.
    ///
    /// # Panics
    ///
    /// When it is called outside of the simulation's processes, for example on another thread.
    pub async fn call<R: Send + 'static>(
        &self,
        what: impl Into<String>,
        effect: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R, CallFailed> {
        let outbox = self.turn.outbox().expect("a service is called by a process that runs");
        let (reply, answered) = Pending::new();
        let value = self.value.clone();
        outbox.put(Content::Call(Call::new(Cargo::Service {
            service: self.name.clone(),
            what: what.into(),
            effect: Some(Box::new(move || -> AnyReply { Box::new(effect(&mut lock(&value))) })),
            reply,
        })));
        match answered.await {
            Ok(Ok(reply)) => Ok(*reply.downcast().expect("the reply is the effect's")),
            Ok(Err(true)) => Err(CallFailed::NotSent),
            Ok(Err(false)) | Err(_) => Err(CallFailed::NoReply),
        }
    }

    /// Accesses the value directly, for assertions, without the network.
    pub fn look<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
        look(&mut lock(&self.value))
    }
}

/// The error of a call without a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallFailed {
    /// The call was not sent and not carried out.
    NotSent,
    /// No reply arrived in time: the call may have been carried out, or may still be.
    NoReply,
}

impl fmt::Display for CallFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSent => "the call was not sent",
            Self::NoReply => "no reply arrived: the call may have been carried out",
        })
    }
}

impl std::error::Error for CallFailed {}
