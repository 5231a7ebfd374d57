//! The checks of an answer to a caller.

use ff_core::agent::ClaimedWork;
use ff_core::error::EngineError;
use ff_core::execution::{AnyOutcome, Claimed, CreateOutcome, Execution, Offered};
use ff_core::id::LeaseId;
use ff_core::op::Committed;
use ff_core::store::Fetched;
use ff_core::time::TimestampMs;

use crate::model::Model;
use crate::model::caller::Caller;
use crate::model::identity::is_certain;
use crate::model::shown_leases::ShownLeases;
use crate::report::Broken;

use super::{bounds, durable, fence, frame, identity, signal, suspend, token};

/// The state of the store that an operation had seen when it answered its caller.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'s> {
    /// The record that the latest reply was about.
    pub record: Option<&'s Execution>,
    /// The store's clock in that reply; zero before the first one.
    pub at: TimestampMs,
    /// The store's clock when the operation began.
    pub begun: TimestampMs,
    /// How often the store's clock or history had jumped when it gave that reply.
    pub jumps: u64,
    /// Whether the answer may be older than that reply, since another command of the same call took
    /// longer.
    pub may_be_older: bool,
}

/// Checks the answer to a command, and remembers the executions that it acknowledges.
pub fn check_command(
    model: &mut Model,
    caller: &Caller,
    seen: Seen<'_>,
    result: &Result<Committed<AnyOutcome>, EngineError>,
) -> Result<(), Broken> {
    let Seen { record, at, begun, jumps, may_be_older } = seen;
    suspend::check_answer(model, caller, result, at)?;
    signal::check_answer(model, caller, at, jumps, result)?;
    token::check_answer(model, caller, record, at, begun, result)?;
    frame::check_answer(model, caller, record, result)?;
    identity::check_answer(model, caller, record, result)?;
    let Ok(committed) = result else { return Ok(()) };
    // A failover may have lost the effect after the answer to it.
    if !may_be_older || model.jumps == 0 {
        durable::check_answer(model, caller, committed)?;
    }
    match &committed.outcome {
        AnyOutcome::Create(CreateOutcome::Created(id) | CreateOutcome::Duplicate(id)) => {
            let generation = model.generation(id);
            model.acknowledged.insert((*id, generation));
            Ok(())
        }
        AnyOutcome::Claim(claimed)
        | AnyOutcome::ClaimResumed(claimed)
        | AnyOutcome::Reclaim(claimed) => check_claimed(model, claimed, committed),
        AnyOutcome::Offer(Offered::Claimed(claimed)) => check_claimed(model, claimed, committed),
        _ => Ok(()),
    }
}

fn check_claimed(
    model: &Model,
    claimed: &Claimed,
    committed: &Committed<AnyOutcome>,
) -> Result<(), Broken> {
    let payload = match committed.values.first() {
        Some(Fetched::Value(value)) => Some(value),
        _ => None,
    };
    durable::check_claimed(model, claimed, payload)
}

/// Checks the work that a worker has drawn. `own`: the worker's own leases that the store showed to
/// the operation.
pub fn check_drawn(
    model: &Model,
    number: u64,
    own: &ShownLeases,
    work: &[ClaimedWork],
) -> Result<(), Broken> {
    let known: Vec<LeaseId> = work.iter().map(|work| work.claimed.lease_id).collect();
    identity::check_own(model, number, own, &known)?;
    work.iter()
        .try_for_each(|work| durable::check_claimed(model, &work.claimed, work.payload.as_ref()))
}

/// Checks the error that an operation, or one of the commands that it carries together, returns to
/// its caller, and remembers whether it is a certain refusal. `before_jump`: the store's clock or
/// history may have jumped after the store gave the reply that the error rests on.
pub fn check_error(
    model: &Model,
    caller: &mut Caller,
    part: Option<usize>,
    before_jump: bool,
    error: &EngineError,
) -> Result<(), Broken> {
    bounds::check_error(model, caller.number, error)?;
    identity::check_doubt(model, caller, error)?;
    // Of a request that its client library sent twice, a caller receives one reply: it may be
    // refused by a state that followed its own success, when the record has no trace of it any
    // more.
    if !is_certain(error) || caller.resent {
        return Ok(());
    }
    let caller = match part {
        Some(part) => &mut caller.parts[part],
        None => caller,
    };
    // A copy that was too late by the clock of that reply may be in time after a step back.
    caller.refused = !before_jump;
    fence::check_refused(model, caller)
}
