//! The messages of a process: calls, and messages to the simulation itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use ff_core::backend::BoxFuture;
use ff_core::store::{Topic, Wake};
use ff_core::time::TimestampMs;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::call::Call;
use super::upkeep::Watched;

/// A function that starts a process, each time.
pub type Starter = Arc<dyn Fn(Start) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// One start of a process.
#[derive(Clone, Debug)]
pub struct Start {
    /// The process's name.
    pub name: String,
    /// How often it was started before.
    pub count: u64,
    /// Whether it keeps the previous instance id.
    pub same_instance: bool,
    /// The seed of its random values.
    pub seed: u64,
    /// Its wall clock.
    pub wall: TimestampMs,
    /// Its outbox.
    pub outbox: Arc<Outbox>,
}

/// The content of a message.
pub enum Content {
    /// A call of the store or of a service.
    Call(Call),
    /// A subscription to wake-ups.
    Subscribe(Vec<Topic>, mpsc::UnboundedSender<Option<Wake>>),
    /// The start of another process.
    Start(String, Starter),
    /// The end of all faults; the sender waits until the simulation is at rest.
    Settle(oneshot::Sender<()>),
    /// A line for the trace.
    Note(String),
    /// A worker whose upkeep is checked from now on.
    Watch(Watched),
}

/// A message of a process.
pub struct Letter {
    /// The time of sending, by the clock of the process.
    pub at: Instant,
    /// The content.
    pub content: Content,
}

/// The messages of a process that the simulation has not received yet.
#[derive(Default)]
pub struct Outbox(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    letters: Vec<Letter>,
    waker: Option<Waker>,
}

impl Outbox {
    /// Adds a message.
    pub fn put(&self, content: Content) {
        let mut inner = lock(&self.0);
        inner.letters.push(Letter { at: Instant::now(), content });
        if let Some(waker) = inner.waker.take() {
            waker.wake();
        }
    }

    /// Whether there are messages; otherwise the waker is woken by the next one.
    pub fn has_letters(&self, waker: &Waker) -> bool {
        let mut inner = lock(&self.0);
        inner.waker = Some(waker.clone());
        !inner.letters.is_empty()
    }

    /// Removes the messages and returns them.
    pub fn take(&self) -> Vec<Letter> {
        std::mem::take(&mut lock(&self.0).letters)
    }
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

/// The process that runs at present.
#[derive(Clone, Debug, Default)]
pub struct Turn(Arc<Mutex<Option<Arc<Outbox>>>>);

impl Turn {
    /// The outbox of the process that runs; `None` when none does.
    pub fn outbox(&self) -> Option<Arc<Outbox>> {
        lock(&self.0).clone()
    }

    /// Sets the process that runs.
    pub fn give(&self, outbox: Option<Arc<Outbox>>) {
        *lock(&self.0) = outbox;
    }
}

/// Locks a mutex. A poisoned value is used as it is, since the panic of a test is reported by
/// itself.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
