//! The outside world of handlers: services that workers call over the simulated network.

use std::fmt;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::outbox::{AnyReply, Content, ServiceCall, Turn, lock};

/// A service outside of all workers, such as one that takes payments. It survives their crashes,
/// and calls of it go wrong like calls of the store. Cloning gives another handle to the same
/// service: give one to the handlers and keep one to look at.
///
/// [`Sim::service`](super::Sim::service) makes one of any value.
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
    /// A service of that name, which holds a value.
    pub(super) fn new(name: &str, value: T, turn: Turn) -> Self {
        Self { name: name.into(), value: Arc::new(Mutex::new(value)), turn }
    }

    /// Calls the service. `what` says in the trace what is called; `effect` happens at the service
    /// when the call arrives, at once and as a whole. A panic in it fails the run: a service can
    /// check what it is asked.
    ///
    /// # Errors
    ///
    /// [`CallFailed::NotSent`] when the call did not leave, [`CallFailed::NoReply`] when nothing
    /// came back: it may have been carried out, or may be later.
    ///
    /// Dropping the future does not take the call back.
    ///
    /// # Panics
    ///
    /// When it is called outside of the simulation's processes, such as on a thread of its own.
    pub async fn call<R: Send + 'static>(
        &self,
        what: impl Into<String>,
        effect: impl FnOnce(&mut T) -> R + Send + 'static,
    ) -> Result<R, CallFailed> {
        let outbox = self.turn.outbox().expect("a service is called by a process that runs");
        let (answer, answered) = oneshot::channel();
        let value = self.value.clone();
        outbox.put(Content::Service(ServiceCall {
            service: self.name.clone(),
            what: what.into(),
            effect: Box::new(move || -> AnyReply { Box::new(effect(&mut lock(&value))) }),
            answer,
        }));
        match answered.await {
            Ok(Ok(reply)) => Ok(*reply.downcast().expect("the reply is the effect's")),
            Ok(Err(true)) => Err(CallFailed::NotSent),
            Ok(Err(false)) | Err(_) => Err(CallFailed::NoReply),
        }
    }

    /// Looks at the service from outside, for assertions: no network lies between.
    pub fn look<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
        look(&mut lock(&self.value))
    }
}

/// Why a call of a service has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallFailed {
    /// It did not leave: nothing was carried out.
    NotSent,
    /// No reply came in time: it may have been carried out, or may be later.
    NoReply,
}

impl fmt::Display for CallFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSent => "the call was not sent",
            Self::NoReply => "no reply came: the call may have been carried out",
        })
    }
}

impl std::error::Error for CallFailed {}
