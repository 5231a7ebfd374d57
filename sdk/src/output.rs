//! The output stream of a task, and how often readers are woken.

use std::time::Duration;

use ff_core::agent::FrameWriter;
use tokio::time::Instant;

/// The output stream of a task.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) writer: FrameWriter,
    /// When readers were woken last.
    rang: Option<Instant>,
}

/// The shortest time between two wake-ups of readers. A woken reader keeps reading for at least
/// twice as long.
pub(crate) const RING_EVERY: Duration = Duration::from_millis(30);

impl Output {
    /// The output of an attempt that has this many frames.
    pub(crate) const fn new(frames: u64) -> Self {
        Self { writer: FrameWriter::new(frames), rang: None }
    }

    /// Returns whether to wake readers now, and notes it.
    pub(crate) fn rings(&mut self) -> bool {
        let rings = self.rang.is_none_or(|rang| rang.elapsed() >= RING_EVERY);
        if rings {
            self.rang = Some(Instant::now());
        }
        rings
    }
}
