//! Progress on standard error: a bar on a terminal, and otherwise a line every few seconds.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
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

/// The progress of a submission. It is shown from the first second on.
pub struct Submitting {
    bar: ProgressBar,
    total: u64,
    answered: AtomicU64,
    shown: Mutex<Shown>,
}

/// What was shown last.
struct Shown {
    answered: u64,
    /// When the number of answers last changed.
    changed_at: Instant,
    /// When the next line is printed if there is no terminal.
    next_line: Instant,
    /// Whether the user was told that the store does not answer.
    silent: bool,
}

/// How often the progress of a submission is updated.
const SHOW_EVERY: Duration = Duration::from_millis(100);
/// When the first line is printed if there is no terminal.
const FIRST_LINE: Duration = Duration::from_millis(900);
/// After this time without an answer, the user is told.
const SILENCE: Duration = Duration::from_secs(2);

impl Submitting {
    /// The progress over this number of lines.
    pub fn new(total: u64) -> Self {
        let bar = bar(total, "{bar:20.cyan/blue} {pos}/{len} submitted {per_sec} {msg}");
        let now = Instant::now();
        let next_line = now + FIRST_LINE;
        let shown = Shown { answered: 0, changed_at: now, next_line, silent: false };
        Self { bar, total, answered: AtomicU64::new(0), shown: Mutex::new(shown) }
    }

    /// Records the answer for a line.
    pub fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.bar.inc(1);
    }

    /// Shows the progress while this runs.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let mut ticks = tokio::time::interval(SHOW_EVERY);
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = ticks.tick() => self.show(),
            }
        }
    }

    fn show(&self) {
        let (now, answered) = (Instant::now(), self.answered.load(Ordering::Relaxed));
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.answered != answered {
            (shown.answered, shown.changed_at) = (answered, now);
            if std::mem::take(&mut shown.silent) {
                self.bar.set_message("");
            }
        } else if !shown.silent && now - shown.changed_at >= SILENCE {
            shown.silent = true;
            let seconds = SILENCE.as_secs();
            self.print_line(&format!("ff: the store accepts nothing for {seconds} s, retrying"));
            self.bar.set_message("retrying");
        }
        if self.bar.is_hidden() && now >= shown.next_line {
            shown.next_line = now + LINE_EVERY;
            warn(&format!("ff: {answered} of {} submitted\n", self.total));
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
