//! Tables and text for people, and the summary of `ff run`.

use std::time::{Duration, UNIX_EPOCH};

use comfy_table::presets::{NOTHING, UTF8_FULL_CONDENSED};
use comfy_table::{CellAlignment, ContentArrangement, Table};
use ff_sdk::core::time::{DurationMs, TimestampMs};
use serde::Serialize;
use serde_json::json;

use crate::results::JobResult;
use crate::terminal::{fitted, width};

/// The most executions that are listed one by one. A longer run is summed up by state.
const MAX_ROWS: usize = 40;
/// The most failures that are printed with their reason if the run is summed up.
const MAX_FAILURES: usize = 20;
/// The most characters of a result or reason in a table.
const MAX_RESULT_CHARS: usize = 48;
/// The last millisecond of the year 9999, the latest time that can be formatted.
const MAX_TIME_MS: u64 = 253_402_300_799_999;

/// The summary of a run.
pub struct Summary<'a> {
    /// The result of each execution.
    pub results: &'a [JobResult],
    /// How many lines had the idempotency key of a line before them.
    pub duplicates: usize,
    /// How many of the executions are from an earlier run.
    pub earlier: usize,
    /// How many workers were killed on purpose.
    pub killed: u64,
    /// How long the run took.
    pub took: Duration,
    /// Whether the run was interrupted.
    pub interrupted: bool,
}

impl Summary<'_> {
    fn count(&self, state: &str) -> usize {
        self.results.iter().filter(|result| result.state == state).count()
    }

    fn total(&self, of: impl Fn(&JobResult) -> u32) -> u64 {
        self.results.iter().map(|result| u64::from(of(result))).sum()
    }

    fn unfinished(&self) -> usize {
        self.results.iter().filter(|result| result.ended_at.is_none()).count()
    }

    /// The summary as a JSON object.
    pub fn json(&self) -> String {
        json!({
            "executions": self.results.len(),
            "completed": self.count("completed"),
            "failed": self.count("failed"),
            "cancelled": self.count("cancelled"),
            "expired": self.count("expired"),
            "unfinished": self.unfinished(),
            "duplicates": self.duplicates,
            "earlier": self.earlier,
            "attempts": self.total(|result| result.attempts),
            "retries": self.total(|result| result.retries),
            "reclaims": self.total(|result| result.reclaims),
            "workers_killed": self.killed,
            "elapsed_ms": self.took.as_millis() as u64,
            "interrupted": self.interrupted,
        })
        .to_string()
    }

    /// The summary as text: a table and a line of totals.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if self.results.len() <= MAX_ROWS {
            text.push_str(fitted(self.rows()).trim_end());
        } else {
            text.push_str(fitted(self.states()).trim_end());
            let failed = || self.results.iter().filter(|result| result.failure.is_some());
            for result in failed().take(MAX_FAILURES) {
                let reason = first_line(result);
                text.push_str(&format!("\nline {} {}: {reason}", result.line, result.state));
            }
            let more = failed().count().saturating_sub(MAX_FAILURES);
            if more > 0 {
                text.push_str(&format!("\nand {more} more: --results writes all of them"));
            }
        }
        text.push_str(&format!(
            "\n{} of {} completed, {} failed, {}, {} in {:.1} s",
            self.count("completed"),
            self.results.len(),
            self.results.len() - self.count("completed") - self.unfinished(),
            counted(self.total(|result| result.retries), "retry", "retries"),
            counted(self.total(|result| result.reclaims), "reclaim", "reclaims"),
            self.took.as_secs_f64(),
        ));
        for (count, singular, plural) in [
            (self.killed, "worker killed on purpose", "workers killed on purpose"),
            (self.duplicates as u64, "duplicate line", "duplicate lines"),
            (self.earlier as u64, "from an earlier run", "from an earlier run"),
            (self.unfinished() as u64, "unfinished", "unfinished"),
        ] {
            if count > 0 {
                text.push_str(&format!(", {}", counted(count, singular, plural)));
            }
        }
        text
    }

    fn rows(&self) -> Table {
        let mut table =
            table(&["line", "kind", "state", "attempts", "retries", "reclaims", "ms", "result"]);
        for result in self.results {
            table.add_row(vec![
                result.line.to_string(),
                result.kind.clone(),
                result.state.clone(),
                result.attempts.to_string(),
                result.retries.to_string(),
                result.reclaims.to_string(),
                result.took_ms().map_or_else(|| "-".to_owned(), |took| took.to_string()),
                first_line(result),
            ]);
        }
        table
    }

    fn states(&self) -> Table {
        let mut table = table(&["state", "executions", "attempts", "p50 ms", "p95 ms", "max ms"]);
        let mut states: Vec<&str> =
            self.results.iter().map(|result| result.state.as_str()).collect();
        states.sort_unstable();
        states.dedup();
        for state in states {
            let of: Vec<&JobResult> =
                self.results.iter().filter(|result| result.state == state).collect();
            let mut took: Vec<u64> = of.iter().filter_map(|result| result.took_ms()).collect();
            took.sort_unstable();
            let at = |percent| {
                percentile(&took, percent).map_or_else(|| "-".to_owned(), |ms| ms.to_string())
            };
            let attempts: u64 = of.iter().map(|result| u64::from(result.attempts)).sum();
            table.add_row(vec![
                state.to_owned(),
                of.len().to_string(),
                attempts.to_string(),
                at(50),
                at(95),
                at(100),
            ]);
        }
        table
    }
}

