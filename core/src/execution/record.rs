//! The record of an execution: its whole control state. Payload and result are values beside it
//! (`docs/architecture.md`, Records).

use serde::{Deserialize, Serialize};

use crate::bounded::Bounded;
use crate::capability::Capabilities;
use crate::id::{
    AttemptId, AttemptIndex, ExecutionId, ExecutionKind, GrantId, LaneId, LeaseEpoch, LeaseId,
    Namespace, Nonce, RequestId, SuspensionId, WorkerId, WorkerInstanceId,
};
use crate::planted::planted;
use crate::policy::{ExecutionPolicy, Priority};
use crate::state::{LifecyclePhase, TerminalOutcome};
use crate::tags::Tags;
use crate::time::{DurationMs, TimestampMs};

use super::blocks::Blocks;
use super::outcome::{Failure, Outcome};
use super::waiting::{Suspension, Waiting};

/// One execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// Its id.
    pub id: ExecutionId,
    /// The tenant that it belongs to.
    pub namespace: Namespace,
    /// The queue that it waits in.
    pub lane: LaneId,
    /// What kind of work it is.
    pub kind: ExecutionKind,
    /// Higher is served first.
    pub priority: Priority,
    /// When it was created.
    pub created_at: TimestampMs,
    /// Its position among executions that one client created together.
    pub position: u16,
    /// When it was changed last, renewals and progress included.
    pub updated_at: TimestampMs,
    /// Who created it: tells one's own lost reply from a duplicate.
    pub creator: Nonce,
    /// The digest of its content, when it was created under an idempotency key.
    pub content: Option<ContentDigest>,
    /// How it is run.
    pub policy: ExecutionPolicy,
    /// What a worker must be able to do.
    pub requires: Capabilities,
    /// The user's labels.
    pub tags: Tags,
    /// When it expires, in whatever phase.
    pub deadline: Option<TimestampMs>,
    /// Where it is in its life.
    pub phase: Phase,
    /// Of the latest lease ever given; only grows.
    pub epoch: LeaseEpoch,
    /// The fence of the latest lease ever given, in every phase.
    pub last_fence: Option<Fence>,
    /// How many attempts there were; the index of the next new one.
    pub attempts_total: u32,
    /// The latest attempts that are over.
    pub past_attempts: Bounded<AttemptSummary, 8>,
    /// Counters of the present life, and of lives.
    pub counts: Counts,
    /// What the holder reported last.
    pub progress: Option<Progress>,
    /// How the latest lease was given back, so that a repeat is recognised.
    pub last_release: Option<Release>,
    /// The latest calls of operators, so that a repeat is recognised.
    pub requests: Bounded<(RequestId, OperatorOutcome), 8>,
    /// Its waitpoints and suspensions, once it has had one.
    pub waiting: Option<Box<Waiting>>,
    /// How many attempts, counted from the first, may have output; retention takes it away.
    pub framed: u32,
    /// Work on the record itself that is due now.
    pub continuation: Option<Continuation>,
}

/// Where an execution is in its life. A state that makes no sense cannot be written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Waiting to run. Eligible when nothing holds it back and no grant is out.
    Runnable(Runnable),
    /// Owned, or owned until recently.
    Active(Active),
    /// Interrupted by its worker until it is resumed.
    Suspended(Box<Suspended>),
    /// Over.
    Terminal(Terminal),
}

/// An execution that waits to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runnable {
    /// What a claim starts.
    pub next: NextAttempt,
    /// Not before a time.
    pub not_before: Option<NotBefore>,
    /// What else holds it back.
    pub blocks: Blocks,
    /// The admission that is out.
    pub grant: Option<Grant>,
}

/// An execution under a lease; an expired or revoked lease stays here until it is reclaimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// The attempt that runs.
    pub attempt: Attempt,
    /// The lease that it runs under.
    pub lease: Lease,
    /// What became of the lease.
    pub fate: LeaseFate,
    /// Why nobody may take over, once the lease is lost; a missing capability is the only reason.
    pub blocks: Blocks,
    /// The reclaim grant that is out, once the lease is lost.
    pub grant: Option<Grant>,
}

