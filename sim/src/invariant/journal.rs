//! \[JOURNAL\] The journal records the effect of each commit: each change has its event, with the
//! version, epoch and attempt that the record has after it.

use ff_core::execution::{
    AnyCommand, BlockKind, ClaimKind, Event, EventKind, Execution, LeaseFate, Phase, Suspended,
};
use ff_core::store::JournalEntry;

use crate::model::change::{Change, is_terminal};
use crate::model::waits::began;
use crate::report::{Broken, ensure};

const TAG: &str = "JOURNAL";

/// Each difference between the records before and after has one event.
pub fn check(change: &Change<'_>) -> Result<(), Broken> {
    let told = |wanted: &dyn Fn(&Event) -> bool| change.events.iter().filter(|e| wanted(e)).count();
    let tell = |what: &str, happened: bool, count: usize| {
        ensure!(
            count == usize::from(happened),
            TAG,
            "{} has {count} events that it was {what}, and whether it was is {happened}: {:?}",
            change.id,
            change.events
        );
        Ok(())
    };
    let (before, after) = (change.before.as_deref(), change.after.as_deref());
    let created = before.is_none() && after.is_some();
    tell("created", created, told(&|e| matches!(e, Event::Created { .. })))?;
    let removed = before.is_some() && after.is_none();
    tell("removed", removed, told(&|e| matches!(e, Event::Removed)))?;
    tell("over", change.ends_life(), told(&|e| matches!(e, Event::Ended { .. })))?;
    let replayed = is_terminal(before) && after.is_some() && !is_terminal(after);
    tell("replayed", replayed, told(&|e| matches!(e, Event::Replayed { .. })))?;
    let new = change.new_lease();
    tell("claimed", new.is_some(), told(&|e| matches!(e, Event::Claimed { .. })))?;
    tell("granted", grants(change), told(&|e| matches!(e, Event::GrantIssued { .. })))?;
    if !change.caller.is_unknown() {
        // The requests of a user's program do not show its commands.
        tell("released", releases(change), told(&|e| matches!(e, Event::GrantReleased)))?;
    }
    tell("marked expired", expires(change), told(&|e| matches!(e, Event::LeaseExpired { .. })))?;
    let revoked = fate_after(change) == Some(LeaseFate::Revoked);
    tell("revoked", revoked, told(&|e| matches!(e, Event::LeaseRevoked { .. })))?;
    check_waits(change)?;
    if let (Some(before), Some(after)) = (before, after) {
        check_blocks(change, before, after)?;
    }
    Ok(())
}

/// Suspensions, signals and waitpoints begin and end with an event each.
fn check_waits(change: &Change<'_>) -> Result<(), Broken> {
    if change.caller.is_unknown() {
        // The requests of a user's program do not show its commands.
        return Ok(());
    }
    let told = |kind| change.events.iter().filter(|event| event.kind() == kind).count();
    let tell = |kind, happened: usize| {
        let count = told(kind);
        ensure!(
            count == happened,
            TAG,
            "{} has {count} events {kind:?}, which happened {happened} times: {:?}",
            change.id,
            change.events
        );
        Ok(())
    };
    let (was, is) = (change.suspended_before(), change.suspended_after());
    let began = began(change).is_some();
    tell(EventKind::Suspended, usize::from(began && is.is_some()))?;
    tell(EventKind::AlreadySatisfied, usize::from(began && is.is_none()))?;
    tell(EventKind::SignalTaken, change.side_writes.signals.len())?;
    let continues = change.after.as_deref().is_some_and(|after| !is_terminal(Some(after)));
    // A resumption in time may be over in the same step.
    let resumed = was.is_some() && is.is_none();
    if continues || !resumed {
        tell(EventKind::Resumed, usize::from(resumed && continues))?;
    }
    let escalated = |waits: Option<&Suspended>| {
        waits.is_some_and(|waits| waits.suspension.escalated_at.is_some())
    };
    let goes_up = !escalated(was) && escalated(is);
    if is.is_some() {
        tell(EventKind::Escalated, usize::from(goes_up))?;
    }
    let Some(AnyCommand::CreatePendingWaitpoint(command)) = &change.caller.command else {
        return tell(EventKind::WaitpointCreated, 0);
    };
    let knows = |record: Option<&Execution>| {
        let waiting = record.and_then(|record| record.waiting.as_ref());
        waiting.is_some_and(|waiting| waiting.waitpoint(command.waitpoint_id).is_some())
    };
    let created = !knows(change.before.as_deref()) && knows(change.after.as_deref());
    tell(EventKind::WaitpointCreated, usize::from(created))
}

/// Whether a grant was issued, consumed in the same commit or not.
fn grants(change: &Change<'_>) -> bool {
    let before = change.before.as_deref().and_then(Execution::grant).map(|grant| grant.id);
    let out = change.grant_after();
    let consumed = change.new_lease().map(|new| new.lease.grant.id);
    (out.is_some() && out != before) || (consumed.is_some() && consumed != before)
}

/// Whether a grant was given back.
fn releases(change: &Change<'_>) -> bool {
    let asked = matches!(change.caller.command, Some(AnyCommand::ReleaseGrant(_)));
    asked && change.grant_gone().is_some()
}

/// The end of the previous lease, if it was held and is not any more.
fn fate_after(change: &Change<'_>) -> Option<LeaseFate> {
    let before = change.active_before().filter(|before| before.fate == LeaseFate::Held)?;
    let after = change.active_after()?;
    (after.lease.id == before.lease.id && after.fate != LeaseFate::Held).then_some(after.fate)
}

/// Whether a lease that was held was found to have run out.
fn expires(change: &Change<'_>) -> bool {
    let held = change.active_before().is_some_and(|before| before.fate == LeaseFate::Held);
    let over = change.new_lease().is_some_and(|new| new.lease.how == ClaimKind::Reclaimed);
    let told = change.events.iter().any(|event| matches!(event, Event::LeaseExpired { .. }));
    // If a lease and its execution expire together, the expiry has an event or not, by the clock.
    let ends = change.ends_life() && told;
    held && (over || ends || fate_after(change) == Some(LeaseFate::Expired))
}

/// A block begins and ends with an event, while the execution waits.
fn check_blocks(change: &Change<'_>, before: &Execution, after: &Execution) -> Result<(), Broken> {
    let (Phase::Runnable(before), Phase::Runnable(after)) = (&before.phase, &after.phase) else {
        return Ok(());
    };
    for kind in BlockKind::ALL {
        let (was, is) = (before.blocks.get(kind).is_some(), after.blocks.get(kind).is_some());
        let blocked = change.events.contains(&Event::Blocked { kind });
        let freed = change.events.contains(&Event::Unblocked { kind });
        ensure!(
            (blocked, freed) == (!was && is, was && !is),
            TAG,
            "{} was held by {kind:?}: {was}, is: {is}, and the events are {:?}",
            change.id,
            change.events
        );
    }
    Ok(())
}

/// An entry names the version, the epoch and the attempt of its record.
pub fn check_entry(
    entry: &JournalEntry,
    version: u64,
    record: Option<&Execution>,
) -> Result<(), Broken> {
    let Some(record) = record else { return Ok(()) };
    let attempt = record.attempt().map(|attempt| attempt.index);
    let right = entry.execution == record.id
        && entry.version == version
        && entry.epoch == record.epoch
        && entry.attempt == attempt;
    ensure!(
        right,
        TAG,
        "{} has the entry {entry:?} at version {version}, epoch {} and attempt {attempt:?}",
        record.id,
        record.epoch
    );
    Ok(())
}
