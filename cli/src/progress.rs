//! A progress bar on a terminal, and a line now and then elsewhere.

use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::outcome::warn;
use crate::pool::Doing;

/// How far the work is.
pub struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    ended: u64,
    failed: u64,
    started: Instant,
    last_line: Instant,
}

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

impl Progress {
    /// Progress over that many executions, on standard error.
    pub fn new(total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            let style = "{bar:20.cyan/blue} {pos}/{len} {wide_msg}";
            bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        let now = Instant::now();
        Self { bar, total, ended: 0, failed: 0, started: now, last_line: now }
    }

    /// Notes that an execution is over.
    pub fn ended(&mut self, success: bool) {
        self.ended += 1;
        self.failed += u64::from(!success);
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// Whether all are over.
    pub const fn is_over(&self) -> bool {
        self.ended >= self.total
    }

    /// Shows the present figures.
    pub fn show(&mut self, doing: &Doing) {
        let active = doing.active.load(Ordering::Relaxed);
        let left = self.total.saturating_sub(self.ended);
        let rate = self.ended as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let mut figures = format!("active {active} waiting {}", left.saturating_sub(active));
        for (count, what) in [
            (doing.retries.load(Ordering::Relaxed), "retried"),
            (doing.reclaims.load(Ordering::Relaxed), "reclaimed"),
            (self.failed, "failed"),
        ] {
            if count > 0 {
                figures.push_str(&format!(" {what} {count}"));
            }
        }
        figures.push_str(&format!(" {rate:.1}/s"));
        if self.ended > 0 {
            figures.push_str(&format!(" eta {:.0}s", left as f64 / rate));
        }
        match &self.bar {
            Some(bar) => bar.set_message(figures),
            None if self.last_line.elapsed() >= LINE_EVERY => {
                self.last_line = Instant::now();
                warn(&format!("{}/{} {figures}\n", self.ended, self.total));
            }
            None => {}
        }
    }

    /// Says something above the bar.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| warn(&format!("{line}\n"))),
            None => warn(&format!("{line}\n")),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
