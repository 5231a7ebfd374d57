//! Snapshots: what users see of an execution.

use serde::{Deserialize, Serialize};

use crate::capability::Capabilities;
use crate::condition::SuspensionReason;
use crate::execution::record::{
    AttemptSummary, Counts, Execution, Grant, GrantAudit, Outcome, Phase, Progress, Resumes,
    Suspension, Timeout, Waitpoint, WaitpointState,
};
use crate::id::{
    AttemptIndex, ExecutionId, ExecutionKind, GrantId, LaneId, LeaseEpoch, LeaseId, Namespace,
    SuspensionId, WaitpointId, WaitpointKey, WorkerId, WorkerInstanceId,
};
use crate::policy::{ExecutionPolicy, Priority};
use crate::state::StateVector;
use crate::tags::Tags;
use crate::time::TimestampMs;
use crate::token::Kid;

use super::state_vector::state_vector;

/// An execution as it stood at one instant of the store's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExecutionSnapshot {
    /// Its id.
    pub execution_id: ExecutionId,
    /// Its tenant.
    pub namespace: Namespace,
    /// Its lane (queue).
    pub lane: LaneId,
    /// The kind of work, which selects the handler.
    pub kind: ExecutionKind,
    /// Its state in all dimensions.
    pub state: StateVector,
    /// Higher is served first.
    pub priority: Priority,
    /// How it is run.
    pub policy: ExecutionPolicy,
    /// The capabilities that a worker must have.
    pub requires: Capabilities,
    /// Labels.
    pub tags: Tags,
    /// When it was created.
    pub created_at: TimestampMs,
    /// When it was last changed.
    pub updated_at: TimestampMs,
    /// When it may start, if it is delayed.
    pub delayed_until: Option<TimestampMs>,
    /// When it expires, in whatever phase.
    pub deadline: Option<TimestampMs>,
    /// When its life ended.
    pub ended_at: Option<TimestampMs>,
    /// How its life ended.
    pub outcome: Option<Outcome>,
    /// The fencing token of the latest lease.
    pub lease_epoch: LeaseEpoch,
    /// The grant that was issued for it and is not used yet.
    #[serde(default)]
    pub grant: Option<GrantSnapshot>,
    /// Its latest lease, while it is active.
    pub lease: Option<LeaseSnapshot>,
    /// The attempt that runs, is interrupted, or ran last.
    pub attempt_index: Option<AttemptIndex>,
    /// How many attempts there were.
    pub attempts_total: u32,
    /// The latest attempts that are over.
    pub past_attempts: Vec<AttemptSummary>,
    /// Retries and reclaims in this life, and lives.
    pub counts: Counts,
    /// The last progress report of its holder.
    pub progress: Option<Progress>,
    /// Its suspension, while it is suspended.
    pub suspension: Option<SuspensionSnapshot>,
    /// The waitpoints that take signals.
    pub waitpoints: Vec<WaitpointSnapshot>,
    /// The latest ones, at most 16, that no longer do, the last one first. A repeat of a signal
    /// that they have taken is recognised.
    #[serde(default)]
    pub closed_waitpoints: Vec<WaitpointSnapshot>,
    /// How many signals it has taken.
    pub signals: u32,
}

impl ExecutionSnapshot {
    /// The latest attempt that there was, also while the next one is awaited: after a failure that
    /// is retried, or a replay. `None` before the first.
    pub fn latest_attempt(&self) -> Option<AttemptIndex> {
        self.attempt_index.or_else(|| self.attempts_total.checked_sub(1).map(AttemptIndex))
    }
}

/// A suspension as users see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SuspensionSnapshot {
    /// Its id.
    pub suspension_id: SuspensionId,
    /// Why.
    pub reason: SuspensionReason,
    /// Since when.
    pub since: TimestampMs,
    /// When it times out, and what happens then.
    pub timeout: Option<Timeout>,
    /// When it was escalated because it timed out.
    pub escalated_at: Option<TimestampMs>,
    /// The condition that resumes it, with the signals that have counted so far.
    pub resumes: Resumes,
}

/// A waitpoint as users see it: never with its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WaitpointSnapshot {
    /// Its id.
    pub waitpoint_id: WaitpointId,
    /// Its name.
    pub key: WaitpointKey,
    /// When it was created.
    pub created_at: TimestampMs,
    /// Whether a suspension uses it, and when it closes if none does.
    pub state: WaitpointState,
    /// The secret that its token was signed with.
    pub kid: Kid,
    /// 16 digits that tell its token from others.
    pub fingerprint: String,
    /// How many signals it has taken.
    pub signals: u32,
}

