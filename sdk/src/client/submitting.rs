//! Submitting many executions, in batches by partition.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ff_core::execution::{Create, CreateOutcome};
use ff_core::op::{CarryCommand, Known};
use ff_core::store::bounds::MAX_UNITS;
use tokio::sync::mpsc;

use super::Client;
use crate::error::SdkError;
use crate::submission::Submission;

/// The result of a submission, with its number.
type Numbered = (usize, Result<CreateOutcome, SdkError>);

impl Client {
    /// Submits many executions as [`Client::submit_many`] does, and calls `each` with the number of
    /// each submission, from 0, and its result when that arrives.
    ///
    /// After `each` has returned `Break`, no more batches are sent. The results of those that were
    /// sent still arrive. Submissions that were not sent have no result.
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// # use std::sync::Arc;
    /// # use ff_sdk::{Client, MemoryBackend, Submission};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), ff_sdk::SdkError> {
    /// let client = Client::connect_with(Arc::new(MemoryBackend::new()), "demo").await?;
    /// let (mut created, mut failure) = (0, None);
    /// let submissions = (0..100).map(|_| Submission::new("greet"));
    /// let each = |_, result| match result {
    ///     Ok(_) => {
    ///         created += 1;
    ///         ControlFlow::Continue(())
    ///     }
    ///     Err(error) => {
    ///         failure = Some(error);
    ///         ControlFlow::Break(())
    ///     }
    /// };
    /// client.submit_each(submissions, each).await;
    /// assert!(failure.is_none());
    /// assert_eq!(created, 100);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Each submission has its own result, as for [`Client::submit`].
    ///
    /// # Cancel safety
    ///
    /// As for [`Client::submit`].
    pub async fn submit_each(
        &self,
        submissions: impl IntoIterator<Item = Submission>,
        mut each: impl FnMut(usize, Result<CreateOutcome, SdkError>) -> ControlFlow<()>,
    ) {
        let mut by_partition: BTreeMap<u16, Vec<(usize, Create)>> = BTreeMap::new();
        for (number, submission) in submissions.into_iter().enumerate() {
            match self.create(submission) {
                Ok(create) => {
                    let partition = create.execution_id.partition().index;
                    by_partition.entry(partition).or_default().push((number, create));
                }
                Err(error) => {
                    if each(number, Err(error)).is_break() {
                        return;
                    }
                }
            }
        }
        let stopped = Arc::new(AtomicBool::new(false));
        let (sender, mut results) = mpsc::unbounded_channel();
        // Dropping the set stops the tasks.
        let mut running = tokio::task::JoinSet::new();
        for (_, creates) in by_partition {
            let (client, sender, stopped) = (self.clone(), sender.clone(), stopped.clone());
            running.spawn(async move { client.submit_to_one(creates, sender, &stopped).await });
        }
        drop(sender);
        while let Some((number, result)) = results.recv().await {
            if each(number, result).is_break() {
                stopped.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Submits executions of one partition in their order, a batch at a time, until it is stopped.
    async fn submit_to_one(
        &self,
        creates: Vec<(usize, Create)>,
        results: mpsc::UnboundedSender<Numbered>,
        stopped: &AtomicBool,
    ) {
        let mut creates = creates.into_iter().peekable();
        while let Some((_, first)) = creates.peek() {
            let partition = first.execution_id.partition();
            let Ok(_permit) = self.0.in_flight.acquire().await else { break };
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            let repeats = self.0.repeats.load(Ordering::Relaxed);
            let mut keyed = 0;
            let (numbers, operations): (Vec<usize>, Vec<_>) = creates
                .by_ref()
                .take(MAX_UNITS)
                .map(|(number, create)| {
                    let patience = self.0.connection.patience();
                    let has_key = create.content.is_some();
                    keyed += usize::from(has_key);
                    let known = if has_key && repeats { Known::Nothing } else { Known::Absent };
                    (number, CarryCommand::knowing(create, known, patience))
                })
                .unzip();
            let done = self.0.connection.drive_batch(partition, operations).await;
            let done: Vec<_> = done.into_iter().map(|result| Ok(result?.outcome)).collect();
            if keyed > 0 {
                let repeated = |one: &Result<_, _>| matches!(one, Ok(CreateOutcome::Duplicate(_)));
                self.0.repeats.store(done.iter().any(repeated), Ordering::Relaxed);
            }
            // A caller that has gone away needs no results.
            numbers.into_iter().zip(done).for_each(|one| drop(results.send(one)));
        }
    }
}
