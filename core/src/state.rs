//! The state vector that users and dashboards see (`docs/spec.md`, 3). It is derived from the
//! phase that a record holds.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! dimension {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// All values, in the order of the specification.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the value's stable name.
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
            type Err = UnknownState;

            fn from_str(text: &str) -> Result<Self, UnknownState> {
                let found = Self::ALL.iter().copied().find(|value| value.as_str() == text);
                found.ok_or_else(|| UnknownState {
                    dimension: stringify!($name),
                    text: text.to_owned(),
                    expected: [$($text),+].join(", "),
                })
            }
        }
    };
}

/// The error for a text that is not a value of a dimension.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {dimension} {text:?}: expected one of {expected}")]
pub struct UnknownState {
    /// The type name of the dimension, such as `PublicState`.
    pub dimension: &'static str,
    /// The text.
    pub text: String,
    /// The names of all values, separated by commas.
    pub expected: String,
}

dimension! {
    /// The phase of an execution in its life.
    LifecyclePhase {
        /// Reserved.
        Submitted = "submitted",
        /// Waiting to run.
        Runnable = "runnable",
        /// Owned by a worker, or owned until recently.
        Active = "active",
        /// Waiting for signals.
        Suspended = "suspended",
        /// Ended, unless it is replayed.
        Terminal = "terminal",
    }
}

dimension! {
    /// The ownership of an execution.
    OwnershipState {
        /// No worker owns it.
        Unowned = "unowned",
        /// A worker holds a lease.
        Leased = "leased",
        /// The lease expired. The execution can be reclaimed.
        LeaseExpiredReclaimable = "lease_expired_reclaimable",
        /// An operator revoked the lease. The execution can be reclaimed.
        LeaseRevoked = "lease_revoked",
    }
}

dimension! {
    /// Whether a runnable execution may be claimed, and if not, the first reason.
    EligibilityState {
        /// It may be claimed.
        EligibleNow = "eligible_now",
        /// It is delayed.
        NotEligibleUntilTime = "not_eligible_until_time",
        /// It waits for other executions.
        BlockedByDependencies = "blocked_by_dependencies",
        /// It waits for a budget.
        BlockedByBudget = "blocked_by_budget",
        /// It waits for a quota.
        BlockedByQuota = "blocked_by_quota",
        /// It waits for a worker that has the required capabilities.
        BlockedByRoute = "blocked_by_route",
        /// Its lane is paused.
        BlockedByLaneState = "blocked_by_lane_state",
        /// An operator blocks it.
        BlockedByOperator = "blocked_by_operator",
        /// It is not runnable.
        NotApplicable = "not_applicable",
    }
}

dimension! {
    /// The reason an execution does not run right now.
    BlockingReason {
        /// It runs, or has ended.
        None = "none",
        /// It waits only for a free worker.
        WaitingForWorker = "waiting_for_worker",
        /// It waits for the backoff after a failed attempt.
        WaitingForRetryBackoff = "waiting_for_retry_backoff",
        /// It was resumed and waits for the resume delay.
        WaitingForResumeDelay = "waiting_for_resume_delay",
        /// Its submitter or its worker delayed it.
        WaitingForDelay = "waiting_for_delay",
        /// It is suspended until a signal arrives.
        WaitingForSignal = "waiting_for_signal",
        /// It is suspended until a person approves.
        WaitingForApproval = "waiting_for_approval",
        /// It is suspended until another system calls back.
        WaitingForCallback = "waiting_for_callback",
        /// It is suspended until a tool answers.
        WaitingForToolResult = "waiting_for_tool_result",
        /// Other executions must finish first.
        WaitingForChildren = "waiting_for_children",
        /// A budget is at its limit.
        WaitingForBudget = "waiting_for_budget",
        /// A quota is at its limit.
        WaitingForQuota = "waiting_for_quota",
        /// No known worker has the required capabilities.
        WaitingForCapableWorker = "waiting_for_capable_worker",
        /// An operator paused it.
        PausedByOperator = "paused_by_operator",
        /// A policy paused it.
        PausedByPolicy = "paused_by_policy",
    }
}

