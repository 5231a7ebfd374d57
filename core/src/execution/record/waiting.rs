//! What an execution waits for: its waitpoints, its suspension, and how it was resumed
//! (`docs/spec.md`, 5). Signals are records of their own; here are only counts and the ids of those
//! that satisfied a condition, so that the record stays small whatever is sent.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::bounded::Bounded;
use crate::condition::{
    ConditionPart, MAX_WAITPOINTS, ResumePolicy, SuspensionReason, TimeoutBehaviour,
};
use crate::id::{SignalId, SuspensionId, WaitpointId, WaitpointKey};
use crate::time::TimestampMs;
use crate::token::{Fingerprint, Kid, Subject};

/// One suspension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// Chosen by the worker that suspended.
    pub id: SuspensionId,
    /// Why.
    pub reason: SuspensionReason,
    /// Since when.
    pub since: TimestampMs,
    /// What resumes it.
    pub resumes: Resumes,
    /// When it has taken too long, and what happens then; `None` once that has happened.
    pub timeout: Option<Timeout>,
    /// When it was escalated because it took too long.
    pub escalated_at: Option<TimestampMs>,
    /// How it goes on.
    pub policy: ResumePolicy,
}

/// What resumes a suspension, apart from an operator and its timeout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resumes {
    /// Signals that satisfy all of these.
    Signals(Vec<Tally>),
    /// An operator only.
    OperatorOnly,
    /// Its timeout only.
    TimeoutOnly,
}

/// A part of a condition with the signals that have counted for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// What is asked for.
    pub part: ConditionPart,
    /// What has counted, never more than is asked for.
    pub counted: Vec<Counted>,
}

/// A signal that counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// By what it is told from others of the same count: the waitpoint, the signal, or the digest
    /// of its source.
    pub mark: Uuid,
    /// The signal.
    pub signal: SignalId,
}

/// When a suspension has taken too long, and what happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeout {
    /// When.
    pub at: TimestampMs,
    /// What.
    pub behaviour: TimeoutBehaviour,
}

/// What an execution that had a waitpoint keeps of all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The waitpoints that take signals.
    pub open: Vec<Waitpoint>,
    /// The latest ones that take none any more: a late signal learns that, and a repeated one is
    /// recognised.
    pub closed: Bounded<Waitpoint, MAX_WAITPOINTS>,
    /// How many signals there were, over all waitpoints and lives; the number of the next one.
    pub signals: u32,
    /// The present or latest suspension, so that a repeat is recognised.
    pub latest: Option<LatestSuspension>,
    /// How the lease that runs came to be, or the next one will, if a suspension was resumed by it.
    pub resumption: Option<Resumption>,
}

/// A named place where an execution waits for signals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waitpoint {
    /// Chosen by the worker that created it.
    pub id: WaitpointId,
    /// Its name, which no other open waitpoint of the execution has.
    pub key: WaitpointKey,
    /// When it was created.
    pub created_at: TimestampMs,
    /// The secret that its token was signed with when it was created.
    pub kid: Kid,
    /// By which its token is told from others, without giving it away.
    pub fingerprint: Fingerprint,
    /// Whether a suspension uses it.
    pub state: WaitpointState,
    /// The number of the first signal that counts at it.
    pub counts_from: u32,
    /// How many signals it has had.
    pub signals: u32,
}

/// Whether a suspension uses a waitpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitpointState {
    /// None does yet: signals are buffered.
    Pending {
        /// When it closes unless a suspension uses it; `None` where it stays open with its attempt.
        expires_at: Option<TimestampMs>,
    },
    /// The present one does.
    Active,
}

/// The present or latest suspension, by which a repeat is recognised. \[INV-IDENTITY-1\]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatestSuspension {
    /// Its id.
    pub id: SuspensionId,
    /// Its waitpoints.
    pub waitpoints: Vec<WaitpointId>,
    /// What came of the call.
    pub outcome: SuspendedHow,
}

/// What came of the call that suspended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuspendedHow {
    /// The lease was given back, until this time at the latest.
    Suspended(Option<TimestampMs>),
    /// Its condition was satisfied already by these signals, and the lease was kept.
    AlreadySatisfied(Vec<SignalId>),
}

/// How a suspension was resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumption {
    /// The suspension.
    pub suspension_id: SuspensionId,
    /// By what.
    pub by: ResumedBy,
    /// The signals that satisfied its condition, in the order in which they counted.
    pub signals: Vec<SignalId>,
}

/// What resumed a suspension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResumedBy {
    /// Signals that satisfied its condition.
    Signals,
    /// An operator.
    Operator,
    /// Its timeout.
    Timeout {
        /// Whether its worker sees a signal for it.
        signal: bool,
        /// When.
        at: TimestampMs,
    },
}

impl Waitpoint {
    /// What its token is signed for.
    pub const fn subject(&self) -> Subject<'_> {
        Subject { id: self.id, key: &self.key, created_at: self.created_at }
    }

    /// When it closes by itself.
    pub const fn expires_at(&self) -> Option<TimestampMs> {
        match self.state {
            WaitpointState::Pending { expires_at } => expires_at,
            WaitpointState::Active => None,
        }
    }

    /// Whether it has closed by itself, marked or not.
    pub fn is_expired(&self, now: TimestampMs) -> bool {
        self.expires_at().is_some_and(|at| at <= now)
    }
}

impl Waiting {
    /// The waitpoint of this id, open or closed, and whether it is open.
    pub fn waitpoint(&self, id: WaitpointId) -> Option<(&Waitpoint, bool)> {
        let open = self.open.iter().find(|waitpoint| waitpoint.id == id);
        let closed = || self.closed.iter().rev().find(|waitpoint| waitpoint.id == id);
        open.map(|waitpoint| (waitpoint, true)).or_else(|| closed().map(|found| (found, false)))
    }

    /// The open waitpoint of this name.
    pub fn open_by_key(&self, key: &WaitpointKey) -> Option<&Waitpoint> {
        self.open.iter().find(|waitpoint| waitpoint.key == *key)
    }

    /// Closes the open waitpoints that `which` picks.
    pub(in crate::execution) fn close(&mut self, which: impl Fn(&Waitpoint) -> bool) {
        for waitpoint in self.open.extract_if(.., |waitpoint| which(waitpoint)) {
            self.closed.push(waitpoint);
        }
    }
}
