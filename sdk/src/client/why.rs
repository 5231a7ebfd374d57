//! Why an execution does not run.

use ff_core::error::EngineError;
use ff_core::execution::{ExecutionSnapshot, Judgement, Reason, judge, not_served, snapshot};
use ff_core::id::ExecutionId;
use ff_core::op::{Query, ReadExecution, ReadLanes};
use ff_core::store::{IndexName, Scan, ScanOrder, Topic, Version};
use ff_core::time::TimestampMs;

use super::Client;
use crate::error::SdkError;

/// The answer of [`Client::why`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Why {
    /// The execution.
    pub execution: ExecutionSnapshot,
    /// The number of commits of its record, from which the answer was read.
    pub version: u64,
    /// The store's time.
    pub at: TimestampMs,
    /// Why it waits; empty if a worker may start it now.
    pub reasons: Vec<Reason>,
    /// For an execution that a worker may start: its turn.
    pub turn: Option<Turn>,
}

/// The turn of an execution that a worker may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turn {
    /// How many executions of its lane and kind are before it in its partition; at most
    /// [`Turn::COUNTED`], which then means that many or more.
    pub ahead: u32,
    /// How many programs listen to the wake-ups of its lane. A program without workers of its kind,
    /// or without a free slot, listens too. A backend without wake-ups counts one.
    pub programs: u64,
}

impl Turn {
    /// How many executions are counted at most: 100.
    pub const COUNTED: u32 = 100;
}

impl Client {
    /// Explains why an execution does not run now: each reason that holds it back, as of one
    /// reading of its record, of the states of the lanes, and of the registered workers
    /// (`docs/spec.md`, 7). An execution that a worker may start has no reason, and a [`Turn`].
    /// `None` if the execution does not exist.
    ///
    /// Costs at most four calls; 16 more, or one for each 128 workers if that is more, if the
    /// execution waits for a worker.
    ///
    /// # Errors
    ///
    /// As for [`Client::describe`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn why(&self, id: &ExecutionId) -> Result<Option<Why>, SdkError> {
        let connection = &self.0.connection;
        connection.check_id(id)?;
        let lanes = ReadLanes::new(self.namespace().clone(), connection.patience());
        let lanes = connection.drive(lanes).await?;
        let read = ReadExecution::new(id, &[], connection.patience());
        let (loaded, _, at) = connection.drive(read).await?;
        let Some(loaded) = loaded.filter(|found| found.execution.namespace == *self.namespace())
        else {
            return Ok(None);
        };
        let execution = &loaded.execution;
        let mut reasons = match judge(execution, None, Some(&lanes), at) {
            Judgement::Wait(reasons) => reasons,
            Judgement::Admit => Vec::new(),
        };
        let is_unrouted = |reason: &Reason| matches!(reason, Reason::NoCapableWorker { .. });
        if reasons.iter().all(is_unrouted) {
            let (workers, at) = self.all_workers().await?;
            reasons.extend(not_served(execution, &workers, at));
        }
        let turn = match reasons.is_empty() {
            true => Some(self.turn(id, execution).await?),
            false => None,
        };
        let Version { count: version, .. } = loaded.version;
        let execution = snapshot(execution, at);
        Ok(Some(Why { execution, version, at, reasons, turn }))
    }

    async fn turn(
        &self,
        id: &ExecutionId,
        execution: &ff_core::execution::Execution,
    ) -> Result<Turn, EngineError> {
        let connection = &self.0.connection;
        let (namespace, lane) = (execution.namespace.clone(), execution.lane.clone());
        let topic = Topic::Lane { namespace: namespace.clone(), lane: lane.clone() };
        let listeners = Query::listeners(topic, id.partition(), connection.patience());
        let programs = connection.drive(listeners).await?;
        let scan = Scan {
            partition: id.partition(),
            index: IndexName::Eligible { namespace, lane, kind: execution.kind.clone() },
            order: ScanOrder::Ascending,
            after: None,
            limit: Turn::COUNTED,
            bytes: ff_core::store::bounds::MAX_PAGE_BYTES,
        };
        let (page, _) = connection.drive(Query::scan(scan, connection.patience())).await?;
        let before = page.entries.iter().position(|entry| entry.position.member == id.uuid());
        let ahead = before.map_or(page.entries.len() as u32, |before| before as u32);
        Ok(Turn { ahead, programs })
    }
}
