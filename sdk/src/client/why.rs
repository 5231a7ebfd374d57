//! Why an execution does not run.

use std::collections::BTreeSet;

use ff_core::error::{EngineError, Rejection, RejectionKind};
use ff_core::execution::{
    BlockKind, Execution, ExecutionSnapshot, Interrupted, Judgement, LimitState, Reason, judge,
    not_served, snapshot,
};
use ff_core::id::ExecutionId;
use ff_core::limits::Limits;
use ff_core::op::{Query, ReadExecution, ReadLanes, load};
use ff_core::quota::QuotaRef;
use ff_core::registry::Worker;
use ff_core::store::bounds::MAX_READ_RECORDS;
use ff_core::store::{IndexName, Scan, ScanOrder, Topic, Version};
use ff_core::time::TimestampMs;
use ff_io_http::{CandidateView, TurnView, WhyView};

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
    /// For an execution that a budget or a quota holds back: the present state of each of its
    /// budgets and quotas, read after its record.
    pub limits: Vec<LimitState>,
    /// For an execution that a worker may start: its turn.
    pub turn: Option<Turn>,
    /// The interruption of its attempt, if that waits to be continued or taken over.
    pub interrupted: Option<Interrupted>,
    /// For an execution that runs, lost its lease or waits for a worker: the registered workers
    /// that serve its lane and kind and have all of its capabilities, and the one with its latest
    /// lease, in the order of their instance ids. Some may drain, or be dead
    /// ([`Worker::state_at`]).
    pub workers: Vec<Worker>,
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

impl From<&Why> for WhyView {
    fn from(why: &Why) -> Self {
        let mut view = Self::new(&why.execution, why.version, why.at);
        view.reasons = why.reasons.clone();
        view.limits = why.limits.clone();
        view.turn = why.turn.map(|Turn { ahead, programs }| TurnView { ahead, programs });
        view.interrupted = why.interrupted.clone();
        view.workers = why.workers.iter().map(|one| CandidateView::new(one, why.at)).collect();
        view
    }
}

