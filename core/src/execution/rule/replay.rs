//! `replay`: start a new life of an execution that is over (`docs/spec.md`, 4).

use crate::error::Rejection;
use crate::execution::facts::Facts;
use crate::execution::record::{
    Decision, Event, NextAttempt, OperatorOutcome, Phase, Ruling, ValueEffect, ValueKind, Verdict,
};
use crate::id::ExecutionId;
use crate::time::TimestampMs;

use super::lease::wait_for;
use super::operator_call::{OperatorCall, check_life};

/// Starts a new life. Identity: the request id.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The operator's call.
    pub call: OperatorCall,
}

/// A life that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Its number; the first life has 0.
    pub life: u32,
}

/// Replays an execution: clears the counters of retries and reclaims, the result, the failure and
/// the deadline. Epochs and attempt indexes go on rising.
///
/// # Errors
///
/// `Superseded`, `ExecutionNotTerminal`, `MaxReplaysExhausted`; `NotFound` once its retention is
/// over.
pub fn replay(facts: &Facts<'_>, command: &Replay, now: TimestampMs) -> Ruling<Replayed> {
    let current = facts.execution()?;
    let replayed = |outcome: &OperatorOutcome| match outcome {
        OperatorOutcome::Replayed(life) => Some(Replayed { life: *life }),
        _ => None,
    };
    if let Some(outcome) = command.call.repeated(current, replayed) {
        return Ok(Verdict::Repeat(outcome));
    }
    check_life(current, facts.first_seen)?;
    let Phase::Terminal(_) = &current.phase else {
        let lifecycle_phase = current.phase.word();
        return Err(Rejection::ExecutionNotTerminal { lifecycle_phase });
    };
    if current.continuation.is_some() {
        return Err(Rejection::NotFound);
    }
    let replays = current.counts.replays;
    if replays >= current.policy.max_replay_count {
        return Err(Rejection::MaxReplaysExhausted { replays });
    }
    let life = replays.saturating_add(1);
    let mut next = current.clone();
    next.counts.replays = life;
    next.counts.retries = 0;
    next.counts.reclaims = 0;
    next.deadline = None;
    next.progress = None;
    if let Some(limited) = &mut next.limits {
        limited.turn = None;
    }
    wait_for(&mut next, NextAttempt::Replay, None);
    command.call.remember(&mut next, OperatorOutcome::Replayed(life));
    Ok(Decision::put(next, now, Replayed { life })
        .event(Event::Replayed { life })
        .value(ValueEffect::Remove(ValueKind::Result))
        .into())
}
