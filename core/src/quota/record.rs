//! The record of a quota.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Rejection;
use crate::id::{Namespace, QuotaId};
use crate::partition::PartitionConfig;
use crate::resource::{Resource, ResourceId, ResourceKind};
use crate::time::{DurationMs, TimestampMs};

/// The most executions that a quota can let run at a time.
pub const MAX_CONCURRENT: u32 = 1_000;

/// The most starts that a quota can allow in its window.
pub const MAX_PER_WINDOW: u32 = 1_000_000;

/// The shortest and the longest window.
const WINDOWS: std::ops::RangeInclusive<DurationMs> =
    DurationMs::from_secs(1)..=DurationMs::from_secs(31 * 24 * 60 * 60);

/// How many executions may start in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// The most starts in any window, 1 to [`MAX_PER_WINDOW`].
    pub max: u32,
    /// The length of the sliding window: 1 s to 31 days.
    pub window: DurationMs,
}

/// The limits of a quota, each for every key by itself. At least one is set.
///
/// ```
/// use std::time::Duration;
///
/// use ff_core::quota::QuotaLimits;
///
/// // At most 10 at a time, and at most 100 starts in any minute.
/// let limits = QuotaLimits::new().concurrency(10).rate(100, Duration::from_secs(60));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaLimits {
    /// The most executions that run at a time, 1 to [`MAX_CONCURRENT`].
    pub concurrency: Option<u32>,
    /// How many executions may start in a time.
    pub rate: Option<Rate>,
}

impl QuotaLimits {
    /// Creates limits without any: add a concurrency, a rate, or both.
    pub const fn new() -> Self {
        Self { concurrency: None, rate: None }
    }

    /// Limits how many executions run at a time: 1 to [`MAX_CONCURRENT`].
    #[must_use]
    pub const fn concurrency(self, max: u32) -> Self {
        Self { concurrency: Some(max), ..self }
    }

    /// Limits how many executions start in any window of this length: 1 to [`MAX_PER_WINDOW`] in
    /// 1 s to 31 days.
    #[must_use]
    pub fn rate(self, max: u32, window: Duration) -> Self {
        Self { rate: Some(Rate { max, window: DurationMs::from(window) }), ..self }
    }

    /// Checks the limits.
    pub(super) fn check(&self) -> Result<(), Rejection> {
        let invalid = |field, problem| Err(Rejection::InvalidInput { field, problem });
        if self.concurrency.is_none() && self.rate.is_none() {
            return invalid("limits", "are missing: give a concurrency, a rate or both".to_owned());
        }
        if let Some(max) = self.concurrency.filter(|max| !(1..=MAX_CONCURRENT).contains(max)) {
            return invalid("concurrency", format!("is {max}: expected 1 to {MAX_CONCURRENT}"));
        }
        let Some(Rate { max, window }) = self.rate else { return Ok(()) };
        if !(1..=MAX_PER_WINDOW).contains(&max) {
            return invalid("rate", format!("is {max}: expected 1 to {MAX_PER_WINDOW}"));
        }
        if !WINDOWS.contains(&window) {
            return invalid("window", format!("is {window}: expected 1 s to 31 days"));
        }
        Ok(())
    }
}

/// A quota.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// The namespace.
    pub namespace: Namespace,
    /// The id, which users choose.
    pub id: QuotaId,
    /// The limits.
    pub limits: QuotaLimits,
    /// When it was created.
    pub created_at: TimestampMs,
    /// When its limits were set last.
    pub updated_at: TimestampMs,
}

impl Resource for Quota {
    const KIND: ResourceKind = ResourceKind::Quotas;

    fn listed(&self) -> Option<(&Namespace, TimestampMs)> {
        Some((&self.namespace, self.created_at))
    }
}

impl Quota {
    /// Names the record of a quota.
    pub fn key(namespace: &Namespace, id: &QuotaId, config: &PartitionConfig) -> ResourceId {
        let names = [namespace.as_str(), id.as_str()];
        ResourceId::of_names(ResourceKind::Quotas, &names, config)
    }
}
