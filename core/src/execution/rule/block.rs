//! `block` and `unblock`: add and remove a reason that holds an execution back (`docs/spec.md`, 4
//! and 7).

use serde::{Deserialize, Serialize};

use crate::capability::Capabilities;
use crate::error::Rejection;
use crate::execution::record::{
    BlockEntry, BlockKind, Decision, Event, Execution, LeaseFate, Phase, Ruling, Verdict,
};
use crate::id::ExecutionId;
use crate::time::{DurationMs, TimestampMs};

/// Holds an execution back. Identity: the reason; a repeat changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The reason.
    pub kind: BlockKind,
    /// When a budget or a quota is expected to allow it again; by default 1 s after the block,
    /// doubling up to 60 s.
    #[serde(default)]
    pub recheck_at: Option<TimestampMs>,
}

/// Removes one reason; the others still hold. Identity: the reason; a repeat changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unblock {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The reason.
    pub kind: BlockKind,
}

/// The outcome of `block` and `unblock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockOutcome {
    /// The first reason that holds the execution back now.
    pub held_by: Option<BlockKind>,
}

/// Adds a reason that holds the execution back.
///
/// # Errors
///
/// `ExecutionNotRunnable`: only an execution that waits to run can be held back. One whose lease
/// was lost waits too, but only a missing capability and limits can hold it back.
pub fn block(current: &Execution, command: &Block, now: TimestampMs) -> Ruling<BlockOutcome> {
    let kind = command.kind;
    check_waits(current, kind)?;
    if current.blocks().is_some_and(|blocks| blocks.get(kind).is_some()) {
        return Ok(Verdict::Repeat(held_by(current)));
    }
    let wait = recheck_wait(current);
    let recheck_at = match kind {
        BlockKind::Operator | BlockKind::Lane | BlockKind::Dependencies => None,
        BlockKind::Budget | BlockKind::Quota => Some(command.recheck_at.unwrap_or(now.plus(wait))),
        BlockKind::Route => Some(now.plus(wait)),
    };
    let mut next = current.clone();
    if let (BlockKind::Quota, Some(limited)) = (kind, &mut next.limits) {
        // The caller holds it back, not one of the quotas that it names.
        limited.waits_for = None;
    }
    if let Some(blocks) = next.blocks_mut() {
        blocks.insert(BlockEntry { kind, recheck_at });
    }
    let outcome = held_by(&next);
    Ok(Decision::put(next, now, outcome).event(Event::Blocked { kind }).into())
}

/// The time until a block is checked again: 1 s, doubling with each check up to 60 s.
pub(super) fn recheck_wait(current: &Execution) -> DurationMs {
    DurationMs::new(1_000 << current.counts.rechecks.min(6)).min(MAX_RECHECK)
}

/// The longest time until a block is checked again.
const MAX_RECHECK: DurationMs = DurationMs::from_secs(60);

/// Removes one reason.
///
/// # Errors
///
/// `ExecutionNotRunnable`.
pub fn unblock(current: &Execution, command: &Unblock, now: TimestampMs) -> Ruling<BlockOutcome> {
    let kind = command.kind;
    check_waits(current, kind)?;
    if current.blocks().is_none_or(|blocks| blocks.get(kind).is_none()) {
        return Ok(Verdict::Repeat(held_by(current)));
    }
    let mut next = current.clone();
    if let Some(blocks) = next.blocks_mut() {
        blocks.remove(kind);
    }
    let outcome = held_by(&next);
    Ok(Decision::put(next, now, outcome).event(Event::Unblocked { kind }).into())
}

/// Removes the block of an execution that is only held back because no worker fitted, for a worker
/// that fits. `None` for any other execution.
pub(super) fn unblock_for(
    worker: &Capabilities,
    current: &Execution,
    now: TimestampMs,
) -> Option<Decision<BlockOutcome>> {
    let only = current.blocks().is_some_and(|blocks| blocks.is_only(BlockKind::Route));
    if !only || !current.requires.satisfied_by(worker) {
        return None;
    }
    match unblock(current, &Unblock { execution_id: current.id, kind: BlockKind::Route }, now) {
        Ok(Verdict::Apply(unblocked)) => Some(unblocked),
        Ok(Verdict::Repeat(_)) | Err(_) => None,
    }
}

/// Refuses an execution that this reason cannot hold back. Any reason can hold back a runnable one;
/// a missing capability and limits also one whose lease is marked as lost, which waits to be taken
/// over.
pub(super) fn check_waits(current: &Execution, kind: BlockKind) -> Result<(), Rejection> {
    let also_lost = matches!(kind, BlockKind::Route | BlockKind::Budget | BlockKind::Quota);
    match &current.phase {
        Phase::Runnable(_) => Ok(()),
        Phase::Active(active) if also_lost && active.fate != LeaseFate::Held => Ok(()),
        phase => Err(Rejection::ExecutionNotRunnable { lifecycle_phase: phase.word() }),
    }
}

fn held_by(execution: &Execution) -> BlockOutcome {
    let first = execution.blocks().and_then(|blocks| blocks.first());
    BlockOutcome { held_by: first.map(|entry| entry.kind) }
}
