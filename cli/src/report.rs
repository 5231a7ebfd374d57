//! Tables for people, and the summary at the end of a run.

use std::time::{Duration, UNIX_EPOCH};

use comfy_table::presets::{NOTHING, UTF8_FULL_CONDENSED};
use comfy_table::{CellAlignment, Table};
use ff_sdk::core::time::TimestampMs;
use serde::Serialize;
use serde_json::json;

use crate::results::JobResult;

/// Executions that are listed one by one; more are only summed up.
const MAX_ROWS: usize = 40;
/// Failures that are told with their reason where executions are not listed.
const MAX_FAILURES: usize = 20;

/// What a run came to.
pub struct Summary<'a> {
    /// What became of each execution.
    pub results: &'a [JobResult],
    /// Executions that were submitted and stood for the same as an earlier line.
    pub duplicates: usize,
    /// Workers that were killed on purpose.
    pub killed: u64,
    /// How long it took.
    pub took: Duration,
    /// Whether it was interrupted.
    pub interrupted: bool,
}

impl Summary<'_> {
    fn count(&self, outcome: &str) -> usize {
        self.results.iter().filter(|result| result.outcome == outcome).count()
    }

    fn total(&self, of: impl Fn(&JobResult) -> u32) -> u64 {
        self.results.iter().map(|result| u64::from(of(result))).sum()
    }

    fn unfinished(&self) -> usize {
        self.results.iter().filter(|result| result.ended_at.is_none()).count()
    }

    /// One JSON object.
    pub fn json(&self) -> String {
        json!({
            "executions": self.results.len(),
            "completed": self.count("completed"),
            "failed": self.count("failed"),
            "cancelled": self.count("cancelled"),
            "expired": self.count("expired"),
            "unfinished": self.unfinished(),
            "duplicates": self.duplicates,
            "attempts": self.total(|result| result.attempts),
            "retries": self.total(|result| result.retries),
            "reclaims": self.total(|result| result.reclaims),
            "workers_killed": self.killed,
            "elapsed_ms": self.took.as_millis() as u64,
            "interrupted": self.interrupted,
        })
        .to_string()
    }

    /// A table for people.
    pub fn table(&self) -> String {
        let mut text = String::new();
        if self.results.len() <= MAX_ROWS {
            text.push_str(&self.rows().to_string());
        } else {
            text.push_str(&self.sums().to_string());
            let failed = || self.results.iter().filter(|result| result.failure.is_some());
            for result in failed().take(MAX_FAILURES) {
                let reason = first_line(result);
                text.push_str(&format!("\nline {} {}: {reason}", result.line, result.outcome));
            }
            let more = failed().count().saturating_sub(MAX_FAILURES);
            if more > 0 {
                text.push_str(&format!("\nand {more} more; --results has them all"));
            }
        }
        text.push_str(&format!(
            "\n{} of {} completed, {} failed, {} retries, {} reclaims in {:.1} s",
            self.count("completed"),
            self.results.len(),
            self.results.len() - self.count("completed") - self.unfinished(),
            self.total(|result| result.retries),
            self.total(|result| result.reclaims),
            self.took.as_secs_f64(),
        ));
        for (count, what) in [
            (self.killed, "workers killed on purpose"),
            (self.duplicates as u64, "lines that stood for an earlier one"),
            (self.unfinished() as u64, "left unfinished"),
        ] {
            if count > 0 {
                text.push_str(&format!(", {count} {what}"));
            }
        }
        text
    }

    fn rows(&self) -> Table {
        let mut table =
            table(&["line", "kind", "outcome", "attempts", "retries", "reclaims", "ms", "result"]);
        for result in self.results {
            let took = result.took_ms().map_or_else(|| "-".to_owned(), |took| took.to_string());
            table.add_row(vec![
                result.line.to_string(),
                result.kind.clone(),
                result.outcome.clone(),
                result.attempts.to_string(),
                result.retries.to_string(),
                result.reclaims.to_string(),
                took,
                first_line(result),
            ]);
        }
        table
    }

    fn sums(&self) -> Table {
        let mut table = table(&["outcome", "executions", "attempts", "p50 ms", "p95 ms", "max ms"]);
        let mut outcomes: Vec<&str> =
            self.results.iter().map(|result| result.outcome.as_str()).collect();
        outcomes.sort_unstable();
        outcomes.dedup();
        for outcome in outcomes {
            let of: Vec<&JobResult> =
                self.results.iter().filter(|result| result.outcome == outcome).collect();
            let mut took: Vec<u64> = of.iter().filter_map(|result| result.took_ms()).collect();
            took.sort_unstable();
            let at = |percent: usize| {
                let place = (took.len() * percent / 100).min(took.len().saturating_sub(1));
                took.get(place).map_or_else(|| "-".to_owned(), u64::to_string)
            };
            let attempts: u64 = of.iter().map(|result| u64::from(result.attempts)).sum();
            table.add_row(vec![
                outcome.to_owned(),
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

/// Names and values, one below the other.
pub fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table
}

/// An instant of the store's clock, in UTC.
pub fn time(at: TimestampMs) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(at.get().min(LAST_MS));
    humantime::format_rfc3339_millis(at).to_string()
}

/// The last millisecond of the year 9999, the last that can be written.
const LAST_MS: u64 = 253_402_300_799_999;

/// The text, or its beginning.
pub fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A table whose columns of numbers are to the right.
pub fn table(header: &[&str]) -> Table {
    const NUMBERS: [&str; 11] = [
        "line",
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
        if (NUMBERS.contains(name) || *name == "attempt")
            && let Some(column) = table.column_mut(number)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The word that stands for a value in JSON.
pub fn word(value: impl Serialize) -> String {
    json!(value).as_str().unwrap_or_default().to_owned()
}

/// The text without anything that a terminal would act on.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The first line of what an execution came to, short enough for a table.
fn first_line(result: &JobResult) -> String {
    let reason = result.failure.as_ref().map(|failure| failure.reason.as_str());
    let text = reason.or(result.result.as_deref()).unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    shortened(&printable(line), 48)
}
