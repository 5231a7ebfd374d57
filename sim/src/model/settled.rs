//! The work that is pending after the faults, and the work that may stay.

use ff_core::agent::WorkerProfile;
use ff_core::execution::{BlockKind, Execution, LeaseFate, Phase, situation};
use ff_core::id::{ExecutionId, SlotId};
use ff_core::policy::ReclaimMode;
use ff_core::quota::Holder;
use ff_core::time::{DurationMs, TimestampMs};

use crate::model::Model;
use crate::model::quotas::running_under;

/// How long after the last fault all work has come to its end, in milliseconds: ten minutes.
pub const HEALED_WITHIN_MS: u64 = 10 * 60 * 1_000;

/// Whether an execution is pending: neither over, nor waiting for an event that will not come.
pub fn is_pending(model: &Model, workers: &[WorkerProfile], now: TimestampMs) -> bool {
    let pending = |record| !is_settled(record, workers, now) && !is_held(model, record, now);
    model.records.values().any(|record| pending(record))
}

/// The slots of quotas whose executions do not run under their grants any more. Checks free them.
pub fn leaked_slots(model: &Model) -> Vec<(ExecutionId, SlotId)> {
    let holders = model.quotas.uses.values().flat_map(|usage| &usage.record.holders);
    let is_leaked = |held: &&Holder| {
        let record = model.records.get(&held.execution);
        record.and_then(|record| running_under(record)) != Some(held.slot)
    };
    holders.filter(is_leaked).map(|held| (held.execution, held.slot)).collect()
}

/// Describes the executions that are pending.
pub fn pending(model: &Model, workers: &[WorkerProfile], now: TimestampMs) -> Vec<String> {
    let waits = |record: &&std::rc::Rc<Execution>| {
        !is_settled(record, workers, now) && !is_held(model, record, now)
    };
    let describe = |record: &std::rc::Rc<Execution>| {
        format!(
            "{} is {}, stands at {:?} (now {now}), in {:?}",
            record.id,
            situation(record, now),
            model.positions.get(&record.id),
            record.phase
        )
    };
    model.records.values().filter(waits).map(describe).collect()
}

/// Whether a dead caller's `Take` holds an execution until its deadline, a distant time. Nothing in
/// the record shows it to a timekeeper that was started after the clock stepped back.
fn is_held(model: &Model, record: &Execution, now: TimestampMs) -> bool {
    let far = now.plus(DurationMs::from_secs(60));
    model.positions.get(&record.id).is_some_and(|positions| {
        let due = positions.due.map(ff_core::score::Score::instant);
        positions.eligible.is_none() && due == record.deadline && due.is_some_and(|at| at > far)
    })
}

/// Whether an execution is over, or waits for an operator, for a worker that does not exist, for
/// a request for a reclaim grant, or for a distant time that a wrong clock has set, as that of a
/// grant. A suspended
/// execution is pending, because an operator resumes it if nothing else ends it.
pub fn is_settled(record: &Execution, workers: &[WorkerProfile], now: TimestampMs) -> bool {
    let far = |at: TimestampMs| at > now.plus(DurationMs::from_secs(60));
    let routable = workers.iter().any(|worker| {
        worker.lanes.contains(&record.lane)
            && worker.kinds.serves(&record.kind)
            && record.requires.satisfied_by(&worker.capabilities)
    });
    // A deadline ends an execution that nothing else ends.
    let may_stay = record.deadline.is_none_or(far);
    match &record.phase {
        // Retention runs to its end.
        Phase::Terminal(_) => record.continuation.is_none(),
        // An operator resumes a suspension that nothing else ends.
        Phase::Suspended(suspended) => {
            let timeout = suspended.suspension.timeout;
            may_stay && timeout.is_some_and(|timeout| far(timeout.at))
        }
        Phase::Runnable(runnable) => {
            let held = |kind| runnable.blocks.get(kind).is_some();
            let held = held(BlockKind::Operator) || held(BlockKind::Lane);
            let delayed = runnable.not_before.is_some_and(|delay| far(delay.until))
                || runnable.blocks.iter().any(|block| block.recheck_at.is_some_and(far));
            match &runnable.grant {
                Some(grant) => may_stay && far(grant.expires_at),
                None => may_stay && (held || delayed || !routable),
            }
        }
        Phase::Active(active) => {
            let on_request = record.policy.reclaim_mode == ReclaimMode::OnRequest;
            let lost = active.fate != LeaseFate::Held;
            let stays = match &active.grant {
                Some(grant) => far(grant.expires_at),
                None => {
                    let mut blocks = active.blocks.iter();
                    let is_far = blocks.any(|block| block.recheck_at.is_some_and(far));
                    on_request || !routable || is_far
                }
            };
            lost && may_stay && stays
        }
    }
}

/// How long after the last fault, in milliseconds, no lease outlasts the store's clock any more: a
/// minute, and a second for the timekeeper's sleep.
pub const ANCHORED_WITHIN_MS: u64 = 61_000;

/// The executions whose lease ends so late that the clock must have stepped back since.
pub fn outlasting(model: &Model, now: TimestampMs) -> Vec<ExecutionId> {
    let outlasts = |record: &&std::rc::Rc<Execution>| match &record.phase {
        Phase::Active(active) => active.is_leased(now) && active.outlasts_clock(now),
        _ => false,
    };
    model.records.values().filter(outlasts).map(|record| record.id).collect()
}

/// The suspended executions that no timer ends.
pub fn sleepers(model: &Model, now: TimestampMs) -> Vec<ExecutionId> {
    let sleeps = |record: &&std::rc::Rc<Execution>| match &record.phase {
        Phase::Suspended(suspended) => {
            let far = |at: TimestampMs| at > now.plus(DurationMs::from_secs(60));
            let timeout = suspended.suspension.timeout;
            timeout.is_none() && record.deadline.is_none_or(far)
        }
        _ => false,
    };
    model.records.values().filter(sleeps).map(|record| record.id).collect()
}
