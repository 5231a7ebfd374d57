//! `ff list`: lists executions or quarantined records, one page at a time.

use std::process::ExitCode;

use ff_sdk::core::execution::ExecutionSnapshot;
use ff_sdk::core::op::{ListFilter, ListPosition};
use ff_sdk::{Client, Quarantined};
use serde_json::json;

use crate::args::ListArgs;
use crate::backend;
use crate::cursor::PageCursor;
use crate::exit::{CliError, Stdout, warn};
use crate::report::{counted, printable, table, time};
use crate::terminal::fitted;

/// Runs the command.
pub async fn list(args: ListArgs) -> Result<ExitCode, CliError> {
    let client = backend::client(&args.store).await?;
    let mut out = Stdout::new();
    let mut from = args.after.map(|cursor| cursor.0);
    loop {
        let page = read_page(&client, &args, from).await?;
        if page.unreadable > 0 {
            warn(&format!(
                "ff: skipped {}: in quarantine (see ff list --quarantined), or written by a newer \
                 version of ff\n",
                counted(page.unreadable as u64, "record", "records")
            ));
        }
        out.print(&if args.json { page.lines() } else { page.table() })?;
        from = page.next;
        let Some(next) = from else { break };
        if out.is_closed() {
            break;
        }
        if !args.all {
            let next = PageCursor(next).to_string();
            out.print(&match args.json {
                true => format!("{}\n", json!({"next": next})),
                false => format!("more executions: continue with --after {next}\n"),
            })?;
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A page of either list.
struct Page {
    rows: Rows,
    unreadable: usize,
    next: Option<ListPosition>,
}

enum Rows {
    Executions(Vec<ExecutionSnapshot>),
    Quarantined(Vec<Quarantined>),
}

async fn read_page(
    client: &Client,
    args: &ListArgs,
    from: Option<ListPosition>,
) -> Result<Page, CliError> {
    let limit = args.limit as usize;
    if args.quarantined {
        let page = client.quarantined(from, limit).await?;
        return Ok(Page { rows: Rows::Quarantined(page.records), unreadable: 0, next: page.next });
    }
    let filter = ListFilter { lane: args.lane.clone(), kind: args.kind.clone(), state: args.state };
    let page = client.list(filter, from, limit).await?;
    let rows = Rows::Executions(page.executions);
    Ok(Page { rows, unreadable: page.unreadable, next: page.next })
}

impl Page {
    fn lines(&self) -> String {
        let lines: Vec<String> = match &self.rows {
            Rows::Executions(rows) => {
                rows.iter().map(|snapshot| format!("{}\n", json!(snapshot))).collect()
            }
            Rows::Quarantined(rows) => rows.iter().map(quarantined_line).collect(),
        };
        lines.concat()
    }

    fn table(&self) -> String {
        let (header, rows): (&[&str], Vec<Vec<String>>) = match &self.rows {
            Rows::Executions(rows) => (
                &["id", "kind", "lane", "state", "priority", "attempts", "created"],
                rows.iter().map(row).collect(),
            ),
            Rows::Quarantined(rows) => {
                (&["id", "since", "problem"], rows.iter().map(quarantined_row).collect())
            }
        };
        if rows.is_empty() {
            return String::new();
        }
        let mut table = table(header);
        table.add_rows(rows);
        // A long kind is cut.
        for row in table.row_iter_mut() {
            row.max_height(1);
        }
        fitted(table)
    }
}

fn row(snapshot: &ExecutionSnapshot) -> Vec<String> {
    vec![
        snapshot.execution_id.to_string(),
        snapshot.kind.to_string(),
        snapshot.lane.to_string(),
        snapshot.state.public_state.to_string(),
        snapshot.priority.get().to_string(),
        snapshot.attempts_total.to_string(),
        time(snapshot.created_at),
    ]
}

fn quarantined_row(record: &Quarantined) -> Vec<String> {
    let problem = record.problem.as_deref().unwrap_or("none: it can be decoded again");
    vec![record.execution_id.to_string(), time(record.since), printable(problem)]
}

fn quarantined_line(record: &Quarantined) -> String {
    let line = json!({
        "execution_id": record.execution_id,
        "since": record.since,
        "problem": record.problem,
    });
    format!("{line}\n")
}
