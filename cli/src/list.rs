//! `ff list`: lists executions or quarantined records, one page at a time.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use ff_sdk::core::execution::ExecutionSnapshot;
use ff_sdk::{Client, ListFilter, ListOrder, ListPosition, Quarantined};
use ff_server::PageCursor;
use serde_json::json;

use crate::advice;
use crate::args::ListArgs;
use crate::backend;
use crate::exit::{CliError, Stdout, warn};
use crate::progress;
use crate::report::{counted, printable, table, time};
use crate::terminal::fitted;

/// The least executions that are read in one call if all are printed.
const STEP: usize = 1_000;
/// How long a page is searched for executions that pass the filter.
const PAGE_TIME: Duration = Duration::from_secs(10);

/// Runs the command.
pub async fn list(args: ListArgs) -> Result<ExitCode, CliError> {
    let client = backend::client(&args.store).await?;
    let filter = args.filter.filter(client.store_time().await?);
    let mut out = Stdout::new();
    let mut found = 0;
    let mut from = args.after.map(|cursor| cursor.0);
    loop {
        let page = read_page(&client, &args, &filter, from).await?;
        warn_of_unreadable(page.unreadable);
        found += page.count();
        out.print(&if args.json { page.lines() } else { page.table() })?;
        from = page.next;
        let Some(next) = from else { break };
        if out.is_closed() {
            break;
        }
        if !args.all {
            let next = PageCursor(next).to_string();
            out.print(&match (args.json, page.is_full) {
                (true, _) => format!("{}\n", json!({"next": next})),
                (false, true) => format!("more executions: continue with --after {next}\n"),
                (false, false) => format!(
                    "read {} in {} s: continue with --after {next}\n",
                    counted(page.read as u64, "execution", "executions"),
                    PAGE_TIME.as_secs()
                ),
            })?;
            break;
        }
    }
    if found == 0 && from.is_none() {
        say_none(&client, &args);
    }
    Ok(ExitCode::SUCCESS)
}

/// Says in which namespace nothing was found: it may be in another one.
fn say_none(client: &Client, args: &ListArgs) {
    let what = if args.quarantined { "record in quarantine" } else { "execution" };
    warn(&format!("ff: no such {what} in the namespace {}\n", client.namespace()));
}

/// A page of either list.
struct Page {
    rows: Rows,
    unreadable: usize,
    read: usize,
    /// Whether it has as many rows as it may have. Otherwise the time for it was over.
    is_full: bool,
    next: Option<ListPosition>,
}

enum Rows {
    Executions(Vec<ExecutionSnapshot>),
    Quarantined(Vec<Quarantined>),
}

async fn read_page(
    client: &Client,
    args: &ListArgs,
    filter: &ListFilter,
    from: Option<ListPosition>,
) -> Result<Page, CliError> {
    let limit = args.limit as usize;
    if args.quarantined {
        let page = client.quarantined(from, limit).await?;
        let (rows, next) = (Rows::Quarantined(page.records), page.next);
        return Ok(Page { rows, unreadable: 0, read: 0, is_full: true, next });
    }
    let order = if args.oldest { ListOrder::OldestFirst } else { ListOrder::NewestFirst };
    let limit = if args.all { limit.max(STEP) } else { limit };
    let (begun, mut rows) = (Instant::now(), Vec::new());
    let (mut unreadable, mut read, mut next) = (0, 0, from);
    let bar = progress::bar(0, "{spinner} {msg}");
    loop {
        let page = client.list_by_time(filter.clone(), order, next, limit - rows.len()).await?;
        rows.extend(page.executions);
        unreadable += page.unreadable;
        read += page.read;
        next = page.next;
        let is_full = rows.len() >= limit;
        if next.is_none() || is_full || begun.elapsed() >= PAGE_TIME && !args.all {
            bar.finish_and_clear();
            return Ok(Page { rows: Rows::Executions(rows), unreadable, read, is_full, next });
        }
        let created = next.and_then(|next| next.after).map(|after| after.score.instant());
        bar.set_message(format!(
            "read {read} executions, created {} {}: {} found",
            if args.oldest { "until" } else { "since" },
            created.map_or_else(String::new, time),
            rows.len(),
        ));
    }
}

fn warn_of_unreadable(count: usize) {
    if count > 0 {
        warn(&format!(
            "ff: skipped {}: in quarantine (see {}), or written by a newer version of ff\n",
            counted(count as u64, "record", "records"),
            advice::ff("list --quarantined")
        ));
    }
}

impl Page {
    const fn count(&self) -> usize {
        match &self.rows {
            Rows::Executions(rows) => rows.len(),
            Rows::Quarantined(rows) => rows.len(),
        }
    }

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
        match &self.rows {
            Rows::Executions(rows) => executions_table(rows),
            Rows::Quarantined(rows) => {
                table_of(&["id", "since", "problem"], rows.iter().map(quarantined_row).collect())
            }
        }
    }
}

/// The executions as a table; empty without any.
pub fn executions_table(rows: &[ExecutionSnapshot]) -> String {
    table_of(
        &["id", "kind", "lane", "state", "priority", "attempts", "created"],
        rows.iter().map(row).collect(),
    )
}

fn table_of(header: &[&str], rows: Vec<Vec<String>>) -> String {
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
