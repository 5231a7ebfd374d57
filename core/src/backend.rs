//! What a shell implements: a way to call a store, to be woken, and to hear of completions.

use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use crate::execution::Failure as WorkFailure;
use crate::id::{ExecutionId, LaneId, Namespace};
use crate::partition::Partition;
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

    /// Which of the store's clocks decides on this partition: the nodes of a cluster have clocks of
    /// their own, and callers keep an estimate of each.
    fn clock_of(&self, _partition: Partition) -> usize {
        0
    }

    /// Wake-ups for these topics; `None` when the backend has none: then callers poll.
    fn subscribe(&self, topics: Vec<Topic>) -> Option<Box<dyn WakeUps>>;

    /// What the backend knows of the store's load.
    fn report(&self) -> BoxFuture<'_, Result<BackendReport, Failure>>;

    /// What the backend knows of how fit its store is: version, eviction policy, function library,
    /// the clocks of its nodes. It changes nothing.
    ///
    /// # Errors
    ///
    /// [`Failure`] when the store cannot be asked; what is wrong with a store that answers is a
    /// [`Finding`].
    fn examine(&self) -> BoxFuture<'_, Result<Vec<Finding>, Failure>>;
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
    /// Processor time that the server has used so far, user and system, in microseconds; `None`
    /// where there is no server.
    pub cpu_us: Option<u64>,
    /// Commands that the server has processed so far, of every client; `None` where there is no
    /// server.
    pub commands: Option<u64>,
}

impl BackendReport {
    /// A report of these figures, of a store without a server.
    pub fn new(store: impl Into<String>, used_bytes: u64, stream_bytes: u64, calls: u64) -> Self {
        let store = store.into();
        Self { store, used_bytes, stream_bytes, calls, cpu_us: None, commands: None }
    }
}

/// One thing that was found out about a store, and how to mend it if it is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub level: FindingLevel,
    /// What it is about, in a word or two: `eviction policy`.
    pub subject: String,
    /// What was found.
    pub detail: String,
    /// What to do about it, where there is something to do.
    pub advice: Option<String>,
}

impl Finding {
    /// A finding without advice.
    pub fn new(level: FindingLevel, subject: &str, detail: impl Into<String>) -> Self {
        Self { level, subject: subject.to_owned(), detail: detail.into(), advice: None }
    }

    /// The same finding, with what to do about it.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// How bad a finding is, from nothing on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingLevel {
    /// As it should be.
    Good,
    /// Worth knowing; nothing is lost by it.
    Warning,
    /// Wrong: work can be lost or stand still.
    Problem,
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
