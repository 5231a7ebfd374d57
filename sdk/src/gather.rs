//! Completions of one partition that are ready together travel in one call. One that is ready while
//! a call of its partition is in progress waits for the end of that call. No timer is involved.

use std::sync::{Arc, Mutex};

use ff_core::agent::Completions;
use ff_core::error::{Applied, EngineError};
use ff_core::execution::{Complete, Decide, InNamespace};
use ff_core::op::{CarryCommand, Committed};
use ff_core::partition::Partition;
use ff_core::time::DurationMs;
use tokio::sync::oneshot;

use crate::shared::{Connection, lock};

/// A completion sees the executions of its namespace only.
type Carried = CarryCommand<InNamespace<Complete>>;
type Outcome = Result<Committed<<Complete as Decide>::Outcome>, EngineError>;

/// The completions of a process, by partition.
#[derive(Default)]
pub(crate) struct Gatherer {
    waiting: Mutex<Completions<Waiting>>,
}

struct Waiting {
    operation: Carried,
    answer: oneshot::Sender<Outcome>,
}

impl Gatherer {
    /// Sends a completion together with the others of its partition that are ready: those of tasks
    /// that end in the same moment, or while a call of the partition is in progress.
    ///
    /// Not cancel safe: the completion is still sent.
    pub(crate) async fn complete(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        operation: Carried,
    ) -> Outcome {
        let partition = operation.command().execution_id().partition();
        let (answer, answered) = oneshot::channel();
        if self.join(partition, Waiting { operation, answer }) {
            let (gatherer, connection) = (self.clone(), connection.clone());
            tokio::spawn(Turn { gatherer, connection, partition, ended: false }.carry_all());
        }
        answered.await.unwrap_or_else(|_| Err(given_up()))
    }

    /// Queues a completion. Returns whether no task sends those of its partition yet.
    fn join(&self, partition: Partition, waiting: Waiting) -> bool {
        let mut completions = lock(&self.waiting);
        let begins = completions.queue(partition).is_none();
        completions.queue(partition).expect("the partition is in flight").push(waiting);
        begins
    }
}

/// The task that sends the completions of a partition.
struct Turn {
    gatherer: Arc<Gatherer>,
    connection: Arc<Connection>,
    partition: Partition,
    ended: bool,
}

impl Turn {
    /// Sends the waiting completions, one call after the other, until none waits.
    async fn carry_all(mut self) {
        // First the tasks that are ready to run: some of them may end now, too.
        tokio::task::yield_now().await;
        loop {
            let round = lock(&self.gatherer.waiting).returned(self.partition);
            if round.is_empty() {
                self.ended = true;
                return;
            }
            let (operations, answers): (Vec<_>, Vec<_>) =
                round.into_iter().map(|waiting| (waiting.operation, waiting.answer)).unzip();
            let outcomes = self.connection.drive_batch(self.partition, operations).await;
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                // The receiver may have been dropped.
                let _ = answer.send(outcome);
            }
        }
    }
}

impl Drop for Turn {
    /// A task that ends early, with its runtime or by a panic, gives up what still waits, and the
    /// next completion begins another task.
    fn drop(&mut self) {
        while !self.ended {
            self.ended = lock(&self.gatherer.waiting).returned(self.partition).is_empty();
        }
    }
}

fn given_up() -> EngineError {
    let (elapsed, applied) = (DurationMs::ZERO, Applied::Unknown);
    EngineError::Timeout { op: "complete", elapsed, applied }
}
