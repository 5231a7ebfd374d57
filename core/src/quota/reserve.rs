//! Admitting an execution to a quota, before its grant is committed.

use crate::error::Rejection;
use crate::id::{ExecutionId, Namespace, SlotId};
use crate::partition::PartitionConfig;
use crate::planted::planted;
use crate::purpose::Purpose;
use crate::quota_ref::QuotaRef;
use crate::resource::{Change, Changed, Decided, Facts, ResourceId};
use crate::time::{DurationMs, TimestampMs, Window};

use super::record::Quota;
use super::usage::{FIRST_CHECK, Holder, QuotaUse, Waits};

/// Takes a slot for an execution, and counts it towards the rate.
///
/// Identity: the slot. A repeat finds it. Without a limit of the concurrency there is no
/// slot, and a repeat counts again.
#[derive(Clone, Debug)]
pub struct Reserve {
    /// The namespace.
    pub namespace: Namespace,
    /// The quota and the key.
    pub of: QuotaRef,
    /// The execution.
    pub execution: ExecutionId,
    /// The slot, drawn by the operation that commits the grant.
    pub slot: SlotId,
    /// The slot that the same operation has taken before, and no longer needs.
    pub replaces: Option<SlotId>,
    /// The turn that the quota gave the execution, if it has one and has not started since.
    pub turn: Option<TimestampMs>,
    /// The partitions of the store.
    pub partitions: PartitionConfig,
}

/// The outcome of [`Reserve`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// The execution is admitted.
    Admitted {
        /// Whether it has a slot: whether the quota limits the concurrency.
        has_slot: bool,
    },
    /// It has to wait.
    Refused(RefusedBy),
}

/// The limit that makes an execution wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusedBy {
    /// All slots are taken.
    Concurrency {
        /// The limit.
        limit: u32,
        /// Whether slots are to be compared with their executions.
        checks: bool,
        /// When to look again, unless a slot is offered before.
        retry_after: DurationMs,
    },
    /// The window is full, or others wait already.
    Rate {
        /// When to try again.
        retry_after: DurationMs,
        /// The turn of the execution.
        turn: TimestampMs,
    },
}

impl Change for Reserve {
    type Record = QuotaUse;
    type Beside = Quota;
    type Outcome = Reserved;

    const NAME: &'static str = "reserve";

    fn target(&self) -> ResourceId {
        QuotaUse::key(&self.namespace, &self.of, &self.partitions)
    }

    fn beside(&self) -> Vec<uuid::Uuid> {
        vec![Quota::key(&self.namespace, &self.of.quota, &self.partitions).uuid]
    }

    fn purpose(&self) -> Purpose {
        Purpose::Finish
    }

    fn is_contended(&self) -> bool {
        true
    }

    /// # Errors
    ///
    /// `QuotaNotFound`.
    fn decide(&self, facts: &Facts<'_, QuotaUse, Quota>, now: TimestampMs) -> Decided<Self> {
        let Some(quota) = facts.beside.first().and_then(Option::as_ref) else {
            return Err(Rejection::QuotaNotFound { quota: self.of.quota.clone() });
        };
        let new = || QuotaUse::new(self.namespace.clone(), self.of.clone());
        let mut usage = facts.record.cloned().unwrap_or_else(new);
        if usage.holders.iter().any(|holder| holder.slot == self.slot) {
            return Ok(Changed::keep(Reserved::Admitted { has_slot: true }));
        }
        usage.holders.retain(|holder| Some(holder.slot) != self.replaces);
        usage.roll(now);
        usage.set_limits(quota.limits, now);
        if let Some(limit) = quota.limits.concurrency {
            usage.promised.retain(|(execution, _)| *execution != self.execution);
            if usage.room(&quota.limits) == 0 && !planted!(QuotaOverrun) {
                let checks = usage.to_check(now).next().is_some();
                let retry_after = usage.wait(&self.execution, now);
                let refused = RefusedBy::Concurrency { limit, checks, retry_after };
                return Ok(Changed::put(usage, Reserved::Refused(refused)));
            }
        }
        let (mut window, mut since) = (Window::ALWAYS, now);
        if let Some(rate) = quota.limits.rate {
            match usage.admit(rate, self.turn, now, facts.late) {
                Ok((admitted, counted_at)) => (window, since) = (admitted, counted_at),
                Err(Waits { turn, is_new, retry_after }) => {
                    let refused = Reserved::Refused(RefusedBy::Rate { retry_after, turn });
                    return Ok(match is_new {
                        true => Changed::put(usage, refused),
                        false => Changed::keep(refused),
                    });
                }
            }
        }
        let has_slot = quota.limits.concurrency.is_some();
        if has_slot {
            let check_at = now.plus(FIRST_CHECK);
            let (execution, slot) = (self.execution, self.slot);
            usage.holders.push(Holder { execution, slot, since, check_at });
        }
        Ok(Changed::put(usage, Reserved::Admitted { has_slot }).within(window))
    }
}