/// An execution whose attempt is interrupted until it is resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspended {
    /// The attempt that will go on.
    pub attempt: Attempt,
    /// What it waits for.
    pub suspension: Suspension,
}

/// An execution that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// How it ended.
    pub outcome: Outcome,
    /// The last attempt, if one ever ran.
    pub attempt: Option<Attempt>,
    /// When it ended.
    pub at: TimestampMs,
}

/// What the next claim of a runnable execution starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NextAttempt {
    /// The first attempt.
    First,
    /// A new attempt after a failed one.
    Retry,
    /// The first attempt of another life.
    Replay,
    /// The interrupted attempt goes on.
    Resume {
        /// The attempt.
        attempt: Attempt,
        /// What interrupted it.
        interruption: Interruption,
    },
}

/// What interrupted an attempt that will go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Interruption {
    /// Its worker delayed it.
    Delay,
    /// It waits for its children.
    WaitingChildren,
    /// It was suspended, and resumed since.
    Suspension,
}

/// One run of an execution by workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its id, chosen by the claimer that started it.
    pub id: AttemptId,
    /// Its number, from 0 without gaps.
    pub index: AttemptIndex,
    /// Why it was started.
    pub kind: AttemptKind,
    /// When it was started.
    pub started_at: TimestampMs,
    /// How many frames of output it has appended: the sequence of the last one.
    pub frames: u64,
}

/// Why an attempt was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptKind {
    /// The first of the execution.
    Initial,
    /// After a failed one.
    Retry,
    /// The first of another life.
    Replay,
    /// After one whose lease was lost.
    Reclaim,
}

/// An attempt that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptSummary {
    /// Which attempt.
    pub attempt: Attempt,
    /// When it ended.
    pub ended_at: TimestampMs,
    /// How it ended.
    pub end: AttemptEnd,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptEnd {
    /// It completed.
    Succeeded,
    /// It failed.
    Failed(Failure),
    /// Its lease was lost and another attempt took over, or nobody could.
    Interrupted,
    /// The execution was cancelled.
    Cancelled,
    /// The execution's deadline passed.
    Expired,
    /// It was suspended for too long, which ended the execution.
    SuspensionTimedOut,
}

/// A worker's ownership of an execution until a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its id, chosen by the claimer.
    pub id: LeaseId,
    /// Its fencing token.
    pub epoch: LeaseEpoch,
    /// The worker that holds it.
    pub worker: WorkerId,
    /// The process that holds it.
    pub instance: WorkerInstanceId,
    /// How it was taken.
    pub how: ClaimKind,
    /// When it was given; the attempt timeout counts from here.
    pub acquired_at: TimestampMs,
    /// When it ends unless it is renewed.
    pub expires_at: TimestampMs,
    /// The ttl of its latest renewal.
    pub ttl_ms: DurationMs,
    /// The grant that it consumed.
    pub grant: ConsumedGrant,
}

/// The grant that a lease consumed, so that a repeated request for it is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumedGrant {
    /// Its id.
    pub id: GrantId,
    /// When it would have ended.
    pub expires_at: TimestampMs,
}

/// How an execution was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimKind {
    /// With a new attempt.
    New,
    /// With its interrupted attempt.
    Resumed,
    /// From an owner that lost its lease.
    Reclaimed,
}

/// What became of a lease that nobody gave back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaseFate {
    /// It is held, or ran out unnoticed.
    Held,
    /// It ran out and was marked so; it stays expired if the clock goes back.
    Expired,
    /// An operator took it away.
    Revoked,
}

/// A single-use admission of one worker to this execution. Its kind follows from the phase: a
/// claim grant, a resume grant where an attempt was interrupted, a reclaim grant where a lease was
/// lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its id, chosen by the caller that asked for it.
    pub id: GrantId,
    /// The worker that may use it, with any instance.
    pub worker: WorkerId,
    /// When it ends.
    pub expires_at: TimestampMs,
    /// What the asker wants to be remembered; it plays no part in admission.
    pub audit: Option<Box<GrantAudit>>,
}

/// What the asker of a grant wants to be remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantAudit {
    /// The process that asked.
    pub instance: Option<WorkerInstanceId>,
    /// A hash over the worker's capabilities.
    pub capability_hash: Option<String>,
    /// How the routing decision was made.
    pub route_snapshot_json: Option<String>,
    /// Why the worker was admitted.
    pub admission_summary: Option<String>,
}

