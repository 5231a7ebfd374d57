//! The waiting state of an execution: its waitpoints, its suspension, and how it was resumed
//! (`docs/spec.md`, 5). Each signal has its own record. This one has only counts and the ids of
//! those that satisfied a condition, so that it stays small however many are sent.

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
    /// The condition that resumes it.
    pub resumes: Resumes,
    /// When it times out, and what happens then; `None` once that has happened.
    pub timeout: Option<Timeout>,
    /// When it was escalated because it timed out.
    pub escalated_at: Option<TimestampMs>,
    /// How it goes on.
    pub policy: ResumePolicy,
}

/// The condition that resumes a suspension, apart from an operator and its timeout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resumes {
    /// Signals that satisfy these parts.
    Signals(Tallies),
    /// An operator only.
    OperatorOnly,
    /// Its timeout only.
    TimeoutOnly,
}

/// The parts of a condition on signals, and how they are joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tallies {
    /// The parts, in the order in which the condition names them.
    pub parts: Vec<Tally>,
    /// The condition over the parts in postfix order: each `Part` stands for the next of them, each
    /// other step joins the results before it into one. Empty if all parts have to be satisfied.
    /// (A record is read from the store, so it holds no type that nests without a bound.)
    pub joins: Vec<Join>,
}

/// One step of a condition over its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// The next part.
    Part,
    /// So many members before it, all of which have to be satisfied.
    AllOf(u32),
    /// So many members before it, one of which has to be satisfied.
    AnyOf(u32),
}

/// A part of a condition with the signals that have counted for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The part.
    pub part: ConditionPart,
    /// The signals that have counted, never more than the part asks for.
    pub counted: Vec<Counted>,
}

/// A signal that counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The value that must be distinct among those that count: the waitpoint, the signal, or the
    /// digest of its source.
    pub fingerprint: Uuid,
    /// The signal.
    pub signal: SignalId,
}

/// When a suspension times out, and what happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeout {
    /// The first instant after its time.
    pub at: TimestampMs,
    /// The behaviour at that time.
    pub behaviour: TimeoutBehaviour,
}

/// The waitpoints and suspensions of an execution that has had one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The waitpoints that take signals.
    pub open: Vec<Waitpoint>,
    /// The latest ones that no longer do, so that a late signal is refused as such and a repeated
    /// one is recognised.
    pub closed: Bounded<Waitpoint, MAX_WAITPOINTS>,
    /// How many signals were taken, over all waitpoints and lives: the number of the next one.
    pub signals: u32,
    /// The present or latest suspension, so that a repeat is recognised.
    pub latest: Option<LatestSuspension>,
    /// How the suspension was resumed that the present or the next lease goes on from, if it does.
    pub resumption: Option<Resumption>,
}

/// A named point at which an execution waits for signals.
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
    /// Distinguishes its token from others without revealing it.
    pub fingerprint: Fingerprint,
    /// Whether a suspension uses it.
    pub state: WaitpointState,
    /// The number of the first signal that counts at it.
    pub counts_from: u32,
    /// How many signals it has taken.
    pub signals: u32,
}

/// Whether a suspension uses a waitpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitpointState {
    /// No suspension uses it yet: signals are buffered.
    Pending {
        /// When it closes unless a suspension uses it; `None` if it stays open as long as its
        /// attempt.
        expires_at: Option<TimestampMs>,
    },
    /// The present suspension uses it.
    Active,
}

/// The present or latest suspension, by which a repeat is recognised. \[INV-IDENTITY-1\]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatestSuspension {
    /// Its id.
    pub id: SuspensionId,
    /// Its waitpoints.
    pub waitpoints: Vec<WaitpointId>,
    /// The outcome of the call.
    pub outcome: SuspendedHow,
}

/// The outcome of the call that suspended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuspendedHow {
    /// The lease was given back; the suspension times out at this instant, if it does.
    Suspended(Option<TimestampMs>),
    /// Buffered signals had satisfied the condition, and the lease was kept.
    AlreadySatisfied(Vec<SignalId>),
}

/// How a suspension was resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumption {
    /// The suspension.
    pub suspension_id: SuspensionId,
    /// The cause of the resumption.
    pub by: ResumedBy,
    /// The signals that satisfied its condition, in the order in which they counted.
    pub signals: Vec<SignalId>,
}

/// The cause of a resumption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResumedBy {
    /// Signals that satisfied its condition.
    Signals,
    /// An operator.
    Operator,
    /// Its timeout.
    Timeout {
        /// Whether its worker gets a signal for it.
        signal: bool,
        /// When it timed out.
        at: TimestampMs,
    },
}

impl Waitpoint {
    /// The data that its token signs.
    pub const fn subject(&self) -> Subject<'_> {
        Subject { id: self.id, key: &self.key, created_at: self.created_at }
    }

    /// When it closes unless a suspension uses it.
    pub const fn expires_at(&self) -> Option<TimestampMs> {
        match self.state {
            WaitpointState::Pending { expires_at } => expires_at,
            WaitpointState::Active => None,
        }
    }

    /// Whether it has expired, marked or not.
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
