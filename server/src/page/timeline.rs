//! The attempts and events of an execution.

use ff_sdk::{
    AttemptEnd, AttemptIndex, ClaimKind, Event, ExecutionId, ExecutionSnapshot, History,
    HistoryEntry, OwnershipState, TimestampMs,
};
use maud::{Markup, html};

use super::layout::{At, counted, iso, lasting, words};
use super::visitor::Visitor;

/// The most events that are shown, the latest first.
const MAX_EVENTS: usize = 200;

/// The attempts, with the lease of the one that runs.
pub(super) fn attempts(
    visitor: &Visitor,
    id: &ExecutionId,
    execution: &ExecutionSnapshot,
    now: TimestampMs,
) -> Markup {
    let output = |attempt: AttemptIndex| {
        let link = visitor.link(format!("/executions/{}", id.url_safe()));
        format!("{}#output", link.with("attempt", attempt.to_string()))
    };
    let unlisted = execution.attempts_total as usize > execution.past_attempts.len() + 1;
    html! {
        @if execution.attempts_total == 0 { p { "No worker has started it." } }
        @else {
            div.wide { table {
                thead { tr {
                    th scope="col" { "attempt" }
                    th scope="col" { "begun" }
                    th scope="col" { "took" }
                    th scope="col" { "end" }
                    th scope="col" { "output" }
                } }
                tbody {
                    @for past in &execution.past_attempts { tr {
                        th scope="row" { (past.attempt.index) " (" (words(past.attempt.kind)) ")" }
                        td { (iso(past.attempt.started_at)) }
                        td { (lasting(past.ended_at.since(past.attempt.started_at))) }
                        td.text { (end(&past.end)) }
                        td {
                            @if past.attempt.frames > 0 {
                                a href=(output(past.attempt.index)) {
                                    (counted(past.attempt.frames, "frame", "frames"))
                                }
                            } @else { "–" }
                        }
                    } }
                    @if let Some(index) = execution.attempt_index
                        && !execution.past_attempts.iter().any(|past| past.attempt.index == index)
                    {
                        (current(execution, index, now, &output(index)))
                    }
                }
            } }
            @if unlisted { p.hint { "Earlier attempts are not kept." } }
        }
    }
}

/// The attempt that runs, or is interrupted.
fn current(
    execution: &ExecutionSnapshot,
    index: AttemptIndex,
    now: TimestampMs,
    output: &str,
) -> Markup {
    html! {
        tr {
            th scope="row" { (index) " (now)" }
            @if let Some(lease) = &execution.lease {
                td { (At(lease.acquired_at, now)) }
                td { (lasting(now.since(lease.acquired_at))) }
                td.text {
                    @match execution.state.ownership_state {
                        OwnershipState::LeaseRevoked => "its lease was revoked",
                        OwnershipState::LeaseExpiredReclaimable => {
                            "its lease expired at " (iso(lease.expires_at))
                        },
                        _ => { "runs, lease until " (At(lease.expires_at, now)) },
                    }
                    br;
                    "worker " (lease.worker_id) ", process " (lease.worker_instance_id)
                    ", epoch " (execution.lease_epoch)
                }
            } @else {
                td { "–" }
                td { "–" }
                td {
                    @if execution.suspension.is_some() { "suspended" }
                    @else { "interrupted: goes on with the next claim" }
                }
            }
            td { a href=(output) { "show" } }
        }
    }
}

fn end(end: &AttemptEnd) -> Markup {
    html! {
        @match end {
            AttemptEnd::Failed(failure) => {
                span.state data-state="failed" { "failed" } " "
                (failure.category) ": " (failure.reason)
            },
            AttemptEnd::Succeeded => span.state data-state="completed" { "succeeded" },
            other => (words(other)),
        }
    }
}

/// The events, the latest first.
pub(super) fn events(history: &History, now: TimestampMs) -> Markup {
    let shown = history.events.iter().rev().take(MAX_EVENTS);
    html! {
        @if history.events.is_empty() { p { "No events are kept." } }
        @else {
            ol.events reversed {
                @for HistoryEntry { at, epoch, event, .. } in shown {
                    li {
                        (At(*at, now)) " " (happened(event, *at))
                        @if epoch.0 > 0 { span.hint { " epoch " (epoch) } }
                    }
                }
            }
        }
    }
}

/// An event in words.
fn happened(event: &Event, at: TimestampMs) -> String {
    match event {
        Event::Created { lane, .. } => format!("created on lane {lane}"),
        Event::GrantIssued { .. } => "granted to a worker".to_owned(),
        Event::GrantExpired => "the grant expired".to_owned(),
        Event::GrantReleased => "the grant was released".to_owned(),
        Event::Claimed { how, instance, attempt, .. } => {
            let how = match how {
                ClaimKind::New => "claimed",
                ClaimKind::Resumed => "resumed",
                ClaimKind::Reclaimed => "taken over",
            };
            format!("{how} by {instance}, attempt {attempt}")
        }
        Event::LeaseExpired { .. } => "the lease expired".to_owned(),
        Event::LeaseRevoked { .. } => "the lease was revoked".to_owned(),
        Event::RetryScheduled { failure, delay_until } => {
            let wait = lasting(delay_until.since(at));
            format!("failed ({}: {}), retry in {wait}", failure.category, failure.reason.trim())
        }
        Event::Released { .. } => "given back by its worker".to_owned(),
        Event::Blocked { kind } => format!("blocked: {kind:?}"),
        Event::Unblocked { kind } => format!("no longer blocked: {kind:?}"),
        Event::DelayOver => "the delay is over".to_owned(),
        Event::PriorityChanged { priority } => format!("priority changed to {}", priority.get()),
        Event::Ended { outcome, failure: Some(failure), .. } => {
            format!("{outcome} ({}: {})", failure.category, failure.reason.trim())
        }
        Event::Ended { outcome, .. } => format!("ended: {outcome}"),
        Event::Replayed { life } => format!("replayed, life {life}"),
        Event::WaitpointCreated { key, .. } => format!("waitpoint {key} opened"),
        Event::WaitpointExpired { .. } => "a waitpoint expired".to_owned(),
        Event::Suspended { reason, .. } => format!("suspended ({})", words(reason)),
        Event::AlreadySatisfied { .. } => "not suspended: its signals were there".to_owned(),
        Event::SignalTaken { name, effect, .. } => format!("signal {name} ({})", words(effect)),
        Event::Resumed { by, .. } => match by {
            ff_sdk::ResumedBy::Signals => "resumed by its signals".to_owned(),
            ff_sdk::ResumedBy::Operator => "resumed by an operator".to_owned(),
            ff_sdk::ResumedBy::Timeout { .. } => "resumed by its timeout".to_owned(),
        },
        Event::Escalated { .. } => "escalated: an operator has to resume it".to_owned(),
        Event::Removed => "removed".to_owned(),
    }
}
