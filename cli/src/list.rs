//! `ff list`: executions, page by page.

use std::process::ExitCode;

use comfy_table::Table;
use ff_sdk::core::execution::ExecutionSnapshot;
use ff_sdk::core::op::{ListFilter, ListPosition};
use ff_sdk::{Client, Quarantined};
use serde_json::json;

use crate::args::ListArgs;
use crate::backend;
use crate::cursor::PageCursor;
use crate::outcome::{ALL_COMPLETED, Failed, Out, warn};
use crate::report::{printable, table, time};

/// Runs the command.
pub async fn list(args: ListArgs) -> Result<ExitCode, Failed> {
    let client = backend::client(&args.store).await?;
    let mut out = Out::new();
    let mut from = args.after.map(|cursor| cursor.0);
    loop {
        let page = match args.quarantined {
            true => quarantined(&client, from, args.limit as usize).await?,
            false => executions(&client, &args, from).await?,
        };
        if page.unreadable > 0 {
            warn(&format!(
                "ff: {} records could not be read: in quarantine, or of a newer program\n",
                page.unreadable
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
                false => format!("there is more: --after {next}\n"),
            })?;
            break;
        }
    }
    Ok(ExitCode::from(ALL_COMPLETED))
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

async fn executions(
    client: &Client,
    args: &ListArgs,
    from: Option<ListPosition>,
) -> Result<Page, Failed> {
    let filter = ListFilter { lane: args.lane.clone(), kind: args.kind.clone(), state: args.state };
    let page = client.list(filter, from, args.limit as usize).await?;
    let rows = Rows::Executions(page.executions);
    Ok(Page { rows, unreadable: page.unreadable, next: page.next })
}

async fn quarantined(
    client: &Client,
    from: Option<ListPosition>,
    limit: usize,
) -> Result<Page, Failed> {
    let page = client.quarantined(from, limit).await?;
    Ok(Page { rows: Rows::Quarantined(page.records), unreadable: 0, next: page.next })
}

impl Page {
    fn lines(&self) -> String {
        let lines: Vec<String> = match &self.rows {
            Rows::Executions(rows) => {
                rows.iter().map(|seen| format!("{}\n", json!(seen))).collect()
            }
            Rows::Quarantined(rows) => rows.iter().map(quarantined_line).collect(),
        };
        lines.concat()
    }

    fn table(&self) -> String {
        let (mut table, empty) = match &self.rows {
            Rows::Executions(rows) => {
                let names = ["id", "kind", "lane", "state", "priority", "attempts", "created"];
                (table(&names), rows.is_empty())
            }
            Rows::Quarantined(rows) => (table(&["id", "since", "problem"]), rows.is_empty()),
        };
        if empty {
            return String::new();
        }
        match &self.rows {
            Rows::Executions(rows) => rows.iter().for_each(|seen| add(&mut table, seen)),
            Rows::Quarantined(rows) => {
                for record in rows {
                    let problem = record.problem.as_deref().unwrap_or("none any more");
                    let (id, since) = (record.execution_id.to_string(), time(record.since));
                    table.add_row(vec![id, since, printable(problem)]);
                }
            }
        }
        format!("{table}\n")
    }
}

fn add(table: &mut Table, seen: &ExecutionSnapshot) {
    table.add_row(vec![
        seen.execution_id.to_string(),
        seen.kind.to_string(),
        seen.lane.to_string(),
        seen.state.public_state.to_string(),
        seen.priority.get().to_string(),
        seen.attempts_total.to_string(),
        time(seen.created_at),
    ]);
}

fn quarantined_line(record: &Quarantined) -> String {
    let line = json!({
        "execution_id": record.execution_id,
        "since": record.since,
        "problem": record.problem,
    });
    format!("{line}\n")
}
