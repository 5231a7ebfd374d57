//! Lanes, quotas, budgets, workers and explanations, as an operator sees them. A server answers
//! with these bodies.

use ff_core::budget::{Budget, BudgetReset, Usage};
use ff_core::capability::Capabilities;
use ff_core::execution::{ExecutionSnapshot, Interrupted, LimitState, Outcome, Reason};
use ff_core::id::{AttemptIndex, BudgetId, ExecutionId, LaneId, QuotaId, QuotaKey};
use ff_core::id::{WorkerId, WorkerInstanceId};
use ff_core::kinds::Kinds;
use ff_core::lane::{LaneSetting, LaneState};
use ff_core::quota::{Quota, QuotaLimits, QuotaUsage};
use ff_core::registry::{Worker, WorkerState};
use ff_core::state::PublicState;
use ff_core::time::{DurationMs, TimestampMs};
use serde::{Deserialize, Serialize};

use crate::kinds;

/// A lane (a named queue), its state, and whether work waits in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LaneView {
    /// The lane.
    pub lane: LaneId,
    /// Its state.
    pub state: LaneState,
    /// Since when, by the store's clock; `None` for a lane that was never changed.
    pub since: Option<TimestampMs>,
    /// The operator who set the state, as the call or the token named it.
    pub by: Option<String>,
    /// The reason that the operator gave.
    pub reason: Option<String>,
    /// Whether executions wait in it that a worker could claim, if the lane starts work.
    pub has_waiting: bool,
}

impl LaneView {
    /// Creates the view of a lane.
    pub fn new(lane: LaneId, setting: LaneSetting, has_waiting: bool) -> Self {
        let LaneSetting { state, since, reason, by } = setting;
        let since = Some(since).filter(|since| *since != TimestampMs::ZERO);
        Self { lane, state, since, by, reason, has_waiting }
    }
}

/// A change of the state of a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LaneChangeView {
    /// The lane.
    pub lane: LaneId,
    /// Its state now.
    pub state: LaneState,
    /// Its state before the call.
    pub before: LaneState,
}

impl LaneChangeView {
    /// Creates the view of a change.
    pub const fn new(lane: LaneId, state: LaneState, before: LaneState) -> Self {
        Self { lane, state, before }
    }
}

/// The limits of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QuotaLimitsView {
    /// How many executions run at a time under one key; `None` for no such limit.
    pub concurrency: Option<u32>,
    /// How many executions start in any window under one key; `None` for no such limit.
    pub rate: Option<u32>,
    /// The window of the rate, in milliseconds.
    pub window_ms: Option<DurationMs>,
}

impl From<QuotaLimits> for QuotaLimitsView {
    fn from(limits: QuotaLimits) -> Self {
        Self {
            concurrency: limits.concurrency,
            rate: limits.rate.map(|rate| rate.max),
            window_ms: limits.rate.map(|rate| rate.window),
        }
    }
}

/// A quota.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QuotaView {
    /// The quota.
    pub quota: QuotaId,
    /// The limits, which hold for each key by itself.
    #[serde(flatten)]
    pub limits: QuotaLimitsView,
    /// When it was created, by the store's clock.
    pub created_at: TimestampMs,
    /// When its limits were set last, by the store's clock.
    pub updated_at: TimestampMs,
}

impl From<&Quota> for QuotaView {
    fn from(quota: &Quota) -> Self {
        let Quota { id, limits, created_at, updated_at, .. } = quota.clone();
        Self { quota: id, limits: limits.into(), created_at, updated_at }
    }
}

/// The use of a quota under one key, or by the executions without a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QuotaUseView {
    /// The quota.
    pub quota: QuotaId,
    /// The key; `None` for the executions without one.
    pub key: Option<QuotaKey>,
    /// The limits of the quota.
    #[serde(flatten)]
    pub limits: QuotaLimitsView,
    /// The executions that take its slots, the longest first.
    pub holders: Vec<HolderView>,
    /// How many executions were started in the present window; 0 without a rate.
    pub started_in_window: u32,
    /// The store's time.
    pub at: TimestampMs,
}

