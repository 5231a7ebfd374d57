//! The policy of an execution, set by its submitter: priority, retries, timeouts, reclaim and
//! retention (`docs/spec.md`, 4).

use serde::{Deserialize, Deserializer, Serialize};

use crate::id::{AttemptIndex, ExecutionId, FailureCategory};
use crate::null::{null_or, or_default};
use crate::time::DurationMs;

/// The priority of an execution within its lane, from 0 to 9000. Higher priorities are claimed
/// first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(from = "i64", into = "i64")]
pub struct Priority(u16);

impl Priority {
    /// The highest priority.
    pub const MAX: Self = Self(9_000);

    /// Returns the nearest priority in 0..=9000.
    pub const fn clamped(value: i64) -> Self {
        if value < 0 {
            Self(0)
        } else if value > 9_000 {
            Self::MAX
        } else {
            Self(value as u16)
        }
    }

    /// Returns the number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl From<Priority> for i64 {
    fn from(priority: Priority) -> Self {
        Self::from(priority.0)
    }
}

impl From<i64> for Priority {
    fn from(value: i64) -> Self {
        Self::clamped(value)
    }
}

/// The backoff of a retry policy: the time between a failed attempt and its retry, in whole
/// milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Backoff {
    /// The same delay before each retry.
    Fixed {
        /// The delay, in milliseconds.
        delay_ms: DurationMs,
    },
    /// A delay that grows with each retry. The default: 1 s, doubled up to 60 s.
    Exponential {
        /// The delay before the first retry, in milliseconds.
        initial_ms: DurationMs,
        /// The factor between the delays of one retry and the next, at least 1.
        multiplier: u32,
        /// The longest delay, in milliseconds.
        max_ms: DurationMs,
    },
}

impl Default for Backoff {
    fn default() -> Self {
        Self::Exponential {
            initial_ms: DurationMs::new(1_000),
            multiplier: 2,
            max_ms: DurationMs::new(60_000),
        }
    }
}

impl Backoff {
    /// Returns the delay before retry number `retry` (0 is the first), without jitter.
    pub fn base(&self, retry: u32) -> DurationMs {
        match *self {
            Self::Fixed { delay_ms } => delay_ms,
            Self::Exponential { initial_ms, multiplier, max_ms } => {
                let factor = u64::from(multiplier).saturating_pow(retry);
                DurationMs::new(initial_ms.get().saturating_mul(factor).min(max_ms.get()))
            }
        }
    }

    /// Returns the delay with jitter, between three quarters of [`Backoff::base`] and all of it.
    /// The jitter is derived from the execution and the failed attempt, so that a simulated run
    /// repeats it.
    pub fn delay(&self, retry: u32, execution: &ExecutionId, attempt: AttemptIndex) -> DurationMs {
        let base = self.base(retry).get();
        let (high, low) = execution.uuid().as_u64_pair();
        let mut seed = high ^ low.rotate_left(17) ^ (u64::from(attempt.0) << 32);
        // SplitMix64 spreads neighbouring seeds well enough, and never changes.
        seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        seed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        seed = (seed ^ (seed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let off = (u128::from(seed ^ (seed >> 31)) * u128::from(base / 4 + 1)) >> 64;
        DurationMs::new(base - off as u64)
    }
}

/// The policy for retries of failed attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// The maximum number of retries after the first attempt; 3 by default.
    #[serde(deserialize_with = "or_3")]
    pub max_retries: u32,
    /// The delay before each retry.
    #[serde(deserialize_with = "or_default")]
    pub backoff: Backoff,
    /// The failure categories that are retried, at most 64. An empty list means every category.
    #[serde(deserialize_with = "or_default")]
    pub retryable_categories: Vec<FailureCategory>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_retries: 3, backoff: Backoff::default(), retryable_categories: Vec::new() }
    }
}

impl RetryPolicy {
    /// Creates a policy without retries.
    pub fn never() -> Self {
        Self { max_retries: 0, ..Self::default() }
    }

    /// Creates a policy with `max_retries` retries, each after the same delay in milliseconds, less
    /// up to a quarter of it as jitter.
    pub fn fixed(max_retries: u32, delay: impl Into<DurationMs>) -> Self {
        let backoff = Backoff::Fixed { delay_ms: delay.into() };
        Self { max_retries, backoff, ..Self::default() }
    }

    /// Whether failures of this category are retried.
    pub fn retries_category(&self, category: &FailureCategory) -> bool {
        self.retryable_categories.is_empty() || self.retryable_categories.contains(category)
    }
}

/// The time limits of an attempt and of an execution. There is no limit by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeoutPolicy {
    /// The time for which an attempt may run under a lease, in milliseconds, at least 1. It starts
    /// again at each new attempt and each resumed claim.
    pub attempt_timeout_ms: Option<DurationMs>,
    /// The time from creation after which the execution expires, in milliseconds, at least 1.
    pub execution_deadline_ms: Option<DurationMs>,
}

/// The rule for reclaiming an execution whose lease has expired or was revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReclaimMode {
    /// Any claimer may take over the execution, as if it were eligible.
    #[default]
    Automatic,
    /// Only a worker with a reclaim grant may take over the execution.
    OnRequest,
}

