//! What leaves a process: calls, and words to the simulation itself.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use ff_core::backend::BoxFuture;
use ff_core::store::{Failure, Reply, Request, Topic, Wake};
use ff_core::time::TimestampMs;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// What a service hands back.
pub type AnyReply = Box<dyn Any + Send>;

/// What a call does at a service.
pub type Effect = Box<dyn FnOnce() -> AnyReply + Send>;

/// How a process is started, each time.
pub type Starter = Arc<dyn Fn(Start) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// One start of a process.
#[derive(Clone, Debug)]
pub struct Start {
    /// The process's name.
    pub name: String,
    /// How often it was started before.
    pub count: u64,
    /// Whether it goes under the name that it had before.
    pub same_instance: bool,
    /// The seed of its randomness.
    pub seed: u64,
    /// What its wall clock shows.
    pub wall: TimestampMs,
    /// Where it puts what it sends.
    pub outbox: Arc<Outbox>,
}

/// A call of an outside service.
pub struct ServiceCall {
    /// The service.
    pub service: Arc<str>,
    /// What it is asked, in words.
    pub what: String,
    /// What it does.
    pub effect: Effect,
    /// Where its reply goes; dropped when there is none. `Err(true)`: nothing was sent.
    pub answer: oneshot::Sender<Result<AnyReply, bool>>,
}

/// What a process says.
pub enum Content {
    /// A request to the store.
    Call(Request, oneshot::Sender<Result<Reply, Failure>>),
    /// A call of a service.
    Service(ServiceCall),
    /// It wants to be woken.
    Subscribe(Vec<Topic>, mpsc::UnboundedSender<Option<Wake>>),
    /// Another process is to be started.
    Start(String, Starter),
    /// Faults are to end, and it wants to hear when everything is at rest.
    Settle(oneshot::Sender<()>),
    /// A line for the trace.
    Note(String),
}

/// Something that left a process.
pub struct Letter {
    /// When, by the clock of the process.
    pub at: Instant,
    /// What.
    pub content: Content,
}

/// What has left a process and was not seen by the simulation yet.
#[derive(Default)]
pub struct Outbox(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    letters: Vec<Letter>,
    waker: Option<Waker>,
}

impl Outbox {
    /// Sends something.
    pub fn put(&self, content: Content) {
        let mut inner = lock(&self.0);
        inner.letters.push(Letter { at: Instant::now(), content });
        if let Some(waker) = inner.waker.take() {
            waker.wake();
        }
    }

    /// Whether anything was sent; otherwise whoever waits is woken once something is.
    pub fn has_letters(&self, waker: &Waker) -> bool {
        let mut inner = lock(&self.0);
        inner.waker = Some(waker.clone());
        !inner.letters.is_empty()
    }

    /// Takes what was sent.
    pub fn take(&self) -> Vec<Letter> {
        std::mem::take(&mut lock(&self.0).letters)
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

/// Whose turn it is: the outbox of the process that runs now.
#[derive(Clone, Debug, Default)]
pub struct Turn(Arc<Mutex<Option<Arc<Outbox>>>>);

impl Turn {
    /// The process that runs now; `None` when none does.
    pub fn outbox(&self) -> Option<Arc<Outbox>> {
        lock(&self.0).clone()
    }

    /// Gives the turn to a process, or to nobody.
    pub fn give(&self, outbox: Option<Arc<Outbox>>) {
        *lock(&self.0) = outbox;
    }
}

/// Locks a mutex; what a panicking holder left is looked at as it is, since a test that panics says
/// so itself.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
