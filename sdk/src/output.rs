//! Where the output of a task stands, and how often its readers are woken.

use std::time::Duration;

use ff_core::execution::Frame;
use tokio::time::Instant;

/// Where the output of a task stands.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// The sequence of the next frame, once one was appended.
    pub(crate) next: Option<u64>,
    /// A frame that was sent and of which nobody knows whether it was appended. Before the next one
    /// it is sent again: once anything else had its place, its late copy could take that.
    pub(crate) doubted: Option<Frame>,
    /// When readers were woken last.
    pub(crate) rang: Option<Instant>,
}

/// How often readers are woken at most; whoever was woken reads on for at least twice as long.
pub(crate) const RING_EVERY: Duration = Duration::from_millis(30);
