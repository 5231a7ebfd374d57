//! `ff waitpoints`: what an execution waits for.

use std::process::ExitCode;

use ff_sdk::core::execution::{
    ExecutionSnapshot, Resumes, SuspensionSnapshot, Tally, WaitpointSnapshot, WaitpointState,
};
use ff_sdk::{CountKind, SignalMatcher};
use serde_json::json;

use crate::args::WaitpointsArgs;
use crate::backend;
use crate::outcome::{ALL_COMPLETED, Failed, print};
use crate::report::{plain_table, printable, table, time, word};

/// Runs the command.
pub async fn waitpoints(args: WaitpointsArgs) -> Result<ExitCode, Failed> {
    let client = backend::client(&args.store).await?;
    let seen = client.describe(&args.id).await?;
    let seen = seen.ok_or_else(|| backend::not_found(&client))?;
    print(&if args.json { object(&seen) } else { text(&seen) })?;
    Ok(ExitCode::from(ALL_COMPLETED))
}

fn object(seen: &ExecutionSnapshot) -> String {
    let object = json!({
        "id": seen.execution_id,
        "state": seen.state.public_state,
        "suspension": seen.suspension,
        "waitpoints": seen.waitpoints,
        "signals": seen.signals,
    });
    format!("{object}\n")
}

fn text(seen: &ExecutionSnapshot) -> String {
    let mut text = String::new();
    match &seen.suspension {
        Some(suspension) => {
            let mut table = plain_table();
            for (name, value) in rows(suspension) {
                table.add_row(vec![name.to_owned(), printable(&value)]);
            }
            text.push_str(&format!("{}\n", table.trim_fmt()));
        }
        None => text.push_str(&format!("not suspended: {}\n", seen.state.public_state)),
    }
    match seen.waitpoints.is_empty() {
        true => text.push_str("no open waitpoint\n"),
        false => text.push_str(&format!("{}\n", open(&seen.waitpoints))),
    }
    text
}

/// A suspension as rows of a table.
pub fn rows(suspension: &SuspensionSnapshot) -> Vec<(&'static str, String)> {
    let (reason, since) = (word(suspension.reason), time(suspension.since));
    let mut rows = vec![("suspended", format!("{reason}, since {since}"))];
    if let Some(timeout) = &suspension.timeout {
        rows.push(("timeout", format!("{}: {}", time(timeout.at), word(timeout.behaviour))));
    }
    if let Some(at) = suspension.escalated_at {
        rows.push(("escalated", time(at)));
    }
    match &suspension.resumes {
        Resumes::Signals(tallies) => {
            rows.extend(tallies.iter().map(|tally| ("counted", counted(tally))));
        }
        Resumes::OperatorOnly => rows.push(("resumed by", "an operator: ff resume".to_owned())),
        Resumes::TimeoutOnly => rows.push(("resumed by", "its timeout".to_owned())),
    }
    rows
}

/// How far a part of the condition is.
fn counted(tally: &Tally) -> String {
    let part = &tally.part;
    let what = match part.kind {
        CountKind::DistinctSignals => "signals",
        CountKind::DistinctWaitpoints => "waitpoints with a signal",
        CountKind::DistinctSources => "sources of a signal",
    };
    let named = match &part.matcher {
        SignalMatcher::Wildcard => String::new(),
        SignalMatcher::ByName(name) => format!(" named {name}"),
    };
    let keys: Vec<&str> = part.waitpoints.iter().map(|key| key.as_str()).collect();
    format!("{} of {} {what}{named} at {}", tally.counted.len(), part.n, keys.join(", "))
}

fn open(waitpoints: &[WaitpointSnapshot]) -> String {
    let mut table =
        table(&["waitpoint", "id", "state", "created", "expires", "kid", "fingerprint", "signals"]);
    for waitpoint in waitpoints {
        let (state, expires) = match waitpoint.state {
            WaitpointState::Pending { expires_at } => ("pending", expires_at.map(time)),
            WaitpointState::Active => ("active", None),
        };
        table.add_row(vec![
            waitpoint.key.to_string(),
            waitpoint.waitpoint_id.to_string(),
            state.to_owned(),
            time(waitpoint.created_at),
            expires.unwrap_or_else(|| "-".to_owned()),
            waitpoint.kid.to_string(),
            waitpoint.fingerprint.clone(),
            waitpoint.signals.to_string(),
        ]);
    }
    table.to_string()
}

/// The open waitpoints in a few words.
pub fn summary(waitpoints: &[WaitpointSnapshot]) -> String {
    let one = |waitpoint: &WaitpointSnapshot| {
        let state = match waitpoint.state {
            WaitpointState::Pending { .. } => "pending",
            WaitpointState::Active => "active",
        };
        format!("{} ({state}, {} signals)", waitpoint.key, waitpoint.signals)
    };
    waitpoints.iter().map(one).collect::<Vec<_>>().join(", ")
}
