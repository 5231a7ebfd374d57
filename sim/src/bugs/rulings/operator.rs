//! Bugs in the calls of operators, except for cancellations.

use ff_core::error::Rejection;
use ff_core::execution::{AnyCommand, Asked, Facts, FirstSeen};

use crate::model::change::call_mut;

use super::{Ruled, decision, instead, is_repeat, next, on, with};

/// A repeated call of an operator is not recognised.
pub fn repeat_unknown(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let mut command = asked.command.clone();
    let (Some(call), Some(record), true) =
        (call_mut(&mut command), asked.facts.record, is_repeat(&ruled))
    else {
        return ruled;
    };
    let mut record = record.clone();
    let others: Vec<_> =
        record.requests.iter().filter(|(id, _)| *id != call.request_id).cloned().collect();
    record.requests = others.try_into().expect("it was a list of that length");
    on(asked, &record)
}

/// An operator's call is applied to another life than the one that it saw first.
pub fn life_not_checked(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    match (asked.facts.first_seen, &ruled) {
        (Some(seen), Err(Rejection::Superseded { current, .. })) => {
            let first_seen = Some(FirstSeen { life: *current, ..seen });
            with(asked, Facts { first_seen, ..asked.facts })
        }
        _ => ruled,
    }
}

/// An operator's call resumes a suspension that it never saw.
pub fn later_suspension_resumed(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let suspension = asked.facts.record.and_then(|record| record.suspension());
    match (asked.command, suspension, &ruled) {
        (
            AnyCommand::Resume(resume),
            Some(suspension),
            Err(Rejection::ExecutionNotSuspended { .. }),
        ) => {
            let mut resume = resume.clone();
            resume.suspension = Some(suspension.id);
            instead(asked, &resume.into())
        }
        _ => ruled,
    }
}

/// A replay keeps the deadline of the previous life.
pub fn replay_keeps_deadline(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    if let (AnyCommand::Replay(_), Some(record), Some(next)) =
        (asked.command, asked.facts.record, next(&mut ruled))
    {
        next.deadline = record.deadline;
    }
    ruled
}

/// A replay keeps the result of the previous life.
pub fn replay_keeps_result(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    if let (AnyCommand::Replay(_), Some(decision)) = (asked.command, decision(&mut ruled)) {
        decision.values.clear();
    }
    ruled
}
