//! Progress on standard error: a bar on a terminal, and otherwise a line every few seconds.

use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::exit::warn;
use crate::pool::PoolStats;

/// A progress bar with this template. It is hidden unless standard error is a terminal.
pub fn bar(total: u64, template: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).expect("a valid template");
    let bar = ProgressBar::new(total).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// The progress of `ff run`.
pub struct Progress {
    bar: ProgressBar,
    total: u64,
    ended: u64,
    failed: u64,
    started: Instant,
    last_line: Instant,
}

/// How often a line is printed if there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

impl Progress {
    /// The progress over this number of executions.
    pub fn new(total: u64) -> Self {
        let bar = bar(total, "{bar:20.cyan/blue} {pos}/{len} {wide_msg}");
        let now = Instant::now();
        Self { bar, total, ended: 0, failed: 0, started: now, last_line: now }
    }

    /// Records that an execution has ended.
    pub fn ended(&mut self, success: bool) {
        self.ended += 1;
        self.failed += u64::from(!success);
        self.bar.inc(1);
    }

    /// Whether all executions have ended.
    pub const fn is_over(&self) -> bool {
        self.ended >= self.total
    }

    /// Shows the current figures.
    pub fn show(&mut self, stats: &PoolStats) {
        let running = stats.running.load(Ordering::Relaxed);
        let left = self.total.saturating_sub(self.ended);
        let rate = self.ended as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let mut figures = format!("{running} running, {} waiting", left.saturating_sub(running));
        for (count, name) in [
            (stats.retries.load(Ordering::Relaxed), "retried"),
            (stats.reclaims.load(Ordering::Relaxed), "reclaimed"),
            (self.failed, "failed"),
        ] {
            if count > 0 {
                figures.push_str(&format!(", {count} {name}"));
            }
        }
        figures.push_str(&format!(", {rate:.1}/s"));
        if self.ended > 0 {
            figures.push_str(&format!(", eta {:.0} s", left as f64 / rate));
        }
        if !self.bar.is_hidden() {
            self.bar.set_message(figures);
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            warn(&format!("{}/{} {figures}\n", self.ended, self.total));
        }
    }

    /// Prints a line above the bar.
    pub fn print_line(&self, line: &str) {
        self.bar.suspend(|| warn(&format!("{line}\n")));
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
