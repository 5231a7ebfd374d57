//! The events of an execution as text.

use ff_sdk::core::execution::{ClaimKind, Event, ReleaseOutcome, ResumedBy, SignalEffect};
use ff_sdk::core::time::TimestampMs;
use ff_sdk::{Client, SdkError};

use crate::report::printable;
use crate::results::JobResult;

/// The events of every execution that was retried, reclaimed or failed.
pub async fn text(client: &Client, results: &[JobResult]) -> Result<String, SdkError> {
    let mut text = String::new();
    let notable =
        |result: &&JobResult| result.retries > 0 || result.reclaims > 0 || !result.is_completed();
    for result in results.iter().filter(notable) {
        text.push_str(&format!("line {} {} {}\n", result.line, result.id, result.state));
        let history = client.history(&result.id).await?;
        let start = history.events.first().map_or(result.created_at, |entry| entry.at);
        for (number, entry) in history.events.iter().enumerate() {
            // A worker that claims from a lane is granted the execution in the same commit.
            let next = history.events.get(number + 1);
            let same_commit = next.is_some_and(|next| next.version == entry.version);
            if same_commit && matches!(entry.event, Event::GrantIssued { .. }) {
                continue;
            }
            let after = entry.at.since(start).get();
            let event = printable(&describe(&entry.event, entry.at));
            text.push_str(&format!("  {after:>7} ms  {event}\n"));
        }
    }
    Ok(text)
}

/// An event as text.
pub fn describe(event: &Event, at: TimestampMs) -> String {
    match event {
        Event::Created { lane, .. } => format!("created on lane {lane}"),
        Event::GrantIssued { .. } => "granted to a worker".to_owned(),
        Event::GrantExpired => "grant expired".to_owned(),
        Event::GrantReleased => "grant released".to_owned(),
        Event::Claimed { how, instance, attempt, epoch } => {
            let how = match how {
                ClaimKind::New => "claimed",
                ClaimKind::Resumed => "resumed",
                ClaimKind::Reclaimed => "reclaimed",
            };
            format!("{how} by {instance}, attempt {attempt}, epoch {epoch}")
        }
        Event::LeaseExpired { epoch } => format!("lease of epoch {epoch} expired"),
        Event::LeaseRevoked { epoch } => format!("lease of epoch {epoch} revoked"),
        Event::RetryScheduled { failure, delay_until } => {
            let wait = delay_until.since(at).get();
            let (category, reason) = (&failure.category, failure.reason.trim());
            format!("attempt failed ({category}: {reason}), retry in {wait} ms")
        }
        Event::Released { how: ReleaseOutcome::WaitingChildren } => {
            "given back by its worker, waits for its children".to_owned()
        }
        Event::Released { .. } => "given back by its worker".to_owned(),
        Event::Blocked { kind } => format!("blocked: {kind:?}"),
        Event::Unblocked { kind } => format!("no longer blocked: {kind:?}"),
        Event::DelayOver => "delay over".to_owned(),
        Event::PriorityChanged { priority } => format!("priority changed to {}", priority.get()),
        Event::Ended { outcome, failure: Some(failure), .. } => {
            format!("{outcome} ({}: {})", failure.category, failure.reason.trim())
        }
        Event::Ended { outcome, .. } => outcome.to_string(),
        Event::Replayed { life } => format!("replayed, life {life}"),
        Event::Removed => "removed".to_owned(),
        event => describe_waiting(event, at),
    }
}

/// An event of a waitpoint or a suspension as text.
fn describe_waiting(event: &Event, at: TimestampMs) -> String {
    match event {
        Event::WaitpointCreated { key, .. } => format!("waitpoint {key} opened"),
        Event::WaitpointExpired { .. } => "waitpoint expired".to_owned(),
        Event::Suspended { timeout_at: Some(until), .. } => {
            format!("suspended, timeout in {} ms", until.since(at).get())
        }
        Event::Suspended { .. } => "suspended".to_owned(),
        Event::AlreadySatisfied { .. } => {
            "not suspended: its signals had already arrived".to_owned()
        }
        Event::SignalTaken { name, effect, .. } => {
            let effect = match effect {
                SignalEffect::Buffered => "kept for a later suspension",
                SignalEffect::Counted => "counted",
                SignalEffect::Recorded => "recorded, not counted",
                SignalEffect::Resumed => "the last one needed",
            };
            format!("signal {name}: {effect}")
        }
        Event::Resumed { by: ResumedBy::Signals, .. } => "resumed by its signals".to_owned(),
        Event::Resumed { by: ResumedBy::Operator, .. } => "resumed by an operator".to_owned(),
        Event::Resumed { .. } => "resumed by its timeout".to_owned(),
        Event::Escalated { .. } => "escalated after its timeout, still suspended".to_owned(),
        other => format!("{:?}", other.kind()),
    }
}
