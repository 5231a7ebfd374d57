//! Freeing slots of a quota, and offering them to those that wait.

use crate::id::{ExecutionId, Namespace, SlotId};
use crate::partition::PartitionConfig;
use crate::planted::planted;
use crate::purpose::Purpose;
use crate::quota_ref::QuotaRef;
use crate::resource::{Change, Changed, Decided, Facts, ResourceId};
use crate::time::TimestampMs;

use super::record::Quota;
use super::usage::{NEXT_CHECK, PROMISED_FOR, QuotaUse};

/// Frees slots, notes the results of checks, and keeps free slots for executions that are woken.
///
/// Freeing a slot twice frees it once: a slot has its own id.
#[derive(Clone, Debug)]
pub struct UpdateUse {
    /// The namespace.
    pub namespace: Namespace,
    /// The quota and the key.
    pub of: QuotaRef,
    /// The slots that are free. `true` for one whose grant was never committed: it does not count
    /// towards the rate either.
    pub free: Vec<(SlotId, bool)>,
    /// The slots that their executions still have.
    pub keep: Vec<SlotId>,
    /// Executions that wait, in the order in which they get slots.
    pub promise: Vec<ExecutionId>,
    /// The partitions of the store.
    pub partitions: PartitionConfig,
}

/// The outcome of [`UpdateUse`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UseUpdated {
    /// The executions that slots are kept for.
    pub promised: Vec<ExecutionId>,
    /// How many slots are free and not promised.
    pub room: u32,
    /// Whether executions may wait for a slot.
    pub is_awaited: bool,
    /// The slots to compare with their executions.
    pub to_check: Vec<(ExecutionId, SlotId)>,
}

impl Change for UpdateUse {
    type Record = QuotaUse;
    type Beside = Quota;
    type Outcome = UseUpdated;

    const NAME: &'static str = "update_use";

    fn target(&self) -> ResourceId {
        QuotaUse::key(&self.namespace, &self.of, &self.partitions)
    }

    fn beside(&self) -> Vec<uuid::Uuid> {
        vec![Quota::key(&self.namespace, &self.of.quota, &self.partitions).uuid]
    }

    fn purpose(&self) -> Purpose {
        Purpose::Finish
    }

    fn is_absolute(&self) -> bool {
        true
    }

    fn is_contended(&self) -> bool {
        true
    }

    fn decide(&self, facts: &Facts<'_, QuotaUse, Quota>, now: TimestampMs) -> Decided<Self> {
        let Some(before) = facts.record else { return Ok(Changed::keep(UseUpdated::default())) };
        let mut usage = before.clone();
        usage.roll(now);
        // Without the quota nothing starts, so no execution is woken.
        let quota = facts.beside.first().and_then(Option::as_ref);
        let limits = quota.map(|quota| quota.limits).unwrap_or_default();
        for (slot, unused) in &self.free {
            let place = usage.holders.iter().position(|holder| holder.slot == *slot);
            let again = (planted!(FreedTwiceFreesTwo) && !usage.holders.is_empty()).then_some(0);
            let Some(place) = place.or(again) else { continue };
            let freed = usage.holders.remove(place);
            if *unused {
                usage.admissions.take_back(freed.since);
            }
        }
        let kept = usage.holders.iter_mut().filter(|holder| self.keep.contains(&holder.slot));
        kept.for_each(|holder| holder.check_at = now.plus(NEXT_CHECK));
        let mut promised = Vec::new();
        for execution in &self.promise {
            let is_new = usage.promised.iter().all(|(other, _)| other != execution);
            if is_new && usage.room(&limits) > 0 {
                usage.promised.push((*execution, now.plus(PROMISED_FOR)));
                promised.push(*execution);
            }
        }
        let outcome = UseUpdated {
            promised,
            room: usage.room(&limits),
            is_awaited: usage.is_awaited(now),
            to_check: usage.to_check(now).map(|held| (held.execution, held.slot)).collect(),
        };
        let is_same = usage.holders == before.holders && outcome.promised.is_empty();
        Ok(if is_same { Changed::keep(outcome) } else { Changed::put(usage, outcome) })
    }
}
