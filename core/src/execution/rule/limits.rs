//! The decisions of budgets and quotas about a grant (`docs/spec.md`, 7), and the check of a slot
//! that an execution may have left behind.

use crate::error::{Missing, Rejection};
use crate::execution::facts::{Admission, Facts, Held};
use crate::execution::record::{
    BlockEntry, BlockKind, Decision, Event, Execution, GrantSlot, Next, Ruling, Verdict,
};
use crate::execution::view::{grant_in_use, slot_of};
use crate::id::{ExecutionId, GrantId, SlotId};
use crate::planted::planted;
use crate::time::{TimestampMs, Window};

use super::block::{check_waits, recheck_wait};
use super::on_due::on_due;

/// The ruling of a rule that may give a grant, if the limits of the execution allow that grant.
/// Otherwise the execution is held back, with the outcome that `held` returns, or the command is
/// refused if it returns none. An execution without limits is ruled as before. \[INV-QUOTA-1\]
pub(in crate::execution) fn within_limits<T>(
    facts: &Facts<'_>,
    grant: GrantId,
    now: TimestampMs,
    ruling: Ruling<T>,
    held: impl FnOnce(Rejection) -> Option<T>,
) -> Ruling<T> {
    let (Ok(Verdict::Apply(decision)), Some(current)) = (&ruling, facts.record) else {
        return ruling;
    };
    let Next::Put(next) = &decision.next else { return ruling };
    let begins = grant_in_use(next) == Some(grant) && grant_in_use(current) != Some(grant);
    if next.limits.is_none() || !begins {
        return ruling;
    }
    match facts.admission.filter(|admission| admission.grant == grant) {
        None => Err(Rejection::Unread { what: Missing::Limits }),
        Some(Admission { held: None, slot, .. }) => {
            let taken = slot.map(|slot| GrantSlot { grant, slot });
            ruling.map(|verdict| with_slot(verdict, taken))
        }
        Some(Admission { held: Some(why), .. }) => match held(why.rejection.clone()) {
            Some(outcome) => hold_back(current, why, outcome, now, decision.window),
            None => Err(why.rejection.clone()),
        },
    }
}

/// The same verdict, whose execution takes this slot in each of its quotas that limit the
/// concurrency.
fn with_slot<T>(verdict: Verdict<T>, taken: Option<GrantSlot>) -> Verdict<T> {
    match verdict {
        Verdict::Apply(mut decision) => {
            if let Next::Put(next) = &mut decision.next
                && let Some(limited) = &mut next.limits
            {
                limited.slot = taken;
                limited.turn = None;
            }
            Verdict::Apply(decision)
        }
        repeat @ Verdict::Repeat(_) => repeat,
    }
}

/// Holds an execution back that a limit does not let start, in the window in which it could start.
fn hold_back<T>(
    current: &Execution,
    held: &Held,
    outcome: T,
    now: TimestampMs,
    startable: Window,
) -> Ruling<T> {
    if check_waits(current, held.kind).is_err() {
        // Its lease has expired, and is not marked as lost yet.
        return Ok(on_due(current, now)?.map(|_| outcome));
    }
    let wait = recheck_wait(current);
    let wait = match (held.kind, held.retry_after) {
        (BlockKind::Budget, Some(reset)) => wait.min(reset),
        (_, Some(turn)) => turn,
        (_, None) => wait,
    };
    let mut next = current.clone();
    if let Some(limited) = &mut next.limits {
        limited.waits_for = held.quota;
        limited.turn = held.turn.or(limited.turn);
    }
    let kind = held.kind;
    if let Some(blocks) = next.blocks_mut() {
        let recheck_at = (!planted!(LimitRecheckForgotten)).then_some(now.plus(wait));
        blocks.insert(BlockEntry { kind, recheck_at });
    }
    let decision = Decision::put(next, now, outcome).within(startable);
    Ok(decision.event(Event::Blocked { kind }).into())
}

/// Asks whether an execution still has a slot that it took. If not, the record gets a new version,
/// so that no commit that would give it the slot and is on its way can be applied any more.
///
/// Identity: the record itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckSlot {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The slot.
    pub slot: SlotId,
}

/// The outcome of `check_slot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotCheck {
    /// It runs, or its worker may claim it, with this slot.
    Held,
    /// It neither has the slot nor will get it.
    Free,
}

/// Decides whether a slot is free. \[INV-QUOTA-1\]
///
/// # Errors
///
/// None.
pub fn check_slot(current: &Execution, command: &CheckSlot, now: TimestampMs) -> Ruling<SlotCheck> {
    if slot_of(current) == Some(command.slot) {
        return Ok(Verdict::Repeat(SlotCheck::Held));
    }
    if planted!(SlotFreedUnfenced) {
        return Ok(Verdict::Repeat(SlotCheck::Free));
    }
    Ok(Decision::put(current.clone(), now, SlotCheck::Free).into())
}