/// The policy of an execution. Its submitter sets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecutionPolicy {
    /// The policy for retries of failed attempts.
    #[serde(deserialize_with = "or_default")]
    pub retry: RetryPolicy,
    /// The time limits.
    #[serde(deserialize_with = "or_default")]
    pub timeout: TimeoutPolicy,
    /// The rule for reclaiming the execution after a lost lease.
    #[serde(deserialize_with = "or_default")]
    pub reclaim_mode: ReclaimMode,
    /// The maximum number of reclaims in one life; 10 by default.
    #[serde(deserialize_with = "or_10")]
    pub max_reclaim_count: u32,
    /// The maximum number of replays; 10 by default.
    #[serde(deserialize_with = "or_10")]
    pub max_replay_count: u32,
    /// The retention: the time for which the store keeps the execution once it is terminal, in
    /// milliseconds; 24 h by default. The execution is kept for at least 60 s from its creation.
    /// Repeated submissions under an idempotency key are recognised only during the retention.
    #[serde(deserialize_with = "or_a_day")]
    pub retention_ms: DurationMs,
}

impl Default for ExecutionPolicy {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            timeout: TimeoutPolicy::default(),
            reclaim_mode: ReclaimMode::default(),
            max_reclaim_count: 10,
            max_replay_count: 10,
            retention_ms: RETENTION,
        }
    }
}

/// The reason a policy is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The multiplier is zero, so that every delay after the first would be zero.
    #[error("backoff.multiplier is 0; it must be at least 1")]
    ZeroMultiplier,
    /// More than 64 categories.
    #[error("retryable_categories has {count} entries; at most 64 are allowed")]
    TooManyCategories {
        /// The number of categories.
        count: usize,
    },
    /// The attempt timeout is zero, so that no attempt could run.
    #[error("timeout.attempt_timeout_ms is 0; it must be at least 1")]
    ZeroAttemptTimeout,
    /// The deadline is zero, so that the execution would expire at its creation.
    #[error("timeout.execution_deadline_ms is 0; it must be at least 1")]
    ZeroExecutionDeadline,
}

impl ExecutionPolicy {
    /// Checks the policy.
    ///
    /// # Errors
    ///
    /// [`PolicyError`] for the first invalid field.
    pub fn check(&self) -> Result<(), PolicyError> {
        if let Backoff::Exponential { multiplier: 0, .. } = self.retry.backoff {
            return Err(PolicyError::ZeroMultiplier);
        }
        let count = self.retry.retryable_categories.len();
        if count > 64 {
            return Err(PolicyError::TooManyCategories { count });
        }
        if self.timeout.attempt_timeout_ms == Some(DurationMs::ZERO) {
            return Err(PolicyError::ZeroAttemptTimeout);
        }
        if self.timeout.execution_deadline_ms == Some(DurationMs::ZERO) {
            return Err(PolicyError::ZeroExecutionDeadline);
        }
        Ok(())
    }
}

const RETENTION: DurationMs = DurationMs::from_secs(24 * 60 * 60);

fn or_3<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    null_or(deserializer, 3)
}

fn or_10<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    null_or(deserializer, 10)
}

fn or_a_day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DurationMs, D::Error> {
    null_or(deserializer, RETENTION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    #[test]
    fn priority_is_clamped() {
        assert_eq!(Priority::clamped(99_999).get(), 9_000);
        assert_eq!(Priority::clamped(-5).get(), 0);
        assert_eq!(Priority::clamped(17).get(), 17);
    }

    #[test]
    fn the_default_backoff_doubles_up_to_a_minute() {
        let waits: Vec<u64> = (0..8).map(|retry| Backoff::default().base(retry).get()).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    }

    #[test]
    fn json_null_behaves_as_absent() {
        let text = r#"{"retry": {"max_retries": null, "backoff": null}, "timeout": null,
            "max_reclaim_count": null, "max_replay_count": null, "retention_ms": null,
            "reclaim_mode": null}"#;
        assert_eq!(serde_json::from_str::<ExecutionPolicy>(text).unwrap(), Default::default());
    }

    #[test]
    fn invalid_policies_are_refused() {
        let mut policy = ExecutionPolicy::default();
        policy.timeout.attempt_timeout_ms = Some(DurationMs::ZERO);
        assert_eq!(policy.check(), Err(PolicyError::ZeroAttemptTimeout));
        policy = ExecutionPolicy::default();
        policy.retry.backoff = Backoff::Exponential {
            initial_ms: DurationMs::new(1),
            multiplier: 0,
            max_ms: DurationMs::new(1),
        };
        assert_eq!(policy.check(), Err(PolicyError::ZeroMultiplier));
        assert_eq!(ExecutionPolicy::default().check(), Ok(()));
    }

    proptest! {
        #[test]
        fn jitter_stays_within_a_quarter_and_repeats(
            initial: u64, multiplier in 1..9_u32, max: u64, retry: u32, id: u128, attempt: u32,
        ) {
            let backoff = Backoff::Exponential {
                initial_ms: DurationMs::new(initial),
                multiplier,
                max_ms: DurationMs::new(max),
            };
            let id = ExecutionId::from_parts(0, Uuid::from_u128(id));
            let delay = backoff.delay(retry, &id, AttemptIndex(attempt));
            let base = backoff.base(retry).get();
            prop_assert!(base <= max);
            prop_assert!(delay.get() <= base && delay.get() >= base - base / 4);
            prop_assert_eq!(delay, backoff.delay(retry, &id, AttemptIndex(attempt)));
        }
    }
}
