//! The index entries that an execution should have, implemented from the specification,
//! independently of the rule that writes them (`docs/spec.md`, 4).

use ff_core::execution::{Execution, LeaseFate, Phase, WaitpointState};
use ff_core::policy::ReclaimMode;
use ff_core::score::Score;
use ff_core::time::{DurationMs, TimestampMs};

/// The scores of an execution in the indexes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexPositions {
    /// In its lane.
    pub eligible: Option<Score>,
    /// In `due`.
    pub due: Option<Score>,
    /// In `retention`.
    pub retention: Option<Score>,
    /// In the index of work that fits no worker.
    pub blocked_route: Option<Score>,
    /// In the index of work that waits for a slot of a quota.
    pub awaits_slot: Option<Score>,
    /// In the list of all.
    pub all: Option<Score>,
}

/// The weight of one step of priority against milliseconds of age.
const PRIORITY_WEIGHT: i64 = 1_000_000_000_000;

/// The index entries that follow from a record.
pub fn positions_of(record: &Execution) -> IndexPositions {
    use ff_core::execution::BlockKind;
    let blocks = record.blocks();
    let (blocked, by_route) = blocks.map_or((false, false), |blocks| {
        (blocks.iter().next().is_some(), blocks.iter().any(|b| b.kind == BlockKind::Route))
    });
    let awaits_slot = blocks.is_some_and(|blocks| {
        blocks.iter().map(|block| block.kind).eq([BlockKind::Quota])
            && record.limits.as_ref().is_some_and(|limited| limited.waits_for.is_some())
    });
    let waits = match &record.phase {
        Phase::Runnable(runnable) => runnable.not_before.is_none() && runnable.grant.is_none(),
        Phase::Active(active) => {
            let lost = matches!(active.fate, LeaseFate::Expired | LeaseFate::Revoked);
            lost && active.grant.is_none() && record.policy.reclaim_mode == ReclaimMode::Automatic
        }
        Phase::Suspended(_) | Phase::Terminal(_) => false,
    };
    let age = record.created_at.get() as i64 + i64::from(record.position);
    let in_lane = Score::new(age - i64::from(record.priority.get()) * PRIORITY_WEIGHT);
    let next = due_of(record).map(|at| Score::new(at.get() as i64));
    let over = matches!(record.phase, Phase::Terminal(_));
    IndexPositions {
        eligible: (waits && !blocked).then_some(in_lane),
        due: if over { None } else { next },
        retention: if over { next } else { None },
        blocked_route: by_route.then_some(in_lane),
        awaits_slot: awaits_slot.then_some(in_lane),
        all: Some(Score::new(record.created_at.get() as i64)),
    }
}

/// When the next timer of an execution is due.
pub fn due_of(record: &Execution) -> Option<TimestampMs> {
    let mut due: Vec<TimestampMs> = Vec::new();
    let open = !matches!(record.phase, Phase::Terminal(_));
    due.extend(record.deadline.filter(|_| open));
    due.extend(record.grant().map(|grant| grant.expires_at));
    match &record.phase {
        Phase::Terminal(_) if record.continuation.is_some() => due.push(TimestampMs::ZERO),
        Phase::Terminal(terminal) => {
            // A late copy of the submission must not create it again.
            let least = record.created_at.plus(DurationMs::from_secs(60));
            // A later execution with its id must begin above its epochs.
            let past = TimestampMs::new(record.epoch.0).plus(DurationMs::from_secs(30));
            due.push(terminal.at.plus(record.policy.retention_ms).max(least).max(past));
        }
        Phase::Runnable(runnable) => due.extend(runnable.not_before.map(|delay| delay.until)),
        Phase::Active(active) if active.fate == LeaseFate::Held => {
            due.push(active.lease.expires_at);
            let timeout = record.policy.timeout.attempt_timeout_ms;
            due.extend(timeout.map(|after| active.lease.acquired_at.plus(after)));
        }
        Phase::Active(_) => {}
        Phase::Suspended(suspended) => {
            due.extend(suspended.suspension.timeout.map(|timeout| timeout.at));
        }
    }
    let open = record.waiting.iter().flat_map(|waiting| &waiting.open);
    due.extend(open.filter_map(|waitpoint| match waitpoint.state {
        WaitpointState::Pending { expires_at } => expires_at,
        WaitpointState::Active => None,
    }));
    let held = matches!(&record.phase, Phase::Active(active) if active.fate == LeaseFate::Held);
    if let Some(blocks) = record.blocks().filter(|_| !held) {
        due.extend(blocks.iter().filter_map(|block| block.recheck_at));
    }
    due.into_iter().min()
}