/// A grant as users see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GrantSnapshot {
    /// Its id: the grant's key.
    pub grant_id: GrantId,
    /// The worker that may use it.
    pub worker_id: WorkerId,
    /// When it ends.
    pub expires_at: TimestampMs,
    /// The data that its caller stored with it.
    pub audit: GrantAudit,
}

/// A lease as users see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LeaseSnapshot {
    /// Its id.
    pub lease_id: LeaseId,
    /// The worker that holds it.
    pub worker_id: WorkerId,
    /// The process that holds it.
    pub worker_instance_id: WorkerInstanceId,
    /// When it was given.
    pub acquired_at: TimestampMs,
    /// When it ends unless it is renewed.
    pub expires_at: TimestampMs,
}

/// The view that a user gets of a record at an instant of the store's clock.
pub fn snapshot(execution: &Execution, now: TimestampMs) -> ExecutionSnapshot {
    let (mut lease, mut outcome, mut ended_at, mut delayed_until) = (None, None, None, None);
    match &execution.phase {
        Phase::Runnable(runnable) => {
            delayed_until =
                runnable.not_before.map(|delay| delay.until).filter(|until| now < *until);
        }
        Phase::Active(active) => {
            lease = Some(LeaseSnapshot {
                lease_id: active.lease.id,
                worker_id: active.lease.worker.clone(),
                worker_instance_id: active.lease.instance.clone(),
                acquired_at: active.lease.acquired_at,
                expires_at: active.lease.expires_at,
            });
        }
        Phase::Suspended(_) => {}
        Phase::Terminal(terminal) => {
            outcome = Some(terminal.outcome.clone());
            ended_at = Some(terminal.at);
        }
    }
    let waiting = execution.waiting.as_deref();
    ExecutionSnapshot {
        execution_id: execution.id,
        namespace: execution.namespace.clone(),
        lane: execution.lane.clone(),
        kind: execution.kind.clone(),
        state: state_vector(execution, now),
        priority: execution.priority,
        policy: execution.policy.clone(),
        requires: execution.requires.clone(),
        tags: execution.tags.clone(),
        created_at: execution.created_at,
        updated_at: execution.updated_at,
        delayed_until,
        deadline: execution.deadline,
        ended_at,
        outcome,
        lease_epoch: execution.epoch,
        grant: execution.grant().filter(|grant| grant.is_live(now)).map(of_grant),
        lease,
        attempt_index: execution.attempt().map(|attempt| attempt.index),
        attempts_total: execution.attempts_total,
        past_attempts: execution.past_attempts.to_vec(),
        counts: execution.counts,
        progress: execution.progress.clone(),
        suspension: execution.suspension().map(of_suspension),
        waitpoints: waiting.map_or_else(Vec::new, |waiting| {
            let open = waiting.open.iter().filter(|waitpoint| !waitpoint.is_expired(now));
            open.map(of_waitpoint).collect()
        }),
        closed_waitpoints: waiting.map_or_else(Vec::new, |waiting| {
            let expired = waiting.open.iter().filter(|waitpoint| waitpoint.is_expired(now));
            expired.chain(waiting.closed.iter().rev()).map(of_waitpoint).collect()
        }),
        signals: waiting.map_or(0, |waiting| waiting.signals),
    }
}

fn of_grant(grant: &Grant) -> GrantSnapshot {
    GrantSnapshot {
        grant_id: grant.id,
        worker_id: grant.worker.clone(),
        expires_at: grant.expires_at,
        audit: grant.audit.as_deref().cloned().unwrap_or_default(),
    }
}

fn of_suspension(suspension: &Suspension) -> SuspensionSnapshot {
    SuspensionSnapshot {
        suspension_id: suspension.id,
        reason: suspension.reason,
        since: suspension.since,
        timeout: suspension.timeout,
        escalated_at: suspension.escalated_at,
        resumes: suspension.resumes.clone(),
    }
}

fn of_waitpoint(waitpoint: &Waitpoint) -> WaitpointSnapshot {
    WaitpointSnapshot {
        waitpoint_id: waitpoint.id,
        key: waitpoint.key.clone(),
        created_at: waitpoint.created_at,
        state: waitpoint.state,
        kid: waitpoint.kid.clone(),
        fingerprint: waitpoint.fingerprint.to_string(),
        signals: waitpoint.signals,
    }
}
