//! `ff history`: the attempts and events of an execution.

use std::process::ExitCode;

use ff_sdk::History;
use ff_sdk::core::execution::{AttemptEnd, AttemptSummary};
use ff_server::view;

use crate::args::ExecutionArgs;
use crate::exit::{CliError, print};
use crate::report::{printable, table, time, wire_name};
use crate::terminal::fitted;
use crate::{backend, timeline};

/// Runs the command.
pub async fn history(args: ExecutionArgs) -> Result<ExitCode, CliError> {
    let client = backend::client(&args.store).await?;
    let history = client.history(&args.id).await;
    let history = history.map_err(|error| backend::call_error(&client, &args.id, error))?;
    print(&if args.json { format!("{}\n", view::history(&history)) } else { text(&history) })?;
    Ok(ExitCode::SUCCESS)
}

fn text(history: &History) -> String {
    let mut text = String::new();
    if !history.attempts.is_empty() {
        let mut table = table(&["attempt", "began as", "started", "ms", "end"]);
        for summary in &history.attempts {
            let attempt = &summary.attempt;
            table.add_row(vec![
                attempt.index.to_string(),
                wire_name(attempt.kind),
                time(attempt.started_at),
                summary.ended_at.since(attempt.started_at).get().to_string(),
                printable(&end(summary)),
            ]);
        }
        text.push_str(&fitted(table));
    }
    for entry in &history.events {
        let event = printable(&timeline::describe(&entry.event, entry.at));
        text.push_str(&format!("{}  {event}\n", time(entry.at)));
    }
    if history.events.is_empty() {
        text.push_str("the journal no longer has the events of this execution\n");
    }
    text
}

fn end(summary: &AttemptSummary) -> String {
    match &summary.end {
        AttemptEnd::Failed(failure) => format!("{}: {}", failure.category, failure.reason.trim()),
        end => wire_name(end),
    }
}