impl Client {
    /// Explains why an execution does not run now: each reason that holds it back, as of one
    /// reading of its record, of the states of the lanes, and of the registered workers
    /// (`docs/spec.md`, 7). An execution that a worker may start has no reason, and a [`Turn`].
    /// `None` if the execution does not exist.
    ///
    /// Costs at most four calls; 16 more, or one for each 128 workers if that is more, if the
    /// execution runs, lost its lease or waits for a worker; and one more for each budget and quota
    /// of an execution that nothing else holds back.
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
        let judged = |limits: &[LimitState]| match judge(execution, None, Some(&lanes), limits, at)
        {
            Judgement::Wait(reasons) => reasons,
            Judgement::Admit => Vec::new(),
        };
        let is_limited = |reason: &Reason| {
            matches!(reason, Reason::BlockedByBudget { .. } | Reason::BlockedByQuota { .. })
        };
        let is_unrouted = |reason: &Reason| matches!(reason, Reason::NoCapableWorker { .. });
        let mut reasons = judged(&[]);
        let waits_for_worker = reasons.iter().all(is_unrouted);
        let mut limits = Vec::new();
        if let Some(limited) = &execution.limits
            && (reasons.is_empty() || reasons.iter().any(is_limited))
        {
            limits = self.limit_states(&limited.limits).await?;
            reasons = judged(&limits);
            if !reasons.iter().any(is_limited) {
                limits.clear();
            }
        }
        let shown = snapshot(execution, at);
        let mut workers = Vec::new();
        if waits_for_worker || shown.lease.is_some() {
            let (registered, at) = self.all_workers().await?;
            if waits_for_worker {
                reasons.extend(not_served(execution, &registered, at));
            }
            let concerns = |worker: &Worker| concerns(worker, execution, &shown);
            workers.extend(registered.into_iter().filter(concerns));
        }
        let turn = match reasons.is_empty() {
            true => Some(self.turn(id, execution).await?),
            false => None,
        };
        let Version { count: version, .. } = loaded.version;
        let interrupted = Interrupted::of(&shown);
        Ok(Some(Why { execution: shown, version, at, reasons, limits, turn, interrupted, workers }))
    }

    /// Reads the present state of budgets and quotas.
    async fn limit_states(&self, limits: &Limits) -> Result<Vec<LimitState>, SdkError> {
        let mut states = Vec::new();
        for id in &limits.budgets {
            states.push(match self.budget(id).await {
                // It is as of now, so at the start of its period it is the same.
                Ok(found) => LimitState::of_budget(id.clone(), Some(&found), found.period_start),
                Err(error) if is(&error, RejectionKind::BudgetNotFound) => {
                    LimitState::BudgetNotFound { budget: id.clone() }
                }
                Err(error) => return Err(error),
            });
        }
        for of in &limits.quotas {
            states.push(match self.quota_use(&of.quota, of.key.as_ref()).await {
                Ok(usage) => LimitState::Quota(usage),
                Err(error) if is(&error, RejectionKind::QuotaNotFound) => {
                    LimitState::QuotaNotFound { of: of.clone() }
                }
                Err(error) => return Err(error),
            });
        }
        Ok(states)
    }

    /// Returns the limits that let nothing start although executions wait for them: quotas and
    /// budgets that do not exist, and budgets at a hard limit. Of each partition the 128 executions
    /// whose next timer is due first are looked at. An execution counts from the time at which a
    /// worker found that it cannot start. Costs one call for each partition of the store,
    /// and one more for each quota and budget that they wait for.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn limits_that_hold(&self) -> Result<Vec<LimitState>, SdkError> {
        let (mut budgets, mut quotas) = (BTreeSet::new(), BTreeSet::new());
        for partition in self.partition_config().flow_partitions() {
            let count = MAX_READ_RECORDS as u32;
            let (scanned, _) = self.scan(partition, IndexName::Due, None, count).await?;
            let codec = self.0.connection.context().codec();
            let stored = scanned.entries.iter().filter_map(|entry| entry.record.as_ref());
            for loaded in stored.filter_map(|stored| load(stored, codec).ok()) {
                let execution = &loaded.execution;
                let (Some(limited), Some(blocks)) = (&execution.limits, execution.blocks()) else {
                    continue;
                };
                let waits = |kind| blocks.get(kind).is_some();
                let is_held = waits(BlockKind::Budget) || waits(BlockKind::Quota);
                if is_held && execution.namespace == *self.namespace() {
                    budgets.extend(limited.limits.budgets.iter().cloned());
                    quotas.extend(limited.limits.quotas.iter().map(|of| of.quota.clone()));
                }
            }
        }
        let quotas = quotas.into_iter().map(|quota| QuotaRef { quota, key: None }).collect();
        let limits = Limits { budgets: budgets.into_iter().collect(), quotas };
        let mut states = self.limit_states(&limits).await?;
        states.retain(|state| !matches!(state, LimitState::Quota(_) | LimitState::Budget { .. }));
        Ok(states)
    }

    async fn turn(&self, id: &ExecutionId, execution: &Execution) -> Result<Turn, EngineError> {
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

/// Whether a worker serves an execution, or has its latest lease.
fn concerns(worker: &Worker, execution: &Execution, shown: &ExecutionSnapshot) -> bool {
    let Worker { info, .. } = worker;
    let holder = shown.lease.as_ref().map(|lease| &lease.worker_instance_id);
    holder == Some(&info.instance)
        || info.serves(&execution.lane, &execution.kind, &execution.requires)
}

/// Whether a call was refused with this kind of rejection.
fn is(error: &SdkError, kind: RejectionKind) -> bool {
    error.engine().and_then(EngineError::rejection).map(Rejection::kind) == Some(kind)
}
