//! Where an execution is in its life: waiting, owned, suspended or over (`docs/spec.md`, 1).

use serde::{Deserialize, Serialize};

use crate::state::LifecyclePhase;
use crate::time::{DurationMs, TimestampMs};

use super::attempt::Attempt;
use super::blocks::Blocks;
use super::grant::Grant;
use super::lease::{Fence, Lease, LeaseFate};
use super::outcome::Outcome;
use super::waiting::Suspension;

/// Where an execution is in its life. A state that makes no sense cannot be represented.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Waiting to run. Eligible when nothing holds it back and no grant is issued.
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
    /// The attempt that a claim starts.
    pub next: NextAttempt,
    /// The time before which it does not start, if there is one.
    pub not_before: Option<NotBefore>,
    /// The other reasons that hold it back.
    pub blocks: Blocks,
    /// The grant that is issued, live or expired.
    pub grant: Option<Grant>,
}

/// An execution under a lease; an expired or revoked lease stays here until it is reclaimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// The attempt that runs.
    pub attempt: Attempt,
    /// The lease that it runs under.
    pub lease: Lease,
    /// The state of the lease.
    pub fate: LeaseFate,
    /// The reasons that hold back a takeover, once the lease is lost; a missing capability is the
    /// only one.
    pub blocks: Blocks,
    /// The reclaim grant that is issued, once the lease is lost.
    pub grant: Option<Grant>,
}

/// An execution whose attempt is interrupted until it is resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspended {
    /// The attempt that will go on.
    pub attempt: Attempt,
    /// The suspension, with the condition that resumes it.
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

/// The attempt that the next claim of a runnable execution starts.
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
        /// The cause of the interruption.
        interruption: Interruption,
    },
}

/// The cause that interrupted an attempt that will go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Interruption {
    /// Its worker delayed it.
    Delay,
    /// It waits for its children.
    WaitingChildren,
    /// It was suspended, and resumed since.
    Suspension,
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
    /// Its submitter or its worker asked for it.
    Requested,
    /// It waits for the backoff of a retry.
    RetryBackoff,
    /// It was resumed, with a resume delay.
    ResumeDelay,
}

impl Phase {
    /// The phase without its values.
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
    /// minute means that the clock has stepped back since; it counts as `now` + ttl.
    pub fn expires_at(&self, now: TimestampMs) -> TimestampMs {
        if self.outlasts_clock(now) { now.plus(self.lease.ttl_ms) } else { self.lease.expires_at }
    }

    /// Whether the lease ends so late that the clock, which shows `now`, must have stepped back
    /// since it was given.
    pub fn outlasts_clock(&self, now: TimestampMs) -> bool {
        self.lease.expires_at > now.plus(self.lease.ttl_ms).plus(Self::CLOCK_STEP)
    }

    /// How much further away than its ttl an expiry may be before the clock must have stepped.
    pub const CLOCK_STEP: DurationMs = DurationMs::from_secs(60);

    /// Whether the lease expired, marked or not. A revoked lease is not expired.
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

    /// The first instant at which the lease is lost: any instant if that is marked.
    pub const fn lost_from(&self) -> TimestampMs {
        match self.fate {
            LeaseFate::Held => self.lease.expires_at,
            LeaseFate::Expired | LeaseFate::Revoked => TimestampMs::ZERO,
        }
    }
}
