//! Setting, deleting and reading a quota.

use crate::error::Rejection;
use crate::id::{Namespace, QuotaId};
use crate::partition::PartitionConfig;
use crate::purpose::Purpose;
use crate::resource::{Change, Changed, Decided, Facts, ResourceId};
use crate::time::TimestampMs;

use super::record::{Quota, QuotaLimits};

/// Sets the limits of a quota, and creates it if there is none. A call that finds these limits
/// changes nothing. A call whose reply was lost creates the quota again if it was deleted since.
#[derive(Clone, Debug)]
pub struct SetQuota {
    /// The namespace.
    pub namespace: Namespace,
    /// The id of the quota.
    pub id: QuotaId,
    /// Its limits from now on. They count for what starts later; what runs goes on.
    pub limits: QuotaLimits,
    /// The partitions of the store.
    pub partitions: PartitionConfig,
}

/// The outcome of [`SetQuota`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaChange {
    /// The quota now.
    pub quota: Quota,
    /// The limits before; `None` if it was created.
    pub before: Option<QuotaLimits>,
}

impl Change for SetQuota {
    type Record = Quota;
    type Beside = Quota;
    type Outcome = QuotaChange;

    const NAME: &'static str = "set_quota";

    fn target(&self) -> ResourceId {
        Quota::key(&self.namespace, &self.id, &self.partitions)
    }

    /// # Errors
    ///
    /// `InvalidInput` for limits out of bounds.
    fn decide(&self, facts: &Facts<'_, Quota, Quota>, now: TimestampMs) -> Decided<Self> {
        self.limits.check()?;
        let before = facts.record.map(|quota| quota.limits);
        let quota = Quota {
            namespace: self.namespace.clone(),
            id: self.id.clone(),
            limits: self.limits,
            created_at: facts.record.map_or(now, |quota| quota.created_at),
            updated_at: now,
        };
        if let Some(same) = facts.record.filter(|quota| quota.limits == self.limits) {
            return Ok(Changed::keep(QuotaChange { quota: same.clone(), before }));
        }
        Ok(Changed::put(quota.clone(), QuotaChange { quota, before }))
    }
}

/// Deletes a quota. Executions that count towards it wait until it exists again.
#[derive(Clone, Debug)]
pub struct DeleteQuota {
    /// The namespace.
    pub namespace: Namespace,
    /// The id of the quota.
    pub id: QuotaId,
    /// The partitions of the store.
    pub partitions: PartitionConfig,
}

impl Change for DeleteQuota {
    type Record = Quota;
    type Beside = Quota;
    /// Whether there was such a quota. `false` also if a first reply was lost.
    type Outcome = bool;

    const NAME: &'static str = "delete_quota";

    fn target(&self) -> ResourceId {
        Quota::key(&self.namespace, &self.id, &self.partitions)
    }

    fn purpose(&self) -> Purpose {
        Purpose::Finish
    }

    fn is_absolute(&self) -> bool {
        true
    }

    fn decide(&self, facts: &Facts<'_, Quota, Quota>, _now: TimestampMs) -> Decided<Self> {
        Ok(match facts.record {
            Some(_) => Changed::remove(true),
            None => Changed::keep(false),
        })
    }
}

/// Reads a quota at the time of the store. It writes nothing.
#[derive(Clone, Debug)]
pub struct LookAtQuota {
    /// The namespace.
    pub namespace: Namespace,
    /// The id of the quota.
    pub id: QuotaId,
    /// The partitions of the store.
    pub partitions: PartitionConfig,
}

impl Change for LookAtQuota {
    type Record = Quota;
    type Beside = Quota;
    /// The quota.
    type Outcome = Quota;

    const NAME: &'static str = "read_quota";

    fn target(&self) -> ResourceId {
        Quota::key(&self.namespace, &self.id, &self.partitions)
    }

    /// # Errors
    ///
    /// `QuotaNotFound`.
    fn decide(&self, facts: &Facts<'_, Quota, Quota>, _now: TimestampMs) -> Decided<Self> {
        let missing = || Rejection::QuotaNotFound { quota: self.id.clone() };
        Ok(Changed::keep(facts.record.ok_or_else(missing)?.clone()))
    }
}
