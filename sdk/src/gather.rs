//! Completions that are ready together travel in one call: slots of one partition that finish while
//! a call of that partition is under way wait for its return, and no timer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use ff_core::error::{Applied, EngineError};
use ff_core::execution::{Complete, Decide};
use ff_core::op::{Batch, Committed, Transact};
use ff_core::partition::Partition;
use ff_core::store::bounds::MAX_UNITS;
use ff_core::time::DurationMs;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::shared::{Connection, lock};

type Outcome = Result<Committed<<Complete as Decide>::Outcome>, EngineError>;

/// The completions of one worker, by partition.
#[derive(Default)]
pub(crate) struct Gatherer {
    /// The partitions with a call under way, and what waits for its return.
    under_way: Mutex<BTreeMap<Partition, Vec<Waiting>>>,
}

struct Waiting {
    operation: Transact<Complete>,
    answer: oneshot::Sender<Outcome>,
}

/// How a completion is carried.
enum Joined {
    /// With others; this is where its outcome comes.
    Waits(oneshot::Receiver<Outcome>),
    /// At once and alone.
    Goes(Box<Transact<Complete>>),
}

impl Gatherer {
    /// Carries a completion: at once where no call of its partition is under way, otherwise
    /// together with the others that are ready when that one returns.
    ///
    /// Dropping the future gives up a completion that travels alone; one that waits for others is
    /// carried all the same. Both may be applied.
    pub(crate) async fn complete(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        operation: Transact<Complete>,
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

    /// Waits for the call of the partition that is under way, or becomes that call.
    fn join(&self, partition: Partition, operation: Transact<Complete>) -> Joined {
        let mut under_way = lock(&self.under_way);
        if let Some(waiting) = under_way.get_mut(&partition) {
            let (answer, receiver) = oneshot::channel();
            waiting.push(Waiting { operation, answer });
            return Joined::Waits(receiver);
        }
        under_way.insert(partition, Vec::new());
        Joined::Goes(Box::new(operation))
    }

    /// What waits in a partition, as much as fits into one call; a partition in which nothing waits
    /// has no call under way any more.
    fn next(&self, partition: Partition) -> Vec<Waiting> {
        let mut under_way = lock(&self.under_way);
        let Some(waiting) = under_way.get_mut(&partition) else { return Vec::new() };
        let next: Vec<Waiting> = waiting.drain(..waiting.len().min(MAX_UNITS)).collect();
        if next.is_empty() {
            under_way.remove(&partition);
        }
        next
    }

    /// Carries what waits, round after round, until nothing does.
    async fn carry(&self, connection: &Connection, partition: Partition, first: Vec<Waiting>) {
        let mut round = first;
        while !round.is_empty() {
            let (operations, answers): (Vec<_>, Vec<_>) =
                round.into_iter().map(|waiting| (waiting.operation, waiting.answer)).unzip();
            let outcomes = connection.drive(Batch::new(partition, operations)).await;
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                // Who does not wait any more does not need to know.
                let _ = answer.send(outcome);
            }
            round = self.next(partition);
        }
    }
}

/// A call that is under way; those who wait for it go on when it is dropped.
struct Turn {
    gatherer: Arc<Gatherer>,
    connection: Arc<Connection>,
    partition: Partition,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = self.gatherer.next(self.partition);
        if next.is_empty() {
            return;
        }
        // Without a runtime nobody waits: each completion is given up, as in a crash.
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
