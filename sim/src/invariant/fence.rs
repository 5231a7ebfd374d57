//! \[INV-FENCE-1\] A call with a stale fence changes nothing; a rejected command changes nothing.

use ff_core::execution::{Fence, LeaseFate};

use crate::model::Model;
use crate::model::caller::Caller;
use crate::model::change::Change;
use crate::report::invariants::Invariant;
use crate::report::{Broken, ensure};

const TAG: &str = "INV-FENCE-1";

/// Only the holder of a live lease changes something under a fence, and no caller after a refusal.
pub fn check(change: &Change<'_>) -> Result<(), Broken> {
    if change.kept {
        return Ok(());
    }
    let name = change.caller.command.as_ref().map_or("operation", ff_core::execution::Decide::name);
    ensure!(
        !change.caller.refused,
        TAG,
        "{name} of operation {} changed {} after its caller got a certain refusal",
        change.caller.number,
        change.id
    );
    let Some(parts) = change.fence() else { return Ok(()) };
    let Some(fence) = parts.complete() else {
        ensure!(false, TAG, "{name} changed {} without a fence", change.id);
        return Ok(());
    };
    let holds = change.active_before().is_some_and(|active| {
        let held = Fence {
            lease_id: active.lease.id,
            lease_epoch: active.lease.epoch,
            attempt_id: active.attempt.id,
        };
        held == fence && active.fate == LeaseFate::Held && change.now < active.lease.expires_at
    });
    ensure!(holds, TAG, "{name} changed {} under the stale fence {fence:?}", change.id);
    Ok(())
}

/// A command that got a certain refusal has changed nothing.
pub fn check_refused(model: &Model, caller: &Caller) -> Result<(), Broken> {
    ensure!(
        caller.applied == 0 || !model.watched.contains(Invariant::Fence),
        TAG,
        "operation {} got a certain refusal, but {} of its commits changed something: {:?}",
        caller.number,
        caller.applied,
        caller.command
    );
    Ok(())
}
