//! `ff describe`: shows an execution.

use std::process::ExitCode;

use ff_sdk::core::execution::{AttemptEnd, ExecutionSnapshot, Outcome, ValueKind};
use ff_sdk::{EngineError, SdkError};
use ff_server::view::text_or_hex;
use serde_json::{Value, json};

use crate::args::ExecutionArgs;
use crate::exit::{CliError, print, print_line};
use crate::report::{counted, name_value_table, shortened, time};
use crate::{backend, waitpoints};

/// The most characters of a payload or a result in the table.
const MAX_VALUE_CHARS: usize = 400;

/// Runs the command.
pub async fn describe(args: ExecutionArgs) -> Result<ExitCode, CliError> {
    let client = backend::client(&args.store).await?;
    let snapshot = backend::describe(&client, &args.id).await?;
    let mut values = Vec::new();
    for (name, kind) in [("payload", ValueKind::Payload), ("result", ValueKind::Result)] {
        match client.value(&args.id, kind).await {
            Ok(value) => values.push((name, text_or_hex(value.as_deref()))),
            // Retention has removed the value since the snapshot was read.
            Err(SdkError::Engine(EngineError::NotFound { .. })) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if args.json {
        let mut object = json!(snapshot);
        for (name, (text, hex)) in values {
            object[name] = json!(text);
            if let Some(hex) = hex {
                object[format!("{name}_hex")] = json!(hex);
            }
        }
        print_line(object)?;
    } else {
        let mut rows = rows(&snapshot);
        for (name, (text, hex)) in values {
            rows.extend(text.or(hex).map(|value| (name, shortened(&value, MAX_VALUE_CHARS))));
        }
        print(&name_value_table(rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(snapshot: &ExecutionSnapshot) -> Vec<(&'static str, String)> {
    let state = &snapshot.state;
    let mut rows = vec![
        ("id", snapshot.execution_id.to_string()),
        ("kind", snapshot.kind.to_string()),
        ("lane", snapshot.lane.to_string()),
        ("state", state.public_state.to_string()),
        ("phase", format!("{}, {}", state.lifecycle_phase, state.ownership_state)),
        ("attempt", state.attempt_state.to_string()),
        ("priority", snapshot.priority.get().to_string()),
        ("created", time(snapshot.created_at)),
        ("updated", time(snapshot.updated_at)),
    ];
    if !state.public_state.is_terminal() {
        rows.push(("waits for", state.blocking_reason.to_string()));
    }
    let times = [
        ("delayed until", snapshot.delayed_until),
        ("deadline", snapshot.deadline),
        ("ended", snapshot.ended_at),
    ];
    rows.extend(times.into_iter().filter_map(|(name, at)| Some((name, time(at?)))));
    if let Some(grant) = &snapshot.grant {
        let (worker, until) = (&grant.worker_id, time(grant.expires_at));
        rows.push(("granted", format!("to {worker} until {until}")));
    }
    if let Some(lease) = &snapshot.lease {
        let until = time(lease.expires_at);
        let (worker, epoch) = (&lease.worker_instance_id, snapshot.lease_epoch);
        rows.push(("lease", format!("{worker} until {until}, epoch {epoch}")));
    }
    rows.extend(waiting_rows(snapshot));
    if let Some(progress) = &snapshot.progress {
        let message = progress.message.as_deref().unwrap_or_default();
        rows.push(("progress", format!("{} % {message}", progress.percent)));
    }
    let counts = &snapshot.counts;
    let retries = counted(counts.retries.into(), "retry", "retries");
    let reclaims = counted(counts.reclaims.into(), "reclaim", "reclaims");
    let total = snapshot.attempts_total;
    rows.push(("attempts", format!("{total} (in this life: {retries}, {reclaims})")));
    if counts.replays > 0 {
        rows.push(("replays", counts.replays.to_string()));
    }
    for (name, value) in
        [("requires", list(json!(snapshot.requires))), ("tags", list(json!(snapshot.tags)))]
    {
        if !value.is_empty() {
            rows.push((name, value));
        }
    }
    match &snapshot.outcome {
        Some(Outcome::Failed(failure)) => {
            let reason = failure.reason.trim();
            rows.push(("failure", format!("{}: {reason}", failure.category)));
        }
        Some(Outcome::Cancelled { reason }) => rows.push(("reason", reason.clone())),
        None => {
            if let Some(AttemptEnd::Failed(failure)) =
                snapshot.past_attempts.last().map(|past| &past.end)
            {
                let reason = failure.reason.trim();
                rows.push(("last failure", format!("{}: {reason}", failure.category)));
            }
        }
        _ => {}
    }
    rows
}

/// The suspension, the open waitpoints and the number of signals.
fn waiting_rows(snapshot: &ExecutionSnapshot) -> Vec<(&'static str, String)> {
    let mut rows: Vec<_> = snapshot
        .suspension
        .iter()
        .flat_map(|suspension| waitpoints::rows(&snapshot.execution_id, suspension))
        .collect();
    if !snapshot.waitpoints.is_empty() {
        rows.push(("waitpoints", waitpoints::summary(&snapshot.waitpoints)));
    }
    if snapshot.signals > 0 {
        rows.push(("signals", snapshot.signals.to_string()));
    }
    rows
}

/// The strings of a list, or the pairs of an object, separated by commas.
fn list(value: Value) -> String {
    let items: Vec<String> = match &value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::Object(map) => {
            let pair = |(key, value): (&String, &Value)| {
                format!("{key}={}", value.as_str().unwrap_or_default())
            };
            map.iter().map(pair).collect()
        }
        _ => Vec::new(),
    };
    items.join(", ")
}
