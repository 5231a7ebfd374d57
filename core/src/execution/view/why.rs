//! Why an execution does not run now: one function, which claims and `why` share
//! (`docs/spec.md`, 7).

use serde::{Deserialize, Serialize};

use crate::capability::Capabilities;
use crate::condition::SuspensionReason;
use crate::execution::record::{
    Active, BlockKind, DelayReason, Execution, LeaseFate, Phase, Resumes, Suspension,
};
use crate::execution::view::limit_state::LimitState;
use crate::id::{ExecutionKind, LaneId, WaitpointKey, WorkerId, WorkerInstanceId};
use crate::lane::{LaneSetting, LaneState, Lanes};
use crate::policy::ReclaimMode;
use crate::registry::{Nearest, Worker, nearest};
use crate::state::TerminalOutcome;
use crate::time::TimestampMs;

/// Whether a worker may start an execution now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "reasons")]
pub enum Judgement {
    /// A worker may start it. It waits for one, or for its turn.
    Admit,
    /// It waits, for each of these reasons; at least one.
    Wait(Vec<Reason>),
}

/// A reason that holds an execution back. Times are of the store's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
#[non_exhaustive]
pub enum Reason {
    /// It has ended.
    Ended {
        /// How.
        outcome: TerminalOutcome,
        /// When.
        at: TimestampMs,
    },
    /// A worker runs it.
    Running {
        /// The worker.
        worker: WorkerId,
        /// Its process.
        instance: WorkerInstanceId,
        /// Since when.
        since: TimestampMs,
        /// When its lease ends unless it is renewed.
        until: TimestampMs,
    },
    /// It is suspended.
    Suspended {
        /// Why.
        why: SuspensionReason,
        /// Since when.
        since: TimestampMs,
        /// The kind of event that resumes it.
        waits_for: WaitsFor,
        /// The waitpoints at which signals are still missing.
        waitpoints: Vec<WaitpointKey>,
        /// When the suspension times out.
        timeout_at: Option<TimestampMs>,
    },
    /// A worker was granted it, and has not claimed it yet.
    Granted {
        /// The worker.
        worker: WorkerId,
        /// When the grant ends.
        until: TimestampMs,
    },
    /// Its lease was lost, and it is taken over on request only.
    TakenOverOnRequest {
        /// The worker that lost it.
        worker: WorkerId,
        /// Since when, at the latest.
        since: TimestampMs,
    },
    /// Its deadline has passed: it is about to expire.
    DeadlinePassed {
        /// The deadline.
        deadline: TimestampMs,
    },
    /// Its attempt has timed out, which is about to be recorded.
    AttemptTimedOut {
        /// When.
        at: TimestampMs,
    },
    /// An operator blocked it.
    BlockedByOperator,
    /// It is blocked because of its lane.
    BlockedByLane,
    /// It waits for other executions.
    WaitsForDependencies,
    /// A budget holds it back.
    BlockedByBudget {
        /// When it is looked at again; `None` before a worker has met the limit.
        recheck_at: Option<TimestampMs>,
    },
    /// A quota holds it back.
    BlockedByQuota {
        /// When it is looked at again; `None` before a worker has met the limit.
        recheck_at: Option<TimestampMs>,
    },
    /// A worker that wanted it lacks capabilities, and no other has claimed it since.
    NoCapableWorker {
        /// The capabilities that it requires.
        requires: Vec<String>,
    },
    /// No registered worker that claims now serves its lane and kind with all of its capabilities.
    NotServed {
        /// The lane.
        lane: LaneId,
        /// The kind.
        kind: ExecutionKind,
        /// The capabilities that it requires.
        requires: Vec<String>,
        /// The worker that lacks the least; `None` if no worker claims now.
        nearest: Option<Nearest>,
    },
    /// The worker in question lacks capabilities.
    LacksCapabilities {
        /// The missing ones.
        missing: Vec<String>,
    },
    /// It does not start before a time.
    Delayed {
        /// The time.
        until: TimestampMs,
        /// Why.
        why: Delay,
    },
    /// Its lane starts nothing.
    LaneHeld {
        /// The lane.
        lane: LaneId,
        /// The state of the lane.
        state: LaneState,
        /// Since when.
        since: TimestampMs,
        /// The reason that the operator gave.
        why: Option<String>,
        /// The operator.
        by: Option<String>,
    },
}

