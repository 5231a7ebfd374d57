//! Progress on standard error: a bar on a terminal, and otherwise a line every few seconds.

use std::collections::VecDeque;
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
    let bar = ProgressBar::new(total).with_style(style(template));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a valid template")
}

/// The progress of a submission. It is shown from the first second on.
pub struct Submitting {
    bar: ProgressBar,
    total: u64,
    answered: AtomicU64,
    shown: Mutex<Shown>,
}

/// The figures that were shown last.
struct Shown {
    answered: u64,
    /// When the number of answers last changed.
    changed_at: Instant,
    /// When the next line is printed if there is no terminal.
    next_line: Instant,
    /// Whether the message was printed that the store accepts nothing.
    silent: bool,
}

/// How often the progress of a submission is updated.
const SHOW_EVERY: Duration = Duration::from_millis(100);
/// When the first line is printed if there is no terminal.
const FIRST_LINE: Duration = Duration::from_millis(900);
/// After this time without an answer, a message is printed.
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

/// The progress of `ff run`: it reads the input, submits it, runs it, and reads the results that
/// are left. It is shown from the first second on.
pub struct Progress {
    bar: ProgressBar,
    phase: &'static str,
    total: u64,
    ended: u64,
    failed: u64,
    /// When the next line is printed if there is no terminal.
    next_line: Instant,
    /// The numbers of ended executions in the last seconds.
    recent: VecDeque<(Instant, u64)>,
}

/// How often a line is printed if there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// The rate is that of this time.
const RECENT: Duration = Duration::from_secs(10);

impl Progress {
    /// The progress of reading the input.
    pub fn new() -> Self {
        let bar = bar(0, "{spinner} {pos} {wide_msg}");
        bar.set_message("lines read");
        let next_line = Instant::now() + FIRST_LINE;
        let (phase, recent) = ("lines read", VecDeque::new());
        Self { bar, phase, total: 0, ended: 0, failed: 0, next_line, recent }
    }

    /// Begins a phase with this number of steps.
    fn begin(&mut self, phase: &'static str, total: u64) {
        (self.phase, self.total, self.ended, self.failed) = (phase, total, 0, 0);
        self.recent.clear();
        if !self.bar.is_hidden() {
            self.bar.set_style(style("{bar:20.cyan/blue} {pos}/{len} {wide_msg}"));
        }
        self.bar.set_length(total);
        self.bar.set_position(0);
        self.bar.set_message(phase);
    }

    /// Begins to submit this number of lines.
    pub fn submit(&mut self, total: u64) {
        self.begin("submitted", total);
    }

    /// Begins to run this number of executions.
    pub fn run(&mut self, total: u64) {
        self.begin("", total);
        self.recent.push_back((Instant::now(), 0));
    }

    /// Shows that the results are read which are left.
    pub fn collect(&mut self) {
        self.bar.set_message("reading the results");
    }

    /// Records a line that was read or submitted.
    pub fn advance(&mut self) {
        self.ended += 1;
        self.bar.inc(1);
        if self.bar.is_hidden() && Instant::now() >= self.next_line {
            self.next_line = Instant::now() + LINE_EVERY;
            let of = if self.total > 0 { format!("/{}", self.total) } else { String::new() };
            warn(&format!("{}{of} {}\n", self.ended, self.phase));
        }
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
        let now = Instant::now();
        let running = stats.running.load(Ordering::Relaxed);
        let left = self.total.saturating_sub(self.ended);
        let rate = rate(&mut self.recent, now, self.ended);
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
        if let Some(eta) = eta(left, rate) {
            figures.push_str(&format!(", eta {}", humantime::format_duration(eta)));
        }
        if !self.bar.is_hidden() {
            self.bar.set_message(figures);
        } else if now >= self.next_line {
            self.next_line = now + LINE_EVERY;
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

/// Removes the bar also after an error.
impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Notes the number of ended executions, and returns how many ended in each of the last seconds.
fn rate(recent: &mut VecDeque<(Instant, u64)>, now: Instant, ended: u64) -> f64 {
    recent.push_back((now, ended));
    while recent.len() > 2 && recent.front().is_some_and(|(at, _)| now - *at > RECENT) {
        recent.pop_front();
    }
    let Some((at, before)) = recent.front() else { return 0.0 };
    (ended - before) as f64 / (now - *at).as_secs_f64().max(0.1)
}

/// The time until this number of executions has ended, in whole seconds, at least one. `None` if
/// none is left, or if none has ended lately.
fn eta(left: u64, rate: f64) -> Option<Duration> {
    let known = left > 0 && rate > 0.0;
    known.then(|| Duration::from_secs((left as f64 / rate).ceil().max(1.0) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eta_follows_the_latest_rate_and_is_never_zero() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut recent = VecDeque::from([(start, 0)]);
        assert!((rate(&mut recent, at(1), 1_000) - 1_000.0).abs() < 1.0);
        // Then one in each second.
        let rates: Vec<f64> = (2..20).map(|s| rate(&mut recent, at(s), 999 + s)).collect();
        assert!((rates[17] - 1.0).abs() < 0.2, "{rates:?}");
        assert_eq!(eta(5, 1.0), Some(Duration::from_secs(5)));
        assert_eq!(eta(1, 5_000.0), Some(Duration::from_secs(1)));
        assert_eq!(eta(0, 5.0), None);
        assert_eq!(eta(5, 0.0), None);
    }
}
