//! What happened to an execution, for people.

use ff_sdk::core::execution::{ClaimKind, Event, ReleaseOutcome, ResumedBy, SignalEffect};
use ff_sdk::core::time::TimestampMs;
use ff_sdk::{Client, SdkError};

use crate::report::printable;
use crate::results::JobResult;

/// The timeline of every execution that was retried, reclaimed or failed.
pub async fn text(client: &Client, results: &[JobResult]) -> Result<String, SdkError> {
    let mut text = String::new();
    let notable =
        |result: &&JobResult| result.retries > 0 || result.reclaims > 0 || !result.is_completed();
    for result in results.iter().filter(notable) {
        text.push_str(&format!("line {} {} {}\n", result.line, result.id, result.outcome));
        let history = client.history(&result.id).await?;
        let start = history.events.first().map_or(result.created_at, |entry| entry.at);
        for (number, entry) in history.events.iter().enumerate() {
            // A worker that takes work from a lane is granted and claims in one commit.
            let next = history.events.get(number + 1);
            let at_once = next.is_some_and(|next| next.version == entry.version);
            if at_once && matches!(entry.event, Event::GrantIssued { .. }) {
                continue;
            }
            let after = entry.at.since(start).get();
            text.push_str(&format!(
                "  {after:>7} ms  {}\n",
                printable(&describe(&entry.event, entry.at))
            ));
        }
    }
    Ok(text)
}

/// An event in words.
pub fn describe(event: &Event, at: TimestampMs) -> String {
    match event {
        Event::Created { lane, .. } => format!("created on lane {lane}"),
        Event::GrantIssued { .. } => "granted".to_owned(),
        Event::GrantExpired => "the grant ran out".to_owned(),
        Event::Claimed { how, instance, attempt, epoch } => {
            let how = match how {
                ClaimKind::New => "claimed",
                ClaimKind::Resumed => "resumed",
                ClaimKind::Reclaimed => "reclaimed",
            };
            format!("{how} by {instance}, attempt {attempt}, epoch {epoch}")
        }
        Event::LeaseExpired { epoch } => format!("the lease of epoch {epoch} ran out"),
        Event::LeaseRevoked { epoch } => format!("the lease of epoch {epoch} was revoked"),
        Event::RetryScheduled { failure, delay_until } => {
            let wait = delay_until.since(at).get();
            let (category, reason) = (&failure.category, failure.reason.trim());
            format!("failed ({category}: {reason}), retried in {wait} ms")
        }
        Event::Released { how: ReleaseOutcome::WaitingChildren } => {
            "waits for its children".to_owned()
        }
        Event::Released { .. } => "given back for later".to_owned(),
        Event::Blocked { kind } => format!("held back: {kind:?}"),
        Event::Unblocked { kind } => format!("no longer held back: {kind:?}"),
        Event::DelayOver => "the delay is over".to_owned(),
        Event::PriorityChanged { priority } => format!("priority {}", priority.get()),
        Event::Ended { outcome, failure: Some(failure), .. } => {
            format!("{outcome} ({}: {})", failure.category, failure.reason.trim())
        }
        Event::Ended { outcome, .. } => outcome.to_string(),
        Event::Replayed { life } => format!("replayed, life {life}"),
        Event::Removed => "removed".to_owned(),
        event => describe_waiting(event, at),
    }
}

/// An event of waitpoints and suspensions in words.
fn describe_waiting(event: &Event, at: TimestampMs) -> String {
    match event {
        Event::WaitpointCreated { key, .. } => format!("opened the waitpoint {key}"),
        Event::WaitpointExpired { .. } => "a waitpoint ran out".to_owned(),
        Event::Suspended { timeout_at: Some(until), .. } => {
            format!("suspended, for at most {} ms", until.since(at).get())
        }
        Event::Suspended { .. } => "suspended".to_owned(),
        Event::AlreadySatisfied { .. } => "went on: its signals were there already".to_owned(),
        Event::SignalTaken { name, effect, .. } => {
            let effect = match effect {
                SignalEffect::Buffered => "kept for a suspension to come",
                SignalEffect::Counted => "it counts",
                SignalEffect::Recorded => "it does not count",
                SignalEffect::Resumed => "it was the last one needed",
            };
            format!("signal {name}: {effect}")
        }
        Event::Resumed { by: ResumedBy::Signals, .. } => "resumed by its signals".to_owned(),
        Event::Resumed { by: ResumedBy::Operator, .. } => "resumed by an operator".to_owned(),
        Event::Resumed { .. } => "resumed by its timeout".to_owned(),
        Event::Escalated { .. } => "suspended for too long, and waits on".to_owned(),
        other => format!("{:?}", other.kind()),
    }
}
