//! \[INV-TIME-1\] Nothing starts early; nothing is reclaimed before its lease expired by store
//! time.

use ff_core::condition::TimeoutBehaviour;
use ff_core::execution::{
    AnyCommand, BlockKind, ClaimKind, Create, Event, Execution, LeaseFate, Phase, Start,
};
use ff_core::state::TerminalOutcome;
use ff_core::time::{TimestampMs, Window};

use crate::model::Model;
use crate::model::change::Change;
use crate::model::index_positions::due_of;
use crate::model::settled::outlasting;
use crate::report::coverage::CommandKind;
use crate::report::{Broken, ensure, when_watched};

const TAG: &str = "INV-TIME-1";

/// Delays, leases, grants, deadlines, timeouts and retention end at their time, not before.
pub fn check(change: &Change<'_>) -> Result<(), Broken> {
    let (Some(before), after) = (&change.before, &change.after) else {
        return match (&change.caller.command, &change.after) {
            (Some(AnyCommand::Create(create)), Some(after)) => check_start(change, create, after),
            _ => Ok(()),
        };
    };
    check_delay(change, before)?;
    check_blocks(change, before)?;
    check_due(change)?;
    check_given_back(change)?;
    check_lost_lease(change)?;
    check_grant(change)?;
    match after {
        None => check_removal(change, before),
        Some(after) => check_expiry(change, before, after),
    }
}

/// After a step back of the store's clock, no lease lasts longer than its ttl and a minute.
pub fn check_anchored(model: &Model, now: TimestampMs) -> Result<(), Broken> {
    when_watched!(model, Time);
    let outlasting = outlasting(model, now);
    ensure!(
        outlasting.is_empty(),
        TAG,
        "the leases of {outlasting:?} end more than a minute later than their ttl allows (now \
         {now}), and the last fault was over a minute ago"
    );
    Ok(())
}

/// A decision holds at the time that it was made for: otherwise its sender sends it in vain, again
/// and again, where it should be refused.
pub fn check_window(model: &Model, record: &Execution, window: Window) -> Result<(), Broken> {
    when_watched!(model, Time);
    ensure!(
        window.contains(record.updated_at),
        TAG,
        "a change of {} was decided for {}, which is outside of its window {window:?}",
        record.id,
        record.updated_at
    );
    Ok(())
}

fn on_time(change: &Change<'_>, at: TimestampMs, what: &str) -> Result<(), Broken> {
    ensure!(
        change.now >= at,
        TAG,
        "{what} of {} at {}, but it is due at {at}",
        change.id,
        change.now
    );
    Ok(())
}

fn check_start(change: &Change<'_>, create: &Create, after: &Execution) -> Result<(), Broken> {
    let until = match create.start {
        Start::Now => return Ok(()),
        Start::At(instant) => instant,
        Start::After(delay) => after.created_at.plus(delay),
    };
    let Phase::Runnable(runnable) = &after.phase else { return Ok(()) };
    match runnable.not_before {
        Some(delay) => {
            ensure!(delay.until >= until, TAG, "{} may start before {until}", change.id);
            Ok(())
        }
        None => on_time(change, until, "the start"),
    }
}

fn check_delay(change: &Change<'_>, before: &Execution) -> Result<(), Broken> {
    let Phase::Runnable(runnable) = &before.phase else { return Ok(()) };
    let Some(delay) = runnable.not_before else { return Ok(()) };
    let still = match change.after.as_deref().map(|after| &after.phase) {
        Some(Phase::Runnable(after)) => after.not_before.is_some_and(|a| a.until >= delay.until),
        Some(Phase::Active(_) | Phase::Suspended(_)) => false,
        // It ended, which no delay prevents.
        Some(Phase::Terminal(_)) | None => true,
    };
    if still { Ok(()) } else { on_time(change, delay.until, "the end of the delay") }
}

/// A block lasts until it is lifted by itself, or its time has come.
fn check_blocks(change: &Change<'_>, before: &Execution) -> Result<(), Broken> {
    let (Phase::Runnable(old), Some(after)) = (&before.phase, &change.after) else { return Ok(()) };
    if matches!(after.phase, Phase::Terminal(_)) {
        return Ok(());
    }
    for block in old.blocks.iter() {
        let still = match &after.phase {
            Phase::Runnable(new) => new.blocks.get(block.kind).is_some(),
            _ => false,
        };
        let taken_away = match &change.caller.command {
            Some(AnyCommand::Unblock(unblock)) => unblock.kind == block.kind,
            // A slot of its quota is free.
            None if change.caller.hands_over() => block.kind == BlockKind::Quota,
            // A sweep offers an execution that fits no worker to a worker that it may fit.
            _ => block.kind == BlockKind::Route,
        };
        if !still && !taken_away {
            let at = block.recheck_at.unwrap_or(TimestampMs::MAX);
            on_time(change, at, "the end of a block")?;
        }
    }
    Ok(())
}

