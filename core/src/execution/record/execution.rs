//! The record of an execution: its whole control state. Payload and result are separate values
//! (`docs/architecture.md`, Records).

use serde::{Deserialize, Serialize};

use crate::bounded::Bounded;
use crate::capability::Capabilities;
use crate::id::{
    ExecutionId, ExecutionKind, GrantId, LaneId, LeaseEpoch, Namespace, Nonce, RequestId, SlotId,
    SuspensionId,
};
use crate::limits::Limits;
use crate::policy::{ExecutionPolicy, Priority};
use crate::quota_ref::QuotaRef;
use crate::state::TerminalOutcome;
use crate::tags::Tags;
use crate::time::TimestampMs;

use super::attempt::{Attempt, AttemptSummary};
use super::blocks::Blocks;
use super::grant::Grant;
use super::lease::{Fence, Lease, Release};
use super::phase::{NextAttempt, Phase, Runnable};
use super::waiting::{Suspension, Waiting};

/// One execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// Its id.
    pub id: ExecutionId,
    /// The tenant that it belongs to.
    pub namespace: Namespace,
    /// The lane (queue) that it waits in.
    pub lane: LaneId,
    /// The kind of work.
    pub kind: ExecutionKind,
    /// Higher is served first.
    pub priority: Priority,
    /// When it was created.
    pub created_at: TimestampMs,
    /// Its position among executions that one client created together.
    pub position: u16,
    /// When it was changed last, renewals and progress included.
    pub updated_at: TimestampMs,
    /// Drawn by the call that created it: distinguishes that call's lost reply from a duplicate.
    pub creator: Nonce,
    /// The digest of its content, when it was created under an idempotency key.
    pub content: Option<ContentDigest>,
    /// How it is run.
    pub policy: ExecutionPolicy,
    /// The capabilities that a worker must have.
    pub requires: Capabilities,
    /// The user's labels.
    pub tags: Tags,
    /// When it expires, in whatever phase.
    pub deadline: Option<TimestampMs>,
    /// Where it is in its life.
    pub phase: Phase,
    /// The fencing epoch of the latest lease ever given; only grows.
    pub epoch: LeaseEpoch,
    /// The fence of the latest lease ever given, in every phase.
    pub last_fence: Option<Fence>,
    /// How many attempts there were; the index of the next new one.
    pub attempts_total: u32,
    /// The latest attempts that are over.
    pub past_attempts: Bounded<AttemptSummary, 8>,
    /// Counters of the present life, and of lives.
    pub counts: Counts,
    /// The latest progress that the holder reported.
    pub progress: Option<Progress>,
    /// How the latest lease was given back, so that a repeat is recognised.
    pub last_release: Option<Release>,
    /// The latest calls of operators, so that a repeat is recognised.
    pub requests: Bounded<(RequestId, OperatorOutcome), 8>,
    /// The budgets and quotas that it counts towards, if there are any.
    pub limits: Option<Box<Limited>>,
    /// Its waitpoints and suspensions, once it has had one.
    pub waiting: Option<Box<Waiting>>,
    /// How many attempts, counted from the first, may have output; retention removes it.
    pub framed: u32,
    /// The next step of the record's removal, which is due now.
    pub continuation: Option<Continuation>,
}

/// The limits of an execution, and which of them it waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limited {
    /// The budgets and quotas.
    pub limits: Limits,
    /// The place of the quota that refused it a slot last, among its quotas.
    pub waits_for: Option<u8>,
    /// The slots that it took for its latest grant, in each of its quotas.
    pub slot: Option<GrantSlot>,
    /// Its turn in the queue of a rate, until it starts.
    pub turn: Option<RateTurn>,
}

/// The turn of an execution among those that wait for the rate of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateTurn {
    /// The place of the quota among those of the execution.
    pub quota: u8,
    /// When it may start, by the clock of the quota's partition.
    pub at: TimestampMs,
}

/// The slots that an execution took for a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantSlot {
    /// The grant.
    pub grant: GrantId,
    /// The slot, the same in each quota.
    pub slot: SlotId,
}

impl Limited {
    /// The quota that refused it a slot last.
    pub fn awaited(&self) -> Option<&QuotaRef> {
        self.limits.quotas.get(usize::from(self.waits_for?))
    }
}

/// The counters of an execution.
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

/// The progress that a holder reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// 0 to 100.
    pub percent: u8,
    /// A text of the worker's, at most [`Progress::MESSAGE_MAX_BYTES`] bytes.
    pub message: Option<String>,
}

impl Progress {
    /// The longest message that is kept, in bytes; a longer one is truncated.
    pub const MESSAGE_MAX_BYTES: usize = 1_024;
}

/// The outcome of an operator's call.
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

/// The next step of a record's removal once its retention is over. The first step removes payload
/// and result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Continuation {
    /// Remove the signals.
    RemoveSignals,
    /// Remove the output of attempts, from this one on.
    RemoveFrames(u32),
    /// Remove the record, which is all that is left.
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

    /// The grant that is issued, live or expired.
    pub const fn grant(&self) -> Option<&Grant> {
        match &self.phase {
            Phase::Runnable(runnable) => runnable.grant.as_ref(),
            Phase::Active(active) => active.grant.as_ref(),
            Phase::Suspended(_) | Phase::Terminal(_) => None,
        }
    }

    /// The reasons that hold the execution back while it waits for a worker.
    pub const fn blocks(&self) -> Option<&Blocks> {
        match &self.phase {
            Phase::Runnable(runnable) => Some(&runnable.blocks),
            Phase::Active(active) => Some(&active.blocks),
            Phase::Suspended(_) | Phase::Terminal(_) => None,
        }
    }

    /// The reasons that hold the execution back, to be changed.
    pub(in crate::execution) const fn blocks_mut(&mut self) -> Option<&mut Blocks> {
        match &mut self.phase {
            Phase::Runnable(runnable) => Some(&mut runnable.blocks),
            Phase::Active(active) => Some(&mut active.blocks),
            Phase::Suspended(_) | Phase::Terminal(_) => None,
        }
    }

    /// Its waitpoints and suspensions, to be changed.
    pub(in crate::execution) fn waiting_mut(&mut self) -> &mut Waiting {
        self.waiting.get_or_insert_default()
    }

    /// The suspension that holds it.
    pub const fn suspension(&self) -> Option<&Suspension> {
        match &self.phase {
            Phase::Suspended(suspended) => Some(&suspended.suspension),
            _ => None,
        }
    }

    /// When the attempt that runs times out, if its policy has an attempt timeout.
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
