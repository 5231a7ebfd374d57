//! Prints the outcomes of attempts in a thread, so that neither a full disk nor a reader that
//! pauses stops the worker.

use tokio::sync::{mpsc, oneshot, watch};

use crate::exit::{Stdout, warn};
use crate::report::counted;
use crate::shutdown::{Shutdown, requested};

/// The number of lines that wait for a reader. When there are more, the worker waits too.
const MAX_WAITING: usize = 1_024;

/// Prints lines to standard output.
pub struct Printer {
    lines: mpsc::Sender<String>,
    /// Receives the number of lines that could not be written.
    lost: oneshot::Receiver<u64>,
}

impl Printer {
    /// Starts the thread.
    pub fn start() -> Self {
        let (lines, mut waiting) = mpsc::channel(MAX_WAITING);
        let (sender, lost) = oneshot::channel();
        std::thread::spawn(move || {
            let mut writer = Writer { out: Stdout::new(), lost: 0, is_failing: false };
            while let Some(line) = waiting.blocking_recv() {
                writer.write(line);
            }
            // The receiver is gone if the worker does not wait.
            let _ = sender.send(writer.lost);
        });
        Self { lines, lost }
    }

    /// Prints a line. While the reader pauses, this waits until a stop is requested.
    pub async fn print(&self, line: String, mut shutdown: watch::Receiver<Shutdown>) {
        tokio::select! {
            biased;
            // The thread receives until the printer is dropped.
            _ = self.lines.send(line) => {}
            () = requested(&mut shutdown, Shutdown::Stop) => {}
        }
    }

    /// Waits until everything is printed, or a stop is requested. Returns whether all lines could
    /// be written.
    pub async fn finish(self, mut shutdown: watch::Receiver<Shutdown>) -> bool {
        drop(self.lines);
        let lost = tokio::select! {
            biased;
            lost = self.lost => lost.unwrap_or(0),
            () = requested(&mut shutdown, Shutdown::Stop) => 0,
        };
        if lost > 0 {
            let lines = counted(lost, "line", "lines");
            warn(&format!("ff: {lines} could not be written to standard output\n"));
        }
        lost == 0
    }
}

/// Writes lines, and warns when that begins to fail.
struct Writer {
    out: Stdout,
    lost: u64,
    is_failing: bool,
}

impl Writer {
    fn write(&mut self, line: String) {
        if self.out.is_closed() {
            return;
        }
        // A part of the line before may have been written.
        let text = if self.is_failing { format!("\n{line}\n") } else { format!("{line}\n") };
        match self.out.print(&text) {
            Ok(()) if self.out.is_closed() => {
                warn("ff: standard output was closed: the worker goes on and prints no outcomes\n");
            }
            Ok(()) if self.is_failing => {
                self.is_failing = false;
                warn("ff: standard output can be written again\n");
            }
            Ok(()) => {}
            Err(error) => {
                self.lost += 1;
                if !std::mem::replace(&mut self.is_failing, true) {
                    let message = error.message();
                    warn(&format!("ff: {message}; the worker goes on and loses outcomes\n"));
                }
            }
        }
    }
}