/// The kind of event that resumes a suspended execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitsFor {
    /// Signals, or an operator.
    Signals,
    /// An operator only.
    Operator,
    /// Its timeout, or an operator.
    Timeout,
}

/// Why an execution is delayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delay {
    /// Its submitter or its worker asked for it.
    Requested,
    /// The backoff before a retry.
    RetryBackoff,
    /// The delay of a resumption.
    ResumeDelay,
}

/// Judges whether a worker may start an execution, and otherwise says why it waits.
///
/// `capabilities`: those of the worker in question. With `None` the question is whether any worker
/// may: then a missing capability is a reason only if a worker has already met it
/// ([`Reason::NoCapableWorker`]). `lanes`: the states of the lanes, if they matter. `limits`: the
/// states of its budgets and quotas, if they matter. They hold back an execution without a grant:
/// one that has a grant was admitted with it.
///
/// [`Judgement::Admit`] means that `offer` to such a worker claims the execution; the rules and the
/// simulator are tested against that. \[INV-WHY-1\]
pub fn judge(
    execution: &Execution,
    capabilities: Option<&Capabilities>,
    lanes: Option<&Lanes>,
    limits: &[LimitState],
    now: TimestampMs,
) -> Judgement {
    let mut reasons = Vec::new();
    match &execution.phase {
        Phase::Terminal(terminal) => {
            reasons.push(Reason::Ended { outcome: terminal.outcome.word(), at: terminal.at });
            return Judgement::Wait(reasons);
        }
        Phase::Suspended(suspended) => {
            reasons.push(suspended_reason(&suspended.suspension));
            return Judgement::Wait(reasons);
        }
        Phase::Active(active) if active.is_leased(now) => {
            reasons.push(running(active, now));
            return Judgement::Wait(reasons);
        }
        Phase::Active(active) => reasons.extend(lost_lease(execution, active)),
        Phase::Runnable(runnable) => {
            let delay = runnable.not_before.filter(|delay| now < delay.until);
            reasons.extend(delay.map(|delay| Reason::Delayed {
                until: delay.until,
                why: match delay.reason {
                    DelayReason::Requested => Delay::Requested,
                    DelayReason::RetryBackoff => Delay::RetryBackoff,
                    DelayReason::ResumeDelay => Delay::ResumeDelay,
                },
            }));
        }
    }
    if let Some(grant) = execution.grant().filter(|grant| grant.is_live(now)) {
        let (worker, until) = (grant.worker.clone(), grant.expires_at);
        reasons.push(Reason::Granted { worker, until });
    } else {
        reasons.extend(unmet_limits(execution, limits));
    }
    reasons.extend(blocks(execution, capabilities));
    if let Some(deadline) = execution.deadline.filter(|deadline| *deadline <= now) {
        reasons.push(Reason::DeadlinePassed { deadline });
    }
    reasons.extend(lanes.and_then(|lanes| held_lane(execution, lanes)));
    if reasons.is_empty() { Judgement::Admit } else { Judgement::Wait(reasons) }
}

/// Returns the reason that no registered worker serves an execution, if none does: a reason beside
/// those of [`judge`], which does not know the workers.
pub fn not_served<'w>(
    execution: &Execution,
    workers: impl IntoIterator<Item = &'w Worker>,
    now: TimestampMs,
) -> Option<Reason> {
    let Execution { lane, kind, requires, .. } = execution;
    let nearest = nearest(workers, lane, kind, requires, now);
    if nearest.as_ref().is_some_and(|nearest| nearest.lacks.is_empty()) {
        return None;
    }
    let requires = requires.iter().map(str::to_owned).collect();
    Some(Reason::NotServed { lane: lane.clone(), kind: kind.clone(), requires, nearest })
}

fn running(active: &Active, now: TimestampMs) -> Reason {
    Reason::Running {
        worker: active.lease.worker.clone(),
        instance: active.lease.instance.clone(),
        since: active.lease.acquired_at,
        until: active.expires_at(now),
    }
}

