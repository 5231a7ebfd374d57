//! \[INV-QUOTA-1\] No more executions run under a quota and key than the quota allows: each that
//! starts has a slot, and a slot is free only once its execution does not run any more.
//!
//! \[INV-QUOTA-2\] No sliding window of a quota has more admissions than its maximum, by the clock
//! of the quota's partition.
//!
//! Both are judged by the commits alone: which executions have leases or grants, when slots were
//! taken, and when executions were admitted.

use std::collections::BTreeSet;

use ff_core::id::{ExecutionId, SlotId};
use ff_core::quota::{Holder, Quota, QuotaLimits, QuotaRef, QuotaUse};
use ff_core::store::Member;
use ff_core::time::{DurationMs, TimestampMs};

use crate::model::Model;
use crate::model::caller::Caller;
use crate::model::change::Change;
use crate::model::quotas::{Admitted, KnownUse, counts, running_under, starts};
use crate::report::invariants::Invariant;
use crate::report::{Broken, ensure};

use super::why;

const CONCURRENCY: &str = "INV-QUOTA-1";
const RATE: &str = "INV-QUOTA-2";

/// How much a window is divided by: what a step back of the clock moves is known to this part of
/// it.
const STEPS: u64 = 128;

/// A use that was changed this much later than now was changed before the clock stepped back.
const STEP_BACK: DurationMs = DurationMs::from_secs(10);

/// For how long a slot is kept for an execution that was woken to take it.
const PROMISED_FOR: DurationMs = DurationMs::from_secs(2);

/// An execution that starts has a slot of each of its quotas, unless the quota had no limit of the
/// concurrency while it was asked; and no more run than the largest limit since then allows.
pub fn check(model: &Model, change: &Change<'_>) -> Result<(), Broken> {
    let Some((after, grant)) = starts(change) else { return Ok(()) };
    let Some(limited) = &after.limits else { return Ok(()) };
    let asked_at = change.caller.asked_quota_at;
    let written = model.quotas.written.get(&change.id).map(|written| written.first);
    let is_known = change.caller.is_traced && !limited.limits.quotas.is_empty();
    ensure!(
        !is_known || change.before.is_none() || asked_at >= written,
        CONCURRENCY,
        "{} starts, but its quotas were asked at {asked_at:?} ms, before its record was written at \
         {written:?} ms",
        change.id
    );
    for of in &limited.limits.quotas {
        check_slot(model, change, grant, of)?;
    }
    Ok(())
}

/// A program frees the slots of an execution that it has stopped.
pub fn check_freed(
    model: &Model,
    stopped: &[SlotId],
    freed: &BTreeSet<SlotId>,
) -> Result<(), Broken> {
    let left = stopped.iter().find(|grant| !freed.contains(grant));
    let watched = model.watched.contains(Invariant::QuotaSlots);
    ensure!(left.is_none() || !watched, CONCURRENCY, "the slots of {left:?} are not freed");
    Ok(())
}

/// An operation whose calls were all answered gives back the slots under which nothing started.
pub fn check_given_back(
    model: &Model,
    caller: &Caller,
    freed: &BTreeSet<SlotId>,
) -> Result<(), Broken> {
    let reserved = model.quotas.reserved.get(&caller.number);
    if caller.failed || caller.was_refused || caller.resent || model.jumps > 0 {
        return Ok(());
    }
    let is_given = |slot: &&SlotId| model.quotas.given.contains_key(slot);
    // A slot that was replaced by a later one of the operation is gone.
    let is_taken =
        |slot: &&SlotId| model.quotas.uses.values().any(|usage| usage.taken.contains_key(slot));
    let mut unused = reserved.into_iter().flatten().filter(|slot| !is_given(slot));
    let left = unused.find(|slot| is_taken(slot) && !freed.contains(slot));
    let watched = model.watched.contains(Invariant::QuotaSlots);
    ensure!(left.is_none() || !watched, CONCURRENCY, "the slots of {left:?} are not given back");
    Ok(())
}

