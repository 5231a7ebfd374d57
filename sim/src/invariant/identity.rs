//! \[INV-IDENTITY-1\] The same identity gives the same answer or a typed refusal, never a second
//! effect.

use ff_core::error::EngineError;
use ff_core::execution::{
    AnyCommand, AnyOutcome, CreateOutcome, Decide, Execution, IdentityKind, LeaseFate,
};
use ff_core::id::LeaseId;
use ff_core::op::Committed;

use crate::model::Model;
use crate::model::caller::Caller;
use crate::model::change::Change;
use crate::model::identity::{CommandIdentity, effect_of, is_decided, remembered_of};
use crate::model::shown_leases::ShownLeases;
use crate::report::invariants::Invariant;
use crate::report::{Broken, ensure, when_watched};

const TAG: &str = "INV-IDENTITY-1";

/// A command is applied once, and an operation recognises its own effect.
pub fn check_change(model: &Model, change: &Change<'_>) -> Result<(), Broken> {
    if let Some((identity, _)) = model.carried_out(change) {
        let first = model.applied.get(&identity);
        // A removed execution leaves no trace: a later call may create it again, the same call may
        // not.
        let forgotten = change.before.is_none()
            && model.applied_by.get(&identity) != Some(&change.caller.number);
        ensure!(
            first.is_none() || (forgotten && matches!(identity, CommandIdentity::Creator(..))),
            TAG,
            "{identity:?} was applied again, by operation {}; the first time: {first:?}",
            change.caller.number
        );
    }
    if let (Some(before), Some(command), false) =
        (&change.before, &change.caller.command, change.kept)
    {
        let (present, meant) = (before.counts.replays, change.caller.life);
        ensure!(
            meant.is_none_or(|meant| meant == present),
            TAG,
            "{command:?} was meant for life {meant:?} and applied in life {present}"
        );
    }
    if let Some(new) = change.new_lease() {
        let first = model.leases.get(&new.lease.id);
        ensure!(
            first.is_none(),
            TAG,
            "lease {} of {} was granted twice, by operations {first:?} and {}",
            new.lease.id,
            change.id,
            change.caller.number
        );
    }
    if let Some(held) = change.active_before().filter(|_| change.kept) {
        let lives = held.fate == LeaseFate::Held && change.now < held.lease.expires_at;
        let own = model.leases.get(&held.lease.id) == Some(&change.caller.number);
        ensure!(
            !(lives && own),
            TAG,
            "operation {} put {} back although it holds it under lease {}",
            change.caller.number,
            change.id,
            held.lease.id
        );
    }
    Ok(())
}

/// An operation that draws work recognises its own lease when the store shows it again.
pub fn check_own(
    model: &Model,
    number: u64,
    own: &ShownLeases,
    known: &[LeaseId],
) -> Result<(), Broken> {
    for (id, lease) in own.iter() {
        ensure!(
            known.contains(lease) || !model.watched.contains(Invariant::Identity),
            TAG,
            "operation {number} did not recognise its own lease {lease} of {id}"
        );
    }
    Ok(())
}

/// A repeated command gets the answer of the first time. `seen`: the record on which the answer was
/// decided.
pub fn check_answer(
    model: &Model,
    caller: &Caller,
    seen: Option<&Execution>,
    result: &Result<Committed<AnyOutcome>, EngineError>,
) -> Result<(), Broken> {
    when_watched!(model, Identity);
    let Some(command) = &caller.command else { return Ok(()) };
    let Some(identity) = model.identity_of(command) else { return Ok(()) };
    match result {
        Ok(committed) => check_same(model, command, &identity, seen, &committed.outcome),
        Err(error) if is_decided(error) => {
            let proves = seen.is_some_and(|seen| proves_itself(command, seen));
            let memory = seen.and_then(|seen| remembered_of(&identity, seen)).filter(|_| proves);
            ensure!(
                memory.is_none(),
                TAG,
                "{identity:?} was refused ({error}) although its record shows {memory:?}"
            );
            Ok(())
        }
        Err(_) => Ok(()),
    }
}