/// A command that applies due timers applies all that were due when it was decided.
fn check_due(change: &Change<'_>) -> Result<(), Broken> {
    let is_due = change.caller.carries == Some(CommandKind::OnDue);
    let (true, Some(after), false) = (is_due, &change.after, change.kept) else { return Ok(()) };
    let left = due_of(after).filter(|due| *due <= after.updated_at && after.continuation.is_none());
    ensure!(
        left.is_none(),
        TAG,
        "something of {} was due at {left:?} and still is at {}",
        change.id,
        after.updated_at
    );
    Ok(())
}

/// An execution that was given back until a time does not continue before it.
fn check_given_back(change: &Change<'_>) -> Result<(), Broken> {
    let (Some(AnyCommand::DelayExecution(delay)), Some(after)) =
        (&change.caller.command, &change.after)
    else {
        return Ok(());
    };
    let Phase::Runnable(runnable) = &after.phase else { return Ok(()) };
    match runnable.not_before {
        Some(held) => {
            ensure!(held.until >= delay.until, TAG, "{} continues before its time", change.id);
            Ok(())
        }
        None => on_time(change, delay.until, "the end of the worker's delay"),
    }
}

fn check_lost_lease(change: &Change<'_>) -> Result<(), Broken> {
    let Some(old) = change.active_before().filter(|old| old.fate == LeaseFate::Held) else {
        return Ok(());
    };
    let expired = change
        .active_after()
        .is_some_and(|after| after.lease.id == old.lease.id && after.fate == LeaseFate::Expired);
    let reclaimed = change.new_lease().is_some_and(|new| new.lease.how == ClaimKind::Reclaimed);
    let told = change.events.iter().any(|event| matches!(event, Event::LeaseExpired { .. }));
    if expired || reclaimed || told {
        on_time(change, old.lease.expires_at, "the loss of the lease")?;
    }
    let retried = change.events.iter().any(|event| matches!(event, Event::RetryScheduled { .. }));
    let by_holder = change.fence().is_some();
    if let (true, Some(before)) = (retried && !by_holder, &change.before) {
        let timeout = before.policy.timeout.attempt_timeout_ms.unwrap_or_default();
        on_time(change, old.lease.acquired_at.plus(timeout), "the attempt's timeout")?;
    }
    Ok(())
}

fn check_grant(change: &Change<'_>) -> Result<(), Broken> {
    let Some(gone) = change.grant_gone() else { return Ok(()) };
    let consumed = change.new_lease().is_some_and(|new| new.lease.grant.id == gone.id);
    let released = change.events.iter().any(|event| matches!(event, Event::GrantReleased));
    if consumed || released || change.ends_life() {
        return Ok(());
    }
    on_time(change, gone.expires_at, "the end of the grant")
}

fn check_removal(change: &Change<'_>, before: &Execution) -> Result<(), Broken> {
    let is_over = matches!(before.phase, Phase::Terminal(_));
    ensure!(is_over, TAG, "{} was removed although it is not over", change.id);
    // The record keeps that its retention is over, and stays so when the clock goes back.
    if before.continuation.is_some() {
        return Ok(());
    }
    on_time(change, due_of(before).unwrap_or(TimestampMs::MAX), "the removal")
}

fn check_expiry(change: &Change<'_>, before: &Execution, after: &Execution) -> Result<(), Broken> {
    if change.ends_life() && after.terminal_outcome() == TerminalOutcome::Expired {
        let timeout = change.suspended_before().and_then(|before| before.suspension.timeout);
        let expires = timeout.filter(|timeout| timeout.behaviour == TimeoutBehaviour::Expire);
        let ends = expires.map(|timeout| timeout.at).into_iter().chain(before.deadline).min();
        on_time(change, ends.unwrap_or(TimestampMs::MAX), "the deadline")?;
    }
    if let (Phase::Terminal(_), None, Some(_)) =
        (&before.phase, before.continuation, after.continuation)
    {
        on_time(change, due_of(before).unwrap_or(TimestampMs::MAX), "the end of retention")?;
    }
    if change.new_lease().is_some()
        && let Some(deadline) = before.deadline
    {
        ensure!(change.now < deadline, TAG, "{} was claimed after its deadline", change.id);
    }
    Ok(())
}