dimension! {
    /// The outcome of one life of an execution.
    TerminalOutcome {
        /// It has not ended.
        None = "none",
        /// It completed.
        Success = "success",
        /// It failed, and no retry is left.
        Failed = "failed",
        /// Its holder or an operator cancelled it.
        Cancelled = "cancelled",
        /// Its deadline passed.
        Expired = "expired",
        /// Another execution's outcome made it unnecessary.
        Skipped = "skipped",
    }
}

dimension! {
    /// The state of the current or next attempt.
    AttemptState {
        /// There is no attempt.
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
        /// The last attempt has ended.
        AttemptTerminal = "attempt_terminal",
    }
}

dimension! {
    /// The summary of all dimensions in one value.
    PublicState {
        /// Ready, or blocked by an operator, its lane or a missing capability.
        Waiting = "waiting",
        /// Delayed until a time.
        Delayed = "delayed",
        /// Blocked by a budget or a quota.
        RateLimited = "rate_limited",
        /// Waiting for other executions.
        WaitingChildren = "waiting_children",
        /// Owned by a worker.
        Active = "active",
        /// Suspended until a signal.
        Suspended = "suspended",
        /// Ready to continue after a suspension.
        Resumable = "resumable",
        /// Terminal: it completed.
        Completed = "completed",
        /// Terminal: it failed.
        Failed = "failed",
        /// Terminal: it was cancelled.
        Cancelled = "cancelled",
        /// Terminal: its deadline passed.
        Expired = "expired",
        /// Terminal: it was not needed.
        Skipped = "skipped",
    }
}

dimension! {
    /// The state in which an execution is counted. It follows from the record alone, whatever the
    /// time: an execution is counted as delayed until its timer is applied, and as active until its
    /// lost lease is taken over.
    ///
    /// The number of a state is stored: new ones go to the end.
    CountedState {
        /// Nothing holds it back.
        Waiting = "waiting",
        /// Nothing holds it back from going on after a suspension.
        Resumable = "resumable",
        /// Delayed until a time.
        Delayed = "delayed",
        /// Blocked by an operator.
        BlockedByOperator = "blocked_by_operator",
        /// Blocked by the state of its lane.
        BlockedByLaneState = "blocked_by_lane_state",
        /// Blocked until other executions end.
        BlockedByDependencies = "blocked_by_dependencies",
        /// Blocked by a budget.
        BlockedByBudget = "blocked_by_budget",
        /// Blocked by a quota.
        BlockedByQuota = "blocked_by_quota",
        /// Blocked until a worker has the required capabilities.
        BlockedByRoute = "blocked_by_route",
        /// Owned by a worker, or owned until recently.
        Active = "active",
        /// Suspended until a signal.
        Suspended = "suspended",
        /// Terminal: it completed.
        Completed = "completed",
        /// Terminal: it failed.
        Failed = "failed",
        /// Terminal: it was cancelled.
        Cancelled = "cancelled",
        /// Terminal: its deadline passed.
        Expired = "expired",
        /// Terminal: it was not needed.
        Skipped = "skipped",
    }
}

impl CountedState {
    /// Whether something other than a delay holds the execution back.
    pub const fn is_blocked(self) -> bool {
        matches!(
            self,
            Self::BlockedByOperator
                | Self::BlockedByLaneState
                | Self::BlockedByDependencies
                | Self::BlockedByBudget
                | Self::BlockedByQuota
                | Self::BlockedByRoute
        )
    }

    /// Whether the execution has ended.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Failed | Self::Cancelled | Self::Expired | Self::Skipped
        )
    }
}

/// All dimensions of an execution's state at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StateVector {
    /// The phase of its life.
    pub lifecycle_phase: LifecyclePhase,
    /// The ownership.
    pub ownership_state: OwnershipState,
    /// Whether it may be claimed.
    pub eligibility_state: EligibilityState,
    /// The reason it does not run.
    pub blocking_reason: BlockingReason,
    /// The outcome of its life.
    pub terminal_outcome: TerminalOutcome,
    /// The state of its current or next attempt.
    pub attempt_state: AttemptState,
    /// The summary.
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
    fn names_of_states_parse_back() {
        for state in PublicState::ALL {
            assert_eq!(state.as_str().parse(), Ok(*state));
        }
        let error = "done".parse::<PublicState>().unwrap_err().to_string();
        assert!(error.starts_with("unknown PublicState \"done\": expected one of waiting, "));
    }
}
