//! The position of a task in its output stream, and how often readers are woken.

use std::time::Duration;

use ff_core::execution::Frame;
use tokio::time::Instant;

/// The position of a task in its output stream.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// The sequence of the next frame; `None` before the first append.
    pub(crate) next: Option<u64>,
    /// A frame that was sent, and that the store may have appended. It is sent again before the
    /// next frame, so that a late copy of it cannot take the next frame's sequence.
    pub(crate) in_doubt: Option<Frame>,
    /// When readers were woken last.
    pub(crate) rang: Option<Instant>,
}

/// The shortest time between two wake-ups of readers. A woken reader keeps reading for at least
/// twice as long.
pub(crate) const RING_EVERY: Duration = Duration::from_millis(30);
