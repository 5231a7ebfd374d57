//! `ff waitpoints`: shows what a suspended execution waits for.

use std::process::ExitCode;

use comfy_table::Table;
use ff_sdk::ExecutionId;
use ff_sdk::core::execution::{
    ExecutionSnapshot, Join, Resumes, SuspensionSnapshot, Tallies, WaitpointSnapshot,
    WaitpointState,
};
use ff_server::view;

use crate::advice;
use crate::args::ExecutionArgs;
use crate::backend;
use crate::exit::{CliError, print};
use crate::report::{self, name_value_table, table, time, wire_name};
use crate::terminal::fitted;

/// Runs the command.
pub async fn waitpoints(args: ExecutionArgs) -> Result<ExitCode, CliError> {
    let client = backend::client(&args.store).await?;
    let snapshot = backend::describe(&client, &args.id).await?;
    print(&match args.json {
        true => format!("{}\n", view::waitpoints(&snapshot)),
        false => text(&snapshot),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn text(snapshot: &ExecutionSnapshot) -> String {
    let suspension = match &snapshot.suspension {
        Some(suspension) => name_value_table(rows(&snapshot.execution_id, suspension)),
        None => format!("not suspended: {}\n", snapshot.state.public_state),
    };
    match snapshot.waitpoints.is_empty() {
        true => format!("{suspension}no open waitpoints\n"),
        false => format!("{suspension}{}", fitted(waitpoint_table(&snapshot.waitpoints))),
    }
}

/// The rows of a suspension.
pub fn rows(id: &ExecutionId, suspension: &SuspensionSnapshot) -> Vec<(&'static str, String)> {
    let (reason, since) = (wire_name(suspension.reason), time(suspension.since));
    let mut rows = vec![("suspended", format!("{reason}, since {since}"))];
    if let Some(timeout) = &suspension.timeout {
        rows.push(("timeout", format!("{}: {}", time(timeout.at), wire_name(timeout.behaviour))));
    }
    if let Some(at) = suspension.escalated_at {
        rows.push(("escalated", time(at)));
    }
    match &suspension.resumes {
        Resumes::Signals(tallies) => {
            rows.extend(tallies.parts.iter().map(|tally| ("counted", view::tallied(tally))));
            rows.extend(joined(tallies).map(|needed| ("needed", needed)));
        }
        Resumes::OperatorOnly => {
            let resume = advice::ff(format!("resume {id}"));
            rows.push(("resumed by", format!("an operator: {resume}")));
        }
        Resumes::TimeoutOnly => rows.push(("resumed by", "its timeout".to_owned())),
    }
    rows
}

/// The condition over the parts, by their numbers; `None` if all of them have to be satisfied.
fn joined(tallies: &Tallies) -> Option<String> {
    let mut numbers = 1..=tallies.parts.len();
    let mut texts: Vec<String> = Vec::new();
    for join in &tallies.joins {
        let (count, word) = match *join {
            Join::Part => {
                texts.push(numbers.next()?.to_string());
                continue;
            }
            Join::AllOf(count) => (count, " and "),
            Join::AnyOf(count) => (count, " or "),
        };
        let members = texts.split_off(texts.len().checked_sub(count as usize)?);
        let joined = members.join(word);
        texts.push(if members.len() > 1 { format!("({joined})") } else { joined });
    }
    let needed = texts.pop()?;
    Some(needed.trim_start_matches('(').trim_end_matches(')').to_owned())
}

fn waitpoint_table(waitpoints: &[WaitpointSnapshot]) -> Table {
    let mut table =
        table(&["waitpoint", "id", "state", "created", "expires", "kid", "fingerprint", "signals"]);
    for waitpoint in waitpoints {
        let expires = match waitpoint.state {
            WaitpointState::Pending { expires_at } => expires_at.map(time),
            WaitpointState::Active => None,
        };
        table.add_row(vec![
            waitpoint.key.to_string(),
            waitpoint.waitpoint_id.to_string(),
            state_name(waitpoint).to_owned(),
            time(waitpoint.created_at),
            expires.unwrap_or_else(|| "-".to_owned()),
            waitpoint.kid.to_string(),
            waitpoint.fingerprint.clone(),
            waitpoint.signals.to_string(),
        ]);
    }
    table
}

/// The open waitpoints in one line.
pub fn summary(waitpoints: &[WaitpointSnapshot]) -> String {
    let one = |waitpoint: &WaitpointSnapshot| {
        let signals = report::counted(waitpoint.signals.into(), "signal", "signals");
        format!("{} ({}, {signals})", waitpoint.key, state_name(waitpoint))
    };
    waitpoints.iter().map(one).collect::<Vec<_>>().join(", ")
}

const fn state_name(waitpoint: &WaitpointSnapshot) -> &'static str {
    match waitpoint.state {
        WaitpointState::Pending { .. } => "pending",
        WaitpointState::Active => "active",
    }
}
