//! The simulator's copy of quotas, and its own bookkeeping of what they have let start.

use std::collections::{BTreeMap, BTreeSet};

use ff_core::execution::{Execution, LeaseFate, Phase};
use ff_core::id::{ExecutionId, SlotId};
use ff_core::quota::{QuotaLimits, QuotaRef, QuotaUse};
use ff_core::store::{Member, Version};
use ff_core::time::TimestampMs;

use super::change::Change;

/// The slot under which an execution runs, or may start to run: the one of the grant of its lease
/// while it is held, or of an outstanding grant. Without limits, or if none was taken for that
/// grant, a slot that no quota has given.
pub fn running_under(record: &Execution) -> Option<SlotId> {
    let outstanding = record.grant().map(|grant| grant.id);
    let grant = match &record.phase {
        Phase::Active(active) if active.fate == LeaseFate::Held => Some(active.lease.grant.id),
        Phase::Active(_) | Phase::Runnable(_) => outstanding,
        Phase::Suspended(_) | Phase::Terminal(_) => None,
    }?;
    let taken = record.limits.as_ref().and_then(|limited| limited.slot);
    let own = taken.filter(|taken| taken.grant == grant);
    Some(own.map_or(SlotId::from_uuid(grant.uuid()), |taken| taken.slot))
}

/// An execution that a quota has admitted.
#[derive(Clone, Copy, Debug)]
pub struct Admitted {
    /// When, by the clock of the quota's partition. After a step back of that clock, earlier ones
    /// are moved back with it.
    pub at: TimestampMs,
    /// Its grant, if it has a slot.
    pub grant: Option<SlotId>,
}

/// The use of a quota under one key.
#[derive(Clone, Debug)]
pub struct KnownUse {
    /// The record as it was committed last.
    pub record: QuotaUse,
    /// When each slot was taken, in simulated time.
    pub taken: BTreeMap<SlotId, u64>,
    /// The latest admissions, the latest last.
    pub admitted: Vec<Admitted>,
    /// When it was committed last, by the clock of the quota's partition.
    pub at: TimestampMs,
}

impl KnownUse {
    /// Whether all slots are taken, or the window is full that ends with its latest commit.
    pub fn is_full(&self, limits: QuotaLimits) -> bool {
        let has_no_slot = limits.concurrency.is_some_and(|most| self.taken.len() >= most as usize);
        has_no_slot
            || limits.rate.is_some_and(|rate| {
                let is_inside = |admitted: &&Admitted| admitted.at.plus(rate.window) > self.at;
                self.admitted.iter().filter(is_inside).count() >= rate.max as usize
            })
    }
}

/// When a record was written, in simulated time.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// The last time.
    pub at: u64,
    /// The first time with the version that it had then.
    pub first: u64,
}

/// The quotas as they should be, and what they have let start.
#[derive(Clone, Debug, Default)]
pub struct Quotas {
    /// The limits of each quota from each simulated time on; `None` while there is no quota.
    pub limits: BTreeMap<Member, Vec<(u64, Option<QuotaLimits>)>>,
    /// The uses.
    pub uses: BTreeMap<Member, KnownUse>,
    /// When each grant under which an execution runs was given, in simulated time: when the
    /// operation began that gave it.
    pub given: BTreeMap<SlotId, u64>,
    /// The slots that each operation has taken, by its number.
    pub reserved: BTreeMap<u64, Vec<SlotId>>,
    /// When the record of each execution that has quotas was written last.
    pub written: BTreeMap<ExecutionId, Written>,
    /// When each version of such a record was written first, in simulated time. After a loss, a
    /// second copy of the same commit writes the same version again.
    pub versions: BTreeMap<(ExecutionId, Version), u64>,
    /// The slots under which executions have ceased to run, also in commits that were lost later:
    /// these may be freed although the record has them again.
    pub stopped: BTreeSet<SlotId>,
    /// When the store last lost commits, in simulated time.
    pub lost_at: Option<u64>,
}

impl Quotas {
    /// The limits of a quota now.
    pub fn present(&self, quota: Member) -> Option<QuotaLimits> {
        self.limits.get(&quota)?.last()?.1
    }

    /// All limits of a quota that were in force at some time since this one, inclusive.
    pub fn since(&self, quota: Member, since: u64) -> Vec<Option<QuotaLimits>> {
        let Some(changes) = self.limits.get(&quota) else { return vec![None] };
        let first = changes.iter().rposition(|(at, _)| *at < since);
        let before = if first.is_none() { vec![None] } else { Vec::new() };
        let later = changes[first.unwrap_or(0)..].iter().map(|(_, limits)| *limits);
        before.into_iter().chain(later).collect()
    }

    /// Takes over the limits of a quota.
    pub fn note_limits(&mut self, quota: Member, limits: Option<QuotaLimits>, at: u64) {
        self.limits.entry(quota).or_default().push((at, limits));
    }

    /// Takes over that a record was written with this version.
    pub fn note_written(&mut self, id: ExecutionId, version: Version, at: u64) {
        let first = *self.versions.entry((id, version)).or_insert(at);
        self.written.insert(id, Written { at, first });
    }

    /// Takes over that the store has lost what was committed since `then`.
    #[must_use]
    pub fn after_loss(&self, then: &Self, at: u64) -> Self {
        let (limits, stopped) = (self.limits.clone(), self.stopped.clone());
        let versions = self.versions.clone();
        let mut kept = Self { limits, stopped, versions, lost_at: Some(at), ..then.clone() };
        for (quota, changes) in &mut kept.limits {
            changes.push((at, then.present(*quota)));
        }
        kept
    }
}

/// Whether an execution counts towards a quota under this key.
pub fn counts(record: &Execution, of: &QuotaRef) -> bool {
    record.limits.as_ref().is_some_and(|limited| limited.limits.quotas.contains(of))
}

/// The execution and the grant, if this commit lets it start.
pub fn starts<'c>(change: &'c Change<'_>) -> Option<(&'c Execution, SlotId)> {
    let after = change.after.as_deref()?;
    let grant = running_under(after)?;
    let before = change.before.as_deref().and_then(running_under);
    (before != Some(grant)).then_some((after, grant))
}

/// The slot under which an execution has ceased to run with this commit, if a quota gave it one.
pub fn stops(change: &Change<'_>) -> Option<SlotId> {
    let before = change.before.as_deref()?;
    let taken = before.limits.as_ref()?.slot?.slot;
    let slot = running_under(before).filter(|slot| *slot == taken)?;
    let after = change.after.as_deref().and_then(running_under);
    (after != Some(slot)).then_some(slot)
}
