//! \[INV-WHY-1\] `judge` admits every execution that a worker claims from a lane, at the time of
//! the commit. (That a worker claims everything that it admits is a property of one record, which
//! the tests of core check.)
//!
//! It reports a budget or a quota exactly if that blocks the execution, or would block it: if it
//! does not exist or is at its limit by the model's own bookkeeping. An admission by a quota shows
//! that the quota was not full.

use ff_core::budget::Budget;
use ff_core::execution::{
    AnyCommand, BlockKind, Execution, Grant, Judgement, LimitState, Phase, Reason, judge,
};
use ff_core::quota::{Quota, QuotaUse};
use ff_core::time::TimestampMs;

use crate::model::Model;
use crate::model::change::Change;
use crate::model::quotas::counts;
use crate::report::coverage::CommandKind;
use crate::report::{Broken, ensure};

use super::exhausted;

const TAG: &str = "INV-WHY-1";

/// An execution that a worker claims from a lane had no reason to wait, and one that has limits is
/// judged by them.
pub fn check(model: &Model, change: &Change<'_>) -> Result<(), Broken> {
    check_claim(model, change)?;
    match change.after.as_deref() {
        Some(after) if after.limits.is_some() => check_limits(model, after, change.now),
        _ => Ok(()),
    }
}

/// Its budgets count if they have admitted nothing for longer than a program relies on what it has
/// read; its quotas have admitted it before ([`check_admitted`]).
fn check_claim(model: &Model, change: &Change<'_>) -> Result<(), Broken> {
    let (Some(before), Some(_), Some(CommandKind::Offer)) =
        (&change.before, change.new_lease(), change.caller.carries)
    else {
        return Ok(());
    };
    let capabilities = match &change.caller.command {
        Some(AnyCommand::Offer(offer)) => Some(&offer.capabilities),
        Some(_) => None,
        None => model.capabilities.get(change.caller.process),
    };
    let Some(capabilities) = capabilities else { return Ok(()) };
    let latest = change.now.plus(model.clocks_differ_by);
    let budgets = before.limits.iter().flat_map(|limited| &limited.limits.budgets);
    let stopped = budgets.filter_map(|id| {
        let key = Budget::key(&before.namespace, id, &model.partitions).uuid;
        exhausted::stopped(model, key, change.caller.begun)?;
        let found = model.budgets.records.get(&key).map(|known| &known.budget);
        Some(LimitState::of_budget(id.clone(), found, latest))
    });
    let limits: Vec<_> = stopped.collect();
    let judgement = judge(before, Some(capabilities), None, &limits, change.now);
    ensure!(
        judgement == Judgement::Admit,
        TAG,
        "{} was claimed, but it had reasons to wait: {judgement:?}",
        change.id
    );
    Ok(())
}

/// The reasons of an execution name its budgets or its quotas exactly if these hold it back.
fn check_limits(model: &Model, record: &Execution, now: TimestampMs) -> Result<(), Broken> {
    let Some(limited) = &record.limits else { return Ok(()) };
    let (namespace, partitions) = (&record.namespace, &model.partitions);
    let mut states = Vec::new();
    // Whether a limit holds it back for sure, and whether one may.
    let (mut budget, mut quota) = ((false, false), (false, false));
    for id in &limited.limits.budgets {
        let key = Budget::key(namespace, id, partitions).uuid;
        let found = model.budgets.records.get(&key).map(|known| &known.budget);
        states.push(LimitState::of_budget(id.clone(), found, now));
        let holds = model.budgets.admits_nothing(key, now);
        budget = (budget.0 || holds, budget.1 || holds);
    }
    for of in &limited.limits.quotas {
        let limits = model.quotas.present(Quota::key(namespace, &of.quota, partitions).uuid);
        let known = model.quotas.uses.get(&QuotaUse::key(namespace, of, partitions).uuid);
        let usage = limits.map(|limits| {
            // As of its latest commit, by the clock of its partition.
            let (usage, at) = known.map_or((None, now), |known| (Some(&known.record), known.at));
            QuotaUse::shown(of.clone(), limits, usage, at)
        });
        states.push(LimitState::of_quota(of.clone(), usage));
        let full = limits.is_none_or(|limits| known.is_some_and(|known| known.is_full(limits)));
        // A quota that limits the rate counts a little more than the window.
        let may_be_full = full || limits.is_some_and(|limits| limits.rate.is_some());
        quota = (quota.0 || full, quota.1 || may_be_full);
    }
    let judgement = judge(record, None, None, &states, now);
    let says = |kind| match &judgement {
        Judgement::Admit => false,
        Judgement::Wait(reasons) => reasons.iter().any(|reason| limit_of(reason) == Some(kind)),
    };
    let has_no_grant =
        |grant: &Option<Grant>| grant.as_ref().is_none_or(|grant| grant.expires_at <= now);
    let (is_open, blocks) = match &record.phase {
        Phase::Runnable(runnable) => (has_no_grant(&runnable.grant), Some(&runnable.blocks)),
        Phase::Active(active) if !active.is_leased(now) => {
            (has_no_grant(&active.grant), Some(&active.blocks))
        }
        Phase::Active(_) | Phase::Suspended(_) | Phase::Terminal(_) => (false, None),
    };
    let blocked = |kind| blocks.is_some_and(|blocks| blocks.get(kind).is_some());
    for (kind, (holds, may_hold)) in [(BlockKind::Budget, budget), (BlockKind::Quota, quota)] {
        let least = blocked(kind) || is_open && holds;
        let most = blocked(kind) || is_open && may_hold;
        ensure!(
            (least..=most).contains(&says(kind)),
            TAG,
            "{} is held back by {kind:?}: {most}, but it is judged {judgement:?} with {states:?}",
            record.id
        );
    }
    Ok(())
}

/// The kind of limit that a reason reports.
const fn limit_of(reason: &Reason) -> Option<BlockKind> {
    match reason {
        Reason::BlockedByBudget { .. } => Some(BlockKind::Budget),
        Reason::BlockedByQuota { .. } => Some(BlockKind::Quota),
        _ => None,
    }
}

/// The use of a quota under which an execution was admitted held none back. `before`: the use
/// before that, without the slots that the admission replaces. `after`: the use with it.
pub fn check_admitted(
    model: &Model,
    before: Option<&QuotaUse>,
    after: &QuotaUse,
) -> Result<(), Broken> {
    let (of, at) = (&after.of, after.updated_at);
    let usage = QuotaUse::shown(of.clone(), after.limits, before, at);
    let limit = [LimitState::of_quota(of.clone(), Some(usage))];
    let is_held = |record: &&Execution| {
        judge(record, None, None, &limit, at) != judge(record, None, None, &[], at)
    };
    let counted = model.records.values().map(|record| &**record);
    let held = counted.filter(|record| counts(record, of)).find(is_held);
    ensure!(
        held.is_none(),
        TAG,
        "{of} has admitted an execution, but holds {:?} back: {limit:?}",
        held.map(|record| record.id)
    );
    Ok(())
}