fn check_slot(
    model: &Model,
    change: &Change<'_>,
    grant: SlotId,
    of: &QuotaRef,
) -> Result<(), Broken> {
    let Some(after) = change.after.as_deref() else { return Ok(()) };
    let (namespace, partitions) = (&after.namespace, &model.partitions);
    let quota = Quota::key(namespace, &of.quota, partitions).uuid;
    let usage = model.quotas.uses.get(&QuotaUse::key(namespace, of, partitions).uuid);
    let slot = usage.and_then(|usage| usage.taken.get(&grant)).copied();
    let begun = change.caller.begun;
    let asked_at = slot.unwrap_or(begun).min(begun);
    if model.quotas.lost_at.is_some_and(|lost| lost >= asked_at) {
        // The slot may be lost.
        return Ok(());
    }
    let limits = model.quotas.since(quota, asked_at);
    let limits: Vec<_> = limits.into_iter().flatten().map(|limits| limits.concurrency).collect();
    let (id, now) = (change.id, change.now);
    ensure!(!limits.is_empty(), CONCURRENCY, "{id} starts at {now}, but there is no quota {of}");
    if limits.iter().any(Option::is_none) {
        return Ok(());
    }
    ensure!(slot.is_some(), CONCURRENCY, "{id} starts under {grant} without a slot of {of}");
    let most = limits.into_iter().flatten().max().unwrap_or(0);
    let others = running(model, of, id, usage);
    ensure!(
        others.len() < most as usize,
        CONCURRENCY,
        "{id} starts, but {others:?} run under {of}, which allows {most}"
    );
    Ok(())
}

/// The other executions that run and have had a slot.
fn running(
    model: &Model,
    of: &QuotaRef,
    but: ExecutionId,
    usage: Option<&KnownUse>,
) -> Vec<ExecutionId> {
    let has_slot = |grant: &SlotId| usage.is_some_and(|usage| usage.taken.contains_key(grant));
    let runs = |id: &ExecutionId| {
        let record = &model.records[id];
        *id != but && counts(record, of) && running_under(record).as_ref().is_some_and(has_slot)
    };
    model.records.keys().copied().filter(runs).collect()
}

/// A commit of the use of a quota.
#[derive(Debug)]
pub struct UseCommit<'c> {
    /// The record as it was written; `None` if it was removed.
    pub after: Option<&'c QuotaUse>,
    /// The operation that made it.
    pub caller: &'c Caller,
    /// The clock of its partition.
    pub now: TimestampMs,
}

