//! The task that sends the charges of a budget, one commit after the other.

use std::sync::Arc;

use ff_core::budget::{Budget, Charge, ReportUsage, ReportUsageResult};
use ff_core::error::{Applied, EngineError};
use ff_core::id::{BudgetId, Namespace};
use ff_core::op::ChangeResource;
use ff_core::resource::ResourceId;
use ff_core::time::DurationMs;
use tokio::sync::oneshot;

use crate::charges::{Round, Waiting};
use crate::error::SdkError;
use crate::shared::Connection;

/// The task that sends the charges of a budget.
struct Turn {
    connection: Arc<Connection>,
    namespace: Namespace,
    id: BudgetId,
    target: ResourceId,
    ended: bool,
}

impl Turn {
    /// Sends the waiting charges, one commit after the other, until none waits.
    async fn charge_all(mut self) {
        // First the tasks that are ready to run: some of them may charge now, too.
        tokio::task::yield_now().await;
        while let Some(Round { waiting, writer, known }) = self.connection.charges.next(self.target)
        {
            let (charges, answers): (Vec<_>, Vec<_>) =
                waiting.into_iter().map(|waiting| (waiting.charge, waiting.answer)).unzip();
            let partitions = &self.connection.partitions;
            let change = ReportUsage::new(&self.namespace, self.id.clone(), charges, partitions);
            let patience = self.connection.patience();
            let operation = ChangeResource::knowing(change, writer, known, patience);
            // The receivers may have been dropped.
            match self.connection.drive(operation).await {
                Ok(changed) => {
                    self.connection.charges.learn(self.target, changed.record);
                    for (answer, outcome) in answers.into_iter().zip(changed.outcome) {
                        let _ = answer.send(outcome.map_err(EngineError::from));
                    }
                }
                Err(error) => {
                    for answer in answers {
                        let _ = answer.send(Err(error.clone()));
                    }
                }
            }
        }
        self.ended = true;
    }
}

impl Drop for Turn {
    /// A task that ends early, with its runtime or by a panic, gives up what still waits, and the
    /// next charge begins another task.
    fn drop(&mut self) {
        while !self.ended {
            self.ended = self.connection.charges.next(self.target).is_none();
        }
    }
}

impl Connection {
    /// Charges a budget, together with the other charges of this budget that are ready.
    ///
    /// Not cancel safe: the charge is still sent.
    pub(crate) async fn report_usage(
        self: &Arc<Self>,
        namespace: &Namespace,
        budget: &BudgetId,
        amounts: &[(&str, u64)],
        dedup_key: Option<&str>,
    ) -> Result<ReportUsageResult, SdkError> {
        let charge = Charge::try_new(amounts, dedup_key).map_err(EngineError::from)?;
        let target = Budget::key(namespace, budget, &self.partitions);
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { charge, answer };
        if self.charges.join(target, waiting, || self.entropy().next_u64()) {
            let (namespace, id) = (namespace.clone(), budget.clone());
            let connection = self.clone();
            let turn = Turn { connection, namespace, id, target, ended: false };
            tokio::spawn(turn.charge_all());
        }
        Ok(answered.await.unwrap_or_else(|_| Err(given_up()))?)
    }
}

fn given_up() -> EngineError {
    let (elapsed, applied) = (DurationMs::ZERO, Applied::Unknown);
    EngineError::Timeout { op: "report_usage", elapsed, applied }
}