/// What each lease-bound call carries: proof of being the latest owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fence {
    /// The lease.
    pub lease_id: LeaseId,
    /// Its fencing token.
    pub lease_epoch: LeaseEpoch,
    /// The attempt that runs under it.
    pub attempt_id: AttemptId,
}

/// A time before which an execution does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotBefore {
    /// The first instant at which it may start.
    pub until: TimestampMs,
    /// Why.
    pub reason: DelayReason,
}

/// Why an execution is delayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DelayReason {
    /// Its submitter or its worker wished it.
    Requested,
    /// A failed attempt is retried later.
    RetryBackoff,
    /// It was resumed, and waits a while first.
    ResumeDelay,
}

/// Counters of an execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Retries in this life.
    pub retries: u32,
    /// Reclaims in this life.
    pub reclaims: u32,
    /// Replays: the number of the present life, from 0.
    pub replays: u32,
    /// Blocks that were rechecked since the last claim; the wait doubles with each.
    pub rechecks: u8,
}

/// What a holder reported of its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// 0 to 100.
    pub percent: u8,
    /// In the worker's words; at most [`Progress::MESSAGE_MAX_BYTES`] bytes.
    pub message: Option<String>,
}

impl Progress {
    /// The longest message that is kept, in bytes; what is longer is cut.
    pub const MESSAGE_MAX_BYTES: usize = 1_024;
}

/// How a lease was given back by its holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The fence of the call.
    pub fence: Fence,
    /// What the call was and what came of it.
    pub outcome: ReleaseOutcome,
}

/// The kind and outcome of a call that gave a lease back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReleaseOutcome {
    /// `complete`.
    Completed,
    /// `fail`.
    Failed(FailOutcome),
    /// `delay_execution`.
    Delayed,
    /// `move_to_waiting_children`.
    WaitingChildren,
    /// `cancel` by the holder.
    Cancelled,
}

/// What came of a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailOutcome {
    /// It is tried again.
    RetryScheduled {
        /// Not before this instant.
        delay_until: TimestampMs,
    },
    /// The life is over.
    TerminalFailed,
}

/// What came of an operator's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperatorOutcome {
    /// `cancel`.
    Cancelled,
    /// `revoke_lease`, with the epoch of the revoked lease.
    Revoked(LeaseEpoch),
    /// `replay`, with the number of the new life.
    Replayed(u32),
    /// `change_priority`.
    PriorityChanged(Priority),
    /// `resume`, with the suspension that it ended.
    Resumed(SuspensionId),
}

/// Work on the record itself that goes on in bounded steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Continuation {
    /// Retention is over and payload and result are gone: signals go next.
    RemoveSignals,
    /// Then the output of attempts, from this one on.
    RemoveFrames(u32),
    /// Everything beside the record is gone: it goes last.
    RemoveRecord,
}

/// A SHA-256 over the content of a submission.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContentDigest(pub [u8; 32]);

impl std::fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…")
    }
}

impl Phase {
    /// The phase in one word.
    pub const fn word(&self) -> LifecyclePhase {
        match self {
            Self::Runnable(_) => LifecyclePhase::Runnable,
            Self::Active(_) => LifecyclePhase::Active,
            Self::Suspended(_) => LifecyclePhase::Suspended,
            Self::Terminal(_) => LifecyclePhase::Terminal,
        }
    }
}

impl Active {
    /// The proof of ownership that its holder's calls carry.
    pub const fn fence(&self) -> Fence {
        Fence {
            lease_id: self.lease.id,
            lease_epoch: self.lease.epoch,
            attempt_id: self.attempt.id,
        }
    }

    /// When the lease ends by a clock that shows `now`. An expiry further away than the ttl and a
    /// minute comes from a clock that has stepped back since, and is treated as `now` + ttl.
    pub fn expires_at(&self, now: TimestampMs) -> TimestampMs {
        if planted!(LeaseGoodAtItsEnd) {
            return self.lease.expires_at.plus(DurationMs::new(1));
        }
        let ttl_from_now = now.plus(self.lease.ttl_ms);
        let farthest = ttl_from_now.plus(Self::CLOCK_STEP);
        if self.lease.expires_at > farthest { ttl_from_now } else { self.lease.expires_at }
    }