/// An execution that takes a slot of a quota.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HolderView {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Since when, by the store's clock.
    pub since: TimestampMs,
}

impl From<&QuotaUsage> for QuotaUseView {
    fn from(usage: &QuotaUsage) -> Self {
        let holders = usage.holders.iter();
        let holders = holders
            .map(|holder| HolderView { execution_id: holder.execution, since: holder.since });
        Self {
            quota: usage.of.quota.clone(),
            key: usage.of.key.clone(),
            limits: usage.limits.into(),
            holders: holders.collect(),
            started_in_window: usage.admitted,
            at: usage.at,
        }
    }
}

/// A budget, its limits and its use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BudgetView {
    /// The budget.
    pub budget: BudgetId,
    /// The dimensions with their limits, 0 for none, and their use in this period.
    pub dimensions: Vec<Usage>,
    /// The start of the period that the use is of, by the store's clock.
    pub period_start: TimestampMs,
    /// The length of its periods in milliseconds; `None` if it does not reset itself.
    pub reset_every_ms: Option<DurationMs>,
    /// When it resets itself, by the store's clock.
    pub resets_at: Option<TimestampMs>,
    /// When it was created, by the store's clock.
    pub created_at: TimestampMs,
}

impl From<&Budget> for BudgetView {
    fn from(budget: &Budget) -> Self {
        let every = match budget.reset {
            BudgetReset::Never => None,
            BudgetReset::Every { every, .. } => Some(every),
        };
        Self {
            budget: budget.id.clone(),
            dimensions: budget.dimensions.clone(),
            period_start: budget.period_start,
            reset_every_ms: every,
            resets_at: budget.resets_at(),
            created_at: budget.created_at,
        }
    }
}

/// A registered worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkerView {
    /// Its process.
    pub instance: WorkerInstanceId,
    /// The worker, which several processes can share.
    pub worker: WorkerId,
    /// Its state at the store's time of the call.
    pub state: WorkerState,
    /// How many executions it held at its latest heartbeat.
    pub active: u32,
    /// How many executions it holds at most at a time.
    pub slots: u32,
    /// The lanes that it claims from.
    pub lanes: Vec<LaneId>,
    /// The kinds that it serves; null in JSON for every kind.
    #[serde(with = "kinds")]
    pub kinds: Kinds,
    /// Its capabilities.
    pub capabilities: Capabilities,
    /// Its build, as the process describes it.
    pub version: String,
    /// When the process registered, by the store's clock.
    pub registered_at: TimestampMs,
    /// Its latest heartbeat, by the store's clock.
    pub last_seen: TimestampMs,
    /// When the registration ends without a further heartbeat, by the store's clock.
    pub expires_at: TimestampMs,
}

impl WorkerView {
    /// Creates the view of a worker at a time of the store's clock.
    pub fn new(worker: &Worker, at: TimestampMs) -> Self {
        let info = worker.info.clone();
        Self {
            instance: info.instance,
            worker: info.worker,
            state: worker.state_at(at),
            active: worker.active,
            slots: info.slots,
            lanes: info.lanes,
            kinds: info.kinds,
            capabilities: info.capabilities,
            version: info.version,
            registered_at: worker.registered_at,
            last_seen: worker.last_seen,
            expires_at: worker.expires_at,
        }
    }
}

/// The explanation why an execution does not run. Times are of the store's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WhyView {
    /// The execution.
    pub execution_id: ExecutionId,
    /// Its state.
    pub state: PublicState,
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
    pub turn: Option<TurnView>,
    /// The interruption of its attempt, if that waits to be continued or taken over.
    pub interrupted: Option<Interrupted>,
    /// The latest attempt; `None` before the first.
    pub attempt: Option<AttemptIndex>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The registered workers that serve it, and the one with its latest lease, in the order of
    /// their instance ids. Empty for an execution for which they do not matter.
    pub workers: Vec<CandidateView>,
}

