//! Where the output of a task stands, and how often its readers are woken.

use std::time::Duration;

use tokio::time::Instant;

/// Where the output of a task stands.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// The sequence of the next frame, once one was appended.
    pub(crate) next: Option<u64>,
    /// When readers were woken last.
    pub(crate) rang: Option<Instant>,
}

/// How often readers are woken at most; whoever was woken reads on for at least twice as long.
pub(crate) const RING_EVERY: Duration = Duration::from_millis(30);