    /// How much further away than its ttl an expiry may be before the clock must have stepped.
    pub const CLOCK_STEP: DurationMs = DurationMs::from_secs(60);

    /// Whether the lease ran out, marked or not. A revoked lease is not expired.
    pub fn is_expired(&self, now: TimestampMs) -> bool {
        match self.fate {
            LeaseFate::Held => now >= self.expires_at(now),
            LeaseFate::Expired => true,
            LeaseFate::Revoked => false,
        }
    }

    /// Whether a worker owns the execution.
    pub fn is_leased(&self, now: TimestampMs) -> bool {
        self.fate == LeaseFate::Held && !self.is_expired(now)
    }

    /// From when on the lease is lost: at once where that is marked.
    pub const fn lost_from(&self) -> TimestampMs {
        match self.fate {
            LeaseFate::Held => self.lease.expires_at,
            LeaseFate::Expired | LeaseFate::Revoked => TimestampMs::ZERO,
        }
    }
}

impl Execution {
    /// The attempt that runs, is interrupted, or ran last.
    pub const fn attempt(&self) -> Option<&Attempt> {
        match &self.phase {
            Phase::Runnable(Runnable { next: NextAttempt::Resume { attempt, .. }, .. }) => {
                Some(attempt)
            }
            Phase::Runnable(_) => None,
            Phase::Active(active) => Some(&active.attempt),
            Phase::Suspended(suspended) => Some(&suspended.attempt),
            Phase::Terminal(terminal) => terminal.attempt.as_ref(),
        }
    }

    /// The grant that is out, live or not.
    pub const fn grant(&self) -> Option<&Grant> {
        match &self.phase {
            Phase::Runnable(runnable) => runnable.grant.as_ref(),
            Phase::Active(active) => active.grant.as_ref(),
            Phase::Suspended(_) | Phase::Terminal(_) => None,
        }
    }

    /// What holds the execution back, while it waits for a worker.
    pub const fn blocks(&self) -> Option<&Blocks> {
        match &self.phase {
            Phase::Runnable(runnable) => Some(&runnable.blocks),
            Phase::Active(active) => Some(&active.blocks),
            Phase::Suspended(_) | Phase::Terminal(_) => None,
        }
    }

    /// What holds the execution back, to be changed.
    pub(super) const fn blocks_mut(&mut self) -> Option<&mut Blocks> {
        match &mut self.phase {
            Phase::Runnable(runnable) => Some(&mut runnable.blocks),
            Phase::Active(active) => Some(&mut active.blocks),
            Phase::Suspended(_) | Phase::Terminal(_) => None,
        }
    }

    /// Its waitpoints and suspensions, to be changed.
    pub(super) fn waiting_mut(&mut self) -> &mut Waiting {
        self.waiting.get_or_insert_default()
    }

    /// The suspension that holds it.
    pub const fn suspension(&self) -> Option<&Suspension> {
        match &self.phase {
            Phase::Suspended(suspended) => Some(&suspended.suspension),
            _ => None,
        }
    }

    /// When the attempt that runs has taken too long, if it may.
    pub fn attempt_times_out_at(&self, lease: &Lease) -> Option<TimestampMs> {
        self.policy.timeout.attempt_timeout_ms.map(|timeout| lease.acquired_at.plus(timeout))
    }

    /// How an execution that is over ended.
    pub const fn terminal_outcome(&self) -> TerminalOutcome {
        match &self.phase {
            Phase::Terminal(terminal) => terminal.outcome.word(),
            _ => TerminalOutcome::None,
        }
    }
}

impl Grant {
    /// Whether the grant can still be used.
    pub fn is_live(&self, now: TimestampMs) -> bool {
        now < self.good_until()
    }

    /// The first instant at which the grant cannot be used any more.
    pub(super) fn good_until(&self) -> TimestampMs {
        if planted!(GrantGoodAtItsEnd) {
            return self.expires_at.plus(DurationMs::new(1));
        }
        self.expires_at
    }
}
