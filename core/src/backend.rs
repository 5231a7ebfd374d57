//! What a shell implements: a way to call a store, to be woken, and to hear of completions.

mod cursor;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use crate::execution::WorkFailure;
use crate::id::{ExecutionId, LaneId, Namespace};
use crate::partition::Partition;
use crate::state::TerminalOutcome;
use crate::store::{Failure, Reply, Request, Topic, Wake};
use crate::tags::Tags;
use crate::time::TimestampMs;

pub use cursor::{CompletionCursor, CompletionPlace, CursorError};

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
///
/// A journal keeps 24 h and 1 MiB of its partition. A subscriber that stores
/// [`Completions::cursor`] after it has handled an item, and subscribes from there the next time,
/// is told of every later completion exactly once, however long it was away, or is told of a
/// [`CompletionItem::Gap`].
pub trait CompletionBackend: Send + Sync {
    /// Completions that pass the filter, from a place on. [`CompletionCursor::end`] is fixed in
    /// each partition by [`Completions::ready`], or by the first call of [`Completions::next`].
    fn completions(&self, from: CompletionCursor, filter: CompletionFilter)
    -> Box<dyn Completions>;
}

/// A stream of completions. Those of one partition come in the order in which they happened.
pub trait Completions: Send {
    /// Fixes the place in each partition and returns: whatever ends from then on will be told.
    /// It waits for a store that does not answer or was not set up. [`Completions::next`] does it
    /// too.
    ///
    /// Cancel safe: the next call goes on where it was.
    ///
    /// # Errors
    ///
    /// As [`Completions::next`].
    fn ready(&mut self) -> BoxFuture<'_, Result<(), CursorError>>;

    /// The next item; `None` when the backend is gone. It waits for as long as there is none.
    ///
    /// Cancel safe: dropping the future loses no item.
    ///
    /// # Errors
    ///
    /// [`CursorError::OtherPartitions`] when the cursor of the subscription is of another store;
    /// each later call says the same.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<CompletionItem>, CursorError>>;

    /// The place behind the item that [`Completions::next`] returned last; before the first, the
    /// one that the subscription began with. It also moves past what the filter leaves out.
    fn cursor(&self) -> CompletionCursor;
}

/// Which completions a subscriber wants: those that pass every part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompletionFilter {
    /// Of this namespace only.
    pub namespace: Option<Namespace>,
    /// Of this lane only.
    pub lane: Option<LaneId>,
    /// With all of these tags only.
    pub tags: BTreeMap<String, String>,
}

impl CompletionFilter {
    /// Whether a completion passes.
    pub fn passes(&self, namespace: &Namespace, lane: &LaneId, tags: &Tags) -> bool {
        self.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
            && self.lane.as_ref().is_none_or(|wanted| wanted == lane)
            && self.tags.iter().all(|(key, value)| tags.get(key) == Some(value))
    }
}

/// What a stream of completions yields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompletionItem {
    /// A life ended.
    Completed {
        /// The execution.
        execution_id: ExecutionId,
        /// Its tenant.
        namespace: Namespace,
        /// Its queue.
        lane: LaneId,
        /// Its labels.
        tags: Tags,
        /// How it ended.
        outcome: TerminalOutcome,
        /// Why it failed, if it did.
        failure: Option<WorkFailure>,
        /// When, by the store's clock.
        at: TimestampMs,
    },
    /// Some completions of a partition were not kept or cannot be read, or the store's history
    /// changed: read again what you wait for. The stream goes on with what is kept, and may tell
    /// some of it again.
    Gap {
        /// Where.
        partition: Partition,
    },
}
