//! \[INV-DURABLE-1\] What was acknowledged is there: submissions, completions, outcomes, results.

use ff_core::execution::{AnyOutcome, Event, Execution};
use ff_core::id::ExecutionId;
use ff_core::op::Committed;
use ff_core::store::{Bytes, Fetched};

use crate::change::Change;
use crate::identity::{claim_of, identity_of};
use crate::model::Model;
use crate::report::{Broken, ensure};
use crate::task::Caller;

const TAG: &str = "INV-DURABLE-1";

/// A record goes only when its retention is over and the journal says so.
///
/// # Errors
///
/// When a record goes otherwise.
pub fn check_change(change: &Change<'_>) -> Result<(), Broken> {
    if let (Some(before), None) = (&change.before, &change.after) {
        let told = change.events.contains(&Event::Removed) && before.continuation.is_some();
        ensure!(told, TAG, "{} went without its retention being over", change.id);
    }
    Ok(())
}

/// What a caller is told was done was done.
///
/// # Errors
///
/// When a caller is told of something that no commit did.
pub fn check_answer(
    model: &Model,
    caller: &Caller,
    committed: &Committed<AnyOutcome>,
) -> Result<(), Broken> {
    let Some(command) = &caller.command else { return Ok(()) };
    let id = ff_core::execution::Decide::execution_id(command);
    let Some(identity) = identity_of(command, model.generation(&id)) else { return Ok(()) };
    if let Some(told) = claim_of(&identity, &committed.outcome) {
        ensure!(
            model.applied.contains_key(&identity),
            TAG,
            "{identity:?} was acknowledged with {told:?}, and no commit did it"
        );
    }
    Ok(())
}

/// An execution that somebody was told exists is there, or its retention was over.
///
/// # Errors
///
/// When it is not.
pub fn check_acknowledged(model: &Model) -> Result<(), Broken> {
    for (id, generation) in &model.acknowledged {
        let removed = model.generation(id) > *generation || !model.records.contains_key(id);
        let over = || model.ended.iter().any(|(ended, of, _)| ended == id && of == generation);
        ensure!(!removed || over(), TAG, "{id} was acknowledged and is gone");
    }
    Ok(())
}

/// The payload that a worker gets is the one that was handed in.
///
/// # Errors
///
/// When it is another one.
pub fn check_payload(
    model: &Model,
    id: &ExecutionId,
    payload: Option<&Bytes>,
) -> Result<(), Broken> {
    let handed_in = model.lives.get(id).and_then(|life| life.payload.as_ref());
    ensure!(
        handed_in == payload,
        TAG,
        "a worker of {id} got the payload {payload:?} instead of {handed_in:?}"
    );
    Ok(())
}

/// A completed execution has the result that was handed back, byte for byte, until its retention
/// is over.
///
/// # Errors
///
/// When it has another one.
pub fn check_result(model: &Model, record: &Execution, stored: &Fetched) -> Result<(), Broken> {
    if !Model::completed(record) || record.continuation.is_some() {
        return Ok(());
    }
    let expected = model.result(&record.id).and_then(Option::as_ref);
    let found = match stored {
        Fetched::Value(value) => Some(value),
        Fetched::Absent | Fetched::Deferred => None,
    };
    ensure!(
        expected == found,
        TAG,
        "{} was completed with {expected:?} and has {found:?}",
        record.id
    );
    Ok(())
}
