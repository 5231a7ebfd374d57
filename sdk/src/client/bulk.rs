//! One command for all executions that a filter selects, page by page (`docs/spec.md`, 11).

use ff_core::error::{EngineError, Rejection, RejectionKind};
use ff_core::execution::{
    Cancel, CancelledBy, Decide, ExecutionSnapshot, InNamespace, InState, OperatorCall, Replay,
};
use ff_core::id::{ExecutionId, RequestId};
use ff_core::op::{ListFilter, ListOrder, ListPosition, Query};
use ff_core::partition::Partition;
use ff_core::state::PublicState;
use ff_core::store::Read;
use ff_core::time::TimestampMs;
use futures_util::StreamExt;
use futures_util::stream;

use super::Client;
use crate::error::SdkError;

/// The calls of one page that are in flight at the same time.
const CALLS_IN_FLIGHT: usize = 32;

/// The command of a [`Bulk`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BulkCommand {
    /// Cancels executions that have not ended ([`Client::cancel`]), with this reason.
    Cancel {
        /// A text for people, cut after 4,096 bytes.
        reason: String,
    },
    /// Replays executions that have ended ([`Client::replay`]).
    Replay,
}

impl BulkCommand {
    const fn name(&self) -> &'static str {
        match self {
            Self::Cancel { .. } => "cancel",
            Self::Replay => "replay",
        }
    }

    const fn applies_to(&self, state: PublicState) -> bool {
        match self {
            Self::Cancel { .. } => !state.is_terminal(),
            Self::Replay => state.is_terminal(),
        }
    }
}

/// One command for all executions that a filter selects, for [`Client::bulk_page`].
///
/// Its ID makes it repeatable: each execution gets the command under a request ID that is derived
/// from it, and a record remembers its latest requests. So a bulk that is repeated with the same
/// ID, as a whole or from any position, changes no execution twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bulk {
    id: RequestId,
    command: BulkCommand,
    filter: ListFilter,
}

impl Bulk {
    /// Creates a bulk of the executions that were created before a time: later ones are not
    /// touched, even if the bulk runs for long. If the filter has no states, it selects all states
    /// that the command applies to; otherwise those of its states.
    ///
    /// # Errors
    ///
    /// [`SdkError::Config`] if the ID is not a request ID of at most 240 bytes, and if the command
    /// applies to none of the filter's states.
    pub fn new(
        id: impl AsRef<str>,
        command: BulkCommand,
        filter: ListFilter,
        created_before: TimestampMs,
    ) -> Result<Self, SdkError> {
        let name = command.name();
        let invalid = |field, message: String| SdkError::config("bulk", field, message);
        let id = RequestId::try_new(format!("{}/{name}", id.as_ref()))
            .map_err(|error| invalid("id", error.to_string()))?;
        let mut states = filter.states;
        if states.is_empty() {
            states = PublicState::ALL.to_vec();
        }
        states.retain(|state| command.applies_to(*state));
        if states.is_empty() {
            return Err(invalid("states", format!("{name} does not apply to these states")));
        }
        let before = filter.created_before.unwrap_or(created_before).min(created_before);
        let filter = ListFilter { states, created_before: Some(before), ..filter };
        Ok(Self { id, command, filter })
    }

    /// Returns the filter of the executions that the bulk touches. A list with it, the oldest
    /// first, shows them.
    pub const fn filter(&self) -> &ListFilter {
        &self.filter
    }
}

/// A page of a bulk.
#[derive(Debug)]
#[non_exhaustive]
pub struct BulkPage {
    /// The result for each execution, in the order of creation.
    pub results: Vec<BulkResult>,
    /// Records that could not be read. They are not touched.
    pub unreadable: usize,
    /// The number of entries that were read for this page.
    pub read: usize,
    /// The position of the next page; `None` at the end.
    pub next: Option<ListPosition>,
}

/// An execution of a bulk.
#[derive(Debug)]
#[non_exhaustive]
pub struct BulkResult {
    /// The execution as it was listed, before the command.
    pub execution: ExecutionSnapshot,
    /// The result.
    pub outcome: BulkOutcome,
}

/// The result for one execution of a bulk.
#[derive(Debug)]
#[non_exhaustive]
pub enum BulkOutcome {
    /// The command was applied, by this call or by an earlier one of the same bulk.
    Applied,
    /// The command does not apply any more: the execution was removed, or its state has changed
    /// after it was listed.
    Skipped,
    /// The command failed. After `Timeout` it may have been applied: repeat the page.
    Failed(SdkError),
}

