//! Progress on standard error: a bar on a terminal, otherwise a line from time to time.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use super::ending::warn;
use super::stopwatch::Stopwatch;

/// The time between two lines without a terminal, in milliseconds.
const LINE_EVERY_MS: u64 = 10_000;

/// The progress of some work.
pub struct Progress {
    bar: Option<ProgressBar>,
    what: &'static str,
    total: Option<u64>,
    done: u64,
    stopwatch: Stopwatch,
    last_line_ms: u64,
}

impl Progress {
    /// Progress over a number of items, if it is known.
    pub fn new(what: &'static str, total: Option<u64>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
            let style = match total {
                Some(_) => "{bar:20.cyan/blue} {pos}/{len} {wide_msg}",
                None => "{spinner} {pos} {wide_msg}",
            };
            bar.with_style(ProgressStyle::with_template(style).expect("a valid template"))
        });
        Self { bar, what, total, done: 0, stopwatch: Stopwatch::start(), last_line_ms: 0 }
    }

    /// Sets the number of items that are done.
    pub fn at(&mut self, done: u64, more: &str) {
        self.done = done;
        let elapsed_ms = self.stopwatch.elapsed_ms();
        let rate = done as f64 * 1_000.0 / elapsed_ms.max(1) as f64;
        let what = self.what;
        let text =
            || format!("{what}, {rate:.0}/s{}{more}", if more.is_empty() { "" } else { ", " });
        match &self.bar {
            Some(bar) => {
                bar.set_position(done);
                bar.set_message(text());
            }
            None if elapsed_ms >= self.last_line_ms + LINE_EVERY_MS => {
                self.last_line_ms = elapsed_ms;
                let total = self.total.map_or_else(String::new, |total| format!("/{total}"));
                warn(&format!("{done}{total} {}\n", text()));
            }
            None => {}
        }
    }

    /// Adds an item that is done.
    pub fn more(&mut self, text: &str) {
        self.at(self.done + 1, text);
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
