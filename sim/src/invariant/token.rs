//! \[INV-TOKEN-1\] A signal is accepted only with a token of its waitpoint, and not long after the
//! grace of the secret that signed it; a token within its grace is good.

use ff_core::error::{EngineError, Rejection, RejectionKind};
use ff_core::execution::{AnyCommand, AnyOutcome, Execution, SuspendOutcome, Waitpoint};
use ff_core::op::Committed;
use ff_core::time::TimestampMs;

use crate::model::Model;
use crate::model::caller::Caller;
use crate::model::change::Change;
use crate::report::{Broken, ensure, when_watched};

const TAG: &str = "INV-TOKEN-1";

/// A signal was accepted with a good token of its waitpoint.
pub fn check(model: &Model, change: &Change<'_>) -> Result<(), Broken> {
    if change.side_writes.signals.is_empty() {
        return Ok(());
    }
    let Some(AnyCommand::DeliverSignal(sent)) = &change.caller.command else { return Ok(()) };
    let waitpoint = waitpoint(change.before.as_deref(), sent.waitpoint_id);
    let signers =
        waitpoint.map(|waitpoint| model.waits.keys.signers(sent.token.expose(), waitpoint));
    let signers = signers.unwrap_or_default();
    let (id, signal, now) = (change.id, sent.signal_id, change.now);
    ensure!(
        !signers.is_empty(),
        TAG,
        "signal {signal} of {id} came with a token that no secret signed"
    );
    // A clock that goes back, or a failover, gives old secrets more time.
    let good = model.jumps > 0 || signers.iter().any(|key| key.may_be_taken(now));
    ensure!(good, TAG, "signal {signal} of {id} was accepted at {now}, signed by {signers:?}");
    Ok(())
}

fn waitpoint(record: Option<&Execution>, id: ff_core::id::WaitpointId) -> Option<&Waitpoint> {
    record?.waiting.as_ref()?.waitpoint(id).map(|(waitpoint, _)| waitpoint)
}

/// A refused token is bad, and an issued token is good. `seen`, `at`: the record on which the
/// answer was decided, and the store's clock then; `begun`: the store's clock when the call began.
pub fn check_answer(
    model: &Model,
    caller: &Caller,
    (seen, at, begun): (Option<&Execution>, TimestampMs, TimestampMs),
    result: &Result<Committed<AnyOutcome>, EngineError>,
) -> Result<(), Broken> {
    when_watched!(model, Token);
    match (&caller.command, result) {
        (Some(AnyCommand::DeliverSignal(sent)), Err(error)) if is_invalid(error) => {
            let Some(waitpoint) = waitpoint(seen, sent.waitpoint_id) else { return Ok(()) };
            let signers = model.waits.keys.signers(sent.token.expose(), waitpoint);
            let good = model.jumps == 0 && signers.iter().any(|key| key.has_to_be_taken(at, begun));
            ensure!(!good, TAG, "a good token was refused at {at}: {signers:?}");
        }
        (Some(AnyCommand::DeliverSignal(sent)), Ok(committed)) => {
            // The answer to a repeat reveals the effect too.
            let Some(waitpoint) = waitpoint(seen, sent.waitpoint_id) else { return Ok(()) };
            let signers = model.waits.keys.signers(sent.token.expose(), waitpoint);
            let good = model.jumps > 0 || signers.iter().any(|key| key.may_be_taken(at));
            let outcome = &committed.outcome;
            ensure!(
                !signers.is_empty() && good,
                TAG,
                "signal {} was answered {outcome:?} at {at}, signed by {signers:?}",
                sent.signal_id
            );
        }
        (_, Ok(committed)) => {
            let issued = match &committed.outcome {
                AnyOutcome::CreatePendingWaitpoint(issued) => std::slice::from_ref(issued),
                AnyOutcome::Suspend(SuspendOutcome::Suspended { waitpoints, .. }) => waitpoints,
                _ => return Ok(()),
            };
            for issued in issued {
                let Some(waitpoint) = waitpoint(seen, issued.id) else { continue };
                let signers = model.waits.keys.signers(issued.token.expose(), waitpoint);
                let own = !signers.is_empty();
                ensure!(own, TAG, "the token of waitpoint {} is not its own", issued.id);
            }
        }
        _ => {}
    }
    Ok(())
}

fn is_invalid(error: &EngineError) -> bool {
    match error {
        EngineError::Validation { kind, .. } => *kind == RejectionKind::InvalidToken,
        other => other.rejection().is_some_and(|found| *found == Rejection::InvalidToken),
    }
}
