//! `ff stats`: counts executions by lane and state.

use std::process::ExitCode;
use std::time::Duration;

use comfy_table::CellAlignment;
use ff_sdk::{CountedState, LaneStats, Stats};
use ff_server::view;

use crate::args::StatsArgs;
use crate::backend;
use crate::exit::{CliError, print, print_line, warn};
use crate::report::table;
use crate::terminal::fitted;

/// The columns that are shown although all their numbers are 0.
const ALWAYS: [&str; 3] = ["waiting", "active", "completed"];

/// Runs the command.
pub async fn stats(args: StatsArgs) -> Result<ExitCode, CliError> {
    let StatsArgs { store, lane, json } = args;
    let client = backend::client(&store).await?;
    let Stats { mut lanes, counted, .. } = client.stats().await.map_err(CliError::runtime)?;
    if let Some(lane) = &lane {
        lanes.retain(|stats| stats.lane == *lane);
    }
    if !counted {
        warn(
            "ff: the store keeps no counts, since it was set up without them: only the lanes with \
             work for a worker are known\n",
        );
    }
    if json {
        lanes.iter().try_for_each(|lane| print_line(view::lane_stats(lane, counted)))?;
    } else if lanes.is_empty() {
        let namespace = client.namespace();
        match lane {
            Some(lane) => print_line(format_args!(
                "the lane {lane} of the namespace {namespace} has no executions"
            ))?,
            None => print_line(format_args!("the namespace {namespace} has no executions"))?,
        }
    } else {
        print(&text(&lanes, counted))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The table. Most of the columns in which all numbers are 0 are left out.
fn text(lanes: &[LaneStats], counted: bool) -> String {
    let shown = |(name, states): &&(&str, &[CountedState])| {
        counted && (ALWAYS.contains(name) || lanes.iter().any(|lane| view::count(lane, states) > 0))
    };
    let columns: Vec<_> = view::STATE_COLUMNS.iter().filter(shown).collect();
    let mut header = vec!["lane", "oldest waiting"];
    header.extend(columns.iter().map(|(name, _)| *name));
    let mut rows = table(&header);
    for column in rows.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for lane in lanes {
        let oldest = lane.oldest.map_or_else(|| "-".to_owned(), age);
        let numbers = columns.iter().map(|(_, states)| view::count(lane, states).to_string());
        rows.add_row([lane.lane.to_string(), oldest].into_iter().chain(numbers));
    }
    fitted(rows)
}

/// An age in its two largest units, without fractions.
fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
