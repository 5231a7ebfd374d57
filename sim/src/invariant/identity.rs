//! \[INV-IDENTITY-1\] The same identity gives the same answer or a typed refusal, never a second
//! effect.

use ff_core::error::EngineError;
use ff_core::execution::{
    AnyCommand, AnyOutcome, CreateOutcome, Execution, IdentityKind, LeaseFate,
};
use ff_core::id::LeaseId;
use ff_core::op::Committed;

use crate::model::Model;
use crate::model::caller::Caller;
use crate::model::change::Change;
use crate::model::identity::{Identity, claim_of, is_decided, life_of, memory_of};
use crate::model::shown_leases::OwnLeases;
use crate::report::invariants::Invariant;
use crate::report::{Broken, ensure};

const TAG: &str = "INV-IDENTITY-1";

/// A command is carried out once, and its carrier knows its own work.
///
/// # Errors
///
/// When a command has a second effect, or an operation gives back what it holds itself.
pub fn check_change(model: &Model, change: &Change<'_>) -> Result<(), Broken> {
    if let Some((identity, _)) = model.carried_out(change) {
        let first = model.applied.get(&identity);
        // What is removed is forgotten: a later call may create it again, the same call may not.
        let forgotten = change.before.is_none()
            && model.applied_by.get(&identity) != Some(&change.caller.number);
        ensure!(
            first.is_none() || (forgotten && matches!(identity, Identity::Creator(..))),
            TAG,
            "{identity:?} was carried out again, by operation {}; the first time: {first:?}",
            change.caller.number
        );
    }
    if let (Some(before), Some(command), false) =
        (&change.before, &change.caller.command, change.kept)
    {
        let (present, meant) = (before.counts.replays, life_of(command));
        ensure!(
            meant.is_none_or(|meant| meant == present),
            TAG,
            "{command:?} was meant for life {meant:?} and carried out in life {present}"
        );
    }
    if let Some(new) = change.new_lease() {
        let first = model.leases.get(&new.lease.id);
        ensure!(
            first.is_none(),
            TAG,
            "lease {} of {} was given twice, by operations {first:?} and {}",
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
            "operation {} gave {} back though it holds it under lease {} itself",
            change.caller.number,
            change.id,
            held.lease.id
        );
    }
    Ok(())
}

/// Who draws work and is shown, when it asks again, a lease that it took itself, knows it.
///
/// # Errors
///
/// When it ends without that lease, and without another word about it.
pub fn check_own(
    model: &Model,
    number: u64,
    own: &OwnLeases,
    known: &[LeaseId],
) -> Result<(), Broken> {
    for (id, lease) in own.iter() {
        ensure!(
            known.contains(lease) || !model.watched.contains(Invariant::Identity),
            TAG,
            "operation {number} was shown its own lease {lease} of {id} and did not know it"
        );
    }
    Ok(())
}

/// Who repeats a command is told what came of it the first time. `seen`: the record on which the
/// answer was decided.
///
/// # Errors
///
/// When the record remembers a command that was refused, or the answer is another one.
pub fn check_answer(
    model: &Model,
    caller: &Caller,
    seen: Option<&Execution>,
    result: &Result<Committed<AnyOutcome>, EngineError>,
) -> Result<(), Broken> {
    if !model.watched.contains(Invariant::Identity) {
        return Ok(());
    }
    let Some(command) = &caller.command else { return Ok(()) };
    let Some(identity) = model.identity_of(command) else { return Ok(()) };
    match result {
        Ok(committed) => check_same(model, (command, &identity), seen, &committed.outcome),
        Err(error) if is_decided(error) => {
            let proves = seen.is_some_and(|seen| proves_itself(command, seen));
            let memory = seen.and_then(|seen| memory_of(&identity, seen)).filter(|_| proves);
            ensure!(
                memory.is_none(),
                TAG,
                "{identity:?} was refused ({error}) though its record remembers {memory:?}"
            );
            Ok(())
        }
        Err(_) => Ok(()),
    }
}

/// Who is told that nobody knows what became of a call has missed a reply, or its requests were
/// sent twice. Of grants and leases that are over, and of secrets that were taken away, no record
/// tells, so that who asks for one may be told so where the record has moved on.
///
/// # Errors
///
/// When every request of it was answered.
pub fn check_doubt(model: &Model, caller: &Caller, error: &EngineError) -> Result<(), Broken> {
    let heard_all = !caller.resent && !caller.failed;
    let kind = caller.command.as_ref().map(ff_core::execution::Identity::identity);
    let is_forgotten =
        caller.rotates.is_some() || matches!(kind, Some(IdentityKind::Grant | IdentityKind::Lease));
    if error.may_be_applied() && model.watched.contains(Invariant::Identity) {
        let (carries, doubts) = (caller.carries, !heard_all || is_forgotten);
        ensure!(doubts, TAG, "{carries:?} was told ({error}), and every request was answered");
    }
    Ok(())
}

/// Whether a call that hands out tokens shows that it comes from an attempt which the record still
/// knows; others prove nothing to be recognised.
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
    (command, identity): (&AnyCommand, &Identity),
    seen: Option<&Execution>,
    outcome: &AnyOutcome,
) -> Result<(), Broken> {
    let Some(told) = claim_of(identity, outcome) else {
        let memory = seen.and_then(|seen| memory_of(identity, seen));
        ensure!(
            memory.is_none(),
            TAG,
            "{identity:?} was answered {outcome:?} though its record remembers {memory:?}"
        );
        return check_content(command, seen, outcome);
    };
    if let Some(first) = model.applied.get(identity) {
        ensure!(
            *first == told,
            TAG,
            "{identity:?} was answered {told:?}, and the first time it came to {first:?}"
        );
    }
    Ok(())
}

/// Who is told that a submission under its idempotency key is there had submitted the same.
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
        ensure!(same, TAG, "{:?} was answered with {issued:?}, and {found:?} is open", open.key);
    }
    let (AnyCommand::Create(create), AnyOutcome::Create(CreateOutcome::Duplicate(id))) =
        (command, outcome)
    else {
        return Ok(());
    };
    let other = seen.is_some_and(|seen| create.content.is_some() && seen.content != create.content);
    ensure!(!other, TAG, "other content than that of {id} was taken for the same");
    Ok(())
}
