//! The state that users and dashboards see (`docs/spec.md`, 3). Records hold a phase instead; this
//! vector is derived from it.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every value, in the order of the specification.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The value's stable name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| {
                    UnknownWord { dimension: stringify!($name), word: text.to_owned() }
                })
            }
        }
    };
}

/// A text that names no value of a dimension.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is no {dimension}")]
pub struct UnknownWord {
    /// The dimension that was asked for.
    pub dimension: &'static str,
    /// The text that was given.
    pub word: String,
}

words! {
    /// Where an execution is in its life.
    LifecyclePhase {
        /// Reserved.
        Submitted = "submitted",
        /// Waiting to run.
        Runnable = "runnable",
        /// Owned by a worker, or owned until recently.
        Active = "active",
        /// Waiting for signals.
        Suspended = "suspended",
        /// Over, until it is replayed.
        Terminal = "terminal",
    }
}

words! {
    /// Who owns an execution.
    OwnershipState {
        /// Nobody.
        Unowned = "unowned",
        /// A worker holds a lease.
        Leased = "leased",
        /// The lease ran out; the work can be reclaimed.
        LeaseExpiredReclaimable = "lease_expired_reclaimable",
        /// An operator took the lease away; the work can be reclaimed.
        LeaseRevoked = "lease_revoked",
    }
}

words! {
    /// Whether a runnable execution may be claimed, and what holds it back first.
    EligibilityState {
        /// Nothing holds it back.
        EligibleNow = "eligible_now",
        /// Delayed.
        NotEligibleUntilTime = "not_eligible_until_time",
        /// Waits for other executions.
        BlockedByDependencies = "blocked_by_dependencies",
        /// Waits for a budget.
        BlockedByBudget = "blocked_by_budget",
        /// Waits for a quota.
        BlockedByQuota = "blocked_by_quota",
        /// Waits for a worker that has the capabilities it needs.
        BlockedByRoute = "blocked_by_route",
        /// Its lane is paused.
        BlockedByLaneState = "blocked_by_lane_state",
        /// An operator holds it.
        BlockedByOperator = "blocked_by_operator",
        /// Not runnable.
        NotApplicable = "not_applicable",
    }
}

words! {
    /// Why an execution does not run right now.
    BlockingReason {
        /// It runs, or is over.
        None = "none",
        /// Nothing but a free worker is missing.
        WaitingForWorker = "waiting_for_worker",
        /// A failed attempt is retried later.
        WaitingForRetryBackoff = "waiting_for_retry_backoff",
        /// Resumed, but not before a delay.
        WaitingForResumeDelay = "waiting_for_resume_delay",
        /// Delayed by its submitter or its worker.
        WaitingForDelay = "waiting_for_delay",
        /// Suspended until a signal comes.
        WaitingForSignal = "waiting_for_signal",
        /// Suspended until somebody approves.
        WaitingForApproval = "waiting_for_approval",
        /// Suspended until a callback comes.
        WaitingForCallback = "waiting_for_callback",
        /// Suspended until a tool answers.
        WaitingForToolResult = "waiting_for_tool_result",
        /// Other executions must finish first.
        WaitingForChildren = "waiting_for_children",
        /// A budget is at its limit.
        WaitingForBudget = "waiting_for_budget",
        /// A quota is at its limit.
        WaitingForQuota = "waiting_for_quota",
        /// No worker has the capabilities it needs.
        WaitingForCapableWorker = "waiting_for_capable_worker",
        /// An operator holds it.
        PausedByOperator = "paused_by_operator",
        /// A policy holds it.
        PausedByPolicy = "paused_by_policy",
    }
}

words! {
    /// How a life ended.
    TerminalOutcome {
        /// It has not ended.
        None = "none",
        /// Completed.
        Success = "success",
        /// Failed, and no retry is left.
        Failed = "failed",
        /// Cancelled by its holder or an operator.
        Cancelled = "cancelled",
        /// Its deadline passed.
        Expired = "expired",
        /// Another execution's outcome made it needless.
        Skipped = "skipped",
    }
}

words! {
    /// What the present or next attempt is.
    AttemptState {
        /// There is none.
        None = "none",
        /// The first attempt has not started.
        PendingFirstAttempt = "pending_first_attempt",
        /// An attempt runs under a lease.
        RunningAttempt = "running_attempt",
        /// An attempt was interrupted.
        AttemptInterrupted = "attempt_interrupted",
        /// A retry has not started.
        PendingRetryAttempt = "pending_retry_attempt",
        /// A replay has not started.
        PendingReplayAttempt = "pending_replay_attempt",
        /// The last attempt is over.
        AttemptTerminal = "attempt_terminal",
    }
}

words! {
    /// One word for all dimensions together.
    PublicState {
        /// Ready, or held back by an operator, a lane or a missing capability.
        Waiting = "waiting",
        /// Until a time.
        Delayed = "delayed",
        /// By a budget or a quota.
        RateLimited = "rate_limited",
        /// For other executions.
        WaitingChildren = "waiting_children",
        /// Owned by a worker.
        Active = "active",
        /// Until a signal.
        Suspended = "suspended",
        /// Ready to go on after a suspension.
        Resumable = "resumable",
        /// Over: success.
        Completed = "completed",
        /// Over: failed.
        Failed = "failed",
        /// Over: cancelled.
        Cancelled = "cancelled",
        /// Over: its deadline passed.
        Expired = "expired",
        /// Over: not needed.
        Skipped = "skipped",
    }
}

/// All dimensions of an execution's state at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StateVector {
    /// Where it is in its life.
    pub lifecycle_phase: LifecyclePhase,
    /// Who owns it.
    pub ownership_state: OwnershipState,
    /// Whether it may be claimed.
    pub eligibility_state: EligibilityState,
    /// Why it does not run.
    pub blocking_reason: BlockingReason,
    /// How its life ended.
    pub terminal_outcome: TerminalOutcome,
    /// What its present or next attempt is.
    pub attempt_state: AttemptState,
    /// One word for all of it.
    pub public_state: PublicState,
}

impl PublicState {
    /// Whether this is one of the five terminal states.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Failed | Self::Cancelled | Self::Expired | Self::Skipped
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_parse_back() {
        for word in PublicState::ALL {
            assert_eq!(word.as_str().parse(), Ok(*word));
        }
        assert!("done".parse::<PublicState>().is_err());
    }
}
