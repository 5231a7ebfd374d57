//! Traits that a host program implements: calls to a store, wake-ups, and streams of completions.

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

pub use cursor::{CompletionCursor, CompletionPosition, CursorError};

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A store behind a transport. A new backend implements this trait and nothing else.
pub trait EngineBackend: Send + Sync {
    /// Returns the backend's name, for errors and traces.
    fn name(&self) -> &'static str;

    /// Sends a request and waits for its reply.
    ///
    /// If the future is dropped, the request may be applied or not, as with
    /// [`Failure::MaybeApplied`].
    ///
    /// # Errors
    ///
    /// [`Failure::NotSent`] and [`Failure::Refused`] if nothing was applied,
    /// [`Failure::MaybeApplied`] if the request may be applied.
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Failure>>;

    /// Returns the number of the clock that decides on this partition. Each node of a cluster has
    /// its own clock, and callers keep an estimate of each.
    fn clock_of(&self, _partition: Partition) -> usize {
        0
    }

    /// Subscribes to wake-ups for these topics. Returns `None` if the backend has no wake-ups, so
    /// that callers must poll.
    fn subscribe(&self, topics: Vec<Topic>) -> Option<Box<dyn WakeUps>>;

    /// Reports the store's load, within two seconds.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the store cannot be asked.
    fn report(&self) -> BoxFuture<'_, Result<BackendReport, Failure>>;

    /// Checks the health of the store: version, eviction policy, function library, the clocks of
    /// its nodes. It changes nothing, and ends within two seconds.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the store cannot be asked. A problem of a store that answers is a
    /// [`Finding`].
    fn examine(&self) -> BoxFuture<'_, Result<Vec<Finding>, Failure>>;
}

/// A stream of wake-ups.
pub trait WakeUps: Send {
    /// Waits for the next wake-up. Returns `None` when the stream has ended, and `Some(None)` when
    /// wake-ups were missed, so that the caller must look into every partition.
    ///
    /// Cancel safe: dropping the future loses no wake-up.
    fn next(&mut self) -> BoxFuture<'_, Option<Option<Wake>>>;
}

/// A backend's report on its store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BackendReport {
    /// The store and its version.
    pub store: String,
    /// Bytes in use for keys, records, values and entries, without streams.
    pub used_bytes: u64,
    /// Bytes in use for streams.
    pub stream_bytes: u64,
    /// Calls that this backend has answered.
    pub calls: u64,
    /// Processor time that the server has used so far, user and system, in microseconds; `None` for
    /// a store without a server.
    pub cpu_us: Option<u64>,
    /// Commands that the server has processed so far, from all clients; `None` for a store without
    /// a server.
    pub commands: Option<u64>,
    /// The nodes that did not answer in time. The sums are without them.
    #[serde(default)]
    pub silent_nodes: Vec<String>,
}

impl BackendReport {
    /// Creates the report of a store without a server.
    pub fn new(store: impl Into<String>, used_bytes: u64, stream_bytes: u64, calls: u64) -> Self {
        let (store, silent_nodes) = (store.into(), Vec::new());
        let (cpu_us, commands) = (None, None);
        Self { store, used_bytes, stream_bytes, calls, cpu_us, commands, silent_nodes }
    }
}

/// One result of a health check of a store, with advice how to fix a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// The severity.
    pub level: FindingLevel,
    /// The subject in a word or two, such as `eviction policy`.
    pub subject: String,
    /// The observation.
    pub detail: String,
    /// The advice how to fix the problem, if there is one.
    pub advice: Option<String>,
}

impl Finding {
    /// Creates a finding without advice.
    pub fn new(level: FindingLevel, subject: &str, detail: impl Into<String>) -> Self {
        Self { level, subject: subject.to_owned(), detail: detail.into(), advice: None }
    }

    /// Adds advice to the finding.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// The severity of a finding, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingLevel {
    /// Everything is as it should be.
    Good,
    /// The operator should know. No work is at risk.
    Warning,
    /// Work can be lost or stop.
    Problem,
}

/// Completions as a stream, read from the journals.
///
/// The journal of a partition keeps at most 24 h and 1 MiB of entries. A subscriber that stores
/// [`Completions::cursor`] after each item, and later subscribes from there, receives every later
/// completion exactly once, however long it was away, or a [`CompletionItem::Gap`].
pub trait CompletionBackend: Send + Sync {
    /// Subscribes to the completions after a cursor that pass the filter. The first call of
    /// [`Completions::ready`] or [`Completions::next`] fixes the positions of
    /// [`CompletionCursor::end`].
    fn completions(&self, from: CompletionCursor, filter: CompletionFilter)
    -> Box<dyn Completions>;
}

/// A stream of completions. Completions of one partition arrive in the order in which they
/// happened.
pub trait Completions: Send {
    /// Fixes the position in each partition: the stream yields every execution that ends after this
    /// call has returned. It waits while the store does not answer or is not set up yet. The first
    /// call of [`Completions::next`] does the same.
    ///
    /// Cancel safe: the next call continues.
    ///
    /// # Errors
    ///
    /// As for [`Completions::next`].
    fn ready(&mut self) -> BoxFuture<'_, Result<(), CursorError>>;

    /// Waits for the next item. Returns `None` when the backend is gone.
    ///
    /// Cancel safe: dropping the future loses no item.
    ///
    /// # Errors
    ///
    /// [`CursorError::OtherPartitions`] if the cursor of the subscription belongs to another store.
    /// Each later call returns the same error.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<CompletionItem>, CursorError>>;

    /// Returns the cursor after the last item that [`Completions::next`] returned, or the cursor
    /// of the subscription before the first item. It also advances past completions that the filter
    /// removes.
    fn cursor(&self) -> CompletionCursor;
}

/// The filter of a subscription: a completion passes if every part matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompletionFilter {
    /// The only namespace to report; `None` for all.
    pub namespace: Option<Namespace>,
    /// The only lane to report; `None` for all.
    pub lane: Option<LaneId>,
    /// The tags that a completion must have, all of them.
    pub tags: BTreeMap<String, String>,
}

impl CompletionFilter {
    /// Whether a completion with these properties passes.
    pub fn passes(&self, namespace: &Namespace, lane: &LaneId, tags: &Tags) -> bool {
        self.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
            && self.lane.as_ref().is_none_or(|wanted| wanted == lane)
            && self.tags.iter().all(|(key, value)| tags.get(key) == Some(value))
    }
}

/// An item of a stream of completions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompletionItem {
    /// A life of an execution ended.
    Completed {
        /// The execution.
        execution_id: ExecutionId,
        /// The namespace of the execution.
        namespace: Namespace,
        /// The lane of the execution.
        lane: LaneId,
        /// The tags of the execution.
        tags: Tags,
        /// The outcome.
        outcome: TerminalOutcome,
        /// The failure, if the execution failed.
        failure: Option<WorkFailure>,
        /// The time of the end, by the store's clock.
        at: TimestampMs,
    },
    /// Completions of a partition were dropped or cannot be read, or the store's history changed:
    /// read again the executions that you wait for. The stream continues with the entries that are
    /// kept, and may repeat some of them.
    Gap {
        /// The partition.
        partition: Partition,
    },
}
