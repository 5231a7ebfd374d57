//! `ff describe`: what there is to know of an execution.

use std::process::ExitCode;

use ff_sdk::core::execution::{ExecutionSnapshot, Outcome, ValueKind};
use ff_sdk::{EngineError, SdkError};
use serde_json::{Value, json};

use crate::args::DescribeArgs;
use crate::outcome::{ALL_COMPLETED, Failed, print};
use crate::report::{plain_table, printable, shortened, time};
use crate::results::readable;
use crate::{backend, waitpoints};

/// How much of a payload or a result the table shows, in characters.
const MAX_SHOWN: usize = 400;

/// Runs the command.
pub async fn describe(args: DescribeArgs) -> Result<ExitCode, Failed> {
    let client = backend::client(&args.store).await?;
    let seen = client.describe(&args.id).await?.ok_or_else(|| backend::not_found(&client))?;
    let mut values = Vec::new();
    for (name, kind) in [("payload", ValueKind::Payload), ("result", ValueKind::Result)] {
        match client.value(&args.id, kind).await {
            Ok(value) => values.push((name, value)),
            // Its retention has ended meanwhile.
            Err(SdkError::Engine(EngineError::NotFound { .. })) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if args.json {
        let mut object = json!(seen);
        for (name, value) in values {
            let (text, hex) = readable(value.as_deref());
            object[name] = json!(text);
            if let Some(hex) = hex {
                object[format!("{name}_hex")] = json!(hex);
            }
        }
        print(&format!("{object}\n"))?;
    } else {
        let mut rows = rows(&seen);
        for (name, value) in values {
            let (text, hex) = readable(value.as_deref());
            if let Some(text) = text.or(hex) {
                rows.push((name, shortened(&text, MAX_SHOWN)));
            }
        }
        let mut table = plain_table();
        for (name, value) in rows {
            table.add_row(vec![name.to_owned(), printable(&value)]);
        }
        print(&format!("{}\n", table.trim_fmt()))?;
    }
    Ok(ExitCode::from(ALL_COMPLETED))
}

fn rows(seen: &ExecutionSnapshot) -> Vec<(&'static str, String)> {
    let state = &seen.state;
    let mut rows = vec![
        ("id", seen.execution_id.to_string()),
        ("kind", seen.kind.to_string()),
        ("lane", seen.lane.to_string()),
        ("state", state.public_state.to_string()),
        ("phase", format!("{}, {}", state.lifecycle_phase, state.ownership_state)),
        ("attempt", state.attempt_state.to_string()),
        ("priority", seen.priority.get().to_string()),
        ("created", time(seen.created_at)),
        ("updated", time(seen.updated_at)),
    ];
    if !state.public_state.is_terminal() {
        rows.push(("waits for", format!("{}", state.blocking_reason)));
    }
    let times = [
        ("delayed until", seen.delayed_until),
        ("deadline", seen.deadline),
        ("ended", seen.ended_at),
    ];
    rows.extend(times.into_iter().filter_map(|(name, at)| Some((name, time(at?)))));
    if let Some(lease) = &seen.lease {
        let until = time(lease.expires_at);
        let (by, epoch) = (&lease.worker_instance_id, seen.lease_epoch);
        rows.push(("lease", format!("{by} until {until}, epoch {epoch}")));
    }
    rows.extend(waiting(seen));
    if let Some(progress) = &seen.progress {
        let message = progress.message.as_deref().unwrap_or_default();
        rows.push(("progress", format!("{} % {message}", progress.percent)));
    }
    let counts = &seen.counts;
    rows.push((
        "attempts",
        format!(
            "{} (in this life {} retries, {} reclaims; {} replays)",
            seen.attempts_total, counts.retries, counts.reclaims, counts.replays
        ),
    ));
    for (name, value) in
        [("requires", list(json!(seen.requires))), ("tags", list(json!(seen.tags)))]
    {
        if !value.is_empty() {
            rows.push((name, value));
        }
    }
    match &seen.outcome {
        Some(Outcome::Failed(failure)) => {
            let reason = failure.reason.trim();
            rows.push(("failure", format!("{}: {reason}", failure.category)));
        }
        Some(Outcome::Cancelled { reason }) => rows.push(("reason", reason.clone())),
        _ => {}
    }
    rows
}

/// What it waits for, and how many signals it had.
fn waiting(seen: &ExecutionSnapshot) -> Vec<(&'static str, String)> {
    let mut rows: Vec<_> = seen.suspension.iter().flat_map(waitpoints::rows).collect();
    if !seen.waitpoints.is_empty() {
        rows.push(("waitpoints", waitpoints::summary(&seen.waitpoints)));
    }
    if seen.signals > 0 {
        rows.push(("signals", seen.signals.to_string()));
    }
    rows
}

/// The words of a list, or the pairs of an object.
fn list(value: Value) -> String {
    match value {
        Value::Array(items) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        Value::Object(map) => {
            let text = |(key, value): (&String, &Value)| {
                format!("{key}={}", value.as_str().unwrap_or_default())
            };
            map.iter().map(text).collect::<Vec<_>>().join(", ")
        }
        _ => String::new(),
    }
}