impl UseCommit<'_> {
    /// Checks a commit, and takes it over. A slot that is gone is that of an execution that does
    /// not run under its grant. An admission does not fill a window above its maximum.
    pub fn note(&self, model: &mut Model, id: Member) -> Result<(), Broken> {
        let before = model.quotas.uses.get(&id);
        let gone = before.into_iter().flat_map(|before| &before.record.holders);
        let stays = |grant| {
            self.after.is_some_and(|after| after.holders.iter().any(|held| held.slot == grant))
        };
        let gone: Vec<_> = gone.filter(|held| !stays(held.slot)).cloned().collect();
        if model.watched.contains(Invariant::QuotaSlots) {
            for held in &gone {
                let runs = model.records.get(&held.execution).and_then(|it| running_under(it));
                let is_free = runs != Some(held.slot) || model.quotas.stopped.contains(&held.slot);
                ensure!(is_free, CONCURRENCY, "a slot is freed under which it runs: {held:?}");
                self.check_fenced(model, before, held)?;
            }
        }
        let Some(after) = self.after else {
            model.quotas.uses.remove(&id);
            return Ok(());
        };
        if model.watched.contains(Invariant::QuotaSlots) {
            self.check_promised(after)?;
        }
        let quota = Quota::key(&after.namespace, &after.of.quota, &model.partitions).uuid;
        let limits = model.quotas.present(quota).unwrap_or_default();
        let (at, watched) = (model.at, model.watched.contains(Invariant::QuotaRate));
        let mut known = before.cloned().unwrap_or_else(|| KnownUse {
            record: after.clone(),
            taken: Default::default(),
            admitted: Vec::new(),
            at: self.now,
        });
        let admitted = self.admitted(before, limits);
        let takes_slot = after.holders.iter().any(|held| !known.taken.contains_key(&held.slot));
        if model.watched.contains(Invariant::Why) && (takes_slot || admitted.is_some()) {
            let mut without = before.map(|before| before.record.clone());
            if let Some(without) = &mut without {
                without.holders.retain(|held| stays(held.slot));
            }
            why::check_admitted(model, without.as_ref(), after)?;
        }
        (known.record, known.at) = (after.clone(), self.now);
        for held in &gone {
            known.taken.remove(&held.slot);
            if !model.quotas.given.contains_key(&held.slot) {
                // It never started.
                known.admitted.retain(|admitted| admitted.grant != Some(held.slot));
            }
        }
        for held in &after.holders {
            known.taken.entry(held.slot).or_insert_with(|| {
                model.quotas.reserved.entry(self.caller.number).or_default().push(held.slot);
                at
            });
        }
        if !self.caller.hands_over() {
            known.move_to(limits, self.now);
        }
        if let Some(grant) = admitted {
            known.admitted.push(Admitted { at: self.now, grant });
            let result = known.check_window(limits);
            result.or_else(|broken| if watched { Err(broken) } else { Ok(()) })?;
        }
        model.quotas.uses.insert(id, known);
        Ok(())
    }

    /// A slot that is kept for an execution which was woken to take it is kept for a short time
    /// from the decision on: the execution may be over.
    fn check_promised(&self, after: &QuotaUse) -> Result<(), Broken> {
        let (decided_at, latest) = (after.updated_at, after.updated_at.plus(PROMISED_FOR));
        let over = after.promised().find(|until| *until <= decided_at || *until > latest);
        ensure!(over.is_none(), CONCURRENCY, "at {decided_at} a slot is kept until {over:?}");
        Ok(())
    }

    /// The slot of a grant that was never committed is freed by the operation that took it, which
    /// has given up; or after the record has got a new version, so that no commit of the grant that
    /// is in flight can be applied.
    fn check_fenced(
        &self,
        model: &Model,
        before: Option<&KnownUse>,
        held: &Holder,
    ) -> Result<(), Broken> {
        let is_given = model.quotas.given.contains_key(&held.slot);
        // An operation that takes another slot has met a later version of the record.
        let taken_by = model.quotas.reserved.get(&self.caller.number);
        let is_own = self.caller.gives_back == Some(held.slot)
            || taken_by.is_some_and(|slots| slots.contains(&held.slot));
        let is_there = model.records.contains_key(&held.execution);
        let taken = before.and_then(|before| before.taken.get(&held.slot));
        let written = model.quotas.written.get(&held.execution).map(|written| written.at);
        let is_new = written.as_ref() >= taken;
        ensure!(
            is_given || is_own || !is_there || is_new || model.jumps > 0,
            CONCURRENCY,
            "a slot is freed, but a commit of its grant may still be applied: {held:?}"
        );
        Ok(())
    }

    /// The grant of the execution that this commit admits, if it admits one and the quota limits
    /// the rate. One that has to wait instead moves a time at which others wait.
    fn admitted(&self, before: Option<&KnownUse>, limits: QuotaLimits) -> Option<Option<SlotId>> {
        let after = self.after.filter(|_| !self.caller.hands_over() && limits.rate.is_some())?;
        let known = |grant| {
            let holders = before.into_iter().flat_map(|before| &before.record.holders);
            holders.clone().any(|held| held.slot == grant)
        };
        if let Some(held) = after.holders.iter().find(|held| !known(held.slot)) {
            return Some(Some(held.slot));
        }
        let awaited = before.map_or(TimestampMs::ZERO, |before| before.record.awaited_until);
        let next = before.map_or(TimestampMs::ZERO, |before| {
            next_turn(&before.record, limits, after.updated_at)
        });
        let is_refused = after.next_turn() != next || after.awaited_until != awaited;
        (!is_refused && limits.concurrency.is_none()).then_some(None)
    }
}

/// The next turn of those that wait for the rate, if none was given since the record was written:
/// turns move back with a clock that has stepped back, and begin anew with another rate.
fn next_turn(usage: &QuotaUse, limits: QuotaLimits, now: TimestampMs) -> TimestampMs {
    let back = usage.updated_at.since(now);
    let next = usage.next_turn().minus(if back > STEP_BACK { back } else { DurationMs::ZERO });
    if usage.limits.rate == limits.rate { next } else { next.min(now) }
}

impl KnownUse {
    /// Moves admissions back with a clock that has stepped back, and forgets those that the window
    /// has left.
    fn move_to(&mut self, limits: QuotaLimits, now: TimestampMs) {
        let Some(rate) = limits.rate else { return };
        let step = DurationMs::new((rate.window.get() / STEPS).max(1));
        let latest = self.admitted.iter().map(|admitted| admitted.at).max();
        if let Some(back) = latest.filter(|latest| *latest > now).map(|latest| latest.since(now)) {
            for admitted in &mut self.admitted {
                admitted.at = admitted.at.minus(back).minus(step);
            }
        }
        self.admitted.retain(|admitted| admitted.at.plus(rate.window) > now);
    }

    /// The window that ends with the latest admission has no more than the maximum.
    fn check_window(&self, limits: QuotaLimits) -> Result<(), Broken> {
        let Some(rate) = limits.rate else { return Ok(()) };
        ensure!(
            self.admitted.len() <= rate.max as usize,
            RATE,
            "{} admits more than {} in {}: {:?}",
            self.record.of,
            rate.max,
            rate.window,
            self.admitted
        );
        Ok(())
    }
}