/// A percentile of sorted values; `None` if there are none.
pub fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied()
}

/// Names and values as a table without borders.
pub fn name_value_table(rows: Vec<(&str, String)>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    for (name, value) in rows {
        table.add_row(vec![name.to_owned(), printable(&value)]);
    }
    if let Some(width) = width() {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    format!("{}\n", table.trim_fmt())
}

/// A time of the store's clock, in UTC.
pub fn time(at: TimestampMs) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(at.get().min(MAX_TIME_MS));
    humantime::format_rfc3339_millis(at).to_string()
}

/// A duration with units, such as `1m 30s`.
pub fn duration(duration: DurationMs) -> String {
    humantime::format_duration(duration.into()).to_string()
}

/// The text, cut after this number of characters.
pub fn shortened(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A table whose columns of numbers are aligned to the right.
pub fn table(header: &[&str]) -> Table {
    const NUMBERS: [&str; 12] = [
        "line",
        "attempt",
        "attempts",
        "retries",
        "reclaims",
        "ms",
        "executions",
        "p50 ms",
        "p95 ms",
        "max ms",
        "priority",
        "signals",
    ];
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header.to_vec());
    for (number, name) in header.iter().enumerate() {
        if NUMBERS.contains(name)
            && let Some(column) = table.column_mut(number)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The count and the name of what is counted, for example "1 retry" and "2 retries".
pub fn counted(count: u64, singular: &str, plural: &str) -> String {
    format!("{count} {}", if count == 1 { singular } else { plural })
}

/// The string that a value is in JSON.
pub fn wire_name(value: impl Serialize) -> String {
    json!(value).as_str().unwrap_or_default().to_owned()
}

/// The text with spaces in place of control characters, so that it cannot control the terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The first line of the failure or the result, short enough for a table.
fn first_line(result: &JobResult) -> String {
    let reason = result.failure.as_ref().map(|failure| failure.reason.as_str());
    let text = reason.or(result.result.as_deref()).unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    shortened(&printable(line), MAX_RESULT_CHARS)
}

/// A statement, and the lines below it: what to do about it.
pub struct Item {
    what: String,
    next: Vec<String>,
}

impl Item {
    /// A statement.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), next: Vec::new() }
    }

    /// Adds a line.
    pub fn then(mut self, next: impl Into<String>) -> Self {
        self.next.push(next.into());
        self
    }

    /// Adds lines.
    pub fn and_then(mut self, next: impl IntoIterator<Item = String>) -> Self {
        self.next.extend(next);
        self
    }

    /// The item of a list, which ends with a new line.
    pub fn text(&self) -> String {
        let next = self.next.iter().map(|next| format!("  {next}\n"));
        format!("- {}\n{}", self.what, next.collect::<String>())
    }
}

/// The time between two instants, as [`lasting`] prints it.
pub fn between(earlier: TimestampMs, later: TimestampMs) -> String {
    lasting(later.since(earlier))
}

/// A duration in whole seconds from 1 s on.
pub fn lasting(lasted: DurationMs) -> String {
    let ms = lasted.get();
    duration(DurationMs::new(if ms < 1_000 { ms } else { ms / 1_000 * 1_000 }))
}
