//! `ff history`: what happened to an execution.

use std::process::ExitCode;

use ff_sdk::core::execution::{AttemptEnd, AttemptSummary};
use ff_sdk::{EngineError, History, SdkError};
use serde_json::{Value, json};

use crate::args::HistoryArgs;
use crate::outcome::{ALL_COMPLETED, Failed, print};
use crate::report::{printable, table, time, word};
use crate::{backend, timeline};

/// Runs the command.
pub async fn history(args: HistoryArgs) -> Result<ExitCode, Failed> {
    let client = backend::client(&args.store).await?;
    let history = match client.history(&args.id).await {
        Err(SdkError::Engine(EngineError::NotFound { .. })) => {
            return Err(backend::not_found(&client));
        }
        history => history?,
    };
    print(&if args.json { object(&history) } else { text(&history) })?;
    Ok(ExitCode::from(ALL_COMPLETED))
}

fn object(history: &History) -> String {
    let event = |entry: &ff_sdk::HistoryEntry| {
        json!({
            "at": entry.at,
            "version": entry.version,
            "epoch": entry.epoch,
            "event": entry.event,
        })
    };
    let events: Vec<Value> = history.events.iter().map(event).collect();
    format!("{}\n", json!({"attempts": history.attempts, "events": events}))
}

fn text(history: &History) -> String {
    let mut text = String::new();
    if !history.attempts.is_empty() {
        let mut table = table(&["attempt", "began as", "started", "ms", "end"]);
        for past in &history.attempts {
            table.add_row(vec![
                past.attempt.index.to_string(),
                word(past.attempt.kind),
                time(past.attempt.started_at),
                past.ended_at.since(past.attempt.started_at).get().to_string(),
                printable(&end(past)),
            ]);
        }
        text.push_str(&format!("{table}\n"));
    }
    for entry in &history.events {
        let what = printable(&timeline::describe(&entry.event, entry.at));
        text.push_str(&format!("{}  {what}\n", time(entry.at)));
    }
    if history.events.is_empty() {
        text.push_str("its events are not kept any more\n");
    }
    text
}

fn end(past: &AttemptSummary) -> String {
    match &past.end {
        AttemptEnd::Failed(failure) => format!("{}: {}", failure.category, failure.reason.trim()),
        end => word(end),
    }
}