/// A caller that receives the error "may be applied" has missed a reply, or its requests were sent
/// twice. Records keep no trace of grants and leases that are over, nor of removed secrets, and of
/// suspensions only the latest. So a request for one may get this answer when the record has
/// changed since.
pub fn check_doubt(model: &Model, caller: &Caller, error: &EngineError) -> Result<(), Broken> {
    let got_replies = !caller.resent && !caller.failed;
    let kind = caller.command.as_ref().map(|command| command.spec().identity);
    let is_forgotten = caller.rotates.is_some()
        || matches!(kind, Some(IdentityKind::Grant | IdentityKind::Lease))
        || caller.command.as_ref().is_some_and(|command| is_overwritten(model, command));
    if error.may_be_applied() && model.watched.contains(Invariant::Identity) {
        let (carries, doubts) = (caller.carries, !got_replies || is_forgotten);
        ensure!(
            doubts,
            TAG,
            "{carries:?} may be applied ({error}), although every request was answered"
        );
    }
    Ok(())
}

/// Whether the record has the trace of another suspension than that of this command.
fn is_overwritten(model: &Model, command: &AnyCommand) -> bool {
    let AnyCommand::Suspend(suspend) = command else { return false };
    let record = model.records.get(&suspend.execution_id);
    let latest = record.and_then(|record| record.waiting.as_ref()?.latest.as_ref());
    latest.is_some_and(|latest| latest.id != suspend.suspension_id)
}

/// Whether a call that returns tokens comes from an attempt that the record still has. Other calls
/// need no such proof.
fn proves_itself(command: &AnyCommand, seen: &Execution) -> bool {
    let fence = match command {
        AnyCommand::Suspend(suspend) => &suspend.fence,
        AnyCommand::CreatePendingWaitpoint(open) => &open.fence,
        _ => return true,
    };
    let Some(fence) = fence.complete() else { return false };
    let past = seen.past_attempts.iter().map(|past| &past.attempt);
    past.chain(seen.attempt()).any(|attempt| attempt.id == fence.attempt_id)
}

fn check_same(
    model: &Model,
    command: &AnyCommand,
    identity: &CommandIdentity,
    seen: Option<&Execution>,
    outcome: &AnyOutcome,
) -> Result<(), Broken> {
    let Some(told) = effect_of(identity, outcome) else {
        let memory = seen.and_then(|seen| remembered_of(identity, seen));
        ensure!(
            memory.is_none(),
            TAG,
            "{identity:?} was answered {outcome:?} although its record shows {memory:?}"
        );
        return check_content(command, seen, outcome);
    };
    if let Some(first) = model.applied.get(identity) {
        ensure!(
            *first == told,
            TAG,
            "{identity:?} was answered {told:?}, but the first time {first:?}"
        );
    }
    Ok(())
}

/// An idempotency key that is taken refers to a submission with the same content.
fn check_content(
    command: &AnyCommand,
    seen: Option<&Execution>,
    outcome: &AnyOutcome,
) -> Result<(), Broken> {
    if let (AnyCommand::CreatePendingWaitpoint(open), AnyOutcome::CreatePendingWaitpoint(issued)) =
        (command, outcome)
    {
        let waiting = seen.and_then(|seen| seen.waiting.as_ref());
        let found = waiting.and_then(|waiting| waiting.open_by_key(&open.key));
        let same = found.is_some_and(|found| found.id == issued.id && issued.key == open.key);
        ensure!(same, TAG, "{:?} was answered {issued:?}, but {found:?} is open", open.key);
    }
    let (AnyCommand::Create(create), AnyOutcome::Create(CreateOutcome::Duplicate(id))) =
        (command, outcome)
    else {
        return Ok(());
    };
    let other = seen.is_some_and(|seen| create.content.is_some() && seen.content != create.content);
    ensure!(!other, TAG, "a submission with other content than {id} was accepted as the same");
    Ok(())
}
