//! What a shell implements: a way to call a store, to be woken, and to hear of completions.

use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use crate::execution::Failure as WorkFailure;
use crate::id::{ExecutionId, LaneId, Namespace};
use crate::state::TerminalOutcome;
use crate::store::{Cursor, Failure, Reply, Request, Topic, Wake};
use crate::time::TimestampMs;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A store behind a transport. Nothing else is needed for a new backend.
pub trait EngineBackend: Send + Sync {
    /// The backend's name, for errors and traces.
    fn name(&self) -> &'static str;

    /// Sends a request and waits for its reply.
    ///
    /// Dropping the future may leave the request applied or not: it is as ambiguous as
    /// [`Failure::MaybeApplied`].
    ///
    /// # Errors
    ///
    /// [`Failure`], sorted by whether the request can have been applied.
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Failure>>;

    /// Wake-ups for these topics; `None` when the backend has none: then callers poll.
    fn subscribe(&self, topics: Vec<Topic>) -> Option<Box<dyn WakeUps>>;

    /// What the backend knows of the store's load.
    fn report(&self) -> BoxFuture<'_, Result<BackendReport, Failure>>;
}

/// A stream of wake-ups.
pub trait WakeUps: Send {
    /// The next wake-up; `None` when no more will come. A wake-up without a partition means that
    /// some were missed: look everywhere.
    ///
    /// Cancel safe: dropping the future loses no wake-up.
    fn next(&mut self) -> BoxFuture<'_, Option<Option<Wake>>>;
}

/// What a backend knows of its store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BackendReport {
    /// The store and its version.
    pub store: String,
    /// Bytes in use for keys, records, values and entries, streams apart.
    pub used_bytes: u64,
    /// Bytes in use for streams.
    pub stream_bytes: u64,
    /// Calls that this backend has answered.
    pub calls: u64,
}

impl BackendReport {
    /// A report of these figures.
    pub fn new(store: impl Into<String>, used_bytes: u64, stream_bytes: u64, calls: u64) -> Self {
        Self { store: store.into(), used_bytes, stream_bytes, calls }
    }
}

/// Completions as a stream, read from the journals.
pub trait CompletionBackend: Send + Sync {
    /// Completions that pass the filter, from a place on. The place [`Cursor::End`] is fixed by the
    /// first call of [`Completions::next`].
    fn completions(&self, from: Cursor, filter: CompletionFilter) -> Box<dyn Completions>;
}

/// A stream of completions.
pub trait Completions: Send {
    /// The next item; `None` when the backend is gone.
    ///
    /// Cancel safe: dropping the future loses no item.
    fn next(&mut self) -> BoxFuture<'_, Option<CompletionItem>>;
}

/// Which completions a subscriber wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompletionFilter {
    /// Of this namespace only.
    pub namespace: Option<Namespace>,
    /// Of this lane only.
    pub lane: Option<LaneId>,
}

/// What a stream of completions yields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompletionItem {
    /// A life ended.
    Completed {
        /// The execution.
        execution_id: ExecutionId,
        /// How it ended.
        outcome: TerminalOutcome,
        /// Why it failed, if it did.
        failure: Option<WorkFailure>,
        /// When, by the store's clock.
        at: TimestampMs,
    },
    /// Some completions were not kept, or the store's history changed: read again what you wait
    /// for.
    Gap,
}