/// The turn of an execution that a worker may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnView {
    /// How many executions of its lane and kind are before it in its partition; 100 means that many
    /// or more.
    pub ahead: u32,
    /// How many programs listen to the wake-ups of its lane.
    pub programs: u64,
}

/// A registered worker that serves an execution, or has its latest lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CandidateView {
    /// Its process.
    pub instance: WorkerInstanceId,
    /// The worker, which several processes can share.
    pub worker: WorkerId,
    /// Its state at the store's time of the call.
    pub state: WorkerState,
    /// How many executions it held at its latest heartbeat.
    pub active: u32,
    /// How many executions it holds at most at a time.
    pub slots: u32,
    /// Its latest heartbeat, by the store's clock.
    pub last_seen: TimestampMs,
}

impl CandidateView {
    /// Creates the view of a worker at a time of the store's clock.
    pub fn new(worker: &Worker, at: TimestampMs) -> Self {
        Self {
            instance: worker.info.instance.clone(),
            worker: worker.info.worker.clone(),
            state: worker.state_at(at),
            active: worker.active,
            slots: worker.info.slots,
            last_seen: worker.last_seen,
        }
    }
}

impl WhyView {
    /// Creates the explanation of an execution at a version and a time, without any reasons.
    pub fn new(execution: &ExecutionSnapshot, version: u64, at: TimestampMs) -> Self {
        Self {
            execution_id: execution.execution_id,
            state: execution.state.public_state,
            version,
            at,
            reasons: Vec::new(),
            limits: Vec::new(),
            turn: None,
            interrupted: None,
            attempt: execution.latest_attempt(),
            outcome: execution.outcome.clone(),
            workers: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use serde_json::{Value, json};

    fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[test]
    fn a_quota_has_its_limits_beside_the_other_fields() {
        let mut quota = QuotaView {
            quota: QuotaId::new("smtp"),
            limits: QuotaLimits::new().concurrency(2).rate(10, Duration::from_secs(60)).into(),
            created_at: TimestampMs::new(5),
            updated_at: TimestampMs::new(7),
        };
        let mut written = json!({
            "quota": "smtp", "concurrency": 2, "rate": 10, "window_ms": 60_000,
            "created_at": 5, "updated_at": 7,
        });
        assert_eq!(serde_json::to_value(&quota).unwrap(), written);
        assert_eq!(read::<QuotaView>(&written), quota);

        (quota.limits.rate, quota.limits.window_ms) = (None, None);
        written["rate"] = Value::Null;
        written["window_ms"] = Value::Null;
        assert_eq!(serde_json::to_value(&quota).unwrap(), written);
        written["from_a_later_version"] = json!(true);
        assert_eq!(read::<QuotaView>(&written), quota);
    }

    #[test]
    fn a_lane_that_was_never_changed_has_no_time() {
        let written = json!({
            "lane": "default", "state": "active", "since": null, "by": null, "reason": null,
            "has_waiting": true,
        });
        let lane = LaneView::new(LaneId::new("default"), LaneSetting::default(), true);
        assert_eq!(serde_json::to_value(&lane).unwrap(), written);
        assert_eq!(read::<LaneView>(&written), lane);
    }

    #[test]
    fn a_worker_of_every_kind_has_null_for_the_kinds() {
        let written = json!({
            "instance": "mailer-1", "worker": "mailer", "state": "live", "active": 1, "slots": 4,
            "lanes": ["default"], "kinds": null, "capabilities": ["gpu"], "version": "1",
            "registered_at": 1, "last_seen": 2, "expires_at": 3,
        });
        let worker: WorkerView = read(&written);
        assert_eq!(worker.kinds, Kinds::All);
        assert_eq!(serde_json::to_value(&worker).unwrap(), written);
    }
}
