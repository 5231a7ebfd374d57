//! Reading the use of a quota under one key.

use serde::{Deserialize, Serialize};

use crate::error::Rejection;
use crate::id::Namespace;
use crate::partition::PartitionConfig;
use crate::quota_ref::QuotaRef;
use crate::resource::{Change, Changed, Decided, Facts, ResourceId};
use crate::time::TimestampMs;

use super::record::{Quota, QuotaLimits};
use super::usage::{Holder, QuotaUse};

/// The use of a quota under one key, as it is at the store's time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QuotaUsage {
    /// The quota and the key.
    pub of: QuotaRef,
    /// The limits of the quota.
    pub limits: QuotaLimits,
    /// The executions that take slots, the longest first. After limits were lowered they may be
    /// more than the limit. Empty without a limit of the concurrency.
    pub holders: Vec<Holder>,
    /// How many executions were started in the present window; up to 1.6 % more are counted, which
    /// were started up to three steps, each 1/128 of the window, before it. 0 without a rate.
    pub admitted: u32,
    /// The store's time.
    pub at: TimestampMs,
}

impl QuotaUse {
    /// Returns the use of a quota at a time, as users see it. `usage`: its record, if something was
    /// started under this key lately.
    pub fn shown(
        of: QuotaRef,
        limits: QuotaLimits,
        usage: Option<&Self>,
        now: TimestampMs,
    ) -> QuotaUsage {
        let admitted =
            usage.zip(limits.rate).map_or(0, |(usage, rate)| usage.admissions.admitted(rate, now));
        let holders = usage.map(|usage| usage.holders.clone()).unwrap_or_default();
        QuotaUsage { of, limits, holders, admitted, at: now }
    }
}

impl QuotaUsage {
    /// Returns whether all slots are taken.
    pub fn has_no_slot(&self) -> bool {
        self.limits.concurrency.is_some_and(|limit| self.holders.len() >= limit as usize)
    }

    /// Returns whether as many were started in the present window as the rate allows.
    pub fn is_window_full(&self) -> bool {
        self.limits.rate.is_some_and(|rate| self.admitted >= rate.max)
    }

    /// Returns whether it lets nothing start.
    pub fn is_full(&self) -> bool {
        self.has_no_slot() || self.is_window_full()
    }
}

/// Reads the use of a quota under one key at the time of the store. It writes nothing.
#[derive(Clone, Debug)]
pub struct LookAtUse {
    /// The namespace.
    pub namespace: Namespace,
    /// The quota and the key.
    pub of: QuotaRef,
    /// The partitions of the store.
    pub partitions: PartitionConfig,
}

impl Change for LookAtUse {
    type Record = QuotaUse;
    type Beside = Quota;
    /// The use; without holders and admissions if nothing was started under this key lately.
    type Outcome = QuotaUsage;

    const NAME: &'static str = "read_quota_use";

    fn target(&self) -> ResourceId {
        QuotaUse::key(&self.namespace, &self.of, &self.partitions)
    }

    fn beside(&self) -> Vec<uuid::Uuid> {
        vec![Quota::key(&self.namespace, &self.of.quota, &self.partitions).uuid]
    }

    /// # Errors
    ///
    /// `QuotaNotFound`.
    fn decide(&self, facts: &Facts<'_, QuotaUse, Quota>, now: TimestampMs) -> Decided<Self> {
        let Some(quota) = facts.beside.first().and_then(Option::as_ref) else {
            return Err(Rejection::QuotaNotFound { quota: self.of.quota.clone() });
        };
        let usage = QuotaUse::shown(self.of.clone(), quota.limits, facts.record, now);
        Ok(Changed::keep(usage))
    }
}
