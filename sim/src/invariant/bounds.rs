//! \[BOUNDS\] No value that exceeds a bound or does not decode is sent, stored or returned.

use ff_core::error::EngineError;
use ff_core::execution::{AnyCommand, Outcome, Phase, Progress, WorkFailure};

use crate::model::Model;
use crate::model::change::Change;
use crate::report::invariants::Invariant;
use crate::report::{Broken, ensure};

const TAG: &str = "BOUNDS";

/// A commit stores no value that exceeds its bound.
pub fn check(change: &Change<'_>) -> Result<(), Broken> {
    if let (Some(AnyCommand::Create(create)), None) = (&change.caller.command, &change.before) {
        let bytes = create.payload.as_ref().map_or(0, |payload| payload.len());
        let limit = create.payload_limit;
        ensure!(bytes <= limit, TAG, "{} has a payload of {bytes} of {limit} bytes", change.id);
    }
    let Some(after) = &change.after else { return Ok(()) };
    if let Some(progress) = &after.progress {
        let length = progress.message.as_ref().map_or(0, String::len);
        let fits = progress.percent <= 100 && length <= Progress::MESSAGE_MAX_BYTES;
        ensure!(fits, TAG, "{} has the progress {progress:?}", change.id);
    }
    if let Phase::Terminal(terminal) = &after.phase {
        let reason = match &terminal.outcome {
            Outcome::Failed(failure) => &failure.reason,
            Outcome::Cancelled { reason } => reason,
            Outcome::Success | Outcome::Expired => return Ok(()),
        };
        let length = reason.len();
        let fits = length <= WorkFailure::REASON_MAX_BYTES;
        ensure!(fits, TAG, "{} ended for a reason of {length} bytes", change.id);
    }
    Ok(())
}

/// No operation returns an internal error of the engine.
pub fn check_error(model: &Model, number: u64, error: &EngineError) -> Result<(), Broken> {
    let wrong = matches!(error, EngineError::Bug(_) | EngineError::ResourceExhausted { .. });
    ensure!(
        !(wrong && model.watched.contains(Invariant::Bounds)),
        TAG,
        "operation {number}: {error}"
    );
    Ok(())
}
