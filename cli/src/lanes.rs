//! `ff lanes`: lists lanes, and pauses, resumes, drains and disables them.

use std::process::ExitCode;

use ff_sdk::{LaneChange, LaneNote, LaneState, LaneStatus};
use ff_server::view;
use serde_json::json;

use crate::advice::{self, quoted};
use crate::args::{LanesArgs, ListLanesArgs, SetLaneArgs};
use crate::backend;
use crate::exit::{CliError, print, print_line};
use crate::report::{printable, table, time};
use crate::terminal::fitted;

/// Runs the command.
pub async fn lanes(args: LanesArgs) -> Result<ExitCode, CliError> {
    match args.command {
        Some(command) => {
            let (state, args) = command.into_change();
            set(state, args).await?;
        }
        None => list(args.list).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn set(state: LaneState, args: SetLaneArgs) -> Result<(), CliError> {
    let SetLaneArgs { lane, reason, by, store, json } = args;
    let client = backend::client(&store).await?;
    let note = LaneNote { reason, by };
    let changed = client.set_lane(&lane, state, note).await.map_err(CliError::runtime)?;
    let LaneChange { before, now } = &changed;
    if json {
        return print_line(json!({
            "lane": lane,
            "state": now.state,
            "since": view::time_or_null(now.since),
            "changed": changed.is_change(),
            "before": before.state,
        }));
    }
    if !changed.is_change() {
        return print_line(format_args!("nothing changed: lane {lane} is {}", now.state));
    }
    let resume = advice::ff(format!("lanes resume {}", quoted(&lane)));
    let effect = match state {
        LaneState::Active => "it accepts submissions and starts work".to_owned(),
        LaneState::Paused => format!("it accepts submissions, and starts nothing until {resume}"),
        LaneState::Draining => "it refuses submissions, and starts the work that it has".to_owned(),
        LaneState::Disabled => format!("it refuses submissions, and starts nothing until {resume}"),
    };
    print_line(format_args!(
        "{}: lane {lane}, which was {}\n{effect}; all programs follow within about a second, and \
         work that runs goes on",
        now.state, before.state
    ))
}

async fn list(args: ListLanesArgs) -> Result<(), CliError> {
    let client = backend::client(&args.store).await?;
    let lanes = client.lanes().await.map_err(CliError::runtime)?;
    if args.json {
        return lanes.iter().try_for_each(|lane| print_line(view::lane(lane)));
    }
    if lanes.is_empty() {
        let namespace = client.namespace();
        return print_line(format_args!(
            "all lanes of the namespace {namespace} are active, and nothing waits in them"
        ));
    }
    let mut rows = table(&["lane", "state", "since", "by", "waiting", "reason"]);
    for LaneStatus { lane, setting, has_waiting, .. } in &lanes {
        let is_active = setting.state == LaneState::Active;
        let text = |text: &Option<String>| printable(text.as_deref().unwrap_or(""));
        rows.add_row(vec![
            lane.to_string(),
            setting.state.to_string(),
            if is_active { String::new() } else { time(setting.since) },
            text(&setting.by),
            if *has_waiting { "yes" } else { "no" }.to_owned(),
            text(&setting.reason),
        ]);
    }
    print(&fitted(rows))
}