/// Why an execution whose lease was lost is not taken over.
fn lost_lease(execution: &Execution, active: &Active) -> Option<Reason> {
    let timeout = execution.attempt_times_out_at(&active.lease);
    let ends = timeout.filter(|at| *at <= active.lease.expires_at);
    if let (LeaseFate::Held, Some(at)) = (active.fate, ends) {
        return Some(Reason::AttemptTimedOut { at });
    }
    let on_request = execution.policy.reclaim_mode == ReclaimMode::OnRequest;
    on_request.then(|| Reason::TakenOverOnRequest {
        worker: active.lease.worker.clone(),
        since: active.lease.expires_at,
    })
}

fn suspended_reason(suspension: &Suspension) -> Reason {
    let (waits_for, waitpoints) = match &suspension.resumes {
        Resumes::Signals(tallies) => {
            let missing = tallies.parts.iter().filter(|part| !part.is_satisfied());
            let named = missing.flat_map(|part| part.part.waitpoints.iter().cloned());
            let mut waitpoints: Vec<WaitpointKey> = named.collect();
            waitpoints.sort();
            waitpoints.dedup();
            (WaitsFor::Signals, waitpoints)
        }
        Resumes::OperatorOnly => (WaitsFor::Operator, Vec::new()),
        Resumes::TimeoutOnly => (WaitsFor::Timeout, Vec::new()),
    };
    Reason::Suspended {
        why: suspension.reason,
        since: suspension.since,
        waits_for,
        waitpoints,
        timeout_at: suspension.timeout.map(|timeout| timeout.at),
    }
}

/// The blocks, and the capabilities that the worker lacks. A worker that has all of them claims an
/// execution that is blocked by route alone.
fn blocks(execution: &Execution, capabilities: Option<&Capabilities>) -> Vec<Reason> {
    let lacks = capabilities.filter(|offered| !execution.requires.satisfied_by(offered));
    let fits = capabilities.is_some() && lacks.is_none();
    let words = |tokens: &Capabilities| tokens.iter().map(str::to_owned).collect();
    let blocks = execution.blocks();
    let routed = blocks.is_some_and(|blocks| blocks.is_only(BlockKind::Route)) && fits;
    let reason = |kind: BlockKind, recheck_at| match kind {
        BlockKind::Operator => Reason::BlockedByOperator,
        BlockKind::Lane => Reason::BlockedByLane,
        BlockKind::Dependencies => Reason::WaitsForDependencies,
        BlockKind::Budget => Reason::BlockedByBudget { recheck_at },
        BlockKind::Quota => Reason::BlockedByQuota { recheck_at },
        BlockKind::Route => Reason::NoCapableWorker { requires: words(&execution.requires) },
    };
    let held = blocks.into_iter().flat_map(|blocks| blocks.iter()).filter(|_| !routed);
    let held = held.map(|block| reason(block.kind, block.recheck_at));
    let missing = |offered: &Capabilities| {
        let missing = execution.requires.missing_in(offered);
        missing.iter().map(|token| token.to_string()).collect()
    };
    let lacks = lacks.map(|offered| Reason::LacksCapabilities { missing: missing(offered) });
    held.chain(lacks).collect()
}

/// The kinds of limits that hold an execution back and have not blocked it yet.
fn unmet_limits(execution: &Execution, limits: &[LimitState]) -> impl Iterator<Item = Reason> {
    let recheck_at = None;
    let kinds = [
        (BlockKind::Budget, Reason::BlockedByBudget { recheck_at }),
        (BlockKind::Quota, Reason::BlockedByQuota { recheck_at }),
    ];
    let holds = |kind| limits.iter().any(|limit| limit.blocks() == kind && limit.holds());
    let is_met = |kind| execution.blocks().is_some_and(|blocks| blocks.get(kind).is_some());
    let unmet = kinds.into_iter().filter(move |(kind, _)| holds(*kind) && !is_met(*kind));
    unmet.map(|(_, reason)| reason)
}

fn held_lane(execution: &Execution, lanes: &Lanes) -> Option<Reason> {
    let LaneSetting { state, since, reason, by } =
        lanes.setting(&execution.lane).filter(|setting| !setting.state.starts())?;
    Some(Reason::LaneHeld {
        lane: execution.lane.clone(),
        state: *state,
        since: *since,
        why: reason.clone(),
        by: by.clone(),
    })
}
