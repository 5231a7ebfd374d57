//! Bugs in rulings: functions that get how a rule has ruled, and return another ruling.
//!
//! Many decide again, on a record or a command in which the value that the bug ignores is another
//! one, and put the value back into the record that is written.

pub mod admission;
pub mod creation;
pub mod holder;
pub mod operator;
pub mod retry;
pub mod timer;
pub mod waiting;

use ff_core::execution::{
    AnyCommand, AnyOutcome, Asked, Claimed, Decide, Decision, Execution, Facts, Next, Offered,
    Phase, Ruling, Suspended, Verdict,
};

/// How a rule has ruled.
pub type Ruled = Ruling<AnyOutcome>;

/// The ruling on another record.
fn on(asked: Asked<'_>, record: &Execution) -> Ruled {
    with(asked, Facts { record: Some(record), ..asked.facts })
}

/// The ruling on other facts.
fn with(asked: Asked<'_>, facts: Facts<'_>) -> Ruled {
    asked.command.decide(&facts, asked.now)
}

/// The ruling on another command.
fn instead(asked: Asked<'_>, command: &AnyCommand) -> Ruled {
    command.decide(&asked.facts, asked.now)
}

fn is_repeat(ruled: &Ruled) -> bool {
    matches!(ruled, Ok(Verdict::Repeat(_)))
}

fn decision(ruled: &mut Ruled) -> Option<&mut Decision<AnyOutcome>> {
    match ruled {
        Ok(Verdict::Apply(decision)) => Some(decision),
        _ => None,
    }
}

/// The record that is written.
fn next(ruled: &mut Ruled) -> Option<&mut Execution> {
    match &mut decision(ruled)?.next {
        Next::Put(next) => Some(next),
        Next::Keep | Next::Remove => None,
    }
}

fn suspended(record: &mut Execution) -> Option<&mut Suspended> {
    match &mut record.phase {
        Phase::Suspended(suspended) => Some(suspended),
        _ => None,
    }
}

/// The answer to a worker's claim.
fn claimed(outcome: &mut AnyOutcome) -> Option<&mut Claimed> {
    match outcome {
        AnyOutcome::Claim(claimed)
        | AnyOutcome::ClaimResumed(claimed)
        | AnyOutcome::Reclaim(claimed) => Some(claimed),
        AnyOutcome::Offer(Offered::Claimed(claimed)) => Some(claimed),
        _ => None,
    }
}
