//! Situations: the cases of an execution that rules distinguish, for tests and tables.

use std::fmt;

use crate::execution::record::{Execution, LeaseFate, NextAttempt, Phase};
use crate::state::EligibilityState;
use crate::time::TimestampMs;

use super::state_vector::eligibility;

/// A situation that makes a difference to at least one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Situation {
    /// Eligible, a new attempt would start.
    Waiting,
    /// A live grant is issued.
    Granted,
    /// Delayed until a time.
    Delayed,
    /// Another reason holds it back.
    Blocked,
    /// Eligible, an interrupted attempt would go on.
    Interrupted,
    /// A worker holds a live lease.
    Leased,
    /// The lease expired.
    Expired,
    /// The lease was revoked.
    Revoked,
    /// It waits to be resumed.
    Suspended,
    /// Over.
    Terminal,
}

impl Situation {
    /// Every situation.
    pub const ALL: [Self; 10] = [
        Self::Waiting,
        Self::Granted,
        Self::Delayed,
        Self::Blocked,
        Self::Interrupted,
        Self::Leased,
        Self::Expired,
        Self::Revoked,
        Self::Suspended,
        Self::Terminal,
    ];

    /// Its name in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Granted => "granted",
            Self::Delayed => "delayed",
            Self::Blocked => "blocked",
            Self::Interrupted => "interrupted",
            Self::Leased => "leased",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Suspended => "suspended",
            Self::Terminal => "terminal",
        }
    }
}

impl fmt::Display for Situation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The situation of an execution at an instant of the store's clock.
pub fn situation(execution: &Execution, now: TimestampMs) -> Situation {
    match &execution.phase {
        Phase::Runnable(runnable) => {
            if runnable.grant.as_ref().is_some_and(|grant| grant.is_live(now)) {
                return Situation::Granted;
            }
            match (eligibility(execution, now), &runnable.next) {
                (EligibilityState::NotEligibleUntilTime, _) => Situation::Delayed,
                (EligibilityState::EligibleNow, NextAttempt::Resume { .. }) => {
                    Situation::Interrupted
                }
                (EligibilityState::EligibleNow, _) => Situation::Waiting,
                _ => Situation::Blocked,
            }
        }
        Phase::Active(active) if active.fate == LeaseFate::Revoked => Situation::Revoked,
        Phase::Active(active) if active.is_expired(now) => Situation::Expired,
        Phase::Active(_) => Situation::Leased,
        Phase::Suspended(_) => Situation::Suspended,
        Phase::Terminal(_) => Situation::Terminal,
    }
}
