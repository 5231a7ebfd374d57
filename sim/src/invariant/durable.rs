//! \[INV-DURABLE-1\] Everything that was acknowledged is there: submissions, completions, outcomes,
//! results.

use ff_core::execution::{AnyCommand, AnyOutcome, Claimed, Event, Execution};
use ff_core::id::ExecutionId;
use ff_core::op::Committed;
use ff_core::store::{Bytes, Fetched};

use crate::model::Model;
use crate::model::caller::Caller;
use crate::model::change::{Change, is_terminal};
use crate::model::identity::effect_of;
use crate::report::invariants::Invariant;
use crate::report::{Broken, ensure, when_watched};

const TAG: &str = "INV-DURABLE-1";

/// A record is removed only when its retention is over, and with an event.
pub fn check_change(change: &Change<'_>) -> Result<(), Broken> {
    match (&change.before, &change.after) {
        (Some(_), None) => {
            let told = change.events.contains(&Event::Removed) && change.is_removable();
            ensure!(told, TAG, "{} was removed before its retention was over", change.id);
            Ok(())
        }
        (Some(before), Some(after)) => check_kept(change, before, after),
        _ => Ok(()),
    }
}

/// The values of a submission never change.
fn check_kept(change: &Change<'_>, before: &Execution, after: &Execution) -> Result<(), Broken> {
    let prioritized = matches!(change.caller.command, Some(AnyCommand::ChangePriority(_)));
    let same = before.id == after.id
        && before.namespace == after.namespace
        && before.lane == after.lane
        && before.kind == after.kind
        && before.created_at == after.created_at
        && before.position == after.position
        && before.creator == after.creator
        && before.content == after.content
        && before.policy == after.policy
        && before.requires == after.requires
        && before.tags == after.tags
        && (before.priority == after.priority || prioritized)
        && after.deadline == before.deadline.filter(|_| !replayed(before, after));
    ensure!(same, TAG, "{} has changed: {before:?} became {after:?}", change.id);
    Ok(())
}

fn replayed(before: &Execution, after: &Execution) -> bool {
    is_terminal(Some(before)) && !is_terminal(Some(after))
}

/// Every acknowledged effect was committed.
pub fn check_answer(
    model: &Model,
    caller: &Caller,
    committed: &Committed<AnyOutcome>,
) -> Result<(), Broken> {
    when_watched!(model, Durable);
    let Some(command) = &caller.command else { return Ok(()) };
    let Some(identity) = model.identity_of(command) else { return Ok(()) };
    if let Some(told) = effect_of(&identity, &committed.outcome) {
        ensure!(
            model.applied.contains_key(&identity),
            TAG,
            "{identity:?} was acknowledged with {told:?}, but no commit applied it"
        );
    }
    Ok(())
}

/// An execution whose existence was acknowledged is there, or its retention was over.
pub fn check_acknowledged(model: &Model) -> Result<(), Broken> {
    when_watched!(model, Durable);
    for (id, generation) in &model.acknowledged {
        let removed = model.generation(id) > *generation || !model.records.contains_key(id);
        let over = || model.ended.iter().any(|(ended, of, _)| ended == id && of == generation);
        ensure!(!removed || over(), TAG, "{id} was acknowledged and does not exist");
    }
    Ok(())
}

/// A claim returns the payload of the submission, while the execution is still the claimed one.
pub fn check_claimed(
    model: &Model,
    claimed: &Claimed,
    payload: Option<&Bytes>,
) -> Result<(), Broken> {
    let id = &claimed.execution_id;
    let Some(record) = model.records.get(id) else { return Ok(()) };
    let same = record.last_fence.is_some_and(|fence| fence.lease_id == claimed.lease_id);
    if same && record.continuation.is_none() {
        check_payload(model, id, payload)?;
    }
    Ok(())
}

/// A worker gets the payload of the submission.
pub fn check_payload(
    model: &Model,
    id: &ExecutionId,
    payload: Option<&Bytes>,
) -> Result<(), Broken> {
    when_watched!(model, Durable);
    let submitted = model.lives.get(id).and_then(|life| life.payload.as_ref());
    ensure!(
        submitted == payload,
        TAG,
        "a worker of {id} got the payload {payload:?} instead of {submitted:?}"
    );
    Ok(())
}

/// A completed execution has the result of its completion, byte for byte, until its retention is
/// over, and an execution that is not completed has none.
pub fn check_result(model: &Model, record: &Execution, stored: &Fetched) -> Result<(), Broken> {
    if record.continuation.is_some() || !model.watched.contains(Invariant::Durable) {
        return Ok(());
    }
    let completed = Model::completed(record);
    let expected = model.result(&record.id).and_then(Option::as_ref).filter(|_| completed);
    let found = match stored {
        Fetched::Value(value) => Some(value),
        Fetched::Absent | Fetched::Deferred => None,
    };
    ensure!(
        expected == found,
        TAG,
        "the result of {} should be {expected:?} (completed: {completed}) and is {found:?}",
        record.id
    );
    Ok(())
}
