//! Completions of one partition that are ready together travel in one call: a completion that is
//! ready while a call of its partition is in progress waits for the end of that call. No timer is
//! involved.

use std::sync::{Arc, Mutex};

use ff_core::agent::Completions;
use ff_core::error::{Applied, EngineError};
use ff_core::execution::{Complete, Decide};
use ff_core::op::{CarryCommand, Committed};
use ff_core::partition::Partition;
use ff_core::time::DurationMs;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::shared::{Connection, lock};

type Outcome = Result<Committed<<Complete as Decide>::Outcome>, EngineError>;

/// The completions of one worker, by partition.
#[derive(Default)]
pub(crate) struct Gatherer {
    waiting: Mutex<Completions<Waiting>>,
}

struct Waiting {
    operation: CarryCommand<Complete>,
    answer: oneshot::Sender<Outcome>,
}

/// How a completion is sent.
enum Joined {
    /// Later, with others; the receiver gets its outcome.
    Waits(oneshot::Receiver<Outcome>),
    /// Immediately and alone.
    Goes(Box<CarryCommand<Complete>>),
}

impl Gatherer {
    /// Sends a completion: immediately if no call of its partition is in progress, otherwise
    /// together with the others that are ready when that call ends.
    ///
    /// Not cancel safe: a completion that travels alone may or may not be applied; one that waits
    /// for others is still sent.
    pub(crate) async fn complete(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        operation: CarryCommand<Complete>,
    ) -> Outcome {
        let partition = operation.command().execution_id().partition();
        match self.join(partition, operation) {
            Joined::Waits(answer) => answer.await.unwrap_or_else(|_| Err(given_up())),
            Joined::Goes(operation) => {
                let (gatherer, connection) = (self.clone(), connection.clone());
                let turn = Turn { gatherer, connection, partition };
                turn.connection.drive(*operation).await
            }
        }
    }

    /// Queues a completion after the partition's call in progress, or makes it that call.
    fn join(&self, partition: Partition, operation: CarryCommand<Complete>) -> Joined {
        match lock(&self.waiting).queue(partition) {
            Some(queue) => {
                let (answer, receiver) = oneshot::channel();
                queue.push(Waiting { operation, answer });
                Joined::Waits(receiver)
            }
            None => Joined::Goes(Box::new(operation)),
        }
    }

    /// Sends the waiting completions, one call after the other, until none waits.
    async fn carry(&self, connection: &Connection, partition: Partition, first: Vec<Waiting>) {
        let mut round = first;
        while !round.is_empty() {
            let (operations, answers): (Vec<_>, Vec<_>) =
                round.into_iter().map(|waiting| (waiting.operation, waiting.answer)).unzip();
            let outcomes = connection.drive_batch(partition, operations).await;
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                // The receiver may have been dropped.
                let _ = answer.send(outcome);
            }
            round = lock(&self.waiting).returned(partition);
        }
    }
}

/// A call in progress; when it is dropped, the waiting completions are sent.
struct Turn {
    gatherer: Arc<Gatherer>,
    connection: Arc<Connection>,
    partition: Partition,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = lock(&self.gatherer.waiting).returned(self.partition);
        if next.is_empty() {
            return;
        }
        // Without a runtime the waiting completions are dropped, as in a crash.
        if let Ok(runtime) = Handle::try_current() {
            let (gatherer, connection) = (self.gatherer.clone(), self.connection.clone());
            let partition = self.partition;
            runtime.spawn(async move { gatherer.carry(&connection, partition, next).await });
        }
    }
}

fn given_up() -> EngineError {
    let (elapsed, applied) = (DurationMs::ZERO, Applied::Unknown);
    EngineError::Timeout { op: "complete", elapsed, applied }
}