impl Client {
    /// Reads the store's clock, by which executions are created. In a cluster it is the clock of
    /// one node.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn store_time(&self) -> Result<TimestampMs, SdkError> {
        let read = Read { partition: Partition::META, records: Vec::new(), values: Vec::new() };
        let connection = &self.0.connection;
        let (_, at) = connection.drive(Query::read(read, connection.patience())).await?;
        Ok(at)
    }

    /// Applies a bulk to its next executions, the oldest first: at most `limit` of them, 32 at the
    /// same time. `from` is [`BulkPage::next`] of the previous page. A page can be empty before the
    /// end, as that of [`Client::list_by_time`].
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use ff_sdk::{Bulk, BulkCommand, BulkOutcome, Client, ListFilter, MemoryBackend, Submission};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let client = Client::connect_with(Arc::new(MemoryBackend::new()), "demo").await?;
    /// # for _ in 0..3 { client.submit(Submission::new("greet")).await?; }
    /// # tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    /// let command = BulkCommand::Cancel { reason: "not needed any more".to_owned() };
    /// let now = client.store_time().await?;
    /// let bulk = Bulk::new("cleanup-17", command, ListFilter::default(), now)?;
    /// let (mut applied, mut from) = (0, None);
    /// loop {
    ///     let page = client.bulk_page(&bulk, from, 500).await?;
    ///     let is_applied = |outcome: &BulkOutcome| matches!(outcome, BulkOutcome::Applied);
    ///     applied += page.results.iter().filter(|result| is_applied(&result.outcome)).count();
    ///     from = page.next;
    ///     if from.is_none() {
    ///         break;
    ///     }
    /// }
    /// assert_eq!(applied, 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer while the executions are listed. Then
    /// nothing of this page was sent. The errors of single executions are in the page.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: if the future is dropped, some executions of the page may have got the
    /// command. Repeat the page to learn which: it changes no execution twice.
    pub async fn bulk_page(
        &self,
        bulk: &Bulk,
        from: Option<ListPosition>,
        limit: usize,
    ) -> Result<BulkPage, SdkError> {
        let (filter, order) = (bulk.filter.clone(), ListOrder::OldestFirst);
        let page = self.list_by_time(filter, order, from, limit).await?;
        let calls = page.executions.into_iter().map(async |execution| {
            let outcome = match self.apply(bulk, execution.execution_id).await {
                Ok(()) => BulkOutcome::Applied,
                Err(error) if is_late(&error) => BulkOutcome::Skipped,
                Err(error) => BulkOutcome::Failed(error),
            };
            BulkResult { execution, outcome }
        });
        let results = stream::iter(calls).buffered(CALLS_IN_FLIGHT).collect().await;
        Ok(BulkPage { results, unreadable: page.unreadable, read: page.read, next: page.next })
    }

    async fn apply(&self, bulk: &Bulk, execution_id: ExecutionId) -> Result<(), SdkError> {
        let call = OperatorCall::new(bulk.id.clone());
        match &bulk.command {
            BulkCommand::Cancel { reason } => {
                let (by, reason) = (CancelledBy::Operator(call), reason.clone());
                self.apply_in_state(bulk, Cancel { execution_id, by, reason }).await
            }
            BulkCommand::Replay => self.apply_in_state(bulk, Replay { execution_id, call }).await,
        }
    }

    async fn apply_in_state<C: Decide>(&self, bulk: &Bulk, command: C) -> Result<(), SdkError> {
        let namespace = self.0.config.namespace.clone();
        let command = InState { states: bulk.filter.states.clone(), command };
        self.0.connection.transact(InNamespace { namespace, command }).await?;
        Ok(())
    }
}

/// Whether a call arrived too late: the execution is gone, or in another state.
fn is_late(error: &SdkError) -> bool {
    fn of(error: &EngineError) -> bool {
        match error {
            EngineError::NotFound { .. } => true,
            EngineError::Contextual { source, .. } => of(source),
            error => error.rejection().map(Rejection::kind).is_some_and(|kind| {
                matches!(
                    kind,
                    RejectionKind::NotFound
                        | RejectionKind::OtherState
                        | RejectionKind::ExecutionNotActive
                        | RejectionKind::ExecutionNotTerminal
                        | RejectionKind::Superseded
                )
            }),
        }
    }
    error.engine().is_some_and(of)
}
