//! `ff list`: lists executions or quarantined records, one page at a time.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ff_sdk::core::execution::ExecutionSnapshot;
use ff_sdk::core::op::{ListFilter, ListPosition};
use ff_sdk::core::time::TimestampMs;
use ff_sdk::{Client, Quarantined};
use serde_json::json;

use crate::args::ListArgs;
use crate::backend;
use crate::cursor::PageCursor;
use crate::exit::{CliError, Stdout, print, warn};
use crate::report::{counted, printable, table, time};
use crate::terminal::fitted;

/// Runs the command.
pub async fn list(args: ListArgs) -> Result<ExitCode, CliError> {
    let client = backend::client(&args.store).await?;
    if let Some(since) = args.since {
        return newest(&client, &args, since).await;
    }
    let mut out = Stdout::new();
    let mut found = 0;
    let mut from = args.after.map(|cursor| cursor.0);
    loop {
        let page = read_page(&client, &args, from).await?;
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
            out.print(&match args.json {
                true => format!("{}\n", json!({"next": next})),
                false => format!("more executions: continue with --after {next}\n"),
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
    let (mut rows, mut unreadable, mut next) = (Vec::new(), 0, from);
    loop {
        let page = client.list(filter(args), next, limit - rows.len()).await?;
        rows.extend(page.executions.into_iter().filter(|found| has_tags(found, &args.tag)));
        unreadable += page.unreadable;
        next = page.next;
        if next.is_none() || rows.len() >= limit {
            return Ok(Page { rows: Rows::Executions(rows), unreadable, next });
        }
    }
}

/// Prints the executions that were created in this time, the newest one first.
async fn newest(client: &Client, args: &ListArgs, since: Duration) -> Result<ExitCode, CliError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let from =
        TimestampMs::new(u64::try_from(now.saturating_sub(since).as_millis()).unwrap_or(u64::MAX));
    let (mut rows, mut unreadable, mut next) = (Vec::new(), 0, None);
    loop {
        let page = client.list(filter(args), next, STEP).await?;
        let is_wanted =
            |found: &ExecutionSnapshot| found.created_at >= from && has_tags(found, &args.tag);
        rows.extend(page.executions.into_iter().filter(is_wanted));
        unreadable += page.unreadable;
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    warn_of_unreadable(unreadable);
    rows.sort_by_key(|found| std::cmp::Reverse((found.created_at, found.execution_id)));
    let more = rows.len().saturating_sub(args.limit as usize);
    if more > 0 && !args.all {
        rows.truncate(args.limit as usize);
        warn(&format!("ff: {more} older ones are not shown: raise --limit, or give --all\n"));
    }
    let page = Page { rows: Rows::Executions(rows), unreadable, next };
    print(&if args.json { page.lines() } else { page.table() })?;
    if page.count() == 0 {
        say_none(client, args);
    }
    Ok(ExitCode::SUCCESS)
}

/// How many executions are read in one call for a list by time.
const STEP: usize = 1_000;

fn filter(args: &ListArgs) -> ListFilter {
    ListFilter { lane: args.lane.clone(), kind: args.kind.clone(), state: args.state }
}

fn has_tags(found: &ExecutionSnapshot, tags: &[(String, String)]) -> bool {
    let has = |(key, value): &(String, String)| {
        found.tags.iter().any(|(known, other)| known == key && other == value)
    };
    tags.iter().all(has)
}

fn warn_of_unreadable(count: usize) {
    if count > 0 {
        warn(&format!(
            "ff: skipped {}: in quarantine (see ff list --quarantined), or written by a newer \
             version of ff\n",
            counted(count as u64, "record", "records")
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
